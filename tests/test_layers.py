"""Lower layers never import higher ones, and the core knows no clock, chance or I/O.

Every import of every file is read from its source and held against `LAYERS`,
also those for type checkers alone: a name that is needed to understand a file
is a dependency, whether or not it is there when the file runs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import slotengine

ROOT: Final = Path(slotengine.__file__).parent


class Layer(NamedTuple):
    """What the files of a layer may import, beside the standard library and the layer itself."""

    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()


SERVED: Final = ("slotengine.engine", "slotengine.core", "slotengine.errors")
PURE: Final = ("slotengine.core", "slotengine.errors")
EXTRAS: Final = "slotengine.extras"
CATALOG: Final = "slotengine.calcom.catalog"
CLIENT: Final = "slotengine.calcom.client"
SERVER: Final = "slotengine.calcom.server"
SYNC: Final = "slotengine.calcom.sync"
TESTING: Final = "slotengine.testing"
DECLARED: Final = (f"{SERVER}.models", f"{SERVER}.reservations_wire", f"{SERVER}.slots_wire")

# These wait with the engine's clock.
SYNC_WAITING: Final = Layer((CLIENT, SYNC, *SERVED), ("anyio",))

# The command may use everything; nothing else imports it.
COMMAND: Final = Layer(
    (
        "slotengine",
        "slotengine.cli",
        "slotengine.calcom",
        "slotengine.backends",
        "slotengine.testing",
        *SERVED,
    ),
    ("anyio", "click", "rich"),
)

# The longest name that a module begins with decides.  "slotengine" is that one module only.
LAYERS: Final[dict[str, Layer]] = {
    "slotengine.errors": Layer(),
    EXTRAS: Layer(),
    "slotengine.core": Layer(),
    "slotengine.core.time": Layer(("slotengine.errors",)),
    "slotengine.core.ledger": Layer(
        ("slotengine.core.time", "slotengine.errors"), ("sortedcontainers",)
    ),
    "slotengine.core.offer": Layer(
        ("slotengine.core.time", "slotengine.core.ledger", "slotengine.errors")
    ),
    "slotengine.backends": Layer(PURE, ("anyio",)),
    "slotengine.engine": Layer((*PURE, "slotengine.backends.protocol"), ("anyio",)),
    # A task of its own, which anyio has no public way to start.
    "slotengine.engine.background": Layer(("slotengine.errors",), ("anyio", "trio")),
    "slotengine.ical": Layer(PURE),
    "slotengine.calcom": Layer((EXTRAS, *SERVED), ("orjson",)),
    "slotengine.calcom.wire": Layer((*PURE, EXTRAS), ("orjson",)),
    # A catalog is written by hand: pydantic tells what is wrong with it, all at once.
    CATALOG: Layer(("slotengine.calcom.wire", CATALOG, EXTRAS, *SERVED), ("pydantic",)),
    f"{CATALOG}.calendar_files": Layer(("slotengine.ical", "slotengine.errors")),
    f"{CATALOG}.directory": Layer(),
    f"{CATALOG}.rate_limits": Layer(PURE),
    f"{CATALOG}.secrets": Layer(),
    SERVER: Layer((CATALOG, SERVER, "slotengine.calcom.wire", EXTRAS, *SERVED), ("orjson",)),
    # What is declared of a request or an answer, pydantic validates, and tells in OpenAPI.
    f"{SERVER}.models": Layer(("slotengine.calcom.wire",), ("pydantic",)),
    # One file knows the web framework.
    f"{SERVER}.app": Layer(
        (CATALOG, SERVER, "slotengine.calcom.wire", *SERVED), ("aiohttp", "orjson")
    ),
    f"{SERVER}.bodies": Layer((f"{SERVER}.messages", "slotengine.calcom.wire")),
    # Names of headers that a multidict, as which aiohttp has them, finds faster.
    f"{SERVER}.messages": Layer((), ("multidict",)),
    f"{SERVER}.openapi": Layer((*DECLARED, "slotengine.calcom.wire"), ("pydantic",)),
    f"{SERVER}.reservations_wire": Layer(
        (f"{SERVER}.models", "slotengine.calcom.wire", "slotengine.core.time"),
        ("orjson", "pydantic"),
    ),
    f"{SERVER}.search_size": Layer(PURE),
    f"{SERVER}.slots": Layer(
        (CATALOG, SERVER, "slotengine.calcom.wire", *SERVED), ("anyio", "orjson")
    ),
    f"{SERVER}.slots_wire": Layer(
        (f"{SERVER}.models", "slotengine.calcom.wire", *PURE), ("pydantic",)
    ),
    f"{CLIENT}.circuit_breaker": Layer(),
    f"{CLIENT}.client": Layer(
        (CLIENT, "slotengine.calcom.wire", "slotengine.errors", EXTRAS), ("aiohttp",)
    ),
    f"{CLIENT}.credentials": Layer(("slotengine.errors",)),
    f"{CLIENT}.errors": Layer(("slotengine.errors",)),
    f"{CLIENT}.rate_limiter": Layer(),
    f"{CLIENT}.responses": Layer((f"{CLIENT}.errors", f"{CLIENT}.wire")),
    f"{CLIENT}.retries": Layer((f"{CLIENT}.errors", EXTRAS), ("tenacity",)),
    f"{CLIENT}.transport": Layer(
        (f"{CLIENT}.responses", "slotengine.errors", EXTRAS), ("aiohttp", "yarl")
    ),
    f"{CLIENT}.wire": Layer(("slotengine.calcom.wire", "slotengine.errors", EXTRAS), ("orjson",)),
    CLIENT: Layer(("slotengine.errors",)),
    SYNC: Layer((CLIENT, *SERVED)),
    f"{SYNC}.clock_skew": Layer(PURE),
    f"{SYNC}.confirm": SYNC_WAITING,
    f"{SYNC}.errors": Layer(("slotengine.errors",)),
    f"{SYNC}.inbound": SYNC_WAITING,
    f"{SYNC}.orphans": Layer((f"{SYNC}.clock_skew", f"{SYNC}.remote_span", *PURE)),
    f"{SYNC}.outbound": SYNC_WAITING,
    f"{SYNC}.next_step": Layer((f"{SYNC}.remote_span", f"{SYNC}.remote_state", *PURE)),
    f"{SYNC}.remote_busy": Layer(PURE),
    f"{SYNC}.remote_span": Layer(PURE),
    f"{SYNC}.remote_state": Layer(),
    f"{SYNC}.values": Layer((f"{SYNC}.remote_state", *SERVED)),
    f"{SYNC}.work_queue": SYNC_WAITING,
    "slotengine.testing": Layer(),
    f"{TESTING}.clock": Layer(PURE, ("anyio",)),
    f"{TESTING}.watch": Layer(SERVED),
    f"{TESTING}.histories": Layer(),
    f"{TESTING}.linearizability": Layer((f"{TESTING}.histories",)),
    # What only the simulator and our own tests need: nothing else for users imports it.
    f"{TESTING}.internal": Layer((f"{TESTING}.histories", *SERVED)),
    f"{TESTING}.internal.strategies": Layer(
        (
            f"{TESTING}.internal.keyed",
            f"{TESTING}.internal.actions",
            f"{TESTING}.strategies",
            EXTRAS,
            *PURE,
        ),
        ("hypothesis",),
    ),
    f"{TESTING}.simulation": Layer(
        (f"{TESTING}.clock", f"{TESTING}.watch", f"{TESTING}.internal", *SERVED), ("anyio",)
    ),
    "slotengine.testing.remote": Layer(("slotengine.calcom", EXTRAS, *SERVED), ("anyio", "orjson")),
    "slotengine.testing.remote.listener": Layer(
        ("slotengine.testing.remote", *SERVED), ("aiohttp",)
    ),
    "slotengine.testing.remote.server": Layer(
        ("slotengine.testing.remote", "slotengine.calcom", *SERVED), ("aiohttp", "orjson")
    ),
    f"{TESTING}.strategies": Layer((EXTRAS, *SERVED), ("hypothesis",)),
    # The public names, which nothing inside slotengine imports but the command.
    "slotengine": Layer(SERVED),
    "slotengine.__main__": Layer(("slotengine.cli", "slotengine")),
    "slotengine.cli": COMMAND,
}

# The core is synchronous and deterministic: time, ids and chance are arguments.
NOT_IN_CORE: Final = frozenset({
    "anyio", "asyncio", "calendar", "concurrent", "contextvars", "ctypes", "fcntl", "getpass",
    "glob", "http", "importlib", "io", "locale", "logging", "mmap", "multiprocessing", "os",
    "pathlib", "platform", "queue", "random", "sched", "secrets", "select", "selectors", "shelve",
    "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading",
    "time", "urllib", "uuid", "weakref",
})  # fmt: skip
ONLY_IN: Final = {"zoneinfo": "slotengine.core.time.zone"}
CALLS_NOT_IN_CORE: Final = frozenset({
    "breakpoint", "exec", "eval", "fromtimestamp", "id", "input", "monotonic", "monotonic_ns",
    "now", "open", "perf_counter", "print", "time", "time_ns", "today", "token_hex", "urandom",
    "utcfromtimestamp", "utcnow", "uuid1", "uuid4",
})  # fmt: skip
# A partitioned timeline tells owners apart, who need not be hashable; it sorts by start.
# A search tells lists apart that many hosts share; their order is that of the hosts.
# Schedules are kept by their text, and one that is kept is told by which object it is.
CALLS_ALLOWED: Final = {
    ("slotengine.core.ledger.timeline", "id"),
    ("slotengine.core.ledger.expiry", "id"),
    ("slotengine.core.offer.availability", "id"),
    ("slotengine.core.time.schedule_text", "id"),
}


class Import(NamedTuple):
    """A module that a file imports, or a name from one."""

    module: str
    line: int


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, known: frozenset[str]) -> Iterator[Import]:
    """Yield every import, wherever it stands; ``from package import module`` is of the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if inner in known else node.module, node.lineno)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer_of(module: str) -> str:
    """Return which row of the table a module is in, or the module itself if it is in none."""
    rows = [row for row in LAYERS if is_in(module, row) and row != "slotengine"]
    return max(rows, key=len, default=module)


