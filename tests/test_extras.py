"""What is not installed is told by the part that needs it; the base needs no extra, and no zones.

Each case runs in a process of its own, in which some packages cannot be imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from slotengine import __version__

ROOT: Final = Path(__file__).parents[1]

EXTRAS: Final = {
    "slotengine.calcom.CalComClient": ("calcom", ("aiohttp", "orjson", "tenacity", "yarl")),
    "slotengine.calcom.CalComSync": ("calcom", ("aiohttp", "orjson", "tenacity", "yarl")),
    "slotengine.calcom.RemoteSlot": ("calcom", ("orjson",)),
    "slotengine.calcom.catalog": ("server", ("orjson", "pydantic")),
    "slotengine.calcom.server": ("server", ("aiohttp", "orjson", "pydantic")),
    "slotengine.testing.remote": ("calcom", ("aiohttp", "orjson")),
    "slotengine.testing.strategies": ("testing", ("hypothesis",)),
}
"""The parts that need more than the base install: which extra brings which packages."""

CASES: Final = [
    pytest.param(part, extra, package, id=f"{part} without {package}")
    for part, (extra, packages) in EXTRAS.items()
    for package in packages
]

THIRD_PARTY: Final = (
    "aiohttp", "click", "hypothesis", "orjson", "pydantic",
    "rich", "tenacity", "trio", "yarl",
)  # fmt: skip
"""All that only extras bring."""


def run(
    code: str, *arguments: str, without: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter in which some packages cannot be imported."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({without!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | environment,
    )


def main(
    *arguments: str, without: tuple[str, ...], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command ``slotengine`` in the same way."""
    code = "from slotengine.__main__ import main; main()"
    return run(code, *arguments, without=without, **environment)


@pytest.mark.parametrize(("part", "extra", "package"), CASES)
def test_a_part_says_which_extra_it_needs(part: str, extra: str, package: str) -> None:
    package_of_part, _, name = part.rpartition(".")
    ended = run(f"from {package_of_part} import {name}", without=(package,))
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: {part} needs {package}, which is not installed; "
        f"install it with: pip install 'slotengine[{extra}]'"
    )


def test_a_name_of_the_adapter_says_which_extra_it_needs() -> None:
    ended = run("from slotengine.calcom import CalComClient", without=("tenacity",))
    assert ended.stderr.splitlines()[-1].endswith("pip install 'slotengine[calcom]'")


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("calcom.client.client", "aiohttp"),
        ("calcom.client.client", "yarl"),
        ("calcom.client.retries", "tenacity"),
        ("calcom.client.wire", "orjson"),
        ("calcom.sync.sync", "aiohttp"),
        ("calcom.sync.sync", "tenacity"),
        ("calcom.catalog.load", "pydantic"),
        ("calcom.server.app", "aiohttp"),
        ("calcom.wire", "orjson"),
    ],
)
def test_a_module_of_a_part_says_so_too(module: str, package: str) -> None:
    ended = run(f"import slotengine.{module}", without=(package,))
    told = ended.stderr.splitlines()[-1]
    assert f" needs {package}, which is not installed; install it with: pip install" in told


@pytest.mark.parametrize("part", EXTRAS)
def test_the_extra_brings_all_that_the_part_needs(part: str) -> None:
    extra, packages = EXTRAS[part]
    assert {package.replace("_", "-") for package in packages} <= brought_by(extra)


