"""Asking the remote for its slots, and letting the engine know who is busy there.

What may be concluded from an answer is `comparing`'s; here is when to ask, and
the one moment in which an answer is taken into account: without an await in
it, so that nobody sees the engine without what was imported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import anyio

from slotengine.calcom.client.client import CalComClient
from slotengine.calcom.client.errors import ClientClosed, RemoteError
from slotengine.calcom.client.wire import RemoteSlot
from slotengine.calcom.sync.errors import RemoteBusy
from slotengine.calcom.sync.remote_busy import Answered, Watched, compare
from slotengine.calcom.sync.remote_state import Place
from slotengine.calcom.sync.values import Offers, Synced, WhenStale
from slotengine.core.instant import DAY, MICROSECOND, SECOND, duration_us, from_us, to_us
from slotengine.core.interval import Span, joined
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Slot

logger = logging.getLogger(__name__)

SOURCE: Final = "cal.com"
"""Under which the engine knows what is busy at the remote."""

_LAST: Final = to_us(datetime.max.replace(microsecond=0, tzinfo=UTC))
STALE_SEARCH: Final = 2 * SECOND
"""So old may an answer be that the remote gives."""


class Inbound:
    """What is known of the remote's slots."""

    def __init__(
        self,
        engine: SlotEngine,
        client: CalComClient,
        synced: dict[str, Synced],
        *,
        clock: Clock,
        random: Random,
        presences: Callable[[int], Iterable[Place]],
    ) -> None:
        self.polls = 0
        self.polls_failed = 0
        self.busy_spans = 0
        self._engine = engine
        self._client = client
        self._synced = synced
        self._clock = clock
        self._random = random
        self._presences = presences
        self._watched = {name: Watched.of(one.event_type) for name, one in synced.items()}
        self._hidden: dict[str, frozenset[int]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    @property
    def hidden(self) -> int:
        """How many starts are hidden."""
        return sum(len(starts) for starts in self._hidden.values())

    def staleness(self) -> timedelta | None:
        """Return how old the oldest is that is known; None if nothing is."""
        days = [day for one in self._watched.values() for day in one.days.values()]
        oldest = min((day.as_of for day in days if day.as_of is not None), default=None)
        return None if oldest is None else (self._now() - oldest) * MICROSECOND

    def _now(self) -> int:
        return to_us(self._engine.now())

    # --- What callers ask --------------------------------------------------------------------

    def check(self, synced: Synced, start: int) -> None:
        """Raise `RemoteBusy` for a start that the remote did not offer."""
        if start in self._hidden.get(synced.id, ()):
            as_of = self._watched[synced.id].as_of(start, start + 1)
            assert as_of is not None
            raise RemoteBusy(synced.id, from_us(start), from_us(as_of))

    async def heard_of(self, synced: Synced, start: int, end: int) -> None:
        """Note that a range is asked for, and if nothing is known of some of it ask the remote."""
        watched = self._watched[synced.id]
        watched.ask(start, end, self._now())
        if watched.as_of(start, end) is None:
            await self.poll(synced)

    def offers(self, synced: Synced, start: int, end: int, found: list[Slot]) -> Offers:
        """Return the slots that both sides offer, and how old what is known of the other is."""
        as_of = self._watched[synced.id].as_of(start, end)
        oldest = self._now() - duration_us(synced.stale_after, "stale_after")
        stale = as_of is None or as_of < oldest
        hidden = self._hidden.get(synced.id, frozenset())
        if stale and synced.when_stale is WhenStale.HIDE:
            found = []
        elif hidden:
            found = [slot for slot in found if to_us(slot.start) not in hidden]
        return Offers(found, None if as_of is None else from_us(as_of), stale)

    # --- Asking the remote --------------------------------------------------------------------

    async def keep_polling(self, synced: Synced) -> None:
        """Ask again and again, for ever, as far as anybody wants to know."""
        every = duration_us(synced.poll_every, "poll_every")
        never = anyio.Event()
        while True:
            jitter = self._random.uniform(-synced.jitter, synced.jitter)
            due = self._now() + max(1, int(every * (1 + jitter)))
            while self._now() < due:
                await self._clock.wait(never, due)
            now = self._now()
            interest = duration_us(synced.interest, "interest")
            watched = self._watched[synced.id]
            if watched.forget(now - interest, now // DAY):
                self.apply()
            if watched.days:
                try:
                    await self.poll(synced)
                except Exception:
                    logger.exception("asking for the slots of %s failed", synced.id)

    async def poll(self, synced: Synced) -> None:
        """Ask for all that is watched of an event type; whoever wants it meanwhile waits along."""
        asking = self._asking.get(synced.id)
        if asking is None:
            asking = asyncio.create_task(self._ask(synced))
            self._asking[synced.id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(synced.id, None))
        await asyncio.shield(asking)

    async def stop(self) -> None:
        """Give up the questions that are under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, synced: Synced) -> None:
        watched = self._watched[synced.id]
        # Days that somebody asks for while an answer is awaited are asked for next.
        asked: set[int] = set()
        while fresh := watched.runs_without(asked):
            for first, last in fresh:
                asked.update(range(first, last + 1))
                await self._ask_run(synced, first, last)

    async def _ask_run(self, synced: Synced, first: int, last: int) -> None:
        # What begins on the last day may end on the next.
        begin = max(first * DAY, self._now())
        end = min((last + 1) * DAY + self._watched[synced.id].length, _LAST)
        asked_at = self._now()
        self.polls += 1
        try:
            found = await self._client.slots(
                _whole_ms(begin),
                from_us(end),
                event_type_id=synced.remote_id,
                slot_minutes=synced.event_type.length // timedelta(minutes=1),
            )
        except (RemoteError, ClientClosed) as error:
            self.polls_failed += 1
            logger.info("the slots of %s could not be read: %s", synced.id, error)
            return
        free = frozenset(to_us(slot.start) for slot in found if _is_free(slot))
        self._take(synced, first, last, asked_at, free)

    def _take(
        self, synced: Synced, first: int, last: int, asked_at: int, free: frozenset[int]
    ) -> None:
        """Let an answer change what is busy here; in one step."""
        end = min((last + 1) * DAY + self._watched[synced.id].length, _LAST)
        self._engine.replace_busy_nowait(SOURCE, {})
        offered = [
            to_us(slot.start)
            for slot in self._engine.slots_nowait(
                synced.id, from_us(max(first * DAY, self._now())), from_us(end)
            )
        ]
        own = joined(self._own(synced, asked_at - STALE_SEARCH))
        self._watched[synced.id].learn(Answered(first, last, asked_at, free, offered, own))
        self.apply()

    def _own(self, synced: Synced, since: int) -> Iterator[Span]:
        """Yield where holds of ours may have hidden slots of an event type: those of its hosts."""
        hosts = set(self._watched[synced.id].resources)
        akin = {
            one.remote_id
            for one in self._synced.values()
            if not hosts.isdisjoint(self._watched[one.id].resources)
        }
        for remote_id, start, end in self._presences(since):
            if remote_id in akin:
                yield start, end

    def apply(self) -> None:
        """Let the engine know what is busy."""
        found = compare(self._watched)
        self._hidden = found.hidden
        self.busy_spans = sum(len(spans) for spans in found.busy.values())
        self._engine.replace_busy_nowait(
            SOURCE,
            {
                resource: [(from_us(start), from_us(end)) for start, end in spans]
                for resource, spans in found.busy.items()
            },
        )

    async def poll_all(self) -> None:
        """Ask for all that is watched of all event types."""
        for synced in self._synced.values():
            if self._watched[synced.id].days:
                await self.poll(synced)


def _whole_ms(us: int) -> datetime:
    return from_us(-(-us // 1000) * 1000)


def _is_free(slot: RemoteSlot) -> bool:
    return slot.seats is None or slot.seats.remaining > 0  # full ones are listed, too
