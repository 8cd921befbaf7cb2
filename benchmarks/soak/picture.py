"""The picture of a soak: memory, live reservations, latency of calls, delay of events.

It is drawn from what `verdict.write` wrote, and can be drawn again:
``python -m benchmarks.soak.picture [FOLDER]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes

from benchmarks.pictures import OURS, SHADES, paper

WARM_UP: Final = "#f1f3f4"
GOAL_MS: Final = 50
LONGEST: Final = "#d98c3f"
PERCENTILES: Final = (("max", LONGEST), *zip(("p50", "p99", "p99.9"), SHADES, strict=True))

Columns = Mapping[str, list[float]]


def draw(written: Mapping[str, Any], folder: Path) -> Path:
    """Draw ``soak.svg``, and return the file."""
    path, columns = folder / "soak.svg", written["columns"]
    with paper(path, size=(9, 6), rows=2, columns=2) as panels:
        for axes, paint in zip(panels, (memory, living, answers, lags), strict=True):
            axes.axvspan(0, written["warm_up_s"] / 60, color=WARM_UP, linewidth=0)
            axes.margins(x=0)
            axes.set_xlabel("minutes")
            paint(axes, [second / 60 for second in columns["second"]], columns)
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.02), ncols=2)
    return path


def memory(axes: Axes, minutes: list[float], columns: Columns) -> None:
    """A line of the memory of the process."""
    values = columns["rss MB"]
    axes.plot(minutes, values, color=OURS, label="resident memory, MB")
    axes.set_ylim(0, max(values) * 1.3)
    axes.set_title("Memory")


def living(axes: Axes, minutes: list[float], columns: Columns) -> None:
    """Lines of the number of reservations of each kind."""
    for (name, label), shade in zip(
        (("ended", "ended, still known"), ("held", "held"), ("confirmed", "booked")),
        SHADES,
        strict=True,
    ):
        axes.plot(minutes, columns[name], color=shade, label=label)
    axes.set_ylim(0, max(max(columns[name]) for name in ("ended", "held", "confirmed")) * 1.35)
    axes.set_title("Reservations")


def answers(axes: Axes, minutes: list[float], columns: Columns) -> None:
    """Lines of percentiles of the time from when a call was due until it was answered."""
    _percentiles(axes, minutes, columns, "since due")
    axes.set_title("From when a call was due to its answer, ms")


def lags(axes: Axes, minutes: list[float], columns: Columns) -> None:
    """Lines of percentiles of the time from a hold's ``until`` to the receipt of its expiry."""
    _percentiles(axes, minutes, columns, "lapsed")
    axes.axhline(GOAL_MS, color="#c0392b", linewidth=0.8, linestyle=":", label="goal for p99")
    axes.set_title("From when a hold lapsed to when that was heard, ms")


def _percentiles(axes: Axes, minutes: list[float], columns: Columns, name: str) -> None:
    for percentile, shade in PERCENTILES:
        values = [us / 1e3 for us in columns[f"{name} {percentile} us"]]
        axes.plot(minutes, values, color=shade, label=percentile, linewidth=1.2)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, GOAL_MS) * 8)  # room for the legend


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "results"
    print(draw(json.loads((place / "soak.json").read_text()), place))
