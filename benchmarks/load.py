"""Latency at a ladder of rates: ``python -m benchmarks.load engine`` and ``... http``.

Calls arrive at a fixed rate (`arrivals`).  Without ``--rate``, the ladder goes from a
quarter of what a closed loop reaches to more than that, so that its last rung saturates
the engine or the server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import anyio
import click
from rich.console import Console
from rich.table import Table

from benchmarks.arrivals import Rung, engine_capacity, engine_rung, http_rung
from benchmarks.measure import PERCENTILES
from benchmarks.peers.crowd import runner
from benchmarks.web import Loaded
from benchmarks.wire import reservation_requests, slotengine_server

LADDER: Final = (0.25, 0.5, 0.75, 0.9, 1.0, 1.2)
"""The rungs, as shares of what a closed loop reaches."""

_rate: Final = click.option(
    "--rate", "rates", multiple=True, type=float, help="Calls a second; repeatable."
)
_seconds: Final = click.option(
    "--seconds", default=5.0, show_default=True, help="How long each rate lasts."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Load the engine, or its server, at fixed rates, and print the latencies."""


@cli.command()
@_rate
@_seconds
def engine(rates: Sequence[float], seconds: float) -> None:
    """Call an engine in this process, on asyncio."""
    rates = rates or ladder(anyio.run(engine_capacity, seconds))
    climb("engine", rates, lambda rate: anyio.run(engine_rung, rate, seconds))


@cli.command()
@_rate
@_seconds
@click.option(
    "--clients",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes that send requests.",
)
def http(rates: Sequence[float], seconds: float, clients: int) -> None:
    """Send POST /v2/slots/reservations to a server in a process of its own."""
    rates = rates or ladder(http_capacity(seconds))
    climb("POST /v2/slots/reservations", rates, lambda rate: http_rung(rate, seconds, clients))


def http_capacity(seconds: float) -> float:
    """Return how many requests per second a server answers in a closed loop."""
    with slotengine_server() as server, runner() as loop:
        loaded = Loaded(server, reservation_requests(), 201)
        loop.run(loaded.run(seconds))
    return loaded.rates[0]


def ladder(capacity: float) -> list[float]:
    """Return the rates of a ladder.

    >>> ladder(1000)
    [250.0, 500.0, 750.0, 900.0, 1000.0, 1200.0]
    """
    return [share * capacity for share in LADDER]


def climb(what: str, rates: Sequence[float], rung: Callable[[float], Rung]) -> None:
    """Measure each rate, and print the results."""
    console = Console()
    names = [f"p{percent:g}" for percent in PERCENTILES] + ["max"]
    shown = Table("due/s", "answered/s", *(f"{name}, ms" for name in names), "", title=what)
    with console.status("") as status:
        for rate in rates:
            status.update(f"{rate:,.0f}/s")
            found = rung(rate)
            shown.add_row(
                f"{found.rate:,.0f}", f"{found.answered:,.0f}",
                *(f"{found.ms[name]:.2f}" for name in names),
                "saturated" if found.saturated else "",
            )  # fmt: skip
    console.print(shown)


if __name__ == "__main__":
    cli()
