"""What every engine does: the verbs as coroutines, and the time by which it decides.

Write a service against `Engine`, and it takes a `SlotEngine`, one of your own that stands
before one, or a stand-in for tests.  What is local to a process is not part of it: making
several calls in one step (`SlotEngine.run`), subscribing, and looking inside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol, TypeVar, overload

from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.config import Setting, SettingChange
from slotengine.core.ledger.extra import KEEP, Keep
from slotengine.core.offer.availability import AvailableSlots
from slotengine.engine.listing import ReservationPage, ReservationQuery
from slotengine.engine.requests import OneOf, SlotQuery
from slotengine.engine.values import (
    Ask,
    BusySpan,
    ImportedSpan,
    Quota,
    Request,
    Reservation,
    Slot,
)

R = TypeVar("R")


class Engine(Protocol):
    """The verbs of an engine, as coroutines; see `LocalEngine` for what each does.

    >>> from slotengine import SlotEngine, minutes
    >>> async def hold(engine: Engine, room: str, start: datetime) -> str:
    ...     return (await engine.reserve(room, start, minutes(30))).uid
    >>> engine: Engine = SlotEngine()
    """

    @property
    def ttl_bounds(self) -> tuple[timedelta, timedelta]:
        """The shortest and the longest TTL that a hold may have."""

    @property
    def default_ttl(self) -> timedelta:
        """How long a hold lives if the caller does not say."""

    def now(self) -> datetime:
        """Return the time by which the engine decides."""

    @overload
    async def reserve(
        self,
        what: Ask[R],
        /,
        *,
        jump: bool = False,
        wait: timedelta | None = None,
        command_id: CommandId | None = None,
    ) -> R:
        """Do as `SlotEngine.reserve`."""

    @overload
    async def reserve(
        self,
        what: str,
        start: datetime,
        length: timedelta,
        *,
        units: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        event_type: str | None = None,
        quota: Quota | None = None,
        past: bool = False,
        metadata: Mapping[str, str] | None = None,
        details: str | None = None,
        tags: Iterable[str] = (),
        jump: bool = False,
        wait: timedelta | None = None,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `SlotEngine.reserve`."""

    async def configure(
        self,
        entries: Iterable[SettingChange],
        *,
        force: bool = False,
        command_id: CommandId | None = None,
    ) -> tuple[Setting, ...]:
        """Do as `LocalEngine.configure`."""

    async def adopt(self, request: Request, *, command_id: CommandId | None = None) -> Reservation:
        """Do as `LocalEngine.adopt`."""

    async def reserve_slot(
        self,
        event_type: str,
        start: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        wait: timedelta | None = None,
        quota: Quota | None = None,
        metadata: Mapping[str, str] | None = None,
        details: str | None = None,
        tags: Iterable[str] = (),
        requested: bool = False,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.reserve_slot`."""

    async def move_slot(
        self,
        uid: str,
        start: datetime,
        *,
        event_type: str | None = None,
        length: timedelta | None = None,
        seats: int | None = None,
        ttl: timedelta | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        version: int | None = None,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.move_slot`."""

    async def slots(self, query: SlotQuery) -> list[Slot]:
        """Do as `LocalEngine.slots`."""

    async def openings(self, query: SlotQuery) -> AvailableSlots:
        """Do as `LocalEngine.openings`."""

    async def next_free(self, query: SlotQuery, count: int = 1) -> list[Slot]:
        """Do as `LocalEngine.next_free`."""

    async def replace_busy(
        self,
        source: str,
        spans: Mapping[str, Iterable[tuple[datetime, datetime]]],
        *,
        command_id: CommandId | None = None,
    ) -> None:
        """Do as `LocalEngine.replace_busy`."""

    async def imported(self, resource: str, start: datetime, end: datetime) -> list[ImportedSpan]:
        """Do as `LocalEngine.imported`."""

    async def extend(
        self,
        uid: str,
        *,
        ttl: timedelta | None = None,
        version: int | None = None,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.extend`."""

    async def move(
        self,
        uid: str,
        to: datetime | Request | OneOf,
        length: timedelta | None = None,
        *,
        resource: str | None = None,
        ttl: timedelta | None = None,
        version: int | None = None,
        past: bool = False,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.move`."""

    async def confirm(
        self,
        uid: str,
        *,
        if_still_free: bool = False,
        version: int | None = None,
        enforce: bool = True,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.confirm`."""

    async def release(
        self, uid: str, *, version: int | None = None, command_id: CommandId | None = None
    ) -> Reservation:
        """Do as `LocalEngine.release`."""

    async def cancel(
        self, uid: str, *, version: int | None = None, command_id: CommandId | None = None
    ) -> Reservation:
        """Do as `LocalEngine.cancel`."""

    async def replace(
        self,
        uid: str,
        request: Request,
        *,
        version: int | None = None,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.replace`."""

    async def annotate(
        self,
        uid: str,
        *,
        metadata: Mapping[str, str] | Keep = KEEP,
        details: str | Keep | None = KEEP,
        tags: Iterable[str] | Keep = KEEP,
        version: int | None = None,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.annotate`."""

    async def forget_bookings(self, before: datetime) -> int:
        """Do as `LocalEngine.forget_bookings`."""

    async def get(self, uid: str) -> Reservation | None:
        """Do as `LocalEngine.get`."""

    async def busy(self, resource: str, start: datetime, end: datetime) -> list[BusySpan]:
        """Do as `LocalEngine.busy`."""

    async def is_free(self, request: Request) -> bool:
        """Do as `LocalEngine.is_free`."""

    async def find(self, query: ReservationQuery) -> ReservationPage:
        """Do as `LocalEngine.find`."""
