"""Is there an order of one call after the other that explains what everybody saw?

A history is linearizable (M. Herlihy and J. Wing, 1990) if each call can be
thought to happen at one moment between its being asked and its being answered,
and the answers are then those of a program that does one thing at a time.  The
search is that of J. Wing and C. Gong (1993) with the memory of G. Lowe (2017):
the same calls done, with the same state reached, need not be looked at twice.

It takes time that grows exponentially with how many calls are under way at
once, but only with that; and a history falls into parts that have nothing to do
with each other, each of which can be looked at alone.

Knows nothing of reservations: what a call does is up to a `Model`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import Final, Protocol, TypeVar

from slotengine.testing.histories import Asked

State = TypeVar("State", bound=Hashable)

MOST_STEPS: Final = 1_000_000
"""So many steps of the model at most, for one part of a history."""


class Model(Protocol[State]):
    """A program that does one thing at a time."""

    def begin(self) -> State:
        """Return the state before any call."""

    def step(self, state: State, call: Asked) -> State | None:
        """Return the state after a call, or None if it would have been answered otherwise."""

    def touches(self, call: Asked) -> Iterable[Hashable]:
        """Yield what a call is about: calls that have nothing of it in common are independent."""


class NotLinearizable(AssertionError):
    """No order of one call after the other explains a history.

    ``calls`` is the part of it that cannot be explained, and ``explained`` as
    many of these as an order could be found for.
    """

    def __init__(self, calls: tuple[Asked, ...], explained: tuple[Asked, ...]) -> None:
        super().__init__(calls, explained)
        self.calls = calls
        self.explained = explained

    def __str__(self) -> str:
        done = {id(call) for call in self.explained}
        taken = sum(1 << i for i, call in enumerate(self.calls) if id(call) in done)
        left = [self.calls[i] for i in _next_ones(self.calls, taken)]
        lines = [f"no order explains {len(self.calls)} calls; one explains these:"]
        lines += [f"  {_line(call)}" for call in self.explained]
        lines += ["but then none of these can be next:"]
        lines += [f"  {_line(call)}" for call in left]
        return "\n".join(lines)


class Undecided(AssertionError):
    """So many ``steps`` of the model did not do to tell whether a history can be explained.

    Let fewer callers call at once, or each of them something else.
    """

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.steps = steps

    def __str__(self) -> str:
        return f"not decided in {self.steps} steps"


def _line(call: Asked) -> str:
    return f"[{call.asked_at}, {call.answered_at}] {call.what} -> {call.answer}"


def check(calls: Iterable[Asked], model: Model[State], *, most: int = MOST_STEPS) -> int:
    """Raise `NotLinearizable` if a history cannot be explained; return in how many parts it fell.

    Raises `Undecided` if for any part ``most`` steps of the model do not do.

    >>> from slotengine.testing.histories import Recorder
    >>> class Counter:
    ...     def begin(self): return 0
    ...     def step(self, state, call): return state + 1 if call.answer == state + 1 else None
    ...     def touches(self, call): yield "counter"
    >>> recorder = Recorder()
    >>> first, second = recorder.ask("count"), recorder.ask("count")
    >>> first.answered(2); second.answered(1)
    >>> check(recorder.calls, Counter())
    1
    >>> recorder.ask("count").answered(2)
    >>> check(recorder.calls, Counter())
    Traceback (most recent call last):
        ...
    slotengine.testing.linearizable.NotLinearizable: no order explains 3 calls; ...
    """
    found = parts(calls, model)
    for part in found:
        linearize(part, model, most=most)
    return len(found)


def parts(calls: Iterable[Asked], model: Model[State]) -> list[list[Asked]]:
    """Return the history in parts that have nothing to do with each other, each in order."""
    heads: dict[Hashable, Hashable] = {}

    def head(one: Hashable) -> Hashable:
        while (above := heads.setdefault(one, one)) != one:
            heads[one] = heads[above]  # so that the way is shorter the next time
            one = above
        return one

    ordered = sorted(calls, key=_asked_at)
    firsts: list[Hashable] = []
    for call in ordered:
        # What is about nothing has nothing to do with any other.
        first, *others = list(model.touches(call)) or [object()]
        firsts.append(first)
        for other in others:
            heads[head(other)] = head(first)
    found: dict[Hashable, list[Asked]] = {}
    for call, first in zip(ordered, firsts, strict=True):
        found.setdefault(head(first), []).append(call)
    return list(found.values())


def linearize(
    calls: Sequence[Asked], model: Model[State], *, most: int = MOST_STEPS
) -> list[Asked]:
    """Return an order that explains the calls, given in the order in which they were asked.

    Calls that were never answered are in it only if that helps.  Raises
    `NotLinearizable` or `Undecided`.
    """
    answered = [call for call in calls if call.answered_at is not None]
    if len(answered) < len(calls):
        # Most often they never happened, and each could stand almost anywhere: first without.
        with suppress(NotLinearizable, Undecided):
            return _search(answered, model, most)
    return _search(calls, model, most)


def _search(calls: Sequence[Asked], model: Model[State], most: int) -> list[Asked]:
    left = most
    state, taken = model.begin(), 0  # the calls taken are bits of a number
    answered = sum(1 << i for i, call in enumerate(calls) if call.answered_at is not None)
    # The calls taken, the state before each, and what else could have been next there.
    done: list[tuple[int, State, Iterator[int]]] = []
    best: list[int] = []
    seen: set[tuple[int, State]] = set()
    nexts = _next_ones(calls, taken)
    while taken & answered != answered:
        for i in nexts:
            left -= 1
            if left < 0:
                raise Undecided(most)
            following = model.step(state, calls[i])
            if following is None or (taken | 1 << i, following) in seen:
                continue
            # What was never answered, and changes nothing, might as well not have happened.
            if following != state or calls[i].answered_at is not None:
                break
        else:
            if not done:
                raise NotLinearizable(tuple(calls), tuple(calls[i] for i in best))
            i, state, nexts = done.pop()
            taken &= ~(1 << i)
            continue
        done.append((i, state, nexts))
        state, taken = following, taken | 1 << i
        seen.add((taken, state))
        nexts = _next_ones(calls, taken)
        if len(done) > len(best):
            best = [one for one, _, _ in done]
    return [calls[i] for i, _, _ in done]


def _next_ones(calls: Sequence[Asked], taken: int) -> Iterator[int]:
    """Return which calls can be next: asked before any that is left was answered.

    What was answered first most often happened first, so it is tried first; and
    last of all what was never answered, which most often never happened.
    """
    first_left = (~taken & (taken + 1)).bit_length() - 1
    deadline: float = inf
    found: list[tuple[float, int]] = []
    for i in range(first_left, len(calls)):
        if taken >> i & 1:
            continue
        call = calls[i]
        if call.asked_at > deadline:
            break  # and so was every one after it
        answered_at = inf if call.answered_at is None else call.answered_at
        deadline = min(deadline, answered_at)
        found.append((answered_at, i))
    return iter([i for _, i in sorted(found)])


def _asked_at(call: Asked) -> int:
    return call.asked_at
