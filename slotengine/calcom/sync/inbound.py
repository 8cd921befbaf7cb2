"""Polls the remote's slots, and imports into the engine who is busy there.

`remote_busy` works out what the slots mean.  This module decides when to poll.
It applies each result in one step of the engine, so that nobody sees it without
its imported busy time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio

from slotengine.calcom.client.client import CalComClient
from slotengine.calcom.client.errors import ClientClosed, RemoteError
from slotengine.calcom.client.wire import RemoteSlot
from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.errors import RemoteBusy
from slotengine.calcom.sync.remote_busy import PollResult, Watched, infer_busy
from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.calcom.sync.values import AvailableSlots, Synced, WhenStale
from slotengine.core.time.instant import DAY, MICROSECOND, SECOND, duration_us, from_us, to_us
from slotengine.core.time.interval import Span, joined
from slotengine.engine.local import LocalEngine
from slotengine.engine.requests import SlotQuery
from slotengine.engine.values import Slot

logger = logging.getLogger(__name__)

SOURCE: Final = "cal.com"
"""The source of the remote's busy time in the engine."""

_LAST: Final = to_us(datetime.max.replace(microsecond=0, tzinfo=UTC))
SEARCH_LAG: Final = 2 * SECOND
"""How old the slots in a response of the remote may be."""


