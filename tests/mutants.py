"""Mutants: small faults, put into core and engine one at a time, that some test should notice.

``python -m tests.mutants`` goes through all of them, and
``python -m tests.mutants core.ledger.waitlist core.offer.slot_grid`` through those of two modules;
``--left FILE`` through those that an earlier run left alive, as its results say.
mutants.txt lists those that no test can notice, each with a reason, and README.md
says what the reasons mean; whatever else is left is told, and is a fault of the tests.

Which faults there are is for mutmut to say: they are its own, and its section of
pyproject.toml holds here.  Only how they are tried is different.  mutmut keeps
all mutants of a function in the module, behind a function that chooses, and
collects the tests once for each mutant; a call takes a microsecond or two here,
so choosing takes longer than what is chosen.  Here the tests are collected
once, and each mutant is tried in a fork of that process, where the code of one
function is exchanged.  Tests are those that run a line of the mutated
statement, as coverage.py says; the quick ones first, up to the first that fails.

Left out are texts with a space in them, which are for people, and assertions.
As with mutmut, code that runs when a module is imported is not mutated, nor are
properties and other decorated functions.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import json
import math
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import unwrap
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import libcst as cst
import pytest
from coverage import Coverage
from libcst.metadata import CodeRange, MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.file_mutation import create_mutations, deep_replace

ROOT: Final = Path(__file__).parents[1]
EXPLAINED: Final = ROOT / "tests" / "mutants.txt"
PACKAGES: Final = ("slotengine/core", "slotengine/engine")
KILLED, SURVIVED, TIMEOUT, UNTESTED = "killed", "survived", "timeout", "no tests"
LEFT: Final = {SURVIVED, UNTESTED}
# One backend is enough to notice a fault in code that does not know which one it runs on.
PYTEST: Final = (
    "-q",
    "-o",
    "addopts=--import-mode=importlib --strict-markers",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:asyncio",
    "-p",
    "no:benchmark",
)
TESTS: Final = ("tests/core", "tests/engine")


class Mutant(NamedTuple):
    """One fault, as the source of the function that has it."""

    module: str
    function: str
    """``name`` or ``Class.name``."""
    number: int
    """Counted within the function, from 1."""
    line: int
    lines: range
    """Of the statement that is mutated."""
    body: range
    """Of the whole function."""
    source: str
    change: tuple[str, ...]
    """The lines that differ, as "- before" and "+ after"."""

    @property
    def name(self) -> str:
        return f"{self.module}.{self.function}:{self.number}"

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it apart for as long as the lines that it changes stay as they are."""
        return f"{self.module}.{self.function}", *self.change


# --- Which mutants there are ----------------------------------------------------------------


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Make all mutants of a file's functions."""
    tree, mutations, _, _ = create_mutations(str(path), path.read_text("utf-8"))
    wrapper = MetadataWrapper(tree, unsafe_skip_copy=True)
    places = wrapper.resolve(PositionProvider)
    parents = wrapper.resolve(ParentNodeProvider)
    numbers: Counter[str] = Counter()
    for mutation in mutations:
        function, node = mutation.contained_by_top_level_function, mutation.original_node
        if not isinstance(function, cst.FunctionDef):
            continue
        if _is_prose(node) or _has_no_prose(mutation.mutated_node, node):
            continue
        owner = _owner(function, parents)
        name = f"{owner}.{function.name.value}" if owner else function.name.value
        numbers[name] += 1
        changed = deep_replace(function, node, mutation.mutated_node)
        assert isinstance(changed, cst.FunctionDef)
        before, after = (_source(tree, one, owner) for one in (function, changed))
        statement = _statement(node, parents)
        yield Mutant(
            ".".join(path.with_suffix("").parts),
            name,
            numbers[name],
            _place(node, places, parents).start.line,
            _span(places[statement]) if statement is not function else range(0),
            _span(places[function]),
            after,
            _change(before, after),
        )


def _change(before: str, after: str) -> tuple[str, ...]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return tuple(f"{line[0]} {line[2:].strip()}" for line in lines if line[0] in "+-")


def _is_prose(node: cst.CSTNode) -> bool:
    """Return whether it is a text for people, whose words no test should insist on."""
    if isinstance(node, cst.FormattedString):
        return any(
            isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts
        )
    return isinstance(node, cst.SimpleString) and " " in node.raw_value


def _has_no_prose(changed: cst.CSTNode, node: cst.CSTNode) -> bool:
    """Return whether a call has been changed by putting None in the place of such a text."""
    if not isinstance(node, cst.Call) or not isinstance(changed, cst.Call):
        return False
    pairs = zip(node.args, changed.args, strict=False)
    return len(node.args) == len(changed.args) and any(
        old is not new and _is_prose(old.value) for old, new in pairs
    )


def _owner(node: cst.CSTNode, parents: Any) -> str | None:
    """Return the name of the class that a function is a method of."""
    outer = parents.get(parents.get(node))
    return outer.name.value if isinstance(outer, cst.ClassDef) else None


