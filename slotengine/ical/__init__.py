"""When an iCalendar file (RFC 5545) says that its owner is busy.

Text in, spans out: fetching the file is the caller's, and so is what to do
with the spans.  Needs no extra.

How a file is read:

- `lines` makes components of it, as far as they matter here, and `values` reads
  single values.
- `events` is what one event says, as it is written.
- `recurrence` works out the instances of a rule on a wall clock.
- `zones` knows which clock the name of a time zone means, and when it shows what.
- `series` places the events of one UID on the time line, and `busy` puts all together.
- `problems` has what was wrong, and how much work reading may be.

Busy time that is lost is time that will be booked twice.  So what can be read is
read, what is in doubt counts as busy, and of all that, something is told.
"""

from __future__ import annotations

from slotengine.ical.busy import MAX_EVENTS, BusyTime, busy_spans
from slotengine.ical.problems import MAX_PROBLEMS, Problem

__all__ = ["MAX_EVENTS", "MAX_PROBLEMS", "BusyTime", "Problem", "busy_spans"]
