"""Tools for testing services that embed slotengine; slotengine's own tests use them too.

Public: what is here is as stable as the engine itself.  Beside the clock and the
watch, which every test can use:

``operations``, ``model``
    what can be done, as plain values, and the rules once more, as simply as can be
``simulation``, ``faults``
    many clients from one seed, and faults that must be found
``histories``, ``linearizable``
    what was seen from outside, and whether it can be explained one call at a time
``strategies``
    Hypothesis strategies for spans, schedules, proposals, catalogs (extra ``testing``)
``remote``
    a stand-in for Cal.com (extra ``calcom``)
"""

from __future__ import annotations

from slotengine.testing.clock import SimClock
from slotengine.testing.watch import InvariantBroken, Watch, attach

__all__ = ["InvariantBroken", "SimClock", "Watch", "attach"]
