"""Run the random tests longer than the ordinary tests do.

    python -m tests.long            # new seeds; half an hour on two processors
    python -m tests.long --small    # fixed seeds; a few minutes, part of the gate

Each job is a command that can be run by itself.  One job runs on each processor.  The output
of a job that failed is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final, NamedTuple

MACHINES: Final = (
    "tests/core/ledger/test_ledger_model.py",
    "tests/core/offer/test_availability_model.py",
    "tests/core/ledger/test_waitlist_model.py",
    "tests/calcom/sync/test_machine.py",
)
"""State machines and models, with any number of examples."""

SCANS: Final = (
    "tests/core/time/test_schedule_zones.py",
    "tests/ical/test_whole_files.py",
)
"""Tests that look at a part, and with ``--long`` at everything."""


class Job(NamedTuple):
    """A command, and the Hypothesis profile that it runs with."""

    arguments: tuple[str, ...]
    profile: str = "ci"

    def __str__(self) -> str:
        profile = "" if self.profile == "ci" else f"HYPOTHESIS_PROFILE={self.profile} "
        return f"{profile}python {' '.join(self.arguments)}"


def jobs(first: int, *, small: bool) -> list[Job]:
    """Return all jobs; random ones begin with the seed ``first``."""
    pytest = ("-m", "pytest", "-q", "--no-cov")
    if small:
        tests = [Job((*pytest, path), "thorough") for path in MACHINES]
    else:
        tests = [Job((*pytest, "--long", path)) for path in (*MACHINES, *SCANS)]
    simulations = [
        _simulate(first, 50 if small else 20_000, "asyncio"),
        _simulate(first + 20_000, 50 if small else 20_000, "asyncio"),
        _simulate(first, 25 if small else 5_000, "trio"),
    ]
    seeds = "100" if small else "20000"
    chaos = Job(("-m", "tests.calcom.sync.chaos", "--first", str(first), "--seeds", seeds))
    return [*tests, *simulations, chaos]


def _simulate(first: int, seeds: int, backend: str) -> Job:
    return Job((
        "-m", "slotengine", "simulate",
        "--seed", str(first), "--seeds", str(seeds), "--backend", backend,
    ))  # fmt: skip


class Outcome(NamedTuple):
    """The result of a job."""

    job: Job
    code: int
    printed: str
    took_s: float


def run(job: Job) -> Outcome:
    """Run a job to its end."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, *job.arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"HYPOTHESIS_PROFILE": job.profile},
    )
    return Outcome(job, ended.returncode, ended.stdout, time.monotonic() - began)


def main() -> int:
    """Run all jobs, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=__doc__)
    parser.add_argument("--small", action="store_true", help="fixed seeds, a few minutes")
    parser.add_argument("--first", type=int, help="the first seed; 1000 if small, else random")
    options = parser.parse_args()
    first: int | None = options.first
    if first is None:
        first = 1_000 if options.small else random.SystemRandom().randrange(10**9)
    failed = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as workers:
        running = [workers.submit(run, job) for job in jobs(first, small=options.small)]
        for done in as_completed(running):
            job, code, printed, took_s = done.result()
            failed += code != 0
            print(f"{'failed' if code else 'passed'} in {took_s:.0f} s: {job}", flush=True)
            if code:
                print(printed, flush=True)
    print(f"{len(running) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
