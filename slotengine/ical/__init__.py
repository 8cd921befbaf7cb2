"""Find out from an iCalendar file (RFC 5545) when its owner is busy.

Text goes in, and spans come out.  Fetching the file and using the spans is up to the
caller.  No extra is needed.

The modules, in the order in which a file passes through them:

- `lines` splits the file into components, and keeps the properties that matter here;
  `values` parses their values.
- `events` reads a single event as it is written.
- `recurrence` computes the instances of a recurrence rule, in local time.
- `zones` finds the time zone that a name means, and converts its local times.
  `windows_zones` has the names that Windows uses.
- `series` places the events with one UID in time, and `busy` combines everything.
- `problems` collects what was wrong with the file, and `budget` limits the work.

Busy time that is lost will be booked twice.  Therefore everything that can be read is
read, whatever is in doubt counts as busy, and both are reported.
"""

from __future__ import annotations

from slotengine.ical.busy import MAX_EVENTS, BusyTime, busy_spans
from slotengine.ical.problems import MAX_PROBLEMS, Problem

__all__ = ["MAX_EVENTS", "MAX_PROBLEMS", "BusyTime", "Problem", "busy_spans"]
