"""From text to components, as far as they matter to when somebody is busy.

Summaries, descriptions, guests and alarms are never looked at, so they can
break nothing, and no error can tell of them.
"""

from __future__ import annotations

from typing import Any, Final

from icalendar import Component, ComponentFactory, TypesFactory
from icalendar.parser import Contentline, Parameters
from icalendar.parser.ical import ComponentIcalParser

from slotengine.ical.trouble import LIBRARY_ERRORS, Trouble, about

_READ: Final = frozenset({
    "DTEND", "DTSTART", "DURATION", "EXDATE", "FREEBUSY", "RDATE", "RECURRENCE-ID", "RRULE",
    "SEQUENCE", "STATUS", "TRANSP", "TZID", "TZNAME", "TZOFFSETFROM", "TZOFFSETTO", "UID",
    "X-MICROSOFT-CDO-BUSYSTATUS",
})  # fmt: skip
# A calendar, an event, an alarm, and some more; what walks them would call itself too often.
_DEEPEST: Final = 20
_READ_IN: Final = frozenset({"DAYLIGHT", "STANDARD", "VEVENT", "VFREEBUSY", "VTIMEZONE"})


class _Parser(ComponentIcalParser):
    """Reads what is needed, and leaves time zones alone.

    The library would look each zone up while it reads, and keep the zones of a
    file for all files to come: two files may call two zones by one name.
    """

    datetime_names = ()  # those whose zone is looked up

    def handle_property(self, name: str, params: Parameters, vals: str, line: Contentline) -> None:
        if self.component is None:
            raise Trouble("it does not begin with BEGIN:VCALENDAR")
        if name in _READ and self.component.name in _READ_IN:
            super().handle_property(name, params, vals, line)

    def handle_line_parse_error(self, exception: Exception) -> None:
        if self.component is None or self.component.name in _READ_IN:
            super().handle_line_parse_error(exception)

    def handle_begin_component(self, vals: str) -> None:
        if (self.component is None) != (vals.upper() == "VCALENDAR"):
            raise Trouble("it is not one VCALENDAR after the other")
        if len(self._stack) == _DEEPEST:
            raise Trouble("its components lie too deep within each other")
        super().handle_begin_component(vals)

    def handle_end_component(self, vals: str) -> None:
        if self.component is None or self.component.name != vals.upper():
            raise Trouble(f"END:{vals[:40]} without its BEGIN")
        super().handle_end_component("")  # the name matters only for keeping a time zone

    def parse(self) -> list[Component]:
        components = super().parse()
        if self.component is not None:
            raise Trouble("it is cut short")
        if not components:
            raise Trouble("it is empty")
        return components


def parsed(text: str | bytes) -> list[Component]:
    """Return the calendars of a file, at least one."""
    with about("the file"):
        try:
            plain = text.decode() if isinstance(text, bytes) else text
        except UnicodeDecodeError:
            raise Trouble("it is not in UTF-8") from None
        plain = plain.removeprefix("\ufeff").lstrip()
        parser = _Parser(plain, ComponentFactory(), TypesFactory.instance())
        try:
            return parser.parse()
        except LIBRARY_ERRORS:
            raise Trouble("it is not iCalendar text") from None


def one(component: Component, name: str) -> Any:
    """Return the value of a property that can be there once, or None."""
    value = component.get(name)
    if isinstance(value, list):
        raise Trouble(f"{name} is there more than once")
    return value


def each_of(component: Component, name: str) -> list[Any]:
    """Return the values of a property that can be there many times."""
    values = component.get(name, [])
    return values if isinstance(values, list) else [values]


def word(component: Component, name: str) -> str:
    """Return the value of a property that is a word in capitals, or nothing."""
    return str(one(component, name) or "").strip().upper()
