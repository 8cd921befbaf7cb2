"""How much each holder has on hold, and whether that is enough.

Kept from the start if the terms set a quota, else from the first request that brings
one of its own.  Both may apply: then the lower limit decides.  Every hold of a holder
counts, whichever quota it was made under.  Bookings do not, nor do holds without a
holder.  A hold that has lapsed counts no longer, marked or not: asking looks at a
record as it would be if all that has lapsed were marked (`_as_of`), and changes nothing.
So it is no matter in which order lapsed holds are marked, nor whether before or after the
confirmation that forgives them.

There is a record for each holder with live holds, and for each whose lapses are
remembered: those of the last cool-down.  A lapse is in a row with the one before if
its hold was made before that one had been for a cool-down.  Times are UTC microseconds.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.quota import stricter
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.time.instant import from_us
from slotengine.errors import QuotaExceeded

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import LapsesKept
    from slotengine.core.ledger.quota import Quota
    from slotengine.core.ledger.reservation import Entry
    from slotengine.core.ledger.terms import Terms
    from slotengine.core.ledger.view import View

    KeptLapses = tuple[str, int, int, int, int, tuple[tuple[int, int], ...], int]

TIDIED: Final = 2
"""So many lapses are looked at, whether they can be forgotten, for each that is noted."""


class _Record:
    """What is known of one holder: live holds, with the length of each, and lapses in a row."""

    __slots__ = (
        "earlier",
        "forgiven_at",
        "holds",
        "lapses",
        "last_lapse",
        "length",
        "noted",
        "pending",
        "previous",
    )

    def __init__(self) -> None:
        self.holds: dict[Entry, int] = {}
        self.length = 0
        self.lapses = 0
        self.last_lapse = START_OF_TIME
        self.noted = False  # whether the lapses are still to be forgotten, some time
        # The lapse before those at ``last_lapse``, and lapses in a row that they do not continue.
        self.previous = START_OF_TIME
        self.earlier = 0
        self.pending: list[tuple[int, int]] = []
        """Lapses that are not counted yet: when each was, and when its hold was made; in order.

        A hold that is not marked yet may have lapsed before them."""
        self.forgiven_at = START_OF_TIME
        """Lapses until then do not count."""

    def copy(self) -> _Record:
        """Return another record that says the same."""
        other = _Record()
        other.holds = dict(self.holds)
        other.length, other.lapses = self.length, self.lapses
        other.last_lapse, other.noted = self.last_lapse, self.noted
        other.previous, other.earlier = self.previous, self.earlier
        other.pending, other.forgiven_at = list(self.pending), self.forgiven_at
        return other

    def add(self, entry: Entry) -> None:
        """Count a hold, which is not counted yet."""
        assert entry not in self.holds
        self.holds[entry] = entry.end - entry.start
        self.length += entry.end - entry.start

    def take_out(self, entry: Entry) -> None:
        """Count a hold no longer."""
        self.length -= self.holds.pop(entry)

    def lapse(self, entry: Entry) -> None:
        """Note the lapse of a hold, which `settle` counts."""
        if entry.until > self.forgiven_at:
            insort(self.pending, (entry.until, entry.created))
            self.noted = True

    def settle(self, horizon: int, cool_down: int) -> None:
        """Count the lapses until a moment, before which no hold is left that may lapse."""
        count = bisect_right(self.pending, (horizon, NEVER))
        for until, created in self.pending[:count]:
            self._count(until, created, cool_down)
        del self.pending[:count]

    def _count(self, lapsed: int, created: int, cool_down: int) -> None:
        """Count a lapse; they come in the order in which they were.

        Those of one moment come in any order.  They continue the row if one of them does.
        """
        if lapsed != self.last_lapse:
            self.previous, self.last_lapse = self.last_lapse, lapsed
            self.earlier, self.lapses = self.lapses, 0
        self.lapses += 1
        # Not how far apart they are: who comes back at once lapses only a whole TTL later.
        if created < self.previous + cool_down:
            self.lapses += self.earlier
            self.earlier = 0

    def next_lapse(self) -> int:
        """Return when the first hold lapses; NEVER if there is none.  O(h) for h holds."""
        return min(map(_until, self.holds), default=NEVER)

    def forgive(self, now: int) -> None:
        """Count no lapse that there was."""
        self.lapses = self.earlier = 0
        self.pending.clear()
        self.forgiven_at = now
        self.noted = False


class Holders:
    """The live holds of each holder, counted.  All is O(1), if not said otherwise."""

    def __init__(self, terms: Terms) -> None:
        self._most_holds = terms.max_holds
        self._longest = terms.max_held
        self._most_lapses = terms.max_lapses
        self._cool_down = terms.cool_down
        self.records: dict[str, _Record] = {}
        self._lapsed: deque[tuple[int, str]] = deque()  # to be forgotten, some time

    # --- Asking: may refuse ----------------------------------------------------------------

    def check(
        self,
        holder: str | None,
        length: int,
        view: View,
        quota: Quota | None = None,
        own: Entry | None = None,
    ) -> None:
        """Raise `QuotaExceeded` unless the holder may have one more hold of a length.

        It takes the place of its ``own``, if that is given and counted.

        O(h log h) for h holds of this holder if it is refused, or some may have lapsed.
        """
        most, longest = self._most_holds, self._longest
        if quota is not None:
            most, longest = stricter(most, quota.holds), stricter(longest, quota.held)
        if holder is None or (most is None and longest is None and self._most_lapses is None):
            return
        record = self._as_of(holder, view)
        if record is not None and own in record.holds:
            record = record.copy()
            record.take_out(own)
        if record is None:
            if longest is not None and length > longest:
                raise QuotaExceeded("time", _delta(longest), timedelta(), None)
            return
        self._check_lapses(record, view.now)
        if most is not None and len(record.holds) >= most:
            raise QuotaExceeded("holds", most, len(record.holds), _room_for_one(record, most))
        if longest is not None:
            _check_length(record, length, longest, None)

    def check_move(self, entry: Entry, length: int, view: View) -> None:
        """Raise `QuotaExceeded` unless a hold, if it still is one, may become so long.

        Whoever moves it, it counts for its holder, under the quota it was made under.
        """
        longest = self._longest
        if entry.quota is not None:
            longest = stricter(longest, entry.quota.held)
        if longest is None or entry.holder is None:
            return
        record = self._as_of(entry.holder, view)
        if record is not None and entry in record.holds and length > record.holds[entry]:
            _check_length(record, length, longest, entry)

    def lapsed_of(self, holder: str | None, now: int) -> list[Entry]:
        """Return the holds of a holder that have lapsed, and are counted all the same.  O(h)."""
        record = None if holder is None else self.records.get(holder)
        return [] if record is None else [one for one in record.holds if one.until <= now]

    def counts_lapses(self) -> bool:
        """Return whether it matters in which order the holds of a holder lapse."""
        return self._most_lapses is not None

    def _as_of(self, holder: str, view: View) -> _Record | None:
        """Return the record of a holder, with all the lapses in it that there were."""
        record = self.records.get(holder)
        given = view.batch.of_holder(holder)
        lapsed = [] if view.swept else self.lapsed_of(holder, view.now)
        pending = record is not None and bool(record.pending)
        if not given and not lapsed and not pending:
            return record
        seen = _Record() if record is None else record.copy()
        for entry in lapsed:
            if self._most_lapses is not None:
                seen.lapse(entry)
            seen.take_out(entry)
        seen.settle(NEVER, self._cool_down)
        for entry in given:
            seen.add(entry)
        return seen if seen.holds or seen.noted else None

    def _check_lapses(self, record: _Record, now: int) -> None:
        most = self._most_lapses
        if most is not None and record.lapses >= most:
            until = record.last_lapse + self._cool_down
            if now < until:
                raise QuotaExceeded("lapses", most, record.lapses, from_us(until))

    # --- Counting: cannot refuse -------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Count a hold, which is not counted yet."""
        if entry.holder is None:
            return
        record = self.records.get(entry.holder)
        if record is None:
            record = self.records[entry.holder] = _Record()
        record.add(entry)

    def remove(self, entry: Entry) -> None:
        """Count a hold no longer, if it is counted: it was given up."""
        record = self._record_with(entry)
        if record is not None:
            self._take_out(record, entry)

    def resized(self, entry: Entry) -> None:
        """Count a hold anew, if it is counted, after it has moved."""
        record = self._record_with(entry)
        if record is not None:
            record.length += entry.end - entry.start - record.holds[entry]
            record.holds[entry] = entry.end - entry.start

    def kept(self, entry: Entry, now: int) -> None:
        """Count a hold no longer, since it was confirmed: the lapses until now are forgiven."""
        record = None if entry.holder is None else self.records.get(entry.holder)
        if record is None:
            return
        record.forgive(now)
        if entry in record.holds:
            self._take_out(record, entry)
        else:
            self._drop_if_done(entry.holder, record)

    def lapsed(self, entry: Entry, due: int) -> None:
        """Count a hold no longer, if it is counted, since it has lapsed.

        Before ``due`` no hold of anybody lapses.  O(h) for h holds if that is earlier than this
        one: then those of one holder come out of order.
        """
        record = self._record_with(entry)
        if record is None:
            return
        if self._most_lapses is None:
            self._take_out(record, entry)
            return
        assert entry.holder is not None
        record.lapse(entry)
        record.take_out(entry)
        record.settle(due if due >= entry.until else record.next_lapse(), self._cool_down)
        self._lapsed.append((entry.until + self._cool_down, entry.holder))
        self._forget_some(entry.until)
        self._drop_if_done(entry.holder, record)

    def kept_lapses(self, now: int) -> Iterator[KeptLapses]:
        """Yield the lapses of each holder that may count still, for `restore`, in any order."""
        if self._most_lapses is None:
            return
        for holder, one in self.records.items():
            latest, before = (0, START_OF_TIME), (START_OF_TIME, 0)
            if self._may_count(one, one.last_lapse, now):
                latest = one.lapses, one.last_lapse
                if self._may_count(one, one.previous, now):
                    before = one.previous, one.earlier
            # It counts as long as a hold is not marked that lapsed before it.
            forgiven_at = START_OF_TIME if one.next_lapse() > one.forgiven_at else one.forgiven_at
            if latest[0] or before[1] or one.pending or forgiven_at != START_OF_TIME:
                yield holder, *latest, *before, tuple(one.pending), forgiven_at

    def _may_count(self, record: _Record, lapse: int, now: int) -> bool:
        """Return whether a hold that there is, was or comes can lapse in a row with a lapse."""
        until = lapse + self._cool_down
        return (
            until > now
            or any(created < until for _, created in record.pending)
            or any(entry.created < until for entry in record.holds)
        )

    def restore(self, kept: LapsesKept) -> None:
        """Let a holder have lapses that there were."""
        record = self.records.setdefault(kept.holder, _Record())
        record.lapses, record.last_lapse = kept.lapses, kept.last_lapse
        record.previous, record.earlier = kept.previous, kept.earlier
        record.pending, record.forgiven_at = list(kept.pending), kept.forgiven_at
        record.noted = bool(record.lapses or record.earlier or record.pending)
        if record.noted:
            latest = record.pending[-1][0] if record.pending else record.last_lapse
            self._lapsed.append((latest + self._cool_down, kept.holder))

    # --- Inside --------------------------------------------------------------------------

    def _record_with(self, entry: Entry) -> _Record | None:
        record = None if entry.holder is None else self.records.get(entry.holder)
        return record if record is not None and entry in record.holds else None

    def _forget_some(self, now: int) -> None:
        """Forget lapses that are too long ago to count; the newest is noted, so some stay.

        With a live hold they may count still; they are forgotten with that.
        """
        for _ in range(TIDIED):
            if self._lapsed[0][0] > now:
                return
            _, holder = self._lapsed.popleft()
            record = self.records.get(holder)
            if record is None:
                continue
            record.settle(record.next_lapse(), self._cool_down)
            if record.pending:
                self._lapsed.append((record.pending[-1][0] + self._cool_down, holder))
            elif record.last_lapse + self._cool_down <= now:
                record.noted = False
                self._drop_if_done(holder, record)

    def _take_out(self, record: _Record, entry: Entry) -> None:
        record.take_out(entry)
        self._drop_if_done(entry.holder, record)

    def _drop_if_done(self, holder: str | None, record: _Record) -> None:
        if not record.holds and not record.noted:
            assert holder is not None
            self.records.pop(holder, None)

    def check_invariants(self, live: dict[str, dict[Entry, int]], now: int) -> None:
        """Assert that exactly what is live is counted; for tests and simulation."""
        for holder, record in self.records.items():
            assert record.holds or record.noted
            assert record.length == sum(record.holds.values())
            holds = {one: length for one, length in record.holds.items() if one.until > now}
            assert holds == live.get(holder, {})
        assert live.keys() <= self.records.keys()
        noted = {holder for _, holder in self._lapsed}
        assert {one for one, record in self.records.items() if record.noted} <= noted


def _check_length(record: _Record, length: int, longest: int, own: Entry | None) -> None:
    left = longest - length - record.length + (0 if own is None else record.holds[own])
    if left < 0:
        retry_at = _room_from(record, left, own)
        raise QuotaExceeded("time", _delta(longest), _delta(record.length), retry_at)


def _room_for_one(record: _Record, most: int) -> datetime | None:
    """Return when so many have lapsed that there are fewer than ``most``; None: never.

    More than one must, if the holder had them before the limit was this low.
    """
    untils = sorted(entry.until for entry in record.holds)
    return _moment(untils[len(untils) - most])


def _room_from(record: _Record, left: int, own: Entry | None) -> datetime | None:
    """Return when enough has lapsed that nothing is lacking any more; None if it never has."""
    for entry in sorted(record.holds, key=_until):
        if entry != own:
            left += record.holds[entry]
            if left >= 0:
                return _moment(entry.until)
    return None


def _moment(until: int) -> datetime | None:
    return None if until == NEVER else from_us(until)


def _until(entry: Entry) -> int:
    return entry.until


def _delta(us: int) -> timedelta:
    return timedelta(0, 0, us)
