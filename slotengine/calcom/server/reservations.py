"""The endpoints of reservations: ``/v2/slots/reservations[/{uid}]``.

``POST`` holds a slot, ``GET`` reads the hold, ``PATCH`` moves and renews it,
``DELETE`` gives it up.  What stands on the wire is `wire`'s, what can be
reserved the catalog's, and whether it can be had the engine's; here are the
order of checks, and which answer goes with which refusal.

Nothing here waits: a request is decided in one step, between whose parts nobody
else can change anything.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from slotengine.calcom.catalog.catalog import Catalog, CatalogEventType
from slotengine.calcom.catalog.quotas import CallerQuotas
from slotengine.calcom.server.auth import Caller, Kind
from slotengine.calcom.server.refusals import refusal_error, slot_minutes
from slotengine.calcom.server.reservations_wire import (
    BodyReader,
    Bounds,
    ReservationRequest,
    held_body,
)
from slotengine.calcom.server.responses import Reply
from slotengine.calcom.wire import DONE, MINUTE, HttpError, reservation_data, sendable, success
from slotengine.core.ledger.reservation import State
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Quota, Reservation
from slotengine.errors import Refused, TooSoon, UnknownReservation, WrongState

USUAL_HOLD_MINUTES: Final = 5


class _Wanted(NamedTuple):
    """A slot that may be asked for, by whom it is asked: all but free is known of it."""

    offer: CatalogEventType
    start: datetime
    start_sent: str
    end: datetime
    length: timedelta
    hold_minutes: int


class _Allowance(NamedTuple):
    """What a kind of caller may have."""

    quota: Quota | None
    bodies: BodyReader
    """Reads what is asked for, within the bounds of such callers."""
    usual_hold_minutes: int


class Reservations:
    """The four endpoints."""

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
            Kind.API_KEY: quotas.api_key,
            Kind.ACCESS_TOKEN: quotas.access_token,
            Kind.OAUTH_CLIENT: quotas.oauth_client,
            Kind.ADDRESS: quotas.address,
        }
        self._allowances = {
            kind: _allowance(kind, quota, least, most) for kind, quota in of_kinds.items()
        }
        self._ids = {str(id): id for id in catalog.event_types}  # noqa: A001

    @property
    def bounds(self) -> Bounds:
        """How many minutes a hold may be asked for."""
        return self._bounds

    def hold(self, caller: Caller, holder: str, raw: bytes) -> Reply:
        """Hold a slot for a holder, as whoever calls may.  Raises `HttpError`."""
        allowance, user_id = self._allowances[caller.quota_kind], caller.user_id
        body = allowance.bodies.read(raw)
        _check_caller(user_id, body)
        wanted = self._admit(user_id, body, allowance.usual_hold_minutes)
        try:
            held = self._reserve(wanted, holder, allowance.quota)
        except Refused as refusal:
            if isinstance(refusal, TooSoon):  # as which the engine refuses the past
                self._check_not_past(wanted)
            raise refusal_error(refusal, wanted.offer, wanted.start_sent) from None
        return Reply(201, _shown(held, wanted))

    def read(self, uid: str) -> Reply:
        """Read a hold; one that has expired too, for as long as the engine remembers it."""
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
        """Move a hold to another slot, or leave it where it is; and renew it.

        Whoever calls, it counts for whoever made the hold, and under the quota of that.

        Raises `HttpError`.
        """
        body = self._bodies.read(raw)
        # Who calls does not matter here, unless something is asked for that not all may have.
        user_id = None if body.reservation_duration is None else caller.user()
        _check_caller(user_id, body)
        held = self.find(uid)
        if held is None or held.state is not State.HELD:
            raise _no_slot(uid)
        wanted = self._admit(user_id, body, self._allowances[caller.quota_kind].usual_hold_minutes)
        self._check_not_past(wanted)
        try:
            moved = self._move(held, wanted)
        except (UnknownReservation, WrongState):
            raise _no_slot(uid) from None
        except Refused as refusal:
            raise refusal_error(refusal, wanted.offer, wanted.start_sent) from None
        return Reply(200, _shown(moved, wanted))

    def release(self, uid: str) -> Reply:
        """Release a hold; whatever else the uid is, leave it alone."""
        held = self.find(uid)
        if held is not None and held.state is State.HELD:
            with suppress(UnknownReservation, WrongState):  # it has lapsed since
                self._engine.release_nowait(uid)
        return Reply(200, DONE)

    # --- The steps of the endpoints ------------------------------------------------------

    def _admit(
        self, user_id: int | None, body: ReservationRequest, usual_hold_minutes: int
    ) -> _Wanted:
        """Check all that does not depend on what is taken, in the contract's order."""
        offer = self._catalog.event_types.get(body.event_type_id)
        if offer is None:
            raise HttpError(404, f"Event Type with ID={body.event_type_id} not found")
        if body.reservation_duration is not None and user_id not in offer.permitted:
            raise HttpError(403, _FORBIDDEN)
        start = body.slot_start.moment
        if start is None or start < offer.earliest:
            raise HttpError(400, "Invalid start date")
        length = offer.rules.length
        if body.slot_duration is not None:
            length = slot_minutes(offer, body.slot_duration, field="slotDuration") * MINUTE
        try:
            end = offer.end(start, length)
        except OverflowError:
            raise HttpError(400, "Invalid end date") from None
        hold_minutes = body.reservation_duration or usual_hold_minutes
        return _Wanted(offer, start, body.slot_start.text, end, length, hold_minutes)

    def _check_not_past(self, wanted: _Wanted) -> None:
        if self._enforce and wanted.start < self._engine.now():
            raise HttpError(422, "This time slot is in the past. Please choose a different time.")

    def _reserve(self, wanted: _Wanted, holder: str, quota: Quota | None) -> Reservation:
        return self._engine.reserve_slot_nowait(
            wanted.offer.rules.id,
            wanted.start,
            length=wanted.length,
            holder=holder,
            ttl=wanted.hold_minutes * MINUTE,
            enforce=self._enforce,
            quota=quota,
        )

    def _move(self, held: Reservation, wanted: _Wanted) -> Reservation:
        """Move a hold; who has it keeps it if they can: renewing must not change hands."""
        return self._engine.move_slot_nowait(
            held.uid,
            wanted.start,
            event_type=wanted.offer.rules.id,
            length=wanted.length,
            ttl=wanted.hold_minutes * MINUTE,
            enforce=self._enforce,
        )

    def find(self, uid: str) -> Reservation | None:
        """Return a reservation of the catalog's; a lent engine may have others."""
        found = self._engine.get_nowait(uid)
        return found if found is not None and found.event_type in self._ids else None


