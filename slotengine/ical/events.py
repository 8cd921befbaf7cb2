"""Read a single VEVENT: whether it is busy, and its times as they are written.

Nothing is placed in time here; `series` does that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import unquote

from slotengine.ical.lines import Component, Property
from slotengine.ical.problems import ProblemLog
from slotengine.ical.recurrence import DAY
from slotengine.ical.values import (
    Duration,
    ParsedRule,
    Time,
    parse_duration,
    parse_rule,
    parse_time,
)

_NO_END: Final = "it lasts a day, unless something else says how long"
_SEQUENCE: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)


class WrittenPeriod(NamedTuple):
    """A start, and an end or a duration."""

    start: Time
    end: Time | Duration


class CalendarEvent(NamedTuple):
    """A whole series, or one instance of it, as a VEVENT describes it."""

    name: str
    """What a problem calls it."""
    line: int
    uid: str
    sequence: int
    busy: bool
    starts: list[Time]
    """Usually one.  Several if DTSTART is repeated; none only for a free instance."""
    ends: list[Time]
    lengths: list[Duration]
    has_bad_end: bool
    """Whether it lasts a day if it has no usable end or duration.

    True if an end or duration cannot be read, or if a start is declared as a date."""
    instance: Time | None
    """The instance that it describes, or None for the whole series."""
    and_future: bool
    """Whether it also describes all later instances."""
    rules: list[ParsedRule]
    left_out_rules: list[ParsedRule]
    added: list[Time | WrittenPeriod]
    left_out: list[Time]

    @property
    def takes_time(self) -> bool:
        """Whether an instance of it can be busy."""
        return self.busy and bool(self.starts)

    def times(self) -> Iterator[Time]:
        """Yield every time that it contains."""
        yield from self.starts
        yield from self.ends
        yield from self.left_out
        if self.instance is not None:
            yield self.instance
        for each in self.added:
            if isinstance(each, WrittenPeriod):
                yield each.start
                if isinstance(each.end, Time):
                    yield each.end
            else:
                yield each
        for read in (*self.rules, *self.left_out_rules):
            if read.until is not None:
                yield read.until


def read_event(
    component: Component, number: int, owner: frozenset[str], log: ProblemLog
) -> CalendarEvent | None:
    """Return a VEVENT, or None if it has no start and so takes no time.

    ``number`` is its position in the calendar, and ``owner`` has the owner's addresses.
    """
    return _Reader(component, _name(component, "event", number), log).event(owner)


def read_periods(
    component: Component, number: int, log: ProblemLog
) -> tuple[str, list[WrittenPeriod]]:
    """Return the name of a free/busy component, and its busy periods."""
    name = _name(component, "free/busy component", number)
    reader = _Reader(component, name, log)
    return name, list(reader.periods("FREEBUSY"))


def _name(component: Component, kind: str, number: int) -> str:
    uid = component.value("UID")
    return f"{kind} {uid[:80]!r}" if uid else f"{kind} number {number}"


def normalized_address(text: str) -> str:
    """Return an address in the form in which addresses are compared.

    >>> normalized_address("MAILTO:Desk@Example.org") == normalized_address("desk@example.org")
    True
    """
    plain = text.strip().casefold()
    if plain.startswith("mailto:"):
        plain = unquote(plain.removeprefix("mailto:")).strip()
    return plain


def _shown(moment: Time) -> str:
    seconds = timedelta(seconds=moment.wall)
    shown = datetime(1970, 1, 1) + seconds  # noqa: DTZ001
    return f"{shown:%Y-%m-%d}" if moment.is_date else f"{shown:%Y-%m-%dT%H:%M:%S}"


class _Reader:
    """Reads the properties of a component, and reports what is wrong with them."""

    def __init__(self, component: Component, name: str, log: ProblemLog) -> None:
        self._component = component
        self._name = name
        self._log = log

    def event(self, owner: frozenset[str]) -> CalendarEvent | None:
        busy = not self._is_free(owner)
        starts = self._times("DTSTART", "this start is ignored")
        instances = self._times("RECURRENCE-ID", "it is a separate event")
        if not starts and (busy or not instances):
            if not self._component.all("DTSTART"):
                self._tell(self._component.line, "it has no DTSTART", "it takes no time")
            return None
        if len(starts) > 1:
            self._tell(
                self._component.line, "it has more than one DTSTART", "it starts at each of them"
            )
        ends = self._times("DTEND", _NO_END)
        lengths = self._durations()
        if ends and lengths:
            self._tell(self._component.line, "it has both DTEND and DURATION", "the longer counts")
        elif len(ends) + len(lengths) > 1:
            self._tell(self._component.line, "it has more than one end", "the longest counts")
        zone = starts[0].zone if starts else None
        of_dates = bool(starts) and starts[0].is_date
        return CalendarEvent(
            name=self._name,
            line=self._component.line,
            uid=self._component.value("UID"),
            sequence=self._sequence(),
            busy=busy,
            starts=starts,
            ends=ends,
            lengths=lengths,
            has_bad_end=len(ends) < len(self._component.all("DTEND"))
            or len(lengths) < len(self._component.all("DURATION"))
            or self._says_date(),
            instance=instances[0] if instances else None,
            and_future=bool(instances) and self._reaches_on(),
            rules=self._rules("RRULE", zone, of_dates, "the rule adds no instances"),
            left_out_rules=self._rules("EXRULE", zone, of_dates, "the rule excludes nothing"),
            added=self._added(),
            left_out=self._times("EXDATE", "it excludes nothing"),
        )

    def periods(self, name: str) -> Iterator[WrittenPeriod]:
        """Yield the busy periods of the properties with a name."""
        for each in self._component.all(name):
            parameters, text, _ = self._parts(each)
            if parameters.get("FBTYPE", "BUSY").upper() != "FREE":
                for part in filter(None, text.split(",")):
                    period = self._period(each, part, parameters.get("TZID"))
                    if period is not None:
                        yield period

    # --- Whether it is busy --------------------------------------------------------------

    def _is_free(self, owner: frozenset[str]) -> bool:
        transparency = self._words("TRANSP")
        return (
            self._words("STATUS") == {"CANCELLED"}
            or transparency == {"TRANSPARENT"}
            or (not transparency and self._words("X-MICROSOFT-CDO-BUSYSTATUS") == {"FREE"})
            or (bool(owner) and self._is_declined(owner))
        )

    def _words(self, name: str) -> set[str]:
        return {each.parts()[1].upper() for each in self._component.all(name)} - {""}

    def _is_declined(self, owner: frozenset[str]) -> bool:
        """Return whether the owner is invited and has declined, in every entry."""
        answers = set()
        for each in self._component.all("ATTENDEE"):
            parameters, text, is_well = each.parts()
            if owner & {normalized_address(text), normalized_address(parameters.get("EMAIL", ""))}:
                # If quotes are misplaced, part of a name could be mistaken for the answer.
                answers.add(parameters.get("PARTSTAT", "").upper() if is_well else "")
        return answers == {"DECLINED"}

    def _sequence(self) -> int:
        text = self._component.value("SEQUENCE")
        if not text or _SEQUENCE.fullmatch(text):
            return int(text or 0)
        line = self._component.all("SEQUENCE")[0].line
        self._tell(line, f"SEQUENCE is {text[:20]!r}", "it is 0")
        return 0

    def _reaches_on(self) -> bool:
        line = self._component.all("RECURRENCE-ID")[0]
        reach = line.parts()[0].get("RANGE", "").upper()
        if reach not in ("", "THISANDFUTURE"):
            self._tell(line.line, f"RANGE is {reach[:20]!r}", "only that instance is changed")
        return reach == "THISANDFUTURE"

    # --- Its times -----------------------------------------------------------------------

    def _times(self, name: str, otherwise: str) -> list[Time]:
        found = []
        for each in self._component.all(name):
            parameters, text, _ = self._parts(each)
            parts = filter(None, text.split(",")) if name == "EXDATE" else [text]
            for part in parts:
                moment = self._time(each, part, parameters, otherwise)
                if moment is not None:
                    found.append(moment)
        return found

    def _says_date(self) -> bool:
        """Return whether a start is declared as a date, which means a whole day."""
        starts = self._component.all("DTSTART")
        return any(each.parts()[0].get("VALUE", "").upper() == "DATE" for each in starts)

    def _time(
        self, line: Property, text: str, parameters: dict[str, str], otherwise: str
    ) -> Time | None:
        read = parse_time(text, parameters.get("TZID") or None)
        if read is None:
            self._tell(line.line, f"{line.name} cannot be read: {text[:40]!r}", otherwise)
            return None
        moment, is_odd = read
        declared = parameters.get("VALUE", "").upper()
        if declared == "DATE" and not moment.wall % DAY and not moment.is_date:
            moment = moment._replace(is_date=True)  # some programs write dates as midnights
            is_odd = True
        if is_odd or ((declared == "DATE") != moment.is_date and declared):
            self._tell(line.line, f"{line.name} is {text[:40]!r}", _shown(moment))
        return moment

    def _durations(self) -> list[Duration]:
        found = []
        for each in self._component.all("DURATION"):
            text = self._parts(each)[1]
            length = parse_duration(text)
            if length is None:
                self._tell(each.line, f"DURATION cannot be read: {text[:40]!r}", _NO_END)
            else:
                found.append(length)
        return found

    def _added(self) -> list[Time | WrittenPeriod]:
        found: list[Time | WrittenPeriod] = []
        for each in self._component.all("RDATE"):
            parameters, text, _ = self._parts(each)
            for part in filter(None, text.split(",")):
                if "/" in part:
                    moment: Time | WrittenPeriod | None = self._period(
                        each, part, parameters.get("TZID")
                    )
                else:
                    moment = self._time(each, part, parameters, "it adds nothing")
                if moment is not None:
                    found.append(moment)
        return found

    def _period(self, line: Property, text: str, zone: str | None) -> WrittenPeriod | None:
        first, _, last = text.partition("/")
        begin, finish = parse_time(first, zone or None), parse_time(last, zone or None)
        end = finish[0] if finish else parse_duration(last)
        if begin is None:
            self._tell(line.line, f"{line.name} cannot be read: {text[:40]!r}", "it adds nothing")
            return None
        if end is None:
            problem = f"{line.name} has a period without an end that can be read: {text[:40]!r}"
            self._tell(line.line, problem, "it lasts a day")
            end = Duration(1, 0)
        if begin[1] or begin[0].is_date or (finish is not None and finish[1]):
            self._tell(line.line, f"{line.name} is {text[:40]!r}", _shown(begin[0]))
        return WrittenPeriod(begin[0], end)

    def _rules(
        self, name: str, zone: str | None, of_dates: bool, otherwise: str
    ) -> list[ParsedRule]:
        found = []
        for each in self._component.all(name):
            read = parse_rule(self._parts(each)[1], zone, of_dates=of_dates)
            if read is None:
                self._tell(each.line, f"{name} cannot be read", otherwise)
                continue
            for odd in read.odd:
                self._tell(each.line, f"its {name} {odd}", "the rest of the rule counts")
            if self._component.all("RECURRENCE-ID"):
                self._tell(
                    each.line, f"a single instance has {name}", "its instances count as well"
                )
            found.append(read)
        return found

    def _parts(self, line: Property) -> tuple[dict[str, str], str, bool]:
        parts = line.parts()
        if not parts[2]:
            self._tell(
                line.line,
                f"{line.name} has a misplaced quote or colon",
                "the value is the last part",
            )
        return parts

    def _tell(self, line: int, problem: str, assumed: str) -> None:
        self._log.add(self._name, line, problem, assumed)
