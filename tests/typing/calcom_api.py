"""The public API of the Cal.com client as a type checker sees it.  Never run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

import aiohttp

from slotengine.calcom import (
    CalComClient,
    Circuit,
    ClientStatistics,
    OutcomeUnknown,
    RateLimited,
    RemoteConflict,
    RemoteDown,
    RemoteError,
    RemoteRefused,
    RemoteReservation,
    RemoteSeats,
    RemoteSlot,
)

START = datetime(2030, 1, 7, 9, tzinfo=UTC)


async def token() -> str:
    return "token"


async def calling(session: aiohttp.ClientSession) -> None:
    async with CalComClient(
        "https://calendar.example", token="t", refresh=token, session=session, per_minute=None
    ) as client:
        assert_type(client, CalComClient)
        assert_type(await client.reserve(1, START), RemoteReservation)
        assert_type(await client.get("uid"), RemoteReservation | None)
        assert_type(await client.update("uid", 1, START, slot_minutes=30), RemoteReservation)
        await client.delete("uid")
        slots = await client.slots(START, START, event_type_id=1, format="time")
        assert_type(slots, list[RemoteSlot])
        assert_type(slots[0].seats, RemoteSeats | None)
        assert_type(client.statistics(), ClientStatistics)
        assert_type(client.statistics().circuit, Circuit)
        await client.slots(START, START, event_type_id=1, format="both")  # type: ignore[arg-type]
        await client.reserve(1, START, 30)  # type: ignore[call-arg]
        await client.reserve(1, "2030-01-07")  # type: ignore[arg-type]


def failing(error: RemoteError) -> None:
    assert_type(error.operation, str)
    assert_type(error.may_have_happened, bool)
    match error:
        case RateLimited():
            assert_type(error.retry_after_s, float)
        case RemoteConflict():
            assert_type(error.status, int)
        case RemoteRefused():
            assert_type(error.request_id, str | None)
        case OutcomeUnknown():
            assert_type(error.status, int | None)
        case RemoteDown():
            assert_type(error.retry_after_s, float)
        case _:
            raise error
