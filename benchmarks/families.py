"""All families of benchmarks, each run in a process of its own.

No family inherits memory, garbage or caches from another, and showing the progress does
not slow down what is measured.
"""

from __future__ import annotations

import multiprocessing
import traceback
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Final

from benchmarks.measure import Findings, Say, Scale

FAMILIES: Final = {
    "storm": "benchmarks.storm",
    "await": "benchmarks.awaiting",
    "growth": "benchmarks.growth",
    "memory": "benchmarks.memory",
    "lapsing": "benchmarks.lapsing",
    "replay": "benchmarks.replay",
    "listing": "benchmarks.listing",
    "pools": "benchmarks.pools",
    "beside": "benchmarks.beside",
    "paths": "benchmarks.paths",
    "collector": "benchmarks.collector",
    "http": "benchmarks.web",
}
"""The module with the ``measure`` function of each family."""


class Failed(Exception):
    """A family raised an exception, or its process ended."""


def measure(name: str, scale: Scale, say: Say) -> Findings:
    """Measure a family in this process."""
    findings: Findings = import_module(FAMILIES[name]).measure(scale, say)
    return findings


def measure_apart(name: str, scale: Scale, say: Say) -> Findings:
    """Measure a family in a process of its own.  Raises `Failed`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(name, scale, theirs))
    process.start()
    theirs.close()
    try:
        while True:
            kind, told = ours.recv()
            if kind == "found":
                assert isinstance(told, Findings)
                return told
            if kind == "failed":
                raise Failed(f"{name}: {told}")
            say(told)
    except EOFError:
        raise Failed(f"{name}: its process ended without a word") from None
    finally:
        process.join(5)
        process.terminate()  # after an interrupt
        process.join()


def _measure(name: str, scale: Scale, pipe: Connection) -> None:
    try:
        pipe.send(("found", measure(name, scale, lambda text: pipe.send(("says", text)))))
    except Exception:
        pipe.send(("failed", traceback.format_exc()))