def violations(module: str, source: str, known: frozenset[str]) -> list[str]:
    """Return what is wrong with the imports, and in the core the calls, of one file."""
    tree = ast.parse(source)
    row = layer_of(module)
    if row not in LAYERS:
        return [f"{module} is in no layer: give it a row of the table"]
    layer = LAYERS[row]
    wrong = []
    for name, line in imports(tree, known):
        top = name.partition(".")[0]
        if name == "slotengine":
            allowed = name in layer.ours
        elif top == "slotengine":
            allowed = any(is_in(name, one) for one in {row, *layer.ours} - {"slotengine"})
        else:
            allowed = top in layer.theirs or top in sys.stdlib_module_names
            if is_in(module, "slotengine.core"):
                allowed &= top not in NOT_IN_CORE and ONLY_IN.get(top, module) == module
        if not allowed:
            wrong.append(f"{module}, line {line}: must not import {name}")
    if is_in(module, "slotengine.core"):
        wrong += calls_not_in_core(module, tree)
    return wrong


def calls_not_in_core(module: str, tree: ast.AST) -> Iterator[str]:
    """Yield each call, or mere mention as an attribute, of what reads a clock or makes chance."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # `datetime.now` without a call is a clock handed on; `self.now` is an argument kept.
            if node.value.id not in {"datetime", "date", "time", "os", "uuid", "random", "secrets"}:
                continue
            name = node.attr
        else:
            continue
        if name in CALLS_NOT_IN_CORE and (module, name) not in CALLS_ALLOWED:
            yield f"{module}, line {node.lineno}: must not call {name}"


FILES: Final = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}
KNOWN: Final = frozenset(FILES)


@pytest.mark.parametrize("module", FILES)
def test_a_module_keeps_to_its_layer(module: str) -> None:
    assert violations(module, FILES[module].read_text(), KNOWN) == []


def test_the_server_of_calcom_needs_neither_the_client_nor_the_sync() -> None:
    for module, path in FILES.items():
        if is_in(module, "slotengine.calcom") and module != "slotengine.calcom":
            found = {one.module for one in imports(ast.parse(path.read_text()), KNOWN)}
            needed = [room for room in (CLIENT, SYNC) if any(is_in(one, room) for one in found)]
            assert not needed or is_in(module, CLIENT) or is_in(module, SYNC), module


# Two files of these name each other's types, in imports for type checkers alone.
CIRCLES_FOR_TYPE_CHECKERS: Final = ("slotengine.core.ledger.reservation",)


def test_nothing_imports_in_a_circle() -> None:
    ahead: dict[str, set[str]] = {}
    for module, path in FILES.items():
        tree = ast.parse(path.read_text())
        if any(is_in(module, one) for one in CIRCLES_FOR_TYPE_CHECKERS):
            for node in ast.walk(tree):
                if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                    node.body.clear()
        ahead[module] = {found.module for found in imports(tree, KNOWN)} & KNOWN - {"slotengine"}
    done: set[str] = set()
    while len(done) < len(ahead):
        ready = {module for module, needs in ahead.items() if module not in done and needs <= done}
        assert ready, f"in a circle: {sorted(ahead.keys() - done)}"
        done |= ready


WRONG: Final = {
    "a higher layer": ("core.ledger.ledger", "from slotengine.engine.engine import SlotEngine"),
    "a higher layer, whole": ("core.ledger.ledger", "import slotengine.engine.engine"),
    "a higher layer, by its package": (
        "core.ledger.ledger",
        "from slotengine.engine import engine",
    ),
    "the public names": ("engine.engine", "from slotengine import SlotTaken"),
    "the public names, in the core": ("core.ledger.ledger", "import slotengine"),
    "for a type checker": (
        "core.ledger.ledger",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import slotengine.engine.events",
    ),
    "inside a function": ("errors", "def f():\n    from slotengine.core import ledger"),
    "a clock": ("core.ledger.ledger", "import time"),
    "chance": ("core.ledger.proposal", "from random import Random"),
    "the system": ("core.ledger.ledger", "import os.path"),
    "threads": ("core.ledger.ledger", "import threading"),
    "a loop": ("core.ledger.ledger", "import asyncio"),
    "anyio in the core": ("core.ledger.ledger", "import anyio"),
    "time zones outside their own file": ("core.ledger.ledger", "from zoneinfo import ZoneInfo"),
    "a loop's own library": ("engine.engine", "import trio"),
    "the engine in the calendar's reader": (
        "ical",
        "from slotengine.engine.engine import SlotEngine",
    ),
    "an extra": ("engine.engine", "import aiohttp"),
    "sorted lists outside the core": ("engine.engine", "import sortedcontainers"),
    "the engine in the wire": ("calcom.wire", "from slotengine.engine.values import Request"),
    "the wire in the engine": ("engine.engine", "import slotengine.calcom.wire"),
    "the server in the wire": ("calcom.wire", "from slotengine.calcom.server import serve"),
    "sockets in the client's wire": ("calcom.client.wire", "import aiohttp"),
    "the server in the client's errors": (
        "calcom.client.errors",
        "import slotengine.calcom.server",
    ),
    "the sync in the client": ("calcom.client.client", "import slotengine.calcom.sync.values"),
    "the server in the client": ("calcom.client.client", "import slotengine.calcom.server"),
    "the engine in the client": ("calcom.client.client", "import slotengine.engine.engine"),
    "the server in the sync": ("calcom.sync.sync", "import slotengine.calcom.server"),
    "the client in the sync's decisions": (
        "calcom.sync.next_step",
        "import slotengine.calcom.client.errors",
    ),
    "the sync in the busy time it learns": (
        "calcom.sync.remote_busy",
        "import slotengine.calcom.sync.values",
    ),
    "sockets in the wire": ("calcom.wire", "import aiohttp"),
    "a web framework in what is served": ("calcom.server.service", "from aiohttp import web"),
    "a web framework in an endpoint": ("calcom.server.reservations", "import aiohttp.web"),
    "the server in the catalog": ("calcom.catalog.load", "import slotengine.calcom.server.auth"),
    "the catalog in the wire": (
        "calcom.server.slots_wire",
        "import slotengine.calcom.catalog.catalog",
    ),
    "a driver in the engine": ("engine.engine", "import slotengine.backends.valkey"),
    "hypothesis in a clock": ("testing.clock", "import hypothesis"),
    "the command": ("calcom.server.app", "from slotengine.cli import cli"),
    "tests": ("engine.engine", "from slotengine.testing import SimClock"),
    "no layer": ("news", ""),
    "now": ("core.ledger.ledger", "from datetime import datetime\ndatetime.now()"),
    "today": ("core.time.schedule", "from datetime import date\ntoday = date.today"),
    "utcnow": ("core.ledger.ledger", "from datetime import datetime\ndatetime.utcnow()"),
    "identity": ("core.ledger.ledger", "sorted([], key=lambda one: id(one))"),
    "a file": ("core.time.schedule", "open('/etc/localtime')"),
    "output": ("core.ledger.ledger", "print('hello')"),
}

RIGHT: Final = {
    "the standard library": ("core.ledger.ledger", "from bisect import bisect\nimport datetime"),
    "time zones": ("core.time.zone", "from zoneinfo import ZoneInfo"),
    "errors": ("core.ledger.ledger", "from slotengine.errors import Refused"),
    "its own layer": ("core.ledger.ledger", "from slotengine.core.ledger.timeline import Taken"),
    "lower layers": ("engine.engine", "from slotengine.core import ledger\nimport anyio, os, time"),
    "the seam": ("engine.engine", "import slotengine.backends.protocol"),
    "the wire": ("calcom.server.app", "from slotengine.calcom.wire import stamp"),
    "the engine": ("calcom.server.app", "from slotengine.engine.engine import SlotEngine"),
    "anything": ("cli", "import slotengine, click\nfrom slotengine.calcom.server import serve"),
    "an argument": ("core.ledger.occupancy", "def f(self): return self.now()"),
}


def cases(table: dict[str, tuple[str, str]]) -> list[object]:
    return [pytest.param(f"slotengine.{m}", source, id=name) for name, (m, source) in table.items()]


@pytest.mark.parametrize(("module", "source"), cases(WRONG))
def test_a_violation_is_caught(module: str, source: str) -> None:
    known = KNOWN | {"slotengine.engine.engine", "slotengine.core.ledger.ledger"}
    assert len(violations(module, source, known)) == 1


@pytest.mark.parametrize(("module", "source"), cases(RIGHT))
def test_what_is_allowed_is_not_caught(module: str, source: str) -> None:
    assert violations(module, source, KNOWN) == []


def test_relative_imports_are_caught() -> None:
    with pytest.raises(AssertionError, match="absolute"):
        violations("slotengine.core.ledger.ledger", "from . import timeline", KNOWN)


# --- Dependencies ------------------------------------------------------------------------

OF_NAMED_TUPLES: Final = frozenset({"_asdict", "_fields", "_make", "_replace"})


def private_uses(module: str, source: str) -> list[str]:
    """Return where a file that imports a package of others uses anything private of an object.

    What begins with an underscore is not promised to be there in the next release.
    Our own is what the file itself defines, and what all named tuples have.
    """
    tree = ast.parse(source)
    tops = {found.module.partition(".")[0] for found in imports(tree, frozenset())}
    if not tops - sys.stdlib_module_names - {"slotengine", "__future__"}:
        return []
    ours = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    ours |= {
        one.attr
        for one in ast.walk(tree)
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
        if isinstance(one.value, ast.Name) and one.value.id == "self"
    }
    wrong = [
        f"{module}, line {found.line}: must not import {found.module}"
        for found in imports(tree, frozenset())
        if any(part.startswith("_") for part in found.module.split(".")) and found.module[0] != "_"
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module not in {None, "__future__"}:
            top = str(node.module).partition(".")[0]
            if top not in sys.stdlib_module_names and top != "slotengine":
                names = [alias.name for alias in node.names if alias.name.startswith("_")]
                wrong += [f"{module}, line {node.lineno}: must not import {name}" for name in names]
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            known = node.attr.startswith("__") or node.attr in OF_NAMED_TUPLES | ours
            if not own and not known:
                wrong.append(f"{module}, line {node.lineno}: must not use {node.attr}")
    return wrong


@pytest.mark.parametrize("module", FILES)
def test_nothing_private_of_a_dependency_is_used(module: str) -> None:
    assert private_uses(module, FILES[module].read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from aiohttp import web\ndef f(request): return request._message",
        "import aiohttp\ndef f(self): self.protocol._parser = None",
        "from aiohttp._http_parser import HttpRequestParser",
        "from aiohttp.web import _x",
        "import anyio._backends",
    ],
)
def test_what_is_private_is_caught(source: str) -> None:
    assert private_uses("slotengine.calcom.server.app", source)


def test_one_file_of_the_server_knows_aiohttp() -> None:
    knows = {
        module
        for module, path in FILES.items()
        if is_in(module, "slotengine.calcom")
        and any(
            found.module.startswith("aiohttp")
            for found in imports(ast.parse(path.read_text()), KNOWN)
        )
    }
    assert knows - {one for one in knows if is_in(one, "slotengine.calcom.client")} == {
        "slotengine.calcom.server.app"
    }
