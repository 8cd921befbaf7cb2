"""What `slotengine` offers: complete, documented, and free of what was not asked for."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import slotengine
import slotengine.errors
import slotengine.testing
import slotengine.testing.remote
from slotengine import (
    AlreadyOver,
    BadCalendar,
    CursorExpired,
    EngineClosed,
    EngineMisused,
    HoldExpired,
    InTheWay,
    InvalidField,
    InvalidRequest,
    InvalidTTL,
    KeyReused,
    KeySpent,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    Obstruction,
    OutsideHours,
    QuotaExceeded,
    Refused,
    ReplayError,
    Retired,
    SessionExpired,
    SettingInUse,
    SlotAwaited,
    SlotError,
    SlotTaken,
    StaleSetting,
    StaleVersion,
    StillTaken,
    TooManyUnits,
    TooManyWaiting,
    TooSoon,
    UnknownEventType,
    UnknownReservation,
    UnknownResource,
    UnknownSetting,
    WrongState,
    minutes,
)

ROOT = Path(slotengine.__file__).parent
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
END = datetime(2030, 1, 7, 10, tzinfo=UTC)

PUBLIC = [slotengine, slotengine.testing, slotengine.testing.remote]


# --- Names -----------------------------------------------------------------------------


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_all_is_what_is_public(module: ModuleType) -> None:
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert set(module.__all__) == public
    assert len(module.__all__) == len(set(module.__all__))


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(slotengine.errors).items()
        if inspect.isclass(value) and value.__module__ == "slotengine.errors"
    }
    assert errors <= set(slotengine.__all__)


NAMES = [(module, name) for module in PUBLIC for name in module.__all__]


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=[f"{module.__name__}.{name}" for module, name in NAMES]
)
def test_everything_public_is_documented(module: ModuleType, name: str) -> None:
    value = getattr(module, name)
    assert value.__doc__
    if not inspect.isclass(value):
        return
    # What a dataclass or a named tuple writes by itself is no documentation.
    assert not value.__doc__.startswith(f"{name}(")
    for member, thing in vars(value).items():
        if member.startswith("_") or not (callable(thing) or isinstance(thing, property)):
            continue
        assert inspect.getdoc(thing), f"{name}.{member} has no docstring"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_map_names_every_part() -> None:
    parts = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert slotengine.__doc__ is not None
    assert {part for part in parts if f"``slotengine.{part}``" not in slotengine.__doc__} == set()


def test_the_version_is_given_and_types_are_shipped() -> None:
    assert slotengine.__version__.count(".") == 2
    assert files(slotengine).joinpath("py.typed").is_file()


# --- What is imported --------------------------------------------------------------------

BASE_ONLY = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {extras!r}:
            raise AssertionError("imported " + name)

sys.meta_path.insert(0, Forbidden())
import slotengine, slotengine.testing
from slotengine import *
"""

EXTRAS = {
    "aiohttp", "asyncpg", "click", "coredis", "dateutil", "hypothesis", "icalendar", "mypy",
    "orjson", "psycopg", "pydantic", "pytest", "recurring_ical_events", "redis", "rich", "tenacity",
    "trio", "tzdata", "uvloop", "valkey", "yarl",
}  # fmt: skip


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter that finds this slotengine."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_base_needs_no_extra() -> None:
    done = run(BASE_ONLY.format(extras=EXTRAS))
    assert done.returncode == 0, done.stderr


def test_the_test_above_would_notice() -> None:
    done = run(BASE_ONLY.format(extras={"sortedcontainers"}))
    assert "imported sortedcontainers" in done.stderr


# --- Errors ------------------------------------------------------------------------------

WAY = InTheWay(START, END, 2, booked=True)
TAKEN = Obstruction(START, END, (WAY,), None)
HELD = Obstruction(START, END, (WAY._replace(booked=False),), END)

