"""How much each holder has on hold, and whether that is enough.

Kept from the start if the terms set a quota, else from the first request that brings
one of its own.  Both may apply: then the lower limit decides.  Every hold of a holder
counts, whichever quota it was made under.  Bookings do not, nor do holds without a
holder.  A hold that has lapsed counts no longer, marked or not: what was not
told yet of a holder is found when that holder is next asked about (`_current`).

There is a record for each holder with live holds, and for each whose lapses are
remembered: those of the last cool-down.  A lapse is in a row with the one before if
its hold was made before that one had been for a cool-down.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from slotengine.core.ledger.quota import stricter
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.time.instant import from_us
from slotengine.errors import QuotaExceeded

if TYPE_CHECKING:
    from slotengine.core.ledger.quota import Quota
    from slotengine.core.ledger.reservation import Entry
    from slotengine.core.ledger.terms import Terms

TIDIED: Final = 2
"""So many lapses are looked at, whether they can be forgotten, for each that is noted."""


class _Record:
    """What is known of one holder: live holds, with the length of each, and lapses in a row."""

    __slots__ = ("holds", "lapses", "last_lapse", "length", "noted")

    def __init__(self) -> None:
        self.holds: dict[Entry, int] = {}
        self.length = 0
        self.lapses = 0
        self.last_lapse = START_OF_TIME
        self.noted = False  # whether the lapses are still to be forgotten, some time


class Holders:
    """The live holds of each holder, counted.  All is O(1), if not said otherwise."""

    def __init__(self, terms: Terms, found: list[Entry] | None = None) -> None:
        self.found: list[Entry] = [] if found is None else found
        """Holds that were found to have lapsed, which somebody has to be told of."""
        self._most_holds = terms.max_holds
        self._longest = terms.max_held
        self._most_lapses = terms.max_lapses
        self._cool_down = terms.cool_down
        self.records: dict[str, _Record] = {}
        self._lapsed: deque[tuple[int, str]] = deque()  # to be forgotten, some time

    # --- Asking: may refuse ----------------------------------------------------------------

    def check(
        self, holder: str | None, length: int, now: int, swept: bool, quota: Quota | None = None
    ) -> None:
        """Raise `QuotaExceeded` unless the holder may have one more hold of a length.

        O(h log h) for h holds of this holder if it is refused, or not ``swept``.
        """
        most, longest = self._most_holds, self._longest
        if quota is not None:
            most, longest = stricter(most, quota.holds), stricter(longest, quota.held)
        if holder is None or (most is None and longest is None and self._most_lapses is None):
            return
        record = self._current(holder, now, swept)
        if record is None:
            if longest is not None and length > longest:
                raise QuotaExceeded("time", _delta(longest), timedelta(), None)
            return
        self._check_lapses(record, now)
        if most is not None and len(record.holds) >= most:
            raise QuotaExceeded("holds", most, len(record.holds), _room_for_one(record, most))
        if longest is not None:
            _check_length(record, length, longest, None)

    def check_move(self, entry: Entry, length: int, now: int, swept: bool) -> None:
        """Raise `QuotaExceeded` unless a hold, if it still is one, may become so long.

        Whoever moves it, it counts for its holder, under the quota it was made under.
        """
        longest = self._longest
        if entry.quota is not None:
            longest = stricter(longest, entry.quota.held)
        if longest is None:
            return
        record = self._current(entry.holder, now, swept)
        if record is not None and entry in record.holds and length > record.holds[entry]:
            _check_length(record, length, longest, entry)

    def _check_lapses(self, record: _Record, now: int) -> None:
        most = self._most_lapses
        if most is not None and record.lapses >= most:
            until = record.last_lapse + self._cool_down
            if now < until:
                raise QuotaExceeded("lapses", most, record.lapses, from_us(until))

    # --- Counting: cannot refuse -------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Count a hold, unless it is counted already."""
        if entry.holder is None:
            return
        record = self.records.get(entry.holder)
        if record is None:
            record = self.records[entry.holder] = _Record()
        if entry not in record.holds:
            record.holds[entry] = entry.end - entry.start
            record.length += entry.end - entry.start

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

    def kept(self, entry: Entry, now: int, swept: bool) -> None:
        """Count a hold no longer, since it was confirmed: the lapses before are forgiven."""
        if self._most_lapses is None:  # nothing to forgive, and so no need to look at all it has
            self.remove(entry)
            return
        record = self._current(entry.holder, now, swept)
        if record is not None:
            record.lapses, record.noted = 0, False
            if entry in record.holds:
                self._take_out(record, entry)
            else:
                self._drop_if_done(entry.holder, record)

    def catch_up(self, holder: str | None, now: int) -> None:
        """Count the lapses of a holder, before one of them is marked out of its turn.

        O(h log h) for h holds of this holder, if lapses have a limit at all.
        """
        if self._most_lapses is not None:
            self._current(holder, now, swept=False)

    def lapsed(self, entry: Entry) -> None:
        """Count a hold no longer, if it is counted, since it has lapsed.

        They come in the order in which they lapsed, or after `catch_up`.
        """
        record = self._record_with(entry)
        if record is not None:
            self._lapse(record, entry)

    # --- Inside --------------------------------------------------------------------------

    def _record_with(self, entry: Entry) -> _Record | None:
        record = None if entry.holder is None else self.records.get(entry.holder)
        return record if record is not None and entry in record.holds else None

    def _current(self, holder: str | None, now: int, swept: bool) -> _Record | None:
        """Return the record of a holder, with all the lapses in it that there were."""
        record = None if holder is None else self.records.get(holder)
        if record is not None and not swept:
            over = [entry for entry in record.holds if entry.until <= now]
            for entry in sorted(over, key=_until):
                self._lapse(record, entry)
            self.found += over
        return record

    def _lapse(self, record: _Record, entry: Entry) -> None:
        assert entry.holder is not None
        if self._most_lapses is not None:
            # Not how far apart they are: who comes back at once lapses only a whole TTL later.
            in_a_row = entry.created < record.last_lapse + self._cool_down
            record.lapses = record.lapses + 1 if in_a_row else 1
            record.last_lapse = entry.until
            record.noted = True
            self._lapsed.append((entry.until + self._cool_down, entry.holder))
            self._forget_some(entry.until)
        self._take_out(record, entry)

    def _forget_some(self, now: int) -> None:
        """Forget lapses that are too long ago to count; the newest is noted, so some stay.

        With a live hold they may count still; they are forgotten with that.
        """
        for _ in range(TIDIED):
            if self._lapsed[0][0] > now:
                return
            _, holder = self._lapsed.popleft()
            record = self.records.get(holder)
            if record is not None and record.last_lapse + self._cool_down <= now:
                record.noted = False
                self._drop_if_done(holder, record)

    def _take_out(self, record: _Record, entry: Entry) -> None:
        record.length -= record.holds.pop(entry)
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


def _room_for_one(record: _Record, most: int) -> datetime:
    """Return when so many have lapsed that there are fewer than ``most``.

    More than one must, if the holder had them before the limit was this low.
    """
    untils = sorted(entry.until for entry in record.holds)
    return from_us(untils[len(untils) - most])


def _room_from(record: _Record, left: int, own: Entry | None) -> datetime | None:
    """Return when enough has lapsed that nothing is lacking any more; None if it never has."""
    for entry in sorted(record.holds, key=_until):
        if entry is not own:
            left += record.holds[entry]
            if left >= 0:
                return from_us(entry.until)
    return None


def _until(entry: Entry) -> int:
    return entry.until


def _delta(us: int) -> timedelta:
    return timedelta(0, 0, us)
