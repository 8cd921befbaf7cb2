"""An event loop in a thread of its own, in which other threads let functions run.

What anyio's `start_blocking_portal` does, but for its ends: this thread keeps no
interpreter from exiting, and no call that comes while it ends waits for ever.
"""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from threading import Condition, Thread, get_ident
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from slotengine.engine.background import current_loop, refuse_in_child
from slotengine.errors import EngineClosed, EngineMisused, SlotError

R = TypeVar("R")


class LoopThread:
    """Runs an event loop, of the backend that is named, from `start` to `stop`."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._process = os.getpid()
        self.thread: Thread | None = None
        self.state = Condition()  # of all that follows
        self.portal: BlockingPortal | None = None
        self._ended = False
        self._entering = 0  # calls that are on their way to the loop

    @property
    def runs(self) -> bool:
        """Whether functions can be called there."""
        return self.portal is not None

    def start(self) -> None:
        """Start the loop.  Raises `EngineClosed` the second time, and what anyio raises."""
        self._check_here()
        ready: Future[BlockingPortal] = Future()
        with self.state:
            if self.thread is not None or self._ended:
                raise EngineClosed("it was started or closed before; make another one")
            self._process = os.getpid()
            # Not one that the interpreter waits for before it calls what is to be done at its exit.
            self.thread = Thread(
                target=_run, args=(self._backend, ready), name="slotengine", daemon=True
            )
            self.thread.start()
        self.portal = ready.result()

    def call(self, function: Callable[[], Awaitable[R]]) -> R:
        """Return what a function returns there.  Raises `EngineClosed` if there is no loop."""
        self._check_here()
        with self.state:
            portal = self.portal
            if portal is None:
                raise EngineClosed
            self._entering += 1
        try:
            future = portal.start_task_soon(function)
        except RuntimeError:  # the loop has broken down
            raise EngineClosed from None
        finally:
            with self.state:
                self._entering -= 1
                self.state.notify_all()
        try:
            return future.result()
        except CancelledError:  # by the end of the loop
            raise EngineClosed from None
        finally:
            future.cancel()  # if we are interrupted, so is what we wait for

    def stop(self, *, cancel: bool = False) -> None:
        """End the loop, and return when it has: at once, or when all calls have their answers."""
        self._check_here()
        with self.state:
            self._ended = True
            portal, self.portal = self.portal, None
            while self._entering:
                self.state.wait()
        if portal is not None:
            with suppress(RuntimeError):  # the loop has broken down
                portal.call(portal.stop, cancel)
        if self.thread is not None:
            self.thread.join()

    def finish(self, last: Callable[[], Awaitable[object]]) -> None:
        """Call a last function and stop, if that was not done: for the end of the interpreter,
        or the cycle collector, in whatever thread and process that may be."""
        if os.getpid() != self._process:
            return
        try:
            self.call(last)
        except EngineMisused:  # a thread that must not wait
            Thread(target=self.finish, args=(last,)).start()
            return
        except SlotError:
            pass
        self.stop(cancel=True)

    def _check_here(self) -> None:
        """Raise `EngineMisused` where whoever waits for the loop would wait for ever."""
        if self.thread is not None and os.getpid() != self._process:
            refuse_in_child()
        if self.thread is not None and self.thread.ident == get_ident():
            raise EngineMisused(
                "a BlockingEngine cannot be called in its own thread, which would wait for itself; "
                "what runs there can call the SlotEngine that it was made with"
            )
        loop = current_loop() if self._backend == "trio" else None
        if loop is not None and not isinstance(loop, AbstractEventLoop):
            raise EngineMisused(
                "a BlockingEngine on trio cannot be called by a task of trio, and block it: "
                "use a SlotEngine there, or call it from a worker thread"
            )


def _run(backend: str, ready: Future[BlockingPortal]) -> None:
    async def until_stopped() -> None:
        async with BlockingPortal() as portal:
            ready.set_result(portal)
            await portal.sleep_until_stopped()

    try:
        anyio.run(until_stopped, backend=backend)
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)
