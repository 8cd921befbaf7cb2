"""When an iCalendar file (RFC 5545) says that its owner is busy.

Text in, spans out: fetching the file is the caller's, and so is what to do
with the spans.  Needs the extra ``ical``.

How a file is read:

- `text` takes from it the few properties that matter here.
- `zones` knows where on the time line a time is.
- `series` works out the instances of one event, and `rules` sees to it that this ends.
- `busy` reads the single event, and puts all together.

Whatever is in doubt is refused or counts as busy.  Nothing is dropped in silence:
busy time that is lost is time that will be booked twice.
"""

from __future__ import annotations

from slotengine import extras

extras.require("slotengine.ical", "ical", "icalendar", "recurring_ical_events")

from slotengine.ical.busy import MAX_EVENTS, busy_spans  # noqa: E402  # what it needs is there

__all__ = ["MAX_EVENTS", "busy_spans"]
