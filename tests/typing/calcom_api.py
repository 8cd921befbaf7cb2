"""The public API of the Cal.com client as a type checker sees it.  Never run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

import aiohttp

from slotengine import EventType, Reservation, SlotEngine
from slotengine.calcom import (
    AvailableSlots,
    CalComClient,
    CalComSync,
    CircuitState,
    ClientStatistics,
    ConfirmCallback,
    DateListener,
    OnConfirm,
    OutcomeUnknown,
    Permits,
    RateLimited,
    ReconcileReport,
    RefreshCallback,
    RemoteConflict,
    RemoteDown,
    RemoteError,
    RemoteRefused,
    RemoteReservation,
    RemoteSeats,
    RemoteSlot,
    SlotFormat,
    SyncedEventType,
    SyncMode,
    SyncStatistics,
)

START = datetime(2030, 1, 7, 9, tzinfo=UTC)


async def token() -> str:
    return "token"


async def book(reservation: Reservation, remote_uid: str | None) -> None:
    assert_type(reservation.uid, str)


def hear(date: datetime, took_s: float) -> None:
    assert_type(date, datetime)


refresh: RefreshCallback = token
callback: ConfirmCallback = book
listener: DateListener = hear
shape: SlotFormat = "range"


async def calling(session: aiohttp.ClientSession) -> None:
    async with CalComClient(
        "https://calendar.example", token="t", refresh=refresh, session=session, per_minute=None
    ) as client:
        assert_type(client, CalComClient)
        assert_type(await client.reserve(1, START), RemoteReservation)
        assert_type(await client.get("uid"), RemoteReservation | None)
        assert_type(await client.update("uid", 1, START, slot_minutes=30), RemoteReservation)
        await client.delete("uid")
        slots = await client.slots(START, START, event_type_id=1, format="time")
        assert_type(slots, list[RemoteSlot])
        assert_type(slots[0].seats, RemoteSeats | None)
        assert_type(client.statistics(), ClientStatistics)
        assert_type(client.statistics().circuit, CircuitState)
        permits = client.permits(2)
        assert_type(permits, Permits)
        assert_type(permits.wait_s(), float)
        await client.delete("uid", permits=permits)
        stop = client.on_date(listener)
        stop()
        await client.slots(START, START, event_type_id=1, format=shape)
        await client.slots(START, START, event_type_id=1, format="both")  # type: ignore[arg-type]
        await client.reserve(1, START, 30)  # type: ignore[call-arg]
        await client.reserve(1, "2030-01-07")  # type: ignore[arg-type]


async def syncing(client: CalComClient, engine: SlotEngine, talk: EventType) -> None:
    event_types = {17: SyncedEventType(talk, SyncMode.BACKGROUND, on_confirm=callback)}
    async with CalComSync(engine, client, event_types) as sync:
        assert_type(await sync.reserve_slot("talk", START), Reservation)
        assert_type(await sync.get("uid"), Reservation | None)
        assert_type(await sync.slots("talk", START, START), AvailableSlots)
        assert_type(await sync.reconcile(), ReconcileReport)
        assert_type(sync.statistics(), SyncStatistics)
    SyncedEventType(talk, on_confirm=OnConfirm.RELEASE)
    CalComSync(engine, client, [SyncedEventType(talk)])  # type: ignore[arg-type]
    CalComSync(engine, client, {"17": SyncedEventType(talk)})  # type: ignore[dict-item]


def failing(error: RemoteError) -> None:
    assert_type(error.operation, str)
    assert_type(error.may_have_happened, bool)
    match error:
        case RateLimited():
            assert_type(error.retry_after_s, float)
        case RemoteConflict():
            assert_type(error.status, int)
        case RemoteRefused():
            assert_type(error.request_id, str | None)
        case OutcomeUnknown():
            assert_type(error.status, int | None)
        case RemoteDown():
            assert_type(error.retry_after_s, float)
        case _:
            raise error
