"""A task of its own, in the event loop in which it was started, and nowhere else.

anyio's task groups are to be left by the task that entered them.  An engine is
often started by one task and closed by another, as by fixtures and by the
lifespans of web frameworks; so its sweeper is in no group.  anyio has no public
way to start such a task, so each of its backends has its own here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import Context
from threading import get_ident
from typing import NoReturn

import anyio
from anyio.lowlevel import current_token

from slotengine.errors import EngineMisused

tasks: set[asyncio.Task[None]] = set()
"""asyncio itself keeps no task alive, see `asyncio.create_task`."""


def current_loop() -> object | None:
    """Return what runs in this thread: asyncio's loop, a token for trio's, or None."""
    try:
        return current_token().native_token
    except RuntimeError:  # no loop, or a callback of one, which is no task
        pass
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def refuse_in_child() -> NoReturn:
    """Raise `EngineMisused`: this process was forked from the one in which the engine runs."""
    raise EngineMisused(
        "the engine was started before this process was forked, and runs in its parent; "
        "start another one here"
    )


class Background:
    """Some work that goes on beside whoever started it, until it is stopped.

    ``ended`` is called once when it is over, with what it raised, or None: because it
    was stopped, or because the event loop ends, which cancels it.  It has a
    context of its own: no context variable of whoever started it is seen by it.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[None]],
        *,
        name: str,
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._work = work
        self._ended = ended
        self._scope = anyio.CancelScope()
        self._over = anyio.Event()
        self._thread = get_ident()
        self._process = os.getpid()
        self._loop = current_loop()
        if isinstance(self._loop, asyncio.AbstractEventLoop):
            task = asyncio.create_task(self._run(), name=name, context=Context())
            tasks.add(task)
            task.add_done_callback(self._over_on_asyncio)
        else:
            import trio

            trio.lowlevel.spawn_system_task(self._run_on_trio, name=name)

    async def stop(self) -> None:
        """Cancel the work, and return when it is over; also if the caller is cancelled."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._over.wait()

    async def _run(self) -> None:
        with self._scope:
            await self._work()

    def _over_on_asyncio(self, task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        self._finish(None if task.cancelled() else task.exception())

    async def _run_on_trio(self) -> None:
        import trio

        crash: BaseException | None = None
        try:
            await self._run()
        except trio.Cancelled:
            raise
        except (
            BaseException
        ) as error:  # trio takes what a system task raises for a fault of its own
            crash = error
        finally:
            self._finish(crash)

    def _finish(self, crash: BaseException | None) -> None:
        self._over.set()
        self._ended(crash)

    # --- Where it is called from -----------------------------------------------------------

    def check(self) -> None:
        """Raise `EngineMisused` in another process, thread or event loop than it was started in.

        Where no event loop runs at all, in the same thread, is as good: nothing
        is awaited there.
        """
        if os.getpid() != self._process:
            refuse_in_child()
        if get_ident() != self._thread:
            raise EngineMisused(
                "the engine belongs to the thread that it was started in; from other threads use "
                "a BlockingEngine, or hand the call over to its event loop"
            )
        here = current_loop()
        if (here is not None and here is not self._loop) or self._is_closed():
            raise EngineMisused(
                "the engine belongs to the event loop that it was started in, and this is another; "
                "start one in each"
            )

    def _is_closed(self) -> bool:
        return isinstance(self._loop, asyncio.AbstractEventLoop) and self._loop.is_closed()

    def guarded(self, now: Callable[[], int]) -> Callable[[], int]:
        """Return the same clock, which when it is read makes sure that it is read here.

        That the loop runs, in this thread, is a quick way to know that it is this one.
        """
        thread, check = self._thread, self.check
        if isinstance(self._loop, asyncio.AbstractEventLoop):
            runs = self._loop.is_running

            def read() -> int:
                if get_ident() != thread or not runs():
                    check()
                return now()
        else:

            def read() -> int:
                if get_ident() != thread:
                    check()
                return now()

        return read