def _statement(node: cst.CSTNode, parents: Any) -> cst.CSTNode:
    """Return the smallest statement around a node, or the header of a compound one."""
    below = node
    while not isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
        below, node = node, parents[node]
    # Of a loop, say, what is mutated is in its header: the body may never run.
    return node if isinstance(node, cst.SimpleStatementLine | cst.FunctionDef) else below


def _place(node: cst.CSTNode, places: Any, parents: Any) -> CodeRange:
    while node not in places:
        node = parents[node]
    found = places[node]
    assert isinstance(found, CodeRange)
    return found


def _span(place: CodeRange) -> range:
    return range(place.start.line, place.end.line + 1)


def _source(tree: cst.Module, function: cst.FunctionDef, owner: str | None) -> str:
    code: str = tree.code_for_node(function.with_changes(leading_lines=()))
    if owner is None:
        return code
    return f"class {owner}:\n" + "".join(f"    {line}" for line in code.splitlines(keepends=True))


# --- How one is put in ------------------------------------------------------------------------


def put_in(mutant: Mutant) -> None:
    """Exchange the code of the function, wherever references to it are by now."""
    module = import_module(mutant.module)
    # What a default or an annotation names is what the module itself has.
    names: dict[str, Any] = {**vars(module)}
    exec(
        compile(f"from __future__ import annotations\n{mutant.source}", mutant.name, "exec"), names
    )
    owner, _, name = mutant.function.rpartition(".")
    home: Any = getattr(module, owner) if owner else module
    fresh = _function(vars(names[owner])[name] if owner else names[name])
    target = _function(vars(home)[name])
    target.__defaults__, target.__kwdefaults__ = fresh.__defaults__, fresh.__kwdefaults__
    if len(fresh.__code__.co_freevars) == len(target.__code__.co_freevars):
        target.__code__ = fresh.__code__
    else:  # it no longer says super()
        setattr(home, name, types.FunctionType(fresh.__code__, target.__globals__, name))


def _function(found: Any) -> types.FunctionType:
    function = unwrap(getattr(found, "__func__", found))
    assert isinstance(function, types.FunctionType)
    return function


# --- How they are tried -----------------------------------------------------------------------


