"""Split a calendar file into components, and keep the properties that say when it is busy.

Whatever can be read is read.  Lines that cannot be read are skipped, a component without
its END ends with the one around it, and bytes that are not UTF-8 are decoded as Latin-1.
Summaries, descriptions and alarms are never read, so they cannot cause an error or
appear in one.

O(n) for a file of n bytes.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from slotengine.errors import BadCalendar
from slotengine.ical.problems import ProblemLog

TIMES: Final = frozenset({"DTEND", "DTSTART", "EXDATE", "RDATE", "RECURRENCE-ID"})
# In a part of an event that lacks its END, these do not belong to the event.
_OWN: Final = frozenset({"ATTENDEE", "DURATION", "STATUS", "UID"})
_READ: Final = TIMES | _OWN | frozenset({
    "BEGIN", "END", "EXRULE", "FREEBUSY", "RRULE", "SEQUENCE", "TRANSP", "TZID", "TZOFFSETFROM",
    "TZOFFSETTO", "X-MICROSOFT-CDO-BUSYSTATUS", "X-WR-TIMEZONE",
})  # fmt: skip
_NAMES: Final = {name.encode(): name for name in _READ}
_READ_IN: Final = frozenset({"DAYLIGHT", "STANDARD", "VEVENT", "VFREEBUSY", "VTIMEZONE"})
# These are never nested.  If one seems to be, the outer one lacks its END.
_TOP: Final = frozenset({"VEVENT", "VFREEBUSY", "VJOURNAL", "VTIMEZONE", "VTODO"})

_HEAD: Final = re.compile(rb"\s*([A-Za-z0-9-]+)\s*[:;]")
_WORD: Final = re.compile(rb"\s*([A-Za-z0-9-]*)")
_PARAMETER: Final = re.compile(r';\s*([A-Za-z0-9-]+)\s*=\s*("[^"]*"(?:,"[^"]*")*|[^";:]*)\s*')
_LAST: Final = re.compile(r";\s*([A-Za-z0-9-]+)\s*=([^;]*)")
_TIMES: Final = re.compile(r"[\dTZPWDHMS+\-/,.: ]*", re.IGNORECASE)
# What precedes the first date of a value belongs to a parameter, as in "UTC+01:00:20300109".
_LATER_DATE: Final = re.compile(r"[^,/]*:\s*(?=\d{4}-?\d\d-?\d\d)", re.ASCII)

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Property(NamedTuple):
    """One line of a component."""

    line: int
    name: str
    rest: str
    """The line after the name: the parameters and the value."""

    def parts(self) -> tuple[dict[str, str], str, bool]:
        """Return the parameters, the value, and whether all quotes and colons are well placed."""
        parameters, place = {}, 0
        while match := _PARAMETER.match(self.rest, place):
            parameters[match[1].upper()] = match[2].strip().strip('"')
            place = match.end()
        value = self.rest[place + 1 :]
        if self.rest[place : place + 1] == ":" and not self._is_split(value):
            return parameters, value.strip(), True
        # A quote or colon is misplaced.  Take what follows the last colon, apart from those
        # within a time.
        dated = _LATER_DATE.match(self.rest) if self.name in TIMES else None
        end = dated.end() if dated else self.rest.rfind(":") + 1
        before, value = self.rest[:end].rstrip().removesuffix(":"), self.rest[end:]
        found = {name.upper(): text.strip().strip('"') for name, text in _LAST.findall(before)}
        return found, value.strip(), False

    def _is_split(self, value: str) -> bool:
        if self.name not in TIMES or ":" not in value:
            return False
        return not _TIMES.fullmatch(value) or _LATER_DATE.match(value) is not None


class Component:
    """What is between a BEGIN and its END."""

    __slots__ = ("children", "kind", "line", "properties")

    def __init__(self, kind: str, line: int) -> None:
        self.kind = kind
        self.line = line
        self.properties: dict[str, list[Property]] = {}
        self.children: list[Component] = []

    def all(self, name: str) -> list[Property]:
        """Return the properties with this name, in the order of the file."""
        return self.properties.get(name, [])

    def value(self, name: str) -> str:
        """Return the value of the first property with this name, or an empty string."""
        return next((each.parts()[1] for each in self.all(name)), "")

    def walk(self, kind: str) -> Iterator[Component]:
        """Yield the components of this kind, at any depth, in the order of the file."""
        waiting = [self]
        while waiting:
            component = waiting.pop()
            if component.kind == kind:
                yield component
            waiting += reversed(component.children)


def parse_calendars(text: str | bytes, log: ProblemLog) -> list[Component]:
    """Return the calendars of a file, at least one.  Raises `BadCalendar` if there is none."""
    data = _plain(text)
    tree = _Tree(log)
    number = 0
    for number, name, line in _lines(data):
        tree.add(number, name, line)
    return tree.close(number, is_empty=not data.strip())


def _plain(text: str | bytes) -> bytes:
    """Return a file as bytes: UTF-8, or bytes that `_decoded` reads as Latin-1."""
    if isinstance(text, str):
        text = text.encode(errors="replace")
    for mark, encoding in _MARKS:
        if text.startswith(mark):
            text = text.removeprefix(mark)
            if encoding != "utf-8":
                text = text.decode(encoding, "replace").encode(errors="replace")
            break
    # In UTF-16 without a byte order mark, ASCII text is readable once the zero bytes are
    # removed.  Nothing else matters here.
    return text.replace(b"\0", b"").removeprefix(codecs.BOM_UTF8)


def _lines(data: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yield each line that may matter, as its number, its name and the rest.

    The name is empty if the line has none.  A line with a name that does not matter is
    skipped without being unfolded.
    """
    parts: list[bytes] = []
    start = 0
    for number, line in enumerate(data.splitlines(), 1):
        if line[:1] in (b" ", b"\t") and parts:
            parts.append(line[1:])
        elif line.strip():
            if parts:
                yield from _unfolded(start, parts)
            parts, start = [line], number
    if parts:
        yield from _unfolded(start, parts)


