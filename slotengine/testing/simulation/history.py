"""The history of a seed: the scenes of all clients, shuffled, with faults in between.

The faults are clocks that jump, a sweeper and subscribers that stall, imports of
busy time, calls that are cancelled or parked, and crashes.
"""

from __future__ import annotations

from random import Random
from typing import Final

from slotengine.core.ledger.commands import ImportBusy, Replace, Reserve
from slotengine.core.ledger.quota import Quota
from slotengine.testing.internal.actions import ReserveSlot, requests_of, waits, with_requests
from slotengine.testing.simulation.clients import Client, span
from slotengine.testing.simulation.sent_calls import can_be_numbered
from slotengine.testing.simulation.steps import (
    RESOURCES,
    TICK,
    Call,
    CallMode,
    Crash,
    GiveUp,
    Import,
    Jump,
    JumpTo,
    JumpToEnd,
    JumpToExpiry,
    Repeat,
    Resume,
    StallSubscriber,
    StallSweeper,
    Step,
    at,
)

CLIENTS: Final = 6
SUBSCRIBERS: Final = 2
LIVES: Final = ((True, True), (True, True), (True, False), (False, True), (False, False))
"""Whether an engine has quotas, and whether its calls do maintenance."""
ODD: Final = (0, 1, TICK // 4, TICK // 2 + 500_000, TICK - 1)
"""Microseconds beyond a whole tick to which a clock jumps, in every third history."""
QUOTAS: Final = (
    Quota(holds=1),
    Quota(holds=2, life=21 * TICK),
    Quota(held=3 * TICK),
    Quota(holds=3, held=4 * TICK),
    Quota(held=5 * TICK, life=12 * TICK),
    Quota(holds=2, waits=1),
    Quota(life=9 * TICK),
)
"""The quotas of some requests; they differ for one holder."""


def history(seed: int, steps: int) -> list[Step]:
    """Return the history of a seed: the same steps for the same seed, on any machine.

    >>> history(7, 3) == history(7, 5)[:3]
    True
    """
    random, quotas, ids = Random(seed), Random(f"{seed} quotas"), Random(f"{seed} ids")
    clients = [Client(number, random) for number in range(CLIENTS)]
    plays = [client.scenes() for client in clients]
    # Some engines have no quotas from the start, or calls that do no maintenance.
    made: list[Step] = [Crash(0, *random.choice(LIVES))]
    while len(made) < steps:
        if random.random() < 0.25:
            made.append(_weather(random))
        else:
            for step in next(random.choice(plays)):
                made += _with_ids(_with_quotas(step, quotas), ids)
    if seed % 3:
        return made[:steps]
    # With a generator of its own, so that all other steps are the same with and without seconds.
    beyond = Random(seed)
    return [
        step._replace(odd=beyond.choice(ODD)) if isinstance(step, Jump) else step
        for step in made[:steps]
    ]


def _with_quotas(step: Step, random: Random) -> Step:
    """Give some of the requests of a step a quota."""

    def quota(holder: str | None) -> Quota | None:
        return random.choice(QUOTAS) if holder is not None and random.random() < 0.4 else None

    if not isinstance(step, Call):
        return step
    action = step.action
    if isinstance(action, ReserveSlot):
        request = action.request
        request = request._replace(quota=quota(request.holder))
        return step._replace(action=action._replace(request=request))
    if not isinstance(action, Reserve | Replace):
        return step
    requests = tuple(one._replace(quota=quota(one.holder)) for one in requests_of(action))
    return step._replace(action=with_requests(action, requests))


def _with_ids(step: Step, random: Random) -> list[Step]:
    """Number some of the calls, and repeat some of these: soon, or too late."""
    if not isinstance(step, Call) or not can_be_numbered(step.action) or waits(step.action):
        return [step]
    if random.random() > 0.3:
        return [step]
    made: list[Step] = [step._replace(numbered=True)]
    mode = random.choice((CallMode.ASYNC, CallMode.ASYNC, CallMode.AT_ONCE, CallMode.LOST))
    repeat = Repeat(step.client, random.choice((0, 0, 0, 1, 2)), mode)
    if random.random() < 0.04:
        made.append(JumpToExpiry(step.client, random.choice((-1, 0, 0, 1))))
        made.append(repeat)
    elif random.random() < (0.5 if step.mode is CallMode.LOST else 0.15):
        made.append(repeat)
    return made


def _weather(random: Random) -> Step:
    match random.randrange(20):
        case 0 | 1 | 2:
            return Jump(random.choice((1, 1, 2, 3, 8)))
        case 4:
            return Jump(-random.choice((1, 2, 5)))
        case 5:
            return JumpTo(random.randrange(CLIENTS), random.randrange(2), random.choice((-1, 0, 1)))
        case 6 | 7:
            return StallSweeper(on=random.random() < 0.5)
        case 8 | 9:
            return StallSubscriber(random.randrange(SUBSCRIBERS), on=random.random() < 0.5)
        case 3 | 10:
            return _import(random)
        case 11 | 14:
            return Crash(random.choice((0, 1, 2, 5)), *random.choice(LIVES))
        case 12:
            return GiveUp(random.choice((0, 0, 1, 2)), when_served=random.random() < 0.8)
        case 13:
            return JumpToEnd(random.choice((0, 0, 1)), random.choice((-1, 0, 0, 1)))
        case _:
            return Resume(cancel=random.random() < 0.4)


def _import(random: Random) -> Import:
    names = random.sample(list(RESOURCES), random.choice((0, 1, 2)))
    spans = []
    for name in names:
        start, end = span(random)
        spans.append((name, ((at(start), at(end)),)))
    return Import(ImportBusy(random.choice(("calendar", "feed")), tuple(spans)))
