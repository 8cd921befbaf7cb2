"""Finds the Python scripts of a documentation page, and what the page says they print.

Each block fenced as ``python`` is a script, complete in itself.  A block fenced as ``text``
is the output of the script before it; a script without one prints nothing.  A comment
``<!-- run: name -->`` above a script gives it a name, and leaves it to a test of its own.
"""

from __future__ import annotations

import gc
import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final, NamedTuple

FENCE: Final = re.compile(
    r"^(?:<!-- run: (?P<name>[\w-]+) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Script(NamedTuple):
    """A script of a page, and the output that the page shows."""

    line: int
    source: str
    output: str
    name: str | None = None


def scripts(page: str) -> list[Script]:
    """Return the scripts of a page, in order.

    Raises `ValueError` for an output without a script before it.
    """
    found: list[Script] = []
    output_of: int | None = None
    for fence in FENCE.finditer(page):
        language, body = fence["language"], fence["body"]
        line = page.count("\n", 0, fence.start("body")) + 1
        if language == "python":
            output_of = len(found)
            found.append(Script(line, body, "", fence["name"]))
        elif language == "text":
            if output_of is None:
                raise ValueError(f"line {line}: this output follows no script")
            found[output_of] = found[output_of]._replace(output=body)
            output_of = None
        else:
            output_of = None
    return found


def printed_by(script: Script, page: Path) -> str:
    """Run a script as a program, and return what it prints."""
    # With these line numbers a traceback shows the lines of the page.
    code = compile("\n" * (script.line - 1) + script.source, str(page), "exec", dont_inherit=True)
    threshold = gc.get_threshold()
    out = io.StringIO()
    try:
        with redirect_stdout(out):
            exec(code, {"__name__": "__main__"})
    finally:  # a page says how to set the collector
        gc.unfreeze()
        gc.set_threshold(*threshold)
    return out.getvalue()
