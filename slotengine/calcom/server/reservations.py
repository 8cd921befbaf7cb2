"""The endpoints of reservations: ``/v2/slots/reservations[/{uid}]``.

``POST`` holds a slot, ``GET`` reads the hold, ``PATCH`` moves and renews it, and
``DELETE`` releases it.  This module has the order of the checks; `reservations_wire` has
the bodies, and `refusals` the errors.

Nothing here waits: no other request runs between the checks of one and its effect.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

from slotengine.calcom.catalog.catalog import Catalog, CatalogEventType
from slotengine.calcom.catalog.quotas import CallerQuotas
from slotengine.calcom.server.auth import Caller, CallerKind
from slotengine.calcom.server.refusals import refusal_error, slot_minutes
from slotengine.calcom.server.reservations_wire import (
    BodyReader,
    Bounds,
    WantedSlot,
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
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import State
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.time.instant import MINUTE as MINUTE_US
from slotengine.engine.engine import SlotEngine
from slotengine.engine.local import LocalEngine
from slotengine.engine.values import Quota as EngineQuota
from slotengine.engine.values import Reservation
from slotengine.errors import Refused, TooSoon, UnknownReservation, WrongState

DEFAULT_HOLD_MINUTES: Final = 5


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

    def hold(
        self, caller: Caller, holder: str, raw: bytes, local: LocalEngine
    ) -> Reply | HttpError:
        """Hold a slot for a holder, within the caller's quota.

        Raises `HttpError`.  A refusal is returned instead, since that is usual and costs less.
        """
        allowance, user_id = self._allowances[caller.quota_kind], caller.user_id
        wanted = allowance.bodies.read(raw)
        if wanted.reservation_duration is not None:
            _check_caller(user_id)
        event_type, request = self._resolve(
            user_id, wanted, allowance.default_hold_minutes, holder, allowance.quota
        )
        try:
            held = local.reserve_slot_request(request)
        except Refused as refusal:
            if isinstance(refusal, TooSoon):  # the engine's refusal of the past
                self._check_not_past(request, local)
            return refusal_error(refusal, event_type, wanted.start_sent)
        return 201, _success_body(event_type, request, held.uid, held.until)

    def read(self, uid: str, local: LocalEngine) -> Reply:
        """Return a hold; an expired one, too, while the engine remembers it."""
        found = self.find(uid, local)
        if found is None or found.state not in {State.HELD, State.EXPIRED}:
            return 200, success(None)
        assert found.event_type is not None
        assert found.until is not None
        data = reservation_data(
            event_type_id=self._ids[found.event_type],
            start=found.start,
            end=found.end,
            uid=found.uid,
            until=found.until,
        )
        return 200, success(data)

    def move(self, uid: str, caller: Caller, raw: bytes, local: LocalEngine) -> Reply:
        """Move a hold to a slot, which may be the same, and renew it.

        The hold keeps its holder and quota, whoever moves it.  Raises `HttpError`.
        """
        wanted = self._bodies.read(raw)
        # Anyone may move a hold; only a duration needs a user.
        user_id = None
        if wanted.reservation_duration is not None:
            user_id = caller.user()
            _check_caller(user_id)
        held = self.find(uid, local)
        if held is None or held.state is not State.HELD:
            raise _not_found(uid)
        hold_minutes = self._allowances[caller.quota_kind].default_hold_minutes
        event_type, request = self._resolve(user_id, wanted, hold_minutes)
        if held.seats is not None:
            request = request._replace(seats=held.seats.wanted)
        self._check_not_past(request, local)
        try:
            moved = local.move_slot_request(uid, request, renew=True)
        except (UnknownReservation, WrongState):
            raise _not_found(uid) from None
        except Refused as refusal:
            raise refusal_error(refusal, event_type, wanted.start_sent) from None
        return 200, _success_body(event_type, request, uid, moved.until)

    def release(self, uid: str, local: LocalEngine) -> Reply:
        """Release a hold; without effect for any other uid."""
        held = self.find(uid, local)
        if held is not None and held.state is State.HELD:
            with suppress(UnknownReservation, WrongState):  # it has expired meanwhile
                local.release(uid)
        return 200, DONE

    # --- Steps of the endpoints ----------------------------------------------------------

    def _resolve(
        self,
        user_id: int | None,
        wanted: WantedSlot,
        default_hold_minutes: int,
        holder: str | None = None,
        quota: Quota | None = None,
    ) -> tuple[CatalogEventType, SlotRequest]:
        """Do all checks but for whether the slot is free, in the contract's order."""
        event_type_id, _, start, slot_duration, hold_minutes = wanted
        event_type = self._catalog.event_types.get(event_type_id)
        if event_type is None:
            raise HttpError(404, f"Event Type with ID={event_type_id} not found")
        if hold_minutes is None:
            hold_minutes = default_hold_minutes
        elif user_id not in event_type.permitted:
            raise HttpError(403, _FORBIDDEN)
        if start is None or start < event_type.earliest_start:
            raise HttpError(400, "Invalid start date")
        minutes = event_type.length
        if slot_duration is not None:
            minutes = slot_minutes(event_type, slot_duration, field="slotDuration")
        length = minutes * MINUTE_US
        if start + length > event_type.latest_end:
            raise HttpError(400, "Invalid end date")
        key, seats, only, ttl = None, 1, None, hold_minutes * MINUTE_US
        # By position, which takes two thirds of the instructions.
        request = SlotRequest(
            event_type.rules.id, start, length, ttl, holder, key, seats, only, self._enforce, quota
        )
        return event_type, request

    def _check_not_past(self, request: SlotRequest, local: LocalEngine) -> None:
        if self._enforce and request.start < local.look():
            raise HttpError(422, "This time slot is in the past. Please choose a different time.")

    def find(self, uid: str, local: LocalEngine) -> Reservation | None:
        """Return a reservation of the catalog's event types; a lent engine may have others."""
        found = local.get(uid)
        return found if found is not None and found.event_type in self._ids else None


def _success_body(event_type: CatalogEventType, held: SlotRequest, uid: str, until: int) -> bytes:
    """Return the success envelope of a hold."""
    assert held.length is not None
    assert held.ttl is not None
    end = held.start + held.length
    return held_body(event_type.id, held.start, end, uid, held.ttl // MINUTE_US, until)


_FORBIDDEN: Final = (
    "authenticated user is not owner of event type, does not have memberships in common with "
    "owner of the event type, nor does belong to event type's team or org."
)


def _bounds(engine: SlotEngine) -> tuple[int, int]:
    """Return the shortest and the longest hold of the engine, in whole minutes."""
    shortest, longest = engine.ttl_bounds
    return max(1, -(-shortest // MINUTE)), longest // MINUTE


def _allowance(kind: CallerKind, quota: EngineQuota | None, least: int, most: int) -> _Allowance:
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
    return _Allowance(
        None if quota is None else quota.in_core, BodyReader(Bounds(least, most)), default
    )


def _check_caller(user_id: int | None) -> None:
    if user_id is None:
        raise HttpError(
            401,
            "reservationDuration can only be used for authenticated requests - "
            "use access token, api key or OAuth credentials",
        )


def _not_found(uid: str) -> HttpError:
    return HttpError(404, f"Slot with uid={without_surrogates(uid)} not found")