def brought_by(extra: str) -> set[str]:
    """Return the names of the distributions of an extra, those of other extras within it too."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras: dict[str, Any] = tomllib.load(file)["project"]["optional-dependencies"]
    names: set[str] = set()
    for requirement in extras[extra]:
        name = requirement.partition(";")[0].partition(">")[0].strip()
        if name.startswith("slotengine["):
            for other in name.removeprefix("slotengine[").rstrip("]").split(","):
                names |= brought_by(other)
        else:
            names.add(name.lower())
    return names


def test_the_base_needs_no_extra() -> None:
    ended = run("import slotengine, slotengine.testing, slotengine.calcom", without=THIRD_PARTY)
    assert (ended.returncode, ended.stderr) == (0, "")


# --- The command -----------------------------------------------------------------------


@pytest.mark.parametrize("without", [(), THIRD_PARTY], ids=["with all", "without extras"])
def test_the_version_needs_no_extra(without: tuple[str, ...]) -> None:
    ended = main("--version", without=without)
    assert ended.stdout == f"slotengine, version {__version__}\n"
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("serve",), ("--version", "serve")])
def test_without_click_the_command_says_what_to_install(arguments: tuple[str, ...]) -> None:
    ended = main(*arguments, without=("click",))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "The slotengine command needs click, which is not installed; "
        "install it with: pip install 'slotengine[cli,server]'\n"
    )


def test_the_help_needs_nothing_but_click() -> None:
    ended = main("--help", without=tuple({*THIRD_PARTY} - {"click"}))
    assert (ended.returncode, ended.stderr) == (0, "")
    for command in ("hash-key", "serve", "simulate", "slots"):
        assert f"  {command} " in ended.stdout
    assert "(needs rich, which is not installed)" in " ".join(ended.stdout.split())


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("serve", "aiohttp"), ("serve", "orjson"), ("serve", "pydantic"),
        ("slots", "orjson"), ("slots", "pydantic"), ("slots", "rich"), ("simulate", "rich"),
    ],
)  # fmt: skip
def test_a_command_says_what_to_install(command: str, package: str) -> None:
    ended = main(command, "--catalog", "examples/catalog.toml", without=(package,))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert f"needs {package}, which is not installed" in ended.stderr
    assert "pip install 'slotengine[" in ended.stderr


def test_a_command_works_without_what_others_need() -> None:
    ended = main("simulate", "--seeds", "1", "--steps", "5", without=("aiohttp", "orjson"))
    assert (ended.returncode, ended.stderr) == (0, "")


# --- Time zones ------------------------------------------------------------------------

UTC_ONLY: Final = """
from datetime import UTC, date, datetime
import anyio
from slotengine import EventType, InvalidField, Schedule, SlotEngine, SlotQuery, minutes
from slotengine.testing import SimClock

async def main():
    monday = datetime(2030, 1, 7, 8, 30, 17, tzinfo=UTC)
    async with SlotEngine(clock=SimClock(monday)) as engine:
        engine.add_resource("room", schedule=Schedule.weekly_hours(ZONE, "mon-fri 09:00-10:00"))
        engine.add_event_type(EventType(id="visit", length=minutes(30), all_of=["room"]))
        query = SlotQuery("visit", monday, monday.replace(day=8), zone=ZONE)
        first, second = await engine.slots(query)
        hold = await engine.reserve_slot("visit", first.start)
        print(hold.start.isoformat(), (await engine.confirm(hold.uid)).state.value)

anyio.run(main)
"""

NO_ZONES: Final = ("tzdata",)


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "Zulu"])
def test_utc_needs_no_time_zone_data(zone: str) -> None:
    ended = run(f"ZONE = {zone!r}\n{UTC_ONLY}", without=NO_ZONES, PYTHONTZPATH="")
    assert ended.stderr == ""
    assert ended.stdout == "2030-01-07T09:00:00+00:00 confirmed\n"


@pytest.mark.parametrize(
    "code",
    [
        "Schedule.weekly_hours('Europe/Rome', 'mon-fri 09:00-17:00')",
        "EventType(id='visit', length=minutes(30), all_of=['room'], zone='Europe/Rome')",
    ],
)
def test_a_zone_without_data_says_what_to_install(code: str) -> None:
    code = (
        "from slotengine import EventType, InvalidField, Schedule, minutes\n"
        f"try: {code}\nexcept InvalidField as error: print(error)"
    )
    ended = run(code, without=NO_ZONES, PYTHONTZPATH="")
    assert ended.stdout == (
        "zone cannot be looked up: 'Europe/Rome'; "
        "this system has no time zone data; install it, or the package tzdata\n"
    )


def test_the_package_of_zones_does_where_the_system_has_none() -> None:
    code = UTC_ONLY.replace("17, tzinfo=UTC", "17, tzinfo=ZoneInfo(ZONE)")
    ended = run(f"from zoneinfo import ZoneInfo\nZONE = 'Europe/Rome'\n{code}", PYTHONTZPATH="")
    assert ended.stderr == ""
    assert ended.stdout == "2030-01-07T08:00:00+00:00 confirmed\n"


def test_slots_in_utc_are_printed_without_time_zone_data(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps(CATALOG))
    arguments = ["slots", "--catalog", str(catalog), "--event-type", "call", "--now", "2030-01-07"]
    ended = main(*arguments, without=NO_ZONES, PYTHONTZPATH="")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "09:00  09:30" in ended.stdout


CATALOG: Final = {
    "schedules": [{"id": 1, "name": "Office", "timeZone": "UTC"}],
    "users": [{"id": 1, "username": "ann", "defaultScheduleId": 1}],
    "eventTypes": [{"id": 1, "slug": "call", "ownerId": 1, "lengthInMinutes": 30}],
}
