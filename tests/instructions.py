"""How much work a call is, counted in instructions and not by a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def instructions(call: Callable[[], object]) -> int:
    """Return how many instructions of bytecode a call runs, its own and of all it calls.

    The same for the same work, whatever else the machine does.  What is done in C
    counts as one, so a loop there is not seen.
    """
    if sys.version_info >= (3, 12):  # where tracing does not see each instruction
        return _monitored(call)
    return _traced(call)


if sys.version_info >= (3, 12):
    _TOOL = 4  # one of those that are nobody's

    def _monitored(call: Callable[[], object]) -> int:
        count = 0

        def on_instruction(_: CodeType, __: int) -> None:
            nonlocal count
            count += 1

        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL, "instructions")
        try:
            monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, on_instruction)
            monitoring.set_events(_TOOL, monitoring.events.INSTRUCTION)
            call()
        finally:
            monitoring.set_events(_TOOL, monitoring.events.NO_EVENTS)
            monitoring.free_tool_id(_TOOL)
        return count


def _traced(call: Callable[[], object]) -> int:
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
