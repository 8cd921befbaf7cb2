"""The endpoints of reservations: ``/v2/slots/reservations[/{uid}]``.

``POST`` holds a slot, ``GET`` reads the hold, ``PATCH`` moves and renews it, and
``DELETE`` releases it.  This module has the order of the checks; `reservations_wire` has
the bodies, and `refusals` the errors.

Nothing here waits: no other request runs between the checks of one and its effect.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from slotengine.calcom.catalog.catalog import Catalog, CatalogEventType
from slotengine.calcom.catalog.quotas import CallerQuotas
from slotengine.calcom.server.auth import Caller, CallerKind
from slotengine.calcom.server.refusals import refusal_error, slot_minutes
from slotengine.calcom.server.reservations_wire import (
    BodyReader,
    Bounds,
    ReservationRequest,
    held_body,
)
from slotengine.calcom.server.responses import Reply
from slotengine.calcom.wire import (
    DONE,
    MINUTE,
    HttpError,
    reservation_data,
    success,
    without_surrogates,
)
from slotengine.core.ledger.reservation import State
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Quota, Reservation
from slotengine.errors import Refused, TooSoon, UnknownReservation, WrongState

DEFAULT_HOLD_MINUTES: Final = 5


class _SlotRequest(NamedTuple):
    """A slot that passed all checks but for whether it is free."""

    event_type: CatalogEventType
    start: datetime
    start_sent: str
    end: datetime
    length: timedelta
    hold_minutes: int


class _Allowance(NamedTuple):
    """The quota of a kind of caller, and the bounds that follow from it."""

    quota: Quota | None
    bodies: BodyReader
    """Reads requests within the bounds of such callers."""
    default_hold_minutes: int


class Reservations:
    """The endpoints of reservations."""

    def __init__(
        self,
        catalog: Catalog,
        engine: SlotEngine,
        *,
        enforce_availability: bool,
        quotas: CallerQuotas,
    ) -> None:
        self._catalog = catalog
        self._engine = engine
        self._enforce = enforce_availability
        least, most = _bounds(engine)
        self._bounds = Bounds(least, most)
        self._bodies = BodyReader(self._bounds)
        of_kinds = {
            CallerKind.API_KEY: quotas.api_key,
            CallerKind.ACCESS_TOKEN: quotas.access_token,
            CallerKind.OAUTH_CLIENT: quotas.oauth_client,
            CallerKind.ADDRESS: quotas.address,
        }
        self._allowances = {
            kind: _allowance(kind, quota, least, most) for kind, quota in of_kinds.items()
        }
        self._ids = {str(id): id for id in catalog.event_types}  # noqa: A001

    @property
    def bounds(self) -> Bounds:
        """How long a hold may last, in minutes."""
        return self._bounds

    def hold(self, caller: Caller, holder: str, raw: bytes) -> Reply:
        """Hold a slot for a holder, within the caller's quota.  Raises `HttpError`."""
        allowance, user_id = self._allowances[caller.quota_kind], caller.user_id
        body = allowance.bodies.read(raw)
        _check_caller(user_id, body)
        request = self._resolve(user_id, body, allowance.default_hold_minutes)
        try:
            held = self._reserve(request, holder, allowance.quota)
        except Refused as refusal:
            if isinstance(refusal, TooSoon):  # the engine's refusal of the past
                self._check_not_past(request)
            raise refusal_error(refusal, request.event_type, request.start_sent) from None
        return Reply(201, _success_body(held, request))

    def read(self, uid: str) -> Reply:
        """Return a hold; an expired one, too, while the engine remembers it."""
        found = self.find(uid)
        if found is None or found.state not in {State.HELD, State.EXPIRED}:
            return Reply(200, success(None))
        assert found.event_type is not None
        assert found.until is not None
        data = reservation_data(
            event_type_id=self._ids[found.event_type],
            start=found.start,
            end=found.end,
            uid=found.uid,
            until=found.until,
        )
        return Reply(200, success(data))

    def move(self, uid: str, caller: Caller, raw: bytes) -> Reply:
        """Move a hold to a slot, which may be the same, and renew it.

        The hold keeps its holder and quota, whoever moves it.  Raises `HttpError`.
        """
        body = self._bodies.read(raw)
        # Anyone may move a hold; only a duration needs a user.
        user_id = None if body.reservation_duration is None else caller.user()
        _check_caller(user_id, body)
        held = self.find(uid)
        if held is None or held.state is not State.HELD:
            raise _not_found(uid)
        request = self._resolve(
            user_id, body, self._allowances[caller.quota_kind].default_hold_minutes
        )
        self._check_not_past(request)
        try:
            moved = self._move(held, request)
        except (UnknownReservation, WrongState):
            raise _not_found(uid) from None
        except Refused as refusal:
            raise refusal_error(refusal, request.event_type, request.start_sent) from None
        return Reply(200, _success_body(moved, request))

    def release(self, uid: str) -> Reply:
        """Release a hold; without effect for any other uid."""
        held = self.find(uid)
        if held is not None and held.state is State.HELD:
            with suppress(UnknownReservation, WrongState):  # it has expired meanwhile
                self._engine.local.release(uid)
        return Reply(200, DONE)

    # --- Steps of the endpoints ----------------------------------------------------------

    def _resolve(
        self, user_id: int | None, body: ReservationRequest, default_hold_minutes: int
    ) -> _SlotRequest:
        """Do all checks but for whether the slot is free, in the contract's order."""
        event_type = self._catalog.event_types.get(body.event_type_id)
        if event_type is None:
            raise HttpError(404, f"Event Type with ID={body.event_type_id} not found")
        if body.reservation_duration is not None and user_id not in event_type.permitted:
            raise HttpError(403, _FORBIDDEN)
        start = body.slot_start.moment
        if start is None or start < event_type.earliest:
            raise HttpError(400, "Invalid start date")
        length = event_type.rules.length
        if body.slot_duration is not None:
            length = slot_minutes(event_type, body.slot_duration, field="slotDuration") * MINUTE
        try:
            end = event_type.end(start, length)
        except OverflowError:
            raise HttpError(400, "Invalid end date") from None
        hold_minutes = body.reservation_duration or default_hold_minutes
        return _SlotRequest(event_type, start, body.slot_start.text, end, length, hold_minutes)

    def _check_not_past(self, request: _SlotRequest) -> None:
        if self._enforce and request.start < self._engine.now():
            raise HttpError(422, "This time slot is in the past. Please choose a different time.")

    def _reserve(self, request: _SlotRequest, holder: str, quota: Quota | None) -> Reservation:
        return self._engine.local.reserve_slot(
            request.event_type.rules.id,
            request.start,
            length=request.length,
            holder=holder,
            ttl=request.hold_minutes * MINUTE,
            enforce=self._enforce,
            quota=quota,
        )

    def _move(self, held: Reservation, request: _SlotRequest) -> Reservation:
        """Move a hold; it keeps its host if possible, so that a renewal does not change it."""
        return self._engine.local.move_slot(
            held.uid,
            request.start,
            event_type=request.event_type.rules.id,
            length=request.length,
            ttl=request.hold_minutes * MINUTE,
            enforce=self._enforce,
        )

    def find(self, uid: str) -> Reservation | None:
        """Return a reservation of the catalog's event types; a lent engine may have others."""
        found = self._engine.local.get(uid)
        return found if found is not None and found.event_type in self._ids else None


