"""Which requests are retried, when, and how often.

A request is retried only if it is idempotent or was certainly not carried out.
``GET`` and ``DELETE`` are idempotent.  A second ``POST`` could make a second
hold.  A second ``PATCH`` is refused if the first was carried out, because the
original Cal.com counts the moved hold as a conflict with itself; the refusal
would look as if the hold had not been moved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final, ParamSpec, TypeVar

from slotengine.extras import missing

try:
    from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
except ModuleNotFoundError as error:
    raise missing("slotengine.calcom.client", "calcom", error.name or "tenacity") from None

from slotengine.calcom.client.errors import (
    OutcomeUnknown,
    RateLimited,
    RemoteFailed,
    RemoteUnreachable,
)

P = ParamSpec("P")
T = TypeVar("T")

# Backoff with full jitter: between zero and a maximum that doubles from the first to the last.
FIRST_BACKOFF_S: Final = 0.5
LAST_BACKOFF_S: Final = 8.0

IDEMPOTENT: Final = frozenset({"GET", "DELETE"})
"""The methods whose requests can be repeated without harm."""


def may_retry(error: BaseException, method: str, *, wait_for_permit: bool) -> bool:
    """Return whether a request that ended in this error may be sent again.

    >>> unreachable = RemoteUnreachable("reserve", "no connection")
    >>> may_retry(unreachable, "POST", wait_for_permit=True)
    True
    >>> may_retry(RemoteFailed("get", "status 500", 500, None), "GET", wait_for_permit=True)
    True
    """
    match error:
        case RateLimited():
            return wait_for_permit
        case RemoteUnreachable():
            return True
        case RemoteFailed() | OutcomeUnknown():
            return method in IDEMPOTENT
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Retries:
    """At most ``attempts`` for each call; time and randomness are passed in."""

    attempts: int
    wait_for_permit: bool
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Random
    on_retry: Callable[[], None]
    """Called before each retry."""

    async def run(
        self,
        attempt: Callable[P, Awaitable[T]],
        method: str,
        deadline: float,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call ``attempt`` until it succeeds; no retry begins after the deadline."""

        def stop(state: RetryCallState) -> bool:
            late = self.clock() + state.upcoming_sleep >= deadline
            return late or state.attempt_number >= self.attempts

        def retries(error: BaseException) -> bool:
            return may_retry(error, method, wait_for_permit=self.wait_for_permit)

        # A new object for each call, because it keeps the state of that call.
        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=stop,
            wait=self._wait_s,
            retry=retry_if_exception(retries),
            before_sleep=lambda _: self.on_retry(),
            reraise=True,
        )
        return await retrying(attempt, *args, **kwargs)

    def _wait_s(self, state: RetryCallState) -> float:
        assert state.outcome is not None
        error = state.outcome.exception()
        told_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
        max_s = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (state.attempt_number - 1))
        return told_s + self.random.uniform(0, max_s)
