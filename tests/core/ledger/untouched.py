"""A guard: for as long as a block lasts, a ledger's state refuses to be written.

Attributes of the core's own objects raise as soon as they are set.  Containers cannot be
made to, so their contents are compared with what they were before.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

from sortedcontainers import SortedDict, SortedList

from slotengine.core.ledger.ledger import Ledger

ATOMS = (str, bytes, int, float, bool, type(None), Enum, type, FunctionType, MethodType)
OURS = "slotengine.core.ledger"


class Written(AssertionError):
    """Something was written that must only be read."""


def attributes(one: object) -> dict[str, Any]:
    """Return what an object of ours holds, by name, in slots or not."""
    names = [
        name
        for kind in type(one).__mro__
        for name in getattr(kind, "__slots__", ())
        if hasattr(one, name)
    ]
    return {name: getattr(one, name) for name in names} | getattr(one, "__dict__", {})


def parts(one: Any) -> list[Any]:
    """Return what a container or an object of ours holds, in order."""
    if isinstance(one, SortedDict | dict):
        return [each for item in one.items() for each in item]
    if isinstance(one, list | tuple | deque | array | SortedList):
        return list(one)
    if isinstance(one, set | frozenset):
        return sorted(one, key=repr)
    if type(one).__module__.startswith(OURS):
        return list(attributes(one).values())
    return []


def seen(root: object) -> tuple[dict[int, tuple[Any, list[object]]], set[type]]:
    """Return all that can be reached, with its parts, and the classes of ours among it.

    A part that is an atom is told by its value, another one by which object it is.
    """
    found: dict[int, tuple[Any, list[object]]] = {}
    kinds: set[type] = set()
    left: list[Any] = [root]
    while left:
        one = left.pop()
        if isinstance(one, ATOMS) or id(one) in found:
            continue
        held = parts(one)
        found[id(one)] = one, [each if isinstance(each, ATOMS) else id(each) for each in held]
        if type(one).__module__.startswith(OURS) and not isinstance(one, tuple):
            kinds.add(type(one))
        left += held
    return found, kinds


@contextmanager
def untouched(ledger: Ledger) -> Iterator[None]:
    """Let nothing of a ledger's state be written."""
    before, kinds = seen(ledger.state)
    guarded = {id(one) for one, _ in before.values()}

    def refuse(self: object, name: str, value: object) -> None:
        if id(self) in guarded:
            raise Written(f"{name} of {self!r}, to {value!r}")
        object.__setattr__(self, name, value)  # such as of a view, made for this decision

    kinds = {kind for kind in kinds if "__setattr__" not in vars(kind)}  # frozen ones refuse
    for kind in kinds:
        kind.__setattr__ = refuse  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        for kind in kinds:
            del kind.__setattr__
    after, _ = seen(ledger.state)
    assert after.keys() == before.keys(), "something was put in, or taken out"
    for where, (one, held) in before.items():
        if after[where][1] != held:
            raise Written(f"{one!r}")