def _shown(held: Reservation, wanted: _Wanted) -> bytes:
    """Return the success envelope of a hold that was wanted just now."""
    until = held.until
    assert until is not None
    return held_body(
        wanted.offer.id, wanted.start, wanted.end, held.uid, wanted.hold_minutes, until
    )


_FORBIDDEN: Final = (
    "authenticated user is not owner of event type, does not have memberships in common with "
    "owner of the event type, nor does belong to event type's team or org."
)


def _bounds(engine: SlotEngine) -> tuple[int, int]:
    """Return how many whole minutes the engine lets a hold live."""
    shortest, longest = engine.ttl_bounds
    return max(1, -(-shortest // MINUTE)), longest // MINUTE


def _allowance(kind: Kind, quota: Quota | None, least: int, most: int) -> _Allowance:
    """Return what may be had under a quota, of an engine with these bounds in minutes.

    Raises `ValueError` if that is nothing.
    """
    if quota is not None and quota.life is not None:
        if quota.life < least * MINUTE:
            raise ValueError(
                f"the quota of an {kind.value} lets a hold live for {quota.life} in all, and the "
                f"engine has none shorter than {least * MINUTE}: raise the quota's life, "
                "or lower the engine's min_ttl"
            )
        most = min(most, quota.life // MINUTE)
    usual = max(least, min(USUAL_HOLD_MINUTES, most))
    return _Allowance(quota, BodyReader(Bounds(least, most)), usual)


def _check_caller(user_id: int | None, body: ReservationRequest) -> None:
    if body.reservation_duration is not None and user_id is None:
        raise HttpError(
            401,
            "reservationDuration can only be used for authenticated requests - "
            "use access token, api key or OAuth credentials",
        )


def _no_slot(uid: str) -> HttpError:
    return HttpError(404, f"Slot with uid={sendable(uid)} not found")
