"""Pictures of the results, as SVG: throughput, latency and growth.

They are drawn from what `report.write` wrote, and can be drawn again:
``python -m benchmarks.pictures [FOLDER]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS: Final = "#1f6f8b"
THEIRS: Final = "#b0b7bd"
SHADES: Final = ("#99a8b2", "#4f7f94", "#123f52")

Results = Mapping[str, Any]


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw the results, and return the files."""
    pictures: dict[str, tuple[str, Callable[[Axes, Any], None]]] = {
        "throughput": ("storm", throughput),
        "latency": ("storm", latency),
        "growth": ("growth", growth),
    }
    drawn = []
    for name, (family, paint) in pictures.items():
        if family not in results["families"]:
            continue
        path = folder / f"{name}.svg"
        with paper(path) as (axes,):
            paint(axes, results["families"][family]["runs"])
        drawn.append(path)
    return drawn


@contextmanager
def paper(
    path: Path, *, size: tuple[float, float] = (7, 3.6), rows: int = 1, columns: int = 1
) -> Iterator[list[Axes]]:
    """Yield panels to draw on, row by row, and write them to a file; ``size`` is in inches."""
    # The same results give the same file.  Text stays text, which is small and can be searched.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "slotengine", "font.size": 9}
    with rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        yield panels
        figure.savefig(path, metadata={"Date": None})


def throughput(axes: Axes, runs: Any) -> None:
    """Bars of operations per second, the median of the runs, for the ledger and all peers."""
    rates = {"bare SortedList calls": median(runs["floor"]["other"])}
    rates["slotengine, the ledger"] = median(runs["floor"]["ledger"])
    rates |= {name: median(race["other"]) for name, race in runs["peers"].items()}
    ordered = sorted(rates.items(), key=lambda item: item[1])
    names = [name for name, _ in ordered]
    values = [rate for _, rate in ordered]
    colours = [OURS if "slotengine" in name else THEIRS for name in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 4)
    axes.set_xlabel("operations a second, logarithmic")
    axes.set_title("The booking storm")


def latency(axes: Axes, runs: Any) -> None:
    """Dots of three percentiles of the latency of single operations."""
    found = {"slotengine, the ledger": runs["latency_ns"]}
    found |= {name: race["latency_ns"] for name, race in runs["peers"].items()}
    ordered = sorted(found.items(), key=lambda item: -item[1]["p50"])
    names = [name for name, _ in ordered]
    for percentile, shade in zip(("p50", "p99", "p99.9"), SHADES, strict=True):
        values = [summary[percentile] / 1e3 for _, summary in ordered]
        axes.plot(values, names, "o", color=shade, label=percentile)
    axes.set_xscale("log")
    axes.grid(axis="x", color="#e5e8ea")
    axes.set_xlabel("µs, logarithmic")
    axes.legend(frameon=False)
    axes.set_title("How long one operation of the storm takes")


def growth(axes: Axes, runs: Any) -> None:
    """Lines of cost against size, for the ledger and the bare calls, on few and many resources."""
    styles = {"ledger_ns": ("slotengine", OURS), "floor_ns": ("bare SortedList calls", "#7c858c")}
    lines = (name for name in runs if name.endswith("resources"))
    for name, dash in zip(lines, ("-", "--"), strict=True):
        for key, (label, colour) in styles.items():
            sizes = [point["live"] for point in runs[name]]
            costs = [median(point[key]) / 1e3 for point in runs[name]]
            axes.plot(sizes, costs, dash, marker=".", color=colour, label=f"{label}, {name}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("live reservations, logarithmic")
    axes.set_ylabel("µs an operation")
    axes.legend(frameon=False)
    axes.set_title("The cost of an operation as it fills")


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"
    for picture in draw(json.loads((place / "results.json").read_text()), place):
        print(picture)
