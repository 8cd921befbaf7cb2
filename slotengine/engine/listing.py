"""Questions about reservations, and pages of answers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from slotengine.core.ledger.checks import check_text, is_count
from slotengine.core.ledger.index import Order, Place, Query
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import to_us
from slotengine.engine.cursors import cursor_of, read_cursor
from slotengine.engine.values import Reservation
from slotengine.errors import InvalidField

if TYPE_CHECKING:
    from slotengine.core.ledger.index import Page

MOST_IN_A_PAGE: Final = 1000

# The digest of the question, then the place: its time and its serial number.
_CURSOR: Final = struct.Struct(">8sqQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationQuery:
    """Which reservations are looked for, and how they are listed.

    A reservation is found if all that is given here is true of it.  Ended ones are found as
    long as they are kept (``retention``).

    ==================  ==============================================================
    ``holder``, ``event_type``, ``series``   as they are in the reservation
    ``tag``             one of its tags
    ``resource``        one that it claims, or claimed until it ended
    ``states``          one of these `State`; a hold that has lapsed is expired
    ``start``, ``end``  a range that its slot overlaps; with a ``resource``, a range in
                        which that is claimed, buffers included
    ``created_since``   when it was made, or later
    ``changed_since``   when its latest change was recorded, or later
    ``order``           by `Order.START`, `CREATED` or `CHANGED`; those of one time by
                        serial number
    ``limit``           the most reservations in a page, up to 1,000
    ``after``           the cursor of the page before
    ``total``           whether to count all that is found
    ==================  ==============================================================

    >>> ReservationQuery(holder="customer-7", states=[State.CONFIRMED]).states
    frozenset({<State.CONFIRMED: 'confirmed'>})
    """

    holder: str | None = None
    event_type: str | None = None
    series: str | None = None
    tag: str | None = None
    resource: str | None = None
    states: Collection[State] | None = None
    start: datetime | None = None
    end: datetime | None = None
    created_since: datetime | None = None
    changed_since: datetime | None = None
    order: Order = Order.START
    descending: bool = False
    limit: int = 100
    after: str | None = None
    total: bool = False

    def __post_init__(self) -> None:
        states = self.states
        if states is not None:
            object.__setattr__(self, "states", _states(states))

    def in_core(self) -> Query:
        """Return the question in terms of the core.  Raises `InvalidField`."""
        for name in ("holder", "event_type", "series", "tag", "resource"):
            check_text(name, getattr(self, name))
        if not isinstance(self.order, Order):
            raise InvalidField("order", f"must be an Order, not {self.order!r}")
        if not is_count(self.limit) or self.limit > MOST_IN_A_PAGE:
            problem = f"must be a whole number from 1 to {MOST_IN_A_PAGE}, not {self.limit!r}"
            raise InvalidField("limit", problem)
        within = None
        if self.start is not None or self.end is not None:
            if self.start is None or self.end is None:
                raise InvalidField("end", "and start must be given together")
            within = to_us(self.start, "start"), to_us(self.end, "end")
            if within[0] >= within[1]:
                raise InvalidField("end", "must be after the start")
        created, changed = self.created_since, self.changed_since
        return Query(
            self.holder,
            self.tag,
            self.series,
            self.event_type,
            self.resource,
            None if self.states is None else frozenset(self.states),
            within,
            None if created is None else to_us(created, "created_since"),
            None if changed is None else to_us(changed, "changed_since"),
            self.order,
            bool(self.descending),
        )

    def place(self, query: Query) -> Place | None:
        """Return where the page begins.  Raises `InvalidField` for a cursor of another question."""
        if self.after is None:
            return None
        found = read_cursor(_CURSOR, self.after)
        if found is None:
            raise InvalidField("after", f"must be the cursor of a page, not {self.after!r:.99}")
        digest, time, serial = found
        if digest != _digest(query):
            raise InvalidField("after", "is the cursor of another question; ask from the beginning")
        return time, serial

    def page(self, query: Query, page: Page, now: int) -> ReservationPage:
        """Return an answer as callers see it."""
        found = [Reservation(entry, now) for entry in page.entries]
        if page.after is None:
            return ReservationPage(found, None, page.total)
        cursor = cursor_of(_CURSOR, _digest(query), *page.after)
        return ReservationPage(found, cursor, page.total)

    def following(self, page: ReservationPage) -> ReservationQuery:
        """Return the question for the page after another one, which must not be the last."""
        if page.cursor is None:
            raise InvalidField("after", "must not be asked for after the last page")
        return replace(self, after=page.cursor)


@dataclass(frozen=True, slots=True)
class ReservationPage:
    """Some of the reservations that are found, in order.

    The next page begins after the last one of these (``cursor``, see
    `ReservationQuery.after`), whatever comes, goes and changes meanwhile.  So one that stays
    as it is is told once.
    """

    reservations: list[Reservation]
    cursor: str | None
    """Opaque; None if there are no more."""
    total: int | None
    """How many are found now, on all pages, if that was asked."""


def _states(states: object) -> frozenset[State]:
    if isinstance(states, Collection) and states:
        found = [state for state in states if isinstance(state, State)]
        if len(found) == len(states):
            return frozenset(found)
    raise InvalidField("states", f"must be one or more of State, in a list, not {states!r:.99}")


def _digest(query: Query) -> bytes:
    """Return what tells one question from another."""
    states = None if query.states is None else sorted(state.value for state in query.states)
    said = repr((*query._replace(states=None, order=Order.START), states, query.order.value))
    return blake2b(said.encode(), digest_size=8).digest()


def each_found(
    find: Callable[[ReservationQuery], ReservationPage], query: ReservationQuery
) -> Iterator[Reservation]:
    """Yield what is found, page after page."""
    while True:
        page = find(query)
        yield from page.reservations
        if page.cursor is None:
            return
        query = query.following(page)