class Trial:
    """A plugin of pytest that tries mutants, in place of running the tests once."""

    def __init__(
        self, mutants: Sequence[Mutant], processes: int, seconds: float, results: Path
    ) -> None:
        self._mutants = mutants
        self._processes = processes
        self._seconds = seconds
        self._results = results
        self._failed: str | None = None
        self._started = time.monotonic()
        self.verdicts: dict[Mutant, str] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        # What is told of each test of each mutant would be told of a million.
        session.config.pluginmanager.unregister(name="terminalreporter")
        items = {item.nodeid: item for item in session.items}
        seconds, running = self._watch(items)
        gc.collect()
        gc.freeze()  # so that no fork copies what it only inherits
        trying: dict[int, tuple[Mutant, float]] = {}
        with self._results.open("w", encoding="utf-8") as out:
            for mutant in self._mutants:
                tests = self._within(sorted(_tests_of(mutant, running)), seconds)
                if not tests:
                    self._note(mutant, UNTESTED, 0.0, out)
                    continue
                pid = os.fork()
                if pid == 0:
                    self._try(
                        mutant, [items[test] for test in tests], [seconds[test] for test in tests]
                    )
                trying[pid] = (mutant, time.monotonic())
                if len(trying) >= self._processes:
                    self._wait(trying, out)
            while trying:
                self._wait(trying, out)
        return True

    def _within(self, tests: Sequence[str], seconds: dict[str, float]) -> list[str]:
        """Return the tests that end in time, quick ones first."""
        order = sorted(tests, key=seconds.__getitem__)
        ends = accumulate(seconds[test] for test in order)
        return [test for test, end in zip(order, ends, strict=True) if end <= self._seconds]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def _watch(
        self, items: dict[str, pytest.Item]
    ) -> tuple[dict[str, float], dict[str, dict[int, set[str]]]]:
        """Return how long each test takes, and of each file which lines run in which tests."""
        with tempfile.TemporaryDirectory() as folder:
            notes = Path(folder) / "notes"
            pid = os.fork()
            if pid == 0:
                with suppress(BaseException):
                    notes.write_bytes(pickle.dumps(self._run_watched(items, folder)))
                if self._failed is not None:
                    print(self._failed, flush=True)
                os._exit(self._failed is not None)
            _, status = os.waitpid(pid, 0)
            if status != 0:
                sys.exit("The tests fail without any mutant.")
            found: tuple[dict[str, float], dict[str, dict[int, set[str]]]]
            found = pickle.loads(notes.read_bytes())
            return found

    def _run_watched(self, items: dict[str, pytest.Item], folder: str) -> Any:
        coverage = Coverage(
            data_file=f"{folder}/coverage",
            config_file=False,
            include=[f"{ROOT}/{package}/*" for package in PACKAGES],
        )
        seconds = {}
        coverage.start()
        for test, item in items.items():
            coverage.switch_context(test)
            started = time.process_time()
            _run([item])
            seconds[test] = time.process_time() - started
        coverage.stop()
        data = coverage.get_data()
        running = {
            str(Path(file).relative_to(ROOT)): {
                line: set(tests) - {""} for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        return seconds, running

    def _try(self, mutant: Mutant, tests: Sequence[pytest.Item], seconds: Sequence[float]) -> None:
        """Run tests in this process, which is a fork, until one fails; never returns."""
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        limits = iter(seconds)

        def is_over() -> bool:
            if self._failed is None:
                # One that spins runs out of processor time, one that waits for ever of the other.
                usual = next(limits, 0.0)
                signal.setitimer(signal.ITIMER_PROF, 2 + 10 * usual)
                signal.setitimer(signal.ITIMER_REAL, 30 + 100 * usual)
            return self._failed is not None

        try:
            put_in(mutant)
            is_over()
            _run(tests, until=is_over)
        except BaseException:
            os._exit(1)
        os._exit(self._failed is not None)

    def _wait(self, trying: dict[int, tuple[Mutant, float]], out: Any) -> None:
        pid, status = os.wait()
        mutant, started = trying.pop(pid)
        if os.WIFSIGNALED(status):
            verdict = TIMEOUT
        else:
            verdict = SURVIVED if os.WEXITSTATUS(status) == 0 else KILLED
        self._note(mutant, verdict, time.monotonic() - started, out)

    def _note(self, mutant: Mutant, verdict: str, seconds: float, out: Any) -> None:
        self.verdicts[mutant] = verdict
        row = {
            "name": mutant.name,
            "line": mutant.line,
            "change": mutant.change,
            "verdict": verdict,
            "seconds": round(seconds, 2),
        }
        print(json.dumps(row, ensure_ascii=False), file=out, flush=True)
        if len(self.verdicts) % 100 == 0 or len(self.verdicts) == len(self._mutants):
            spent = time.monotonic() - self._started
            print(f"{spent:6.0f} s  {len(self.verdicts)}/{len(self._mutants)}  {self.summary()}")

    def summary(self) -> str:
        counts = Counter(self.verdicts.values())
        return ", ".join(f"{counts[one]} {one}" for one in (KILLED, TIMEOUT, SURVIVED, UNTESTED))


def _tests_of(mutant: Mutant, running: dict[str, dict[int, set[str]]]) -> set[str]:
    lines = running.get(mutant.module.replace(".", "/") + ".py", {})
    tests: set[str] = set().union(*(lines.get(line, ()) for line in mutant.lines))
    # A default is not run in any test, nor is what the compiler left out.
    body = mutant.body[1:]
    return tests or set().union(*(lines.get(line, ()) for line in body))


def _run(items: Sequence[pytest.Item], until: Callable[[], bool] = lambda: False) -> None:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if until():
            return


# --- The command ------------------------------------------------------------------------------


def _chosen(modules: Sequence[str], left: Path | None) -> list[Mutant]:
    paths = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    ]
    found = [
        mutant
        for path in paths
        if not modules or ".".join(path.with_suffix("").parts[1:]) in modules
        for mutant in mutants_of(path)
    ]
    if left is None:
        return found
    rows = map(json.loads, left.read_text("utf-8").splitlines())
    alive = {
        (row["name"].partition(":")[0], *row["change"]) for row in rows if row["verdict"] in LEFT
    }
    return [one for one in found if one.key in alive]


def explained(path: Path = EXPLAINED) -> dict[tuple[str, ...], str]:
    """Return the reason of each mutant that no test can notice.

    A paragraph each: the reason and the function, then the lines that change.
    """
    found = {}
    for paragraph in path.read_text("utf-8").split("\n\n"):
        head, *change = paragraph.strip().splitlines()
        reason, function = head.split()
        found[(function, *change)] = reason
    return found


def _tell_left(left: Iterable[Mutant]) -> None:
    for function, mutants in groupby(left, key=lambda one: one.key[0]):
        print(f"\n{function}")
        for mutant in mutants:
            print("\n".join(f"  {mutant.line}: {line}" for line in mutant.change), end="\n\n")


def main(arguments: Iterable[str] | None = None) -> int:
    """Return 0 if every mutant was noticed, or is explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="core.ledger.waitlist")
    parser.add_argument("--left", type=Path)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tests", action="append", help="instead of those of core and engine")
    parser.add_argument("--both", action="store_true", help="on asyncio too, not on trio alone")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of tests, for each mutant")
    options = parser.parse_args(None if arguments is None else list(arguments))
    os.chdir(ROOT)
    os.environ.setdefault("HYPOTHESIS_PROFILE", "mutation")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    mutants = _chosen(options.modules, options.left)
    print(f"{len(mutants)} mutants")
    trial = Trial(mutants, options.processes, options.seconds, options.results)
    backend = () if options.both else ("-k", "not asyncio")
    status = pytest.main([*PYTEST, *backend, *(options.tests or TESTS)], plugins=[trial])
    reasons = explained()
    left = sorted(one for one, verdict in trial.verdicts.items() if verdict in LEFT)
    unexplained = [one for one in left if one.key not in reasons]
    _tell_left(unexplained)
    print(f"{trial.summary()}; {len(left) - len(unexplained)} of those left are explained")
    return int(status) or len(unexplained)


if __name__ == "__main__":
    sys.exit(main())
