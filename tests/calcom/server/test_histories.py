"""What concurrent clients see over HTTP can be explained one request at a time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import pytest

from slotengine.core.ledger.commands import Move, Release, Reserve
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import ENDED, Claim, State
from slotengine.core.ledger.terms import Terms
from slotengine.testing import SimClock
from slotengine.testing.histories import RecordedCall, Recorder
from slotengine.testing.internal.actions import Action, Answer, Get
from slotengine.testing.internal.ledger_model import LedgerModel
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.linearizability import NotLinearizable, check_linearizable
from tests.calcom.server.api import NOW, Api, Start

pytestmark = pytest.mark.anyio

MINUTE: Final = timedelta(minutes=1)

# The model looks at every instant: here an instant is a minute since `NOW`.
TERMS: Final = Terms(default_ttl=5, shortest_ttl=1, longest_ttl=60 * 24, retention=60)
HOSTS: Final = {
    1: ("user:1", 30, 0, 0),
    2: ("user:1", 60, 0, 0),
    8: ("user:10", 30, 15, 30),
}
"""Of each event type: who is needed, for how long, and how long before and after that."""

CLIENTS = 6
STEPS = (0, 1, 3, 5, 2)
CALLS = 4


def seen_by_clients(action: Action, answer: Answer) -> object:
    """Return what a client is told: of a reservation when it is, or nothing."""
    if isinstance(action, Release) or not isinstance(answer, ObservedReservation):
        return None
    if answer.state in ENDED - {State.EXPIRED}:
        return None
    return answer.uid, answer.start, answer.end, answer.until


MODEL: Final = LedgerModel(TERMS, {"user:1": (1, None), "user:10": (1, None)}, seen_by_clients)


def minute(text: str) -> int:
    return (datetime.fromisoformat(text) - NOW) // MINUTE


def read(data: dict[str, Any] | None) -> ObservedReservation | None:
    """Return a reservation as it stands on the wire."""
    if data is None:
        return None
    span = minute(data["slotStart"]), minute(data["slotEnd"])
    until = minute(data["reservationUntil"])
    return ObservedReservation(
        data["reservationUid"], State.HELD, 0, *span, (), until, 0, None, None, None
    )


class HttpClient:
    """A client that reserves, moves, reads and deletes what anybody has reserved."""

    def __init__(self, number: int, seed: int, api: Api, recorder: Recorder) -> None:
        self._random = Random(f"{seed} {number}")
        self._api = api
        self._recorder = recorder

    async def calls(self, known: list[str]) -> None:
        for _ in range(CALLS):
            kind: type = Reserve
            if known:
                kind = self._random.choice((Reserve, Reserve, Move, Release, Get))
            uid = self._random.choice(known[-6:]) if known else ""
            await self._call(kind, uid, known)

    async def _call(self, kind: type, uid: str, known: list[str]) -> None:
        random, api = self._random, self._api
        event_type = random.choice(list(HOSTS))
        host, length, before, after = HOSTS[event_type]
        start = 240 + 15 * random.randrange(12)
        end = start + length
        wish = Proposal(start, end, (Claim(host, start - before, end + after),), 5)
        text = f"{NOW + start * MINUTE:%Y-%m-%dT%H:%M:%SZ}"
        if kind is Reserve:
            asked = self._recorder.ask(Reserve((wish,), ()))
            answer = await api.post(eventTypeId=event_type, slotStart=text)
        elif kind is Move:
            asked = self._recorder.ask(Move(uid, (wish,), renew=True))
            answer = await api.patch(uid, eventTypeId=event_type, slotStart=text)
        elif kind is Release:
            asked = self._recorder.ask(Release(uid))
            answer = await api.delete(uid)
        else:
            asked = self._recorder.ask(Get(uid))
            answer = await api.get(uid)
        held = read(answer.data) if answer.status < 300 and kind is not Release else None
        asked.answered(held)
        if kind is Reserve and held is not None:
            known.append(held.uid)


@pytest.mark.parametrize("seed", range(4))
async def test_what_clients_see_can_be_explained(start: Start, seed: int) -> None:
    """Goal: requests at once are answered as if they had come one after the other.

    Method: some clients, each over connections of its own, get in each other's
    way; between rounds the clock goes on, and holds lapse.
    """
    begun = NOW + timedelta(seconds=29.5)  # no clock stands at a full minute for long
    clock = SimClock(begun)
    api = await start(clock, enforce_availability=False)
    recorder = Recorder(lambda: (clock.moment - begun) // MINUTE)
    clients = [HttpClient(number, seed, api, recorder) for number in range(CLIENTS)]
    known: list[str] = []
    for step in STEPS:
        await asyncio.gather(*(client.calls(known) for client in clients))
        await clock.advance(step * MINUTE)
    assert len(recorder.calls) == CLIENTS * len(STEPS) * CALLS
    # Which client is answered first is up to the sockets, but there is always something of both.
    accepted = [
        call.answer is not None for call in recorder.calls if isinstance(call.what, Reserve)
    ]
    assert {True, False} == set(accepted)
    assert at_once(recorder.calls) > len(recorder.calls) / 2
    assert check_linearizable(recorder.calls, MODEL) >= 1


async def test_a_wrong_answer_would_not_be_explained(start: Start) -> None:
    api = await start(enforce_availability=False)
    recorder = Recorder()
    client = HttpClient(0, 0, api, recorder)
    await client.calls([])
    accepted = next(call for call in recorder.calls if call.answer is not None)
    assert check_linearizable(recorder.calls, MODEL) >= 1
    twice = RecordedCall(accepted.what, 1_000, 0, accepted.answer, 1_001)
    with pytest.raises(NotLinearizable):
        check_linearizable([*recorder.calls, twice], MODEL)


def at_once(calls: list[RecordedCall]) -> int:
    """Return how many calls were under way when another began."""
    return sum(
        any(one.asked_at < two.asked_at < (one.answered_at or 0) for two in calls)
        for one in calls
    )  # fmt: skip