class Inbound:
    """What is known of the remote's slots, and the tasks that poll them."""

    def __init__(
        self,
        env: Environment,
        client: CalComClient,
        synced: dict[str, Synced],
        recent_spans: Callable[[int], Iterable[RemoteSpan]],
    ) -> None:
        self.polls = 0
        self.polls_failed = 0
        self.busy_spans = 0
        self._env = env
        self._engine = env.engine
        self._client = client
        self._synced = synced
        self._recent_spans = recent_spans
        self._watched = {name: Watched.of(one.event_type) for name, one in synced.items()}
        self._hidden: dict[str, frozenset[int]] = {}
        self._polling: dict[str, asyncio.Task[None]] = {}

    @property
    def hidden(self) -> int:
        """How many starts are hidden."""
        return sum(len(starts) for starts in self._hidden.values())

    def staleness(self) -> timedelta | None:
        """Return the age of the oldest poll of a watched day; None if there is none."""
        days = [day for one in self._watched.values() for day in one.days.values()]
        oldest = min((day.as_of for day in days if day.as_of is not None), default=None)
        return None if oldest is None else (self._env.now() - oldest) * MICROSECOND

    # --- Callers' questions -------------------------------------------------------------------

    def check_offered(self, synced: Synced, start: int) -> None:
        """Raise `RemoteBusy` for a start that the remote did not offer."""
        if start in self._hidden.get(synced.id, ()):
            as_of = self._watched[synced.id].as_of(start, start + 1)
            assert as_of is not None
            raise RemoteBusy(synced.id, from_us(start), from_us(as_of))

    async def watch(self, synced: Synced, start: int, end: int) -> None:
        """Poll a range from now on; if some of it was never polled, poll now and wait for that."""
        watched = self._watched[synced.id]
        watched.ask(start, end, self._env.now())
        if watched.as_of(start, end) is None:
            await self.poll(synced)

    def offers(self, synced: Synced, start: int, end: int, found: list[Slot]) -> AvailableSlots:
        """Return the slots that both sides offer, and the age of what is known of the remote."""
        as_of = self._watched[synced.id].as_of(start, end)
        oldest = self._env.now() - duration_us(synced.stale_after, "stale_after")
        stale = as_of is None or as_of < oldest
        hidden = self._hidden.get(synced.id, frozenset())
        if stale and synced.when_stale is WhenStale.HIDE:
            found = []
        elif hidden:
            found = [slot for slot in found if to_us(slot.start) not in hidden]
        return AvailableSlots(found, None if as_of is None else from_us(as_of), stale)

    # --- Polling ------------------------------------------------------------------------------

    async def keep_polling(self, synced: Synced) -> None:
        """Poll the watched days of an event type at intervals, until this is cancelled."""
        every = duration_us(synced.poll_every, "poll_every")
        never = anyio.Event()
        while True:
            jitter = self._env.random.uniform(-synced.jitter, synced.jitter)
            due = self._env.now() + max(1, int(every * (1 + jitter)))
            while self._env.now() < due:
                await self._env.clock.wait(never, due)
            now = self._env.now()
            poll_for = duration_us(synced.poll_for, "poll_for")
            watched = self._watched[synced.id]
            if watched.forget(now - poll_for, now // DAY):
                await self._engine.run(self.apply)
            if watched.days:
                try:
                    await self.poll(synced)
                except Exception:
                    logger.exception("polling the slots of %s failed", synced.id)

    async def poll(self, synced: Synced) -> None:
        """Poll the watched days of an event type; callers at the same time share one poll."""
        polling = self._polling.get(synced.id)
        if polling is None:
            polling = asyncio.create_task(self._poll_days(synced))
            self._polling[synced.id] = polling
            polling.add_done_callback(lambda _: self._polling.pop(synced.id, None))
        await asyncio.shield(polling)

    async def poll_all(self) -> None:
        """Poll the watched days of all event types."""
        for synced in self._synced.values():
            if self._watched[synced.id].days:
                await self.poll(synced)

    async def stop(self) -> None:
        """Cancel the polls that are under way."""
        polling = list(self._polling.values())
        for task in polling:
            task.cancel()
        await asyncio.gather(*polling, return_exceptions=True)

    async def _poll_days(self, synced: Synced) -> None:
        watched = self._watched[synced.id]
        # Days that are added while a response is awaited are polled next.
        asked: set[int] = set()
        while fresh := watched.runs_without(asked):
            for first, last in fresh:
                asked.update(range(first, last + 1))
                await self._poll_run(synced, first, last)

    async def _poll_run(self, synced: Synced, first: int, last: int) -> None:
        # A slot that begins on the last day may end on the next.
        begin = max(first * DAY, self._env.now())
        end = min((last + 1) * DAY + self._watched[synced.id].length, _LAST)
        asked_at = self._env.now()
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
            logger.info("the slots of %s could not be polled: %s", synced.id, error)
            return
        free = frozenset(to_us(slot.start) for slot in found if _is_free(slot))
        await self._engine.run(
            lambda local: self._learn(synced, first, last, asked_at, free, local)
        )

    def _learn(
        self,
        synced: Synced,
        first: int,
        last: int,
        asked_at: int,
        free: frozenset[int],
        local: LocalEngine,
    ) -> None:
        """Update the busy time here by the result of a poll, in one step."""
        end = min((last + 1) * DAY + self._watched[synced.id].length, _LAST)
        local.replace_busy(SOURCE, {})
        offered = [
            to_us(slot.start)
            for slot in local.slots(
                SlotQuery(synced.id, from_us(max(first * DAY, self._env.now())), from_us(end))
            )
        ]
        own = joined(self._own(synced, asked_at - SEARCH_LAG))
        self._watched[synced.id].learn(PollResult(first, last, asked_at, free, offered, own))
        self.apply(local)

    def _own(self, synced: Synced, since: int) -> Iterator[Span]:
        """Yield the spans in which our own holds may have hidden slots of an event type."""
        hosts = set(self._watched[synced.id].resources)
        sharing_hosts = {
            one.remote_id
            for one in self._synced.values()
            if not hosts.isdisjoint(self._watched[one.id].resources)
        }
        for remote_id, start, end in self._recent_spans(since):
            if remote_id in sharing_hosts:
                yield start, end

    def apply(self, local: LocalEngine) -> None:
        """Import the remote's busy time into the engine."""
        found = infer_busy(self._watched)
        self._hidden = found.hidden
        self.busy_spans = sum(len(spans) for spans in found.busy.values())
        local.replace_busy(
            SOURCE,
            {
                resource: [(from_us(start), from_us(end)) for start, end in spans]
                for resource, spans in found.busy.items()
            },
        )


def _whole_ms(us: int) -> datetime:
    return from_us(-(-us // 1000) * 1000)


def _is_free(slot: RemoteSlot) -> bool:
    return slot.seats is None or slot.seats.remaining > 0  # the remote lists full slots, too
