"""What the tests of this folder share: both backends, a virtual clock, an engine that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from slotengine import FixedWindows, SlotEngine
from slotengine.core.time.instant import to_us
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> SimClock:
    return SimClock(NOW)


@pytest.fixture
async def engine(clock: SimClock) -> AsyncIterator[SlotEngine]:
    """An engine whose uids are "1", "2", ..., with a resource of each kind.

    "shop" is open from 09:00 to 17:00 on the day of `NOW`.
    """
    numbers = count(1)
    async with SlotEngine(clock=clock, new_uid=lambda _: str(next(numbers))) as engine:
        engine.add_resource("room")
        engine.add_resource("annex")
        engine.add_resource("hall", capacity=3)
        day = FixedWindows([(to_us(NOW + HOUR), to_us(NOW + 9 * HOUR))])
        engine.add_resource("shop", schedule=day)
        yield engine
        engine.check_invariants()
