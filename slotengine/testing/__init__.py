"""Tools for testing services that embed slotengine; slotengine's own tests use them too.

They are as stable as the engine itself.  The names below need no extra:

`SimClock`
    a virtual clock: a test sets the time, and never waits
`Watch`, `attach`, `InvariantBroken`
    check a running engine: each change as it happens, and all that it says
`Recorder`, `RecordedCall`, `check_linearizable`, `NotLinearizable`
    record what concurrent callers saw, and check that some order explains it

The other tools are modules:

``slotengine.testing.simulation``
    many clients and faults, from one seed; also ``slotengine simulate``
``slotengine.testing.strategies``
    Hypothesis strategies: spans, schedules, event types, requests, catalogs (extra ``testing``)
``slotengine.testing.remote``
    a stand-in for Cal.com (extra ``calcom``)

``slotengine.testing.internal`` is not for users: it may change with any release.
"""

from __future__ import annotations

from slotengine.testing.clock import SimClock
from slotengine.testing.histories import RecordedCall, Recorder
from slotengine.testing.linearizability import NotLinearizable, check_linearizable
from slotengine.testing.watch import InvariantBroken, Watch, attach

__all__ = [
    "InvariantBroken",
    "NotLinearizable",
    "RecordedCall",
    "Recorder",
    "SimClock",
    "Watch",
    "attach",
    "check_linearizable",
]