ERRORS: list[tuple[SlotError, dict[str, Any]]] = [
    (SlotError("a", 1), {}),
    (Refused("a"), {}),
    (InvalidRequest("a"), {}),
    (EngineClosed(), {}),
    (EngineClosed("it has crashed"), {"problem": "it has crashed"}),
    (EngineMisused("not from here"), {"problem": "not from here"}),
    (
        SlotTaken("room", TAKEN),
        {"resource": "room", "start": START, "end": END, "in_the_way": (WAY,), "retry_at": None},
    ),
    (SlotTaken("room", lambda: HELD), {"resource": "room", "obstruction": HELD, "retry_at": END}),
    (SlotAwaited("room", HELD), {"resource": "room", "retry_at": END}),
    (TooManyWaiting(5), {"limit": 5}),
    (
        QuotaExceeded("time", minutes(60), minutes(30), END),
        {"quota": "time", "limit": minutes(60), "used": minutes(30), "retry_at": END},
    ),
    (
        QuotaExceeded("holds", 2, 2, None),
        {"quota": "holds", "limit": 2, "used": 2, "retry_at": None},
    ),
    (NoSeatsLeft("room", HELD), {"resource": "room", "retry_at": END}),
    (OutsideHours("room", START, END), {"resource": "room", "start": START, "end": END}),
    (UnknownReservation("uid"), {"uid": "uid"}),
    (WrongState("uid", "held", "cancel"), {"uid": "uid", "state": "held", "verb": "cancel"}),
    (HoldExpired("uid", "expired", "extend"), {"uid": "uid", "state": "expired", "verb": "extend"}),
    (StaleVersion("uid", 1, 2), {"uid": "uid", "expected": 1, "actual": 2}),
    (KeySpent("k", "uid"), {"key": "k", "uid": "uid"}),
    (SessionExpired(b"session"), {"session": b"session"}),
    (LifeExceeded("uid", END), {"uid": "uid", "latest": END}),
    (
        LimitReached("limit:day count:talk", HELD),
        {"resource": "limit:day count:talk", "start": START, "retry_at": END},
    ),
    (LimitReached("limit:day count:talk", TAKEN), {"retry_at": None}),
    (AlreadyOver(END), {"end": END}),
    (TooSoon("talk", END), {"event_type": "talk", "earliest": END}),
    (NotBookable("talk", START, END), {"event_type": "talk", "first": START, "end": END}),
    (UnknownEventType("talk"), {"event_type": "talk"}),
    (UnknownSetting("schedule", "office"), {"kind": "schedule", "id": "office"}),
    (Retired("resource", "room"), {"kind": "resource", "id": "room"}),
    (
        StaleSetting("resource", "room", 1, 2),
        {"kind": "resource", "id": "room", "expected": 1, "actual": 2},
    ),
    (
        SettingInUse("schedule", "office", (("resource", "room"),), 1),
        {"kind": "schedule", "id": "office", "by": (("resource", "room"),), "count": 1},
    ),
    (
        StillTaken("resource", "room", 1, 2, (WAY,), 1),
        {"kind": "resource", "id": "room", "units": 1, "most": 2, "spans": (WAY,), "count": 1},
    ),
    (UnknownResource("room"), {"resource": "room"}),
    (TooManyUnits("room", 3, 2), {"resource": "room", "wanted": 3, "capacity": 2}),
    (
        InvalidTTL(timedelta(), minutes(1), minutes(2)),
        {"ttl": timedelta(), "shortest": minutes(1), "longest": minutes(2)},
    ),
    (KeyReused("k"), {"key": "k"}),
    (InvalidField("start", "is bad"), {"field": "start", "problem": "is bad"}),
    (CursorExpired(), {}),
    (ReplayError(7, "it is missing"), {"seq": 7, "problem": "it is missing"}),
    (BadCalendar("it is cut short"), {"problem": "it is cut short"}),
    (NoneFree((OutsideHours("room", START, END),)), {"retry_at": None}),
]


def test_every_error_is_tried() -> None:
    classes = {
        value
        for name in slotengine.__all__
        if inspect.isclass(value := getattr(slotengine, name)) and issubclass(value, Exception)
    }
    assert {type(error) for error, _ in ERRORS} == classes


@pytest.mark.parametrize(("error", "facts"), ERRORS, ids=[type(e).__name__ for e, _ in ERRORS])
def test_an_error_keeps_its_facts_on_a_journey(error: SlotError, facts: dict[str, Any]) -> None:
    journeys = [pickle.loads(pickle.dumps(error, level)) for level in range(6)]
    for arrived in (error, *journeys, copy.copy(error)):
        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert {name: getattr(arrived, name) for name in facts} == facts
    if facts and not isinstance(error, SlotTaken | NoneFree):
        assert error.args == tuple(facts.values())


def test_refusals_in_a_refusal_keep_their_facts() -> None:
    refusals = (
        SlotTaken("a", lambda: HELD),
        NoSeatsLeft("b", TAKEN),
        OutsideHours("c", START, END),
    )
    arrived = pickle.loads(pickle.dumps(NoneFree(refusals)))
    assert [str(one) for one in arrived.refusals] == [str(one) for one in refusals]
    assert arrived.retry_at == END
    assert str(arrived) == "none of the 3 candidates is free"


def test_the_details_of_a_refusal_are_found_once_and_when_read() -> None:
    asked: list[int] = []

    def find() -> Obstruction:
        asked.append(1)
        return HELD

    refusal = SlotTaken("room", find)
    assert asked == []
    assert refusal.retry_at == refusal.end == END
    assert str(refusal).endswith(f"held, try again at {END.isoformat()}")
    assert asked == [1]


@pytest.mark.parametrize(
    ("error", "family"),
    [(LookupError, UnknownReservation), (ValueError, InvalidRequest), (Refused, WrongState)],
)
def test_the_tree_of_errors(error: type[Exception], family: type[SlotError]) -> None:
    assert issubclass(family, error)
    branches = {Refused, InvalidRequest, EngineClosed, EngineMisused}
    leaves = [type(one) for one, _ in ERRORS if type(one) not in {SlotError, *branches}]
    assert all(sum(issubclass(leaf, branch) for branch in branches) == 1 for leaf in leaves)
