"""Tools for testing services that embed slotengine; slotengine's own tests use them too.

Public: what is here is as stable as the engine itself.
"""

from __future__ import annotations

from slotengine.testing.clock import SimClock

__all__ = ["SimClock"]
