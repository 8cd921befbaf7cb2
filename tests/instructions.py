"""How much work a call is, counted in instructions and not by a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def instructions(call: Callable[[], object]) -> int:
    """Return how many instructions of bytecode a call runs, its own and of all it calls.

    The same for the same work, whatever else the machine does.  What is done in C
    counts as one, so a loop there is not seen.
    """
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()  # such as one that measures coverage
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
