"""A linearizability checker: does some order of one call after the other explain a history?

A history is linearizable (M. Herlihy and J. Wing, 1990) if each call can take
effect at one moment between its question and its answer, so that the answers are
those of a program that does one thing at a time.  The search is that of J. Wing
and C. Gong (1993) with the cache of G. Lowe (2017): the same set of calls with
the same state need not be searched twice.

The time grows exponentially with the number of calls in progress at once, but
only with that.  A history is split into independent parts, which are searched
one by one.

This module knows nothing of reservations: a `Model` says what a call does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import Final, Protocol, TypeVar

from slotengine.testing.histories import RecordedCall

State = TypeVar("State", bound=Hashable)

MOST_STEPS: Final = 1_000_000
"""The most steps of the model that the search of one part of a history may take."""


class Model(Protocol[State]):
    """A program that does one thing at a time.

    It may also have a method ``text``, which returns a call and its answer in words, for
    `NotLinearizable`.
    """

    def begin(self) -> State:
        """Return the state before any call."""

    def step(self, state: State, call: RecordedCall) -> State | None:
        """Return the state after a call, or None if it would have been answered otherwise."""

    def touches(self, call: RecordedCall) -> Iterable[Hashable]:
        """Yield what a call reads or writes: calls that share nothing are independent."""


class NotLinearizable(AssertionError):
    """No order of one call after the other explains a history.

    ``calls`` is the part that cannot be explained; ``explained`` is the longest
    order that was found, of some of them.
    """

    def __init__(
        self,
        calls: tuple[RecordedCall, ...],
        explained: tuple[RecordedCall, ...],
        text: Callable[[RecordedCall], str] | None = None,
    ) -> None:
        super().__init__(calls, explained)
        self.calls = calls
        self.explained = explained
        self._text = text or _text

    def __str__(self) -> str:
        done = {id(call) for call in self.explained}
        taken = sum(1 << i for i, call in enumerate(self.calls) if id(call) in done)
        left = [self.calls[i] for i in _next_ones(self.calls, taken)]
        lines = [f"no order explains {len(self.calls)} calls; one explains these:"]
        lines += map(self._line, self.explained)
        lines += ["but then none of these can be next:"]
        lines += map(self._line, left)
        return "\n".join(lines)

    def _line(self, call: RecordedCall) -> str:
        return f"  [{call.asked_at}, {call.answered_at}] {self._text(call)}"


class Undecided(AssertionError):
    """The search ended after ``steps`` steps of the model, without a result.

    Let fewer callers call at once, or let their calls have less in common.
    """

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.steps = steps

    def __str__(self) -> str:
        return (
            f"no result after {self.steps} steps of the model; let fewer callers call at once, "
            "or raise `most`"
        )


def _text(call: RecordedCall) -> str:
    return f"{call.what} -> {call.answer}"


def check_linearizable(
    calls: Iterable[RecordedCall], model: Model[State], *, most: int = MOST_STEPS
) -> int:
    """Check that some order explains a history, and return the number of its independent parts.

    Raises `NotLinearizable` if none does, and `Undecided` if the search of a part
    takes more than ``most`` steps of the model.

    >>> from slotengine.testing.histories import Recorder
    >>> class Counter:
    ...     def begin(self): return 0
    ...     def step(self, state, call): return state + 1 if call.answer == state + 1 else None
    ...     def touches(self, call): yield "counter"
    >>> recorder = Recorder()
    >>> first, second = recorder.ask("count"), recorder.ask("count")
    >>> first.answered(2); second.answered(1)
    >>> check_linearizable(recorder.calls, Counter())
    1
    >>> recorder.ask("count").answered(2)
    >>> check_linearizable(recorder.calls, Counter())
    Traceback (most recent call last):
        ...
    slotengine.testing.linearizability.NotLinearizable: no order explains 3 calls; ...
    """
    found = parts(calls, model)
    for part in found:
        linearize(part, model, most=most)
    return len(found)


def parts(calls: Iterable[RecordedCall], model: Model[State]) -> list[list[RecordedCall]]:
    """Split a history into independent parts, each in order."""
    heads: dict[Hashable, Hashable] = {}

    def head(one: Hashable) -> Hashable:
        while (above := heads.setdefault(one, one)) != one:
            heads[one] = heads[above]  # path compression
            one = above
        return one

    ordered = sorted(calls, key=_asked_at)
    firsts: list[Hashable] = []
    for call in ordered:
        # A call that touches nothing is a part of its own.
        first, *others = list(model.touches(call)) or [object()]
        firsts.append(first)
        for other in others:
            heads[head(other)] = head(first)
    found: dict[Hashable, list[RecordedCall]] = {}
    for call, first in zip(ordered, firsts, strict=True):
        found.setdefault(head(first), []).append(call)
    return list(found.values())


def linearize(
    calls: Sequence[RecordedCall], model: Model[State], *, most: int = MOST_STEPS
) -> list[RecordedCall]:
    """Return an order that explains the calls, which come in the order they were asked.

    Calls that were never answered are in it only where needed.  Raises
    `NotLinearizable` or `Undecided`.
    """
    answered = [call for call in calls if call.answered_at is not None]
    if len(answered) < len(calls):
        # Most of these never took effect, and each could stand almost anywhere: try without them.
        with suppress(NotLinearizable, Undecided):
            return _search(answered, model, most)
    return _search(calls, model, most)


def _search(calls: Sequence[RecordedCall], model: Model[State], most: int) -> list[RecordedCall]:
    left = most
    state, taken = model.begin(), 0  # the calls taken are bits of a number
    answered = sum(1 << i for i, call in enumerate(calls) if call.answered_at is not None)
    # The calls taken, the state before each, and the alternatives left there.
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
            # An unanswered call that changes nothing might as well not have taken effect.
            if following != state or calls[i].answered_at is not None:
                break
        else:
            if not done:
                explained = tuple(calls[i] for i in best)
                raise NotLinearizable(tuple(calls), explained, getattr(model, "text", None))
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


def _next_ones(calls: Sequence[RecordedCall], taken: int) -> Iterator[int]:
    """Return the calls that can be next: those asked before any remaining one was answered.

    They come by the time of their answer, as most took effect in that order; calls
    that were never answered come last, as most of them never took effect.
    """
    first_left = (~taken & (taken + 1)).bit_length() - 1
    deadline: float = inf
    found: list[tuple[float, int]] = []
    for i in range(first_left, len(calls)):
        if taken >> i & 1:
            continue
        call = calls[i]
        if call.asked_at > deadline:
            break  # as was every call after it
        answered_at = inf if call.answered_at is None else call.answered_at
        deadline = min(deadline, answered_at)
        found.append((answered_at, i))
    return iter([i for _, i in sorted(found)])


def _asked_at(call: RecordedCall) -> int:
    return call.asked_at
