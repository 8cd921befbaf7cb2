"""Commands, and what is recorded of them, are plain values: to compare and to encode."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, get_args

import pytest

from slotengine.core.ledger import (
    changes,
    clients,
    commands,
    config,
    extra,
    policy,
    proposal,
    quota,
    reservation,
)
from slotengine.core.ledger.changes import (
    Annotated,
    Answered,
    BusyImported,
    Cancelled,
    Change,
    ClientDropped,
    Confirmed,
    Expired,
    Extended,
    Forgotten,
    Granted,
    KeyKept,
    LapsesKept,
    Moved,
    Reinstated,
    Released,
    Requested,
    ReservationKept,
    Reserved,
    SessionKept,
    SnapshotBegun,
)
from slotengine.core.ledger.clients import Answer, CommandId, session_id
from slotengine.core.ledger.commands import (
    Adopt,
    Annotate,
    Cancel,
    Choice,
    Command,
    Confirm,
    Extend,
    Forget,
    ImportBusy,
    Mode,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import (
    Configure,
    Configured,
    Document,
    EventTypeConfig,
    HostConfig,
    Kind,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Setting,
)
from slotengine.core.ledger.extra import KEEP, Extra, Series
from slotengine.core.ledger.keys import digest
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Pool, Proposal, StartRule, Wanted
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Demand, Seats, State
from slotengine.core.time.instant import MINUTE
from slotengine.core.time.schedule import FixedWindows
from slotengine.core.time.schedule_text import schedule_text

MODULES = (changes, clients, commands, config, extra, policy, proposal, quota, reservation)
KINDS: dict[str, Any] = {name: kind for one in MODULES for name, kind in vars(one).items()}


def plain(value: object) -> Any:
    """Return a value as JSON has it."""
    match value:
        case Enum():  # before str, which some are, too
            return [type(value).__name__, value.name]
        case None | bool() | int() | str():
            return value
        case bytes():
            return ["bytes", value.hex()]
        case frozenset():
            return ["frozenset", sorted(value)]
        case tuple():
            return [type(value).__name__, *map(plain, value)]
    assert is_dataclass(value)
    return [type(value).__name__, *(plain(getattr(value, one.name)) for one in fields(value))]


def read(value: Any) -> object:
    """Return the value that `plain` was given."""
    if not isinstance(value, list):
        return value
    name, *parts = value
    if name == "bytes":
        return bytes.fromhex(parts[0])
    if name == "frozenset":
        return frozenset(parts[0])
    if name == "tuple":
        return tuple(map(read, parts))
    kind = KINDS[name]
    return kind[parts[0]] if issubclass(kind, Enum) else kind(*map(read, parts))


ID = CommandId(session_id(61_000_007, b"\0\1\2\3\4\5\6\7"), number=7, awaited=5)
RULE = StartRule("talk", 5, 0, 2**62)
CLAIM = Claim("room-1", -5, 20, 2)
FULL = Proposal(
    0, 10, (CLAIM,), 50, "caffè", "talk", Seats(3, 2), "key", digest("reserve", start=0),
    (Pool((Claim("a", 0, 10), Claim("b", 0, 10)), (1, 2)),), (Claim("limit:day", 0, 99),),
    ("b",), frozenset({"room-1", "a", "b"}), Quota(1, 2, 3, 4), Demand.RULES, RULE,
    Extra((("guests", "3"),), "by phone", ("vip",), Series("s", 1)),
)  # fmt: skip
VALUES: list[Command | Change] = [
    Reserve((FULL,), ("a",), client=ID),
    Reserve((FULL, FULL), ("a", "b"), Mode.ALL),
    Reserve((FULL, FULL), ("a",), Mode.ANY, Choice(Policy.WEIGHTED, (1, 2), (0, 9)), "k", b"\x01"),
    Reserve((FULL,), ("a",), wait=7),
    Adopt(FULL, "a", client=ID),
    Move("a", (FULL,), renew=True, choice=Choice(), version=3, jump=True, client=ID),
    Extend("a", 50, version=3, client=ID),
    Confirm("a", True, version=3, enforce=False, rule=RULE, closed=("room-1",), client=ID),
    Release("a", version=3, client=ID),
    Cancel("a", version=3, client=ID),
    Configure(
        (
            Put(Kind.SCHEDULE, "office", schedule_text(FixedWindows([(0, 10)])), version=2),
            Put(Kind.RESOURCE, "room-1", ResourceConfig(3, "office"), version=0),
            Put(Kind.EVENT_TYPE, "talk", EventTypeConfig(30 * MINUTE, (HostConfig("room-1"),))),
            Put(Kind.DOCUMENT, "hook", Document("body", secret="s3cret"), collection="hooks"),
            Retire(Kind.RESOURCE, "room-2"),
            Remove(Kind.LIMIT, "limit:day"),
        ),
        force=True,
        client=ID,
    ),
    Forget(5, ("a", "b"), client=ID),
    ImportBusy("calendar", (("room-1", ((0, 10), (20, 30))),), client=ID),
    Configured(3, 5, 1, (Setting(Kind.RESOURCE, "room-1", ResourceConfig(3), 2),)),
    Replace("a", FULL, "b", version=3, jump=True, client=ID),
    Annotate("a", (("guests", "3"),), KEEP, ("vip",), version=3, client=ID),
    Reserved(
        3, 5, "a", 1, 50, 0, 10, (CLAIM,), Seats(3), "caffè", "talk", "key", b"\x01", Quota(1),
        Demand.HOURS, 7, Extra(tags=("vip",)),
    ),
    Extended(3, 5, "a", 2, 50),
    Moved(3, 5, "a", 2, 50, 0, 10, (CLAIM,), Seats(3), "talk", Demand.HOURS),
    Confirmed(3, 5, "a", 2),
    Reinstated(3, 5, "a", 3),
    Released(3, 5, "a", 2, replaced_by="b"),
    Cancelled(3, 5, "a", 3),
    Expired(3, 5, "a", 2, 4),
    Annotated(3, 5, "a", 2, Extra(tags=("vip",))),
    Forgotten(3, 5, 4, ("a", "b")),
    BusyImported(3, 5, "calendar", (("room-1", ((0, 10), (20, 30))),)),
    Answered(3, 5, ID, (Answer("a", 1), None)),
    ClientDropped(3, 5, ID.session),
    SnapshotBegun(3, 5, 7, 2, -5),
    SessionKept(3, 5, "s", "talk", 0, 10, (CLAIM,), 4),
    ReservationKept(
        3, 5, "a", 2, State.HELD, 50, 0, 10, (CLAIM,), None, "caffè", "talk", 4, 5, Quota(1),
        Demand.HOURS, 7, Extra(tags=("vip",)),
    ),
    KeyKept(3, 5, "key", b"\x01", "a", 4),
    LapsesKept(3, 5, "caffè", 2, 4, 3, 1, ((6, 5),), 2),
    Requested(
        8, 1, "a", 1, FULL.start, FULL.end, FULL.claims, Wanted.of(FULL), FULL.seats, "ada",
        "talk", "k", b"\x01", Demand.RULES, 7, FULL.extra,
    ),
    Granted(9, 1, "a", 2, FULL.claims, FULL.seats),
]  # fmt: skip


def test_every_kind_is_tried() -> None:
    kinds = {*get_args(Command), *get_args(Change)}
    assert {type(value) for value in VALUES} == kinds


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_command_or_record_survives_json(value: object) -> None:
    again = read(json.loads(json.dumps(plain(value))))
    assert again == value
    assert type(again) is type(value)
    assert hash(again) == hash(value)
