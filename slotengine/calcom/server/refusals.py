"""The errors for refused slots, in the words of the original where it has any."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from slotengine.calcom.catalog.catalog import CatalogEventType
from slotengine.calcom.server.responses import status_of
from slotengine.calcom.wire import ERRORS, MINUTE, HttpError, stamp
from slotengine.errors import (
    AlreadyOver,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    OutsideHours,
    QuotaExceeded,
    Refused,
    Retired,
    SlotAwaited,
    SlotTaken,
    TooSoon,
)

_RESERVED: Final = (
    "This time slot is already reserved by another user. Please choose a different time."
)
_BOOKED: Final = "Can't reserve a slot if the event is already booked."
_NO_HOSTS: Final = (
    "Can't reserve the slot because the round robin event type has no available hosts left "
    "at this time slot."
)
_CLOSED: Final = "This time slot is outside working hours. Please choose a different time."
_TOO_SOON: Final = "This time slot is too soon. Please choose a later time."
_NOT_BOOKABLE: Final = (
    "This time slot is outside the dates that can be booked. Please choose a different time."
)
_RETIRED: Final = "This event type can no longer be booked with its host."
_LIMIT: Final = "The booking limits of this event type are reached. Please choose a different time."


def refusal_error(refusal: Refused, event_type: CatalogEventType, start_sent: str) -> HttpError:
    """Return the error for a refusal; ``start_sent`` is the start as it was sent."""
    status, message = status_of(refusal), _reason(refusal, event_type, start_sent)
    quota = _quota_facts(refusal)
    if quota is None:
        return HttpError(status, message)
    details = {"message": message, "error": ERRORS[status][1], "statusCode": status}
    return HttpError(status, message, details | {"quota": quota})


def _quota_facts(refusal: Refused) -> dict[str, object] | None:
    """Return the facts of a refusal by a quota, for programs; None for any other."""
    match refusal:
        case QuotaExceeded():
            retry_at = refusal.retry_at
            return {
                "name": refusal.quota,
                "limit": _plain(refusal.limit),
                "used": _plain(refusal.used),
                "retryAt": None if retry_at is None else _stamp_after(retry_at),
            }
        case LifeExceeded():
            return {"name": "life", "latest": stamp(refusal.latest), "retryAt": None}
        case _:
            return None


def _plain(amount: int | timedelta) -> float:
    """Return a number, or a time in minutes; as an int if it is whole."""
    if not isinstance(amount, timedelta):
        return amount
    return amount // MINUTE if amount % MINUTE == timedelta() else amount / MINUTE


def _counted(number: float, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _stamp_after(moment: datetime) -> str:
    """Return a timestamp, rounded up to the millisecond: a retry is never too early."""
    return stamp(moment + timedelta(microseconds=-moment.microsecond % 1000))


def _quota(refusal: QuotaExceeded) -> str:
    """Return the message of a quota: its limit, and when there is room again."""
    again = "" if refusal.retry_at is None else f" Try again at {_stamp_after(refusal.retry_at)}."
    match refusal.quota:
        case "holds":
            limit = _counted(_plain(refusal.limit), "slot")
            return f"No more than {limit} may be held at once.{again}"
        case "time":
            limit = _counted(_plain(refusal.limit), "minute")
            return f"No more than {limit} may be held at once, all slots together.{again}"
        case _:
            return f"Too many holds in a row expired unused.{again}"


def _reason(refusal: Refused, event_type: CatalogEventType, start_sent: str) -> str:
    if type(refusal) is SlotTaken:  # nearly always
        return _taken(refusal, event_type)
    match refusal:
        case NoSeatsLeft():
            # The original calls the event type a booking here, and clients may know the text.
            return f"Booking with id={event_type.id} at {start_sent} has no more seats left."
        case LimitReached():
            return _LIMIT
        case SlotAwaited():
            return _RESERVED  # for a caller who came earlier
        case SlotTaken():
            return _taken(refusal, event_type)
        case OutsideHours():
            return _CLOSED
        case TooSoon() | AlreadyOver():
            return _TOO_SOON
        case NotBookable():
            return _NOT_BOOKABLE
        case Retired():
            return _RETIRED
        case NoneFree():
            closed = all(isinstance(each, OutsideHours) for each in refusal.refusals)
            return _CLOSED if closed else _NO_HOSTS
        case QuotaExceeded():
            return _quota(refusal)
        case LifeExceeded():
            return (
                f"This slot may be held until {stamp(refusal.latest)} at the latest. "
                "Please release it and reserve anew."
            )
        case _:
            return str(refusal)


def _taken(refusal: SlotTaken, event_type: CatalogEventType) -> str:
    """Return whether a hold or a booking is in the way.

    A hold expires, a booking does not: with one in the way there is no time to
    retry.  With round robin it depends on the hosts who take part in every slot.
    """
    if refusal.resource in event_type.rotating or (event_type.round_robin and refusal.only_holds):
        return _NO_HOSTS
    return _RESERVED if refusal.only_holds else _BOOKED


def slot_minutes(event_type: CatalogEventType, minutes: int | None, *, field: str) -> int:
    """Return the length of a slot in minutes.  Raises `HttpError` for a length it cannot have.

    ``field`` is the name of the length in the request.
    """
    if minutes is None:
        return event_type.length
    if not event_type.lengths:
        raise HttpError(
            400, f"You passed '{field}' but this event type is not a variable length event type."
        )
    if minutes not in event_type.lengths:
        raise HttpError(
            400,
            f"Provided '{field}' is not one of the possible lengths for the event type. "
            "The possible lengths for this variable length event type are: "
            + ", ".join(map(str, event_type.lengths)),
        )
    return minutes
