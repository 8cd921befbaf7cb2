"""What callers of the engine say, in the terms of the core: checked, and as numbers.

The edge at which wrong types end as `InvalidField`, not as a traceback from the
middle of the core.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar

from slotengine.core.ledger.checks import check_name
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.time.instant import FIRST_US, LAST_US, duration_us, to_us
from slotengine.core.time.zone import Zone
from slotengine.engine.clock import Clock
from slotengine.engine.requests import SlotQuery
from slotengine.engine.values import Ask
from slotengine.errors import InvalidField, UnknownResource

T = TypeVar("T")


_NO_OPTIONS: Final = (None, None, 1, None, None, None, None, None, False, None, None, ())


def value_of(what: Any, options: tuple[object, ...]) -> Ask[Any]:
    """Return what is to be reserved if that is a value, without any ``options`` beside it.

    The options are those of `LocalEngine.reserve`.  Raises `InvalidField`.
    """
    if not isinstance(what, Ask):
        if options[0] is not None:  # then this is to be the id of a resource
            raise UnknownResource(what)
        problem = "the id of a resource, a Request, AllOf, EachOf or OneOf"
        raise InvalidField("what", f"must be {problem}, not {what!r:.99}")
    if options != _NO_OPTIONS:
        name = what.__class__.__name__
        raise InvalidField("what", f"must be the only argument: the {name} says all the rest")
    return what


def query_of(query: object, now: int, reach: int | None = None) -> AvailabilityQuery:
    """Return which slots are looked for: from now, and for a ``reach``, if it does not say.

    Raises `InvalidField`.
    """
    if not isinstance(query, SlotQuery):
        raise InvalidField("query", f"must be a SlotQuery, not {query!r:.99}")
    start = now if query.start is None else to_us(query.start, "start")
    if query.end is not None:
        end = to_us(query.end, "end")
    elif reach is not None:
        end = start + reach
    else:
        raise InvalidField("end", "must be given: slots are listed up to there")
    return AvailabilityQuery(
        query.event_type,
        start,
        end,
        None if query.length is None else duration_us(query.length, "length"),
        Zone.of(query.zone),
        query.seats,
        names_or_none("ignoring", query.ignoring) or frozenset(),
        names_or_none("only", query.only),
    )


def names_or_none(field: str, names: Collection[str] | None) -> frozenset[str] | None:
    """Return some ids, or None if there are none given.  Raises `InvalidField` for one id."""
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Collection):
        raise InvalidField(field, f"must be a collection of ids, not {names!r}")
    if not all(isinstance(name, str) for name in names):
        raise InvalidField(field, f"must be ids, which are strings, not {names!r}")
    return frozenset(names)


def listed(field: str, values: Iterable[T]) -> list[T]:
    """Return several values, of whatever kind of iterable, once.  Raises `InvalidField` for one."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidField(field, f"must be several, in a list or tuple, not {values!r}")
    return list(values)


def busy_spans_of(
    spans: Mapping[str, Iterable[tuple[datetime, datetime]]],
) -> dict[str, list[tuple[int, int]]]:
    """Return the spans of each resource.  Raises `InvalidField`."""
    if not isinstance(spans, Mapping):
        raise InvalidField("spans", f"must map resources to spans, not {spans!r}")
    return {
        resource: [_span(tuple(one) if isinstance(one, list) else one) for one in _each(theirs)]
        for resource, theirs in spans.items()
    }


def _each(spans: object) -> Iterable[object]:
    if not isinstance(spans, Iterable):
        raise InvalidField("spans", f"must be pairs of datetimes, not {spans!r}")
    return spans


def _span(span: object, field: str = "spans") -> tuple[int, int]:
    if not isinstance(span, tuple) or len(span) != 2:
        raise InvalidField(field, "must be a pair of datetimes")
    return to_us(span[0], field), to_us(span[1], field)


def span_or_none(span: object) -> tuple[int, int] | None:
    """Return the span in which load is counted, if one is given.  Raises `InvalidField`."""
    return None if span is None else _span(span, "load_in")


def check_step(step: object) -> None:
    """Raise `InvalidField` unless it is a plain function, which can be one step."""
    if not callable(step) or iscoroutinefunction(step):
        raise InvalidField("step", f"must be a plain function of a LocalEngine, not {step!r}")


def plain(result: T) -> T:
    """Return what a step returned.  Raises `InvalidField` for a coroutine, which never ran."""
    if isinstance(result, Coroutine):
        result.close()
        raise InvalidField(
            "step", f"must be a plain function, not one that returns {result!r}: nothing is awaited"
        )
    return result


# --- What is injected --------------------------------------------------------------------


def clock_of(clock: Clock) -> Clock:
    """Return a clock.  Raises `InvalidField` for what is none."""
    answers = (callable(getattr(clock, name, None)) for name in ("now", "wait"))
    if isinstance(clock, type) or not all(answers):
        raise InvalidField("clock", f"must have the methods of a Clock, as {clock!r} has not")
    return clock


def check_time(now: object) -> None:
    """Raise `InvalidField` unless it is a time as clocks tell it.

    Seconds, as `time.time` tells them, are the usual mistake.
    """
    if not isinstance(now, int) or isinstance(now, bool) or not FIRST_US <= now <= LAST_US:
        raise InvalidField(
            "clock", f"must tell the time in whole microseconds since 1970, UTC, not as {now!r:.99}"
        )


def checked(new_uid: Callable[[int], str]) -> Callable[[int], str]:
    """Return the same source of uids, which raises `InvalidField` for what is none."""
    if not callable(new_uid):
        raise InvalidField("new_uid", f"must be a function that returns a uid, not {new_uid!r}")

    def draw(bucket: int) -> str:
        uid = new_uid(bucket)
        check_name("uid", uid)
        return uid

    return draw