def _success_body(held: Reservation, request: _SlotRequest) -> bytes:
    """Return the success envelope of a hold."""
    until = held.until
    assert until is not None
    return held_body(
        request.event_type.id, request.start, request.end, held.uid, request.hold_minutes, until
    )


_FORBIDDEN: Final = (
    "authenticated user is not owner of event type, does not have memberships in common with "
    "owner of the event type, nor does belong to event type's team or org."
)


def _bounds(engine: SlotEngine) -> tuple[int, int]:
    """Return the shortest and the longest hold of the engine, in whole minutes."""
    shortest, longest = engine.ttl_bounds
    return max(1, -(-shortest // MINUTE)), longest // MINUTE


def _allowance(kind: CallerKind, quota: Quota | None, least: int, most: int) -> _Allowance:
    """Return the allowance of a quota, for an engine with these bounds in minutes.

    Raises `ValueError` if the quota allows no hold at all.
    """
    if quota is not None and quota.life is not None:
        if quota.life < least * MINUTE:
            raise ValueError(
                f"the quota of an {kind.value} limits the life of a hold to {quota.life} while the "
                f"engine's shortest hold is {least * MINUTE}: raise the quota's life, or lower the "
                "engine's min_ttl"
            )
        most = min(most, quota.life // MINUTE)
    default = max(least, min(DEFAULT_HOLD_MINUTES, most))
    return _Allowance(quota, BodyReader(Bounds(least, most)), default)


def _check_caller(user_id: int | None, body: ReservationRequest) -> None:
    if body.reservation_duration is not None and user_id is None:
        raise HttpError(
            401,
            "reservationDuration can only be used for authenticated requests - "
            "use access token, api key or OAuth credentials",
        )


def _not_found(uid: str) -> HttpError:
    return HttpError(404, f"Slot with uid={without_surrogates(uid)} not found")