def _unfolded(number: int, parts: list[bytes]) -> Iterator[tuple[int, str, bytes]]:
    head = _HEAD.match(parts[0])
    if head is None and len(parts) > 1:
        head = _HEAD.match(b"".join(parts))
    if head is None:
        yield number, "", b"".join(parts)
        return
    name = _NAMES.get(head[1].upper())
    if name is not None:
        yield number, name, b"".join(parts)[head.end() - 1 :]


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


class _Tree:
    """Builds the components from the lines of a file."""

    def __init__(self, log: ProblemLog) -> None:
        self._log = log
        self._calendars: list[Component] = []
        self._open: list[Component] = []
        self._kinds: Counter[str] = Counter()
        self._top: int | None = None
        """The index of the open component of a kind in ``_TOP``, if any; these are never nested."""

    def add(self, number: int, name: str, line: bytes) -> None:
        """Add a line; its name is empty if it cannot be read."""
        if name == "BEGIN":
            self._begin(number, _decoded(line[1:]).strip().upper())
        elif name == "END":
            self._end(number, _decoded(line[1:]).strip().upper())
        elif not name:
            self._pass_over(number, line)
        elif self._open:
            properties = self._open[-1].properties
            properties.setdefault(name, []).append(Property(number, name, _decoded(line)))

    def close(self, number: int, *, is_empty: bool) -> list[Component]:
        """Return the calendars, at the end of the file."""
        if not self._calendars:
            raise BadCalendar(f"the file: it is {'empty' if is_empty else 'not iCalendar text'}")
        if self._open:
            missing = f"it is truncated: END:{self._open[-1].kind[:40]} is missing"
            self._log.add_incomplete("the file", number, missing, "its readable part counts")
            self._close_down_to(0)
        return self._calendars

    def _begin(self, number: int, kind: str) -> None:
        if kind == "VCALENDAR":
            if self._open:
                missing = f"END:{self._open[-1].kind[:40]} is missing before BEGIN:VCALENDAR"
                self._log.add_incomplete("the file", number, missing, "its readable part counts")
                self._close_down_to(0)
        elif not self._open:
            if kind not in _TOP & _READ_IN:
                return
            missing = "BEGIN:VCALENDAR is missing, so the file may be incomplete"
            self._log.add_incomplete("the file", number, missing, "its readable part counts")
            self._push(Component("VCALENDAR", number))
        elif kind in _TOP and self._top is not None:
            self._tell_end(number, self._top)
            self._close_down_to(self._top)
        self._push(Component(kind, number))

    def _end(self, number: int, kind: str) -> None:
        if not self._kinds[kind]:
            if self._open:
                self._log.add(
                    "the file", number, f"END:{kind[:40]} without its BEGIN", "it is ignored"
                )
            return
        place = len(self._open) - 1
        while self._open[place].kind != kind:
            place -= 1
        if place < len(self._open) - 1:
            self._tell_end(number, place + 1)
        self._close_down_to(place)

    def _pass_over(self, number: int, line: bytes) -> None:
        if not self._open or self._open[-1].kind in _READ_IN:
            word = _WORD.match(line)
            name = _NAMES.get(word[1].upper()) if word else None
            what = f"{name} cannot be read" if name else "a line cannot be read"
            where = f"{self._open[-1].kind} of line {self._open[-1].line}" if self._open else ""
            self._log.add(where or "the file", number, what, "the line is ignored")

    def _push(self, component: Component) -> None:
        if not self._open:
            self._calendars.append(component)
        else:
            self._open[-1].children.append(component)
        if component.kind in _TOP:
            self._top = len(self._open)
        self._open.append(component)
        self._kinds[component.kind] += 1

    def _tell_end(self, number: int, place: int) -> None:
        component = self._open[place]
        self._log.add(
            f"{component.kind[:40]} of line {component.line}", number, "its END is missing",
            "it ends at this line",
        )  # fmt: skip

    def _close_down_to(self, place: int) -> None:
        while len(self._open) > place:
            component = self._open.pop()
            self._kinds[component.kind] -= 1
            if len(self._open) > place and self._open[-1].kind == "VEVENT":
                # After an alarm that lacks its END, further lines belong to the event.
                for name, found in component.properties.items():
                    if name not in _OWN:
                        self._open[-1].properties.setdefault(name, []).extend(found)
        if self._top is not None and self._top >= place:
            self._top = None
