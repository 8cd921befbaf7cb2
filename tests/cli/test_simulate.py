"""The command ``slotengine simulate``: what it prints, and how it ends."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slotengine.cli import cli
from slotengine.testing.simulation.faults import FAULTS

ROOT = Path(__file__).parents[2]


def run(*options: str) -> Result:
    return CliRunner().invoke(cli, ["simulate", *options])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nothing_found_is_said_so(backend: str) -> None:
    done = run("--seeds", "3", "--steps", "40", "--backend", backend)
    assert (done.exit_code, done.output) == (
        0, "no failure in 3 seeds of 40 steps, from seed 0\n",
    )  # fmt: skip


def test_a_single_seed_is_played_alone() -> None:
    done = run("--seed", "12", "--steps", "40")
    assert done.output == "no failure in 1 seeds of 40 steps, from seed 12\n"
    done = run("--seed", "12", "--seeds", "2", "--steps", "40")
    assert done.output == "no failure in 2 seeds of 40 steps, from seed 12\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_fault_is_found_and_can_be_had_again(backend: str) -> None:
    done = run("--seeds", "100", "--fault", "in-its-own-way", "--backend", backend)
    assert done.exit_code == 1
    *story, verdict, again = done.output.splitlines()
    assert "fails" in verdict
    assert "of 100 steps: answer: move" in verdict
    command = shlex.split(again.removeprefix("to reproduce: "))
    assert command[:2] == ["slotengine", "simulate"]
    replayed = run(*command[2:])
    assert replayed.exit_code == 1
    assert replayed.output.splitlines()[:-1] == story
    whole = {command[i]: command[i + 1] for i in range(2, len(command), 2)}
    sound = run("--seed", whole["--seed"], "--only", whole["--only"])
    assert sound.exit_code == 0  # without the fault there is nothing to find
    assert sound.output.startswith(story[0])


def test_a_failure_that_takes_no_steps_can_be_had_again() -> None:
    done = run("--seed", "1", "--fault", "never-forgets")
    assert "--seed 1 --steps 100 --only none --fault never-forgets" in done.output
    assert run("--only", "none", "--fault", "never-forgets").exit_code == 1
    assert run("--only", "none").output == "no failure in 0 of 100 steps of seed 0\n"


@pytest.mark.parametrize(("options", "told"), [
    ("--only 3,3", "must be in ascending order, without repeats"),
    ("--only 5,2", "must be in ascending order, without repeats"),
    ("--only 3,", "is not a list of steps"),
    ("--only 100", "the steps are 0 to 99"),
    ("--only 1 --seeds 5", "--only selects steps of one --seed"),
    ("--fault nosuch", "choose one of: until-off-by-one"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(options: str, told: str) -> None:
    done = run(*options.split())
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


def test_the_page_about_testing_shows_what_is_printed() -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    shown = page.partition("$ slotengine simulate --seeds 100 --fault in-its-own-way\n")[2]
    assert run("--seeds", "100", "--fault", "in-its-own-way").output == shown.partition("```")[0]


def test_it_is_a_command_of_its_own_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slotengine", "simulate", "--seeds", "2", "--steps", "20"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")  # no progress where nobody looks
    assert done.stdout == "no failure in 2 seeds of 20 steps, from seed 0\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fault", "no-such"], ", ".join(FAULTS)),
        (["--only", "1,x"], "'1,x' is not a list of steps"),
        (["--only", "100"], "the steps are 0 to 99"),
        (["--only", "-1"], "the steps are 0 to 99"),
        (["--backend", "twisted"], "'asyncio', 'trio'"),
        (["--seeds", "0"], "0 is not in the range"),
    ],
)
def test_wrong_options_are_refused(options: list[str], told: str) -> None:
    done = run(*options)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
