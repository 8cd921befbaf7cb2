"""Which requests are worth repeating, when, and how often.

Repeated is only what does no harm when done twice, or was certainly not done.
``GET`` and ``DELETE`` do none.  A second ``POST`` could make a second hold; a
second ``PATCH`` is refused if the first was done, because the remote finds the
reservation itself in its way, and so would say the opposite of the truth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final, ParamSpec, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from slotengine.calcom.client.errors import (
    OutcomeUnknown,
    RateLimited,
    RemoteFailed,
    RemoteUnreachable,
)

P = ParamSpec("P")
T = TypeVar("T")

# The wait is drawn between nothing and a length that doubles from the first to the last.
FIRST_BACKOFF_S: Final = 0.5
LAST_BACKOFF_S: Final = 8.0

HARMLESS: Final = frozenset({"GET", "DELETE"})
"""The methods whose requests can be repeated whatever became of them."""


def may_repeat(error: BaseException, method: str, *, wait_for_turn: bool) -> bool:
    """Tell whether a request that ended so may be sent again.

    >>> unreachable = RemoteUnreachable("reserve", "no connection")
    >>> may_repeat(unreachable, "POST", wait_for_turn=True)
    True
    >>> may_repeat(RemoteFailed("get", "status 500", 500, None), "GET", wait_for_turn=True)
    True
    """
    match error:
        case RateLimited():
            return wait_for_turn
        case RemoteUnreachable():
            return True
        case RemoteFailed() | OutcomeUnknown():
            return method in HARMLESS
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Retries:
    """At most ``attempts`` for each call; time and chance are handed in."""

    attempts: int
    wait_for_turn: bool
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Random
    count: Callable[[], None]
    """Called before each repeat."""

    async def run(
        self,
        attempt: Callable[P, Awaitable[T]],
        method: str,
        deadline: float,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call until it succeeds; no repeat begins after the deadline."""

        def stop(state: RetryCallState) -> bool:
            late = self.clock() + state.upcoming_sleep >= deadline
            return late or state.attempt_number >= self.attempts

        def repeats(error: BaseException) -> bool:
            return may_repeat(error, method, wait_for_turn=self.wait_for_turn)

        # A new one each time: it keeps the state of the call it serves.
        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=stop,
            wait=self._wait_s,
            retry=retry_if_exception(repeats),
            before_sleep=lambda _: self.count(),
            reraise=True,
        )
        return await retrying(attempt, *args, **kwargs)

    def _wait_s(self, state: RetryCallState) -> float:
        assert state.outcome is not None
        error = state.outcome.exception()
        told_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
        most_s = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (state.attempt_number - 1))
        return told_s + self.random.uniform(0, most_s)
