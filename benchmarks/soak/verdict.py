"""The results of a soak: whether it grew, drifted, lagged or broke, and how they are written."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import log10
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.measure import Bar, Findings
from benchmarks.report import markdown
from benchmarks.soak.customers import KINDS
from benchmarks.soak.meter import Times, slope
from benchmarks.soak.plan import QUARTERS
from benchmarks.soak.run import Beat, Soak

HOUR_S: Final = 3600.0
DIGITS: Final = 4
"""Significant digits."""
FEW: Final = 200
"""With fewer calls of a kind in a quarter, its percentiles say nothing about drift."""


def findings(soak: Soak) -> Findings:
    """Return the verdict: the bars, and everything else, as plain values."""
    bars = [*_bars_of_state(soak), *_bars_of_growth(soak), *_bars_of_time(soak)]
    runs: dict[str, object] = {
        "broken": soak.audit.broken.told,
        "left": soak.left,
        "outcomes": dict(sorted(soak.customers.outcomes.items())),
        "calls, us": _summaries(soak.calls),
        "since due, us": _summaries(soak.since_due),
    }
    skipped = [] if soak.plan.settles else ["growth: the time is too short for anything to settle"]
    return Findings(bars, runs, skipped)


def _bars_of_state(soak: Soak) -> list[Bar]:
    audit, customers = soak.audit, soak.customers
    watched = f"{audit.count.seen:,} changes watched, everything looked at {audit.whole} times"
    never = customers.arrivals.due_in_all - customers.arrivals.issued + customers.turned_away
    ran = f"{customers.arrivals.issued:,} calls in {soak.ran_s / 60:.1f} minutes"
    if soak.interrupted:
        ran += ", interrupted"
    unsettled = "" if soak.left else "it was interrupted before that"
    return [
        Bar("invariants broken", audit.broken.count, "", most=0, note=watched),
        Bar("still there when all is over", sum(soak.left.values()), "", most=0, note=unsettled),
        Bar("calls due that were never made", never, "", most=0, note=ran),
    ]


def _bars_of_growth(soak: Soak) -> list[Bar]:
    """Return the growth, in the second half, of what must not grow, by a fitted line."""
    if not soak.plan.settles:
        return []
    bars = []
    for name, column, unit, most in (
        ("memory of the process", "rss MB", "MB", 0.1),
        ("blocks of Python's memory", "blocks", "", 0.1),
        ("holds and bookings, for comparison", "live", "", None),
    ):
        second, values = _second_half(soak, column)
        if len(second) < 2:
            continue  # the soak was interrupted early
        mean = sum(values) / len(values)
        grown = slope(zip(second, values, strict=True)) * HOUR_S
        note = f"{grown:+,.3g} {unit}".rstrip() + f" an hour, of {mean:,.4g}"
        bars.append(Bar(f"{name}: growth an hour", grown / mean, "%", most=most, note=note))
    return bars


def _second_half(soak: Soak, column: str) -> tuple[list[float], list[float]]:
    columns = soak.rows.columns
    if not columns:
        return [], []
    values = list(columns[column]) if column != "live" else _live(columns)
    half = len(values) // 2
    return list(columns["second"])[half:], values[half:]


def _live(columns: dict[str, Any]) -> list[float]:
    return [sum(pair) for pair in zip(columns["held"], columns["confirmed"], strict=True)]


def _bars_of_time(soak: Soak) -> list[Bar]:
    all_due, told, lapsed = Times(), Times(), Times()
    for quarter in range(QUARTERS):
        told.take_in(soak.told[quarter])
        lapsed.take_in(soak.lapsed[quarter])
        for kind in KINDS:
            if kind not in {"wait", "complete"}:
                all_due.take_in(soak.since_due[quarter][kind])
    due_us, told_us, lapsed_us = all_due.summary_us(), told.summary_us(), lapsed.summary_us()
    columns = soak.rows.columns
    longest = max(columns.get("collector ms", [0.0]))
    late_ms, busy_ms = max(zip(*(columns.get(name, [0.0]) for name in Beat._fields), strict=True))
    used = soak.processor_s / soak.ran_s
    return [
        *_drifts(soak),
        Bar("answered after it was due, p99.9", due_us["p99.9"] / 1e3, "ms", note=_all_of(due_us)),
        Bar(
            "expiry heard after its until, p99",
            lapsed_us["p99"] / 1e3, "ms", most=50, note=_all_of(lapsed_us),
        ),
        Bar(
            "change heard after it was made, p99",
            told_us["p99"] / 1e3, "ms", note=_all_of(told_us),
        ),
        Bar(
            "longest that a task waited for its turn", late_ms, "ms",
            note=f"meanwhile this process had the processor for {busy_ms:.3g} ms",
        ),
        Bar("longest pause of the cycle collector", longest, "ms"),
        Bar("of one processor, with customers and audits", used, "%"),
    ]  # fmt: skip


def _drifts(soak: Soak) -> list[Bar]:
    """Return how much longer calls of a kind took in the last quarter than in the first."""
    bars = []
    for name, most in (("p50", 1.25), ("p99", None)):
        drifts = {}
        for kind in KINDS:
            first, last = soak.calls[0][kind], soak.calls[-1][kind]
            if kind != "wait" and min(first.count, last.count) >= FEW:
                drifts[kind] = last.summary_us()[name] / first.summary_us()[name]
        if drifts:
            worst = max(drifts, key=lambda kind: drifts[kind])
            note = f"the median of {len(drifts)} kinds of calls; the worst: {worst}, "
            bars.append(
                Bar(
                    f"a call in the last quarter, of one in the first, {name}",
                    median(drifts.values()), "×", most=most, note=note + f"{drifts[worst]:.2f}",
                )
            )  # fmt: skip
    return bars


def _all_of(us: dict[str, float]) -> str:
    return ", ".join(f"{name} {value / 1e3:.3g}" for name, value in us.items())


def _summaries(quarters: list[dict[str, Times]]) -> list[dict[str, dict[str, float]]]:
    return [
        {kind: {"calls": times.count} | times.summary_us() for kind, times in quarter.items()}
        for quarter in quarters
    ]


# --- Writing -----------------------------------------------------------------------------------


def write(folder: Path, soak: Soak, found: Findings) -> dict[str, Any]:
    """Write ``soak.json`` and ``soak.md`` into a folder, and return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {name: list(map(_short, values)) for name, values in soak.rows.columns.items()}
    written = {
        "circumstances": soak.circumstances,
        "warm_up_s": soak.plan.warm_up_s,
        **asdict(found),
        "columns": columns,
    }
    (folder / "soak.json").write_text(_text(written))
    page = markdown({"soak": found}, soak.circumstances) + "\n" + _kinds(soak)
    (folder / "soak.md").write_text(page)
    return written


def _text(written: dict[str, Any]) -> str:
    """Return JSON with one line for each column."""
    lines = {f"@{name}@": json.dumps(values) for name, values in written["columns"].items()}
    named = written | {"columns": {name: f"@{name}@" for name in written["columns"]}}
    text = json.dumps(named, indent=1, ensure_ascii=False, default=str) + "\n"
    for name, line in lines.items():
        text = text.replace(f'"{name}"', line)
    return text


def _short(value: float) -> float:
    """Return a number, rounded to significant digits.

    >>> _short(1234.56789), _short(0.0012345678), _short(0.0)
    (1235.0, 0.001235, 0.0)
    """
    return round(value, DIGITS - 1 - int(log10(abs(value)) // 1)) if value else 0.0


def _kinds(soak: Soak) -> str:
    """Return a table of the kinds of calls: their number, and their first and last times."""
    lines = [
        "| calls of the first quarter and the last, µs | | p50 | | p99 | | longest | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        first, last = (soak.calls[quarter][kind] for quarter in (0, -1))
        if first.count and last.count:
            before, after = first.summary_us(), last.summary_us()
            cells = [f"{us[name]:,.0f}" for name in ("p50", "p99", "max") for us in (before, after)]
            lines.append(f"| {kind} | {last.count:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
