"""The stand-in line by line, sections 6 to 9: reading, moving, releasing, and what lingers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from slotengine import minutes
from tests.testing.remote.client import BOOKED, RESERVED, TEN, Client, bearer

pytestmark = pytest.mark.anyio

LATER: dict[str, Any] = {"slotStart": "2050-09-05T12:00:00Z"}


# --- 6 GET -----------------------------------------------------------------------------


async def test_section_6_get_is_post_without_the_duration(client: Client) -> None:
    made = (await client.post()).data
    assert made.pop("reservationDuration") == 5
    found = await client.get(made["reservationUid"])
    assert (found.status, found.data) == (200, made)


async def test_section_6_an_unknown_uid_is_200_and_null(client: Client) -> None:
    found = await client.get("none")
    assert (found.status, found.body) == (200, {"status": "success", "data": None})


async def test_section_6_an_expired_hold_is_shown_until_it_is_purged(client: Client) -> None:
    """Also of section 9.3 and of section 13, number 16."""
    uid = await client.uid()
    await client.clock.advance(minutes(60))
    assert (await client.get(uid)).data["reservationUntil"] == "2050-09-05T06:05:00.000Z"
    await client.search(eventTypeId="2")
    assert len(client.remote.rows) == 1  # a search for another event type purges others
    await client.search(eventTypeId="1")
    assert client.remote.log[-1].effect == "purged"
    assert (await client.get(uid)).data is None


# --- 7 PATCH ---------------------------------------------------------------------------


async def test_section_7_unknown_uid_before_unknown_event_type(client: Client) -> None:
    assert (await client.patch("none", eventTypeId=99)).refusal == (
        404,
        "Slot with uid=none not found",
    )
    uid = await client.uid()
    assert (await client.patch(uid, eventTypeId=99)).refusal == (
        404,
        "Event Type with ID=99 not found",
    )
    assert (await client.call("PATCH", f"/v2/slots/reservations/{uid}")).status == 400


async def test_section_7_the_slot_duration_rules_are_those_of_post(client: Client) -> None:
    uid = await client.uid()
    assert (await client.patch(uid, slotDuration=60)).status == 400
    assert (await client.patch(uid, slotStart="2050-02-30")).refusal == (400, "Invalid start date")
    assert (await client.patch(uid, slotDuration=15, **LATER)).data["slotDuration"] == 15


async def test_section_7_it_is_in_its_own_way(client: Client) -> None:
    """Also of section 13, number 3."""
    uid = await client.uid()
    for start in ("10:00", "10:15", "09:45"):
        answer = await client.patch(uid, slotStart=f"2050-09-05T{start}:00Z")
        assert answer.refusal == (422, RESERVED)
    assert (await client.patch(uid, slotStart="2050-09-05T10:30:00Z")).status == 200


async def test_section_7_another_hold_or_booking_is_in_the_way(client: Client) -> None:
    uid = await client.uid()
    client.remote.hold(1, TEN + minutes(120))
    assert (await client.patch(uid, **LATER)).refusal == (422, RESERVED)
    client.remote.book(1, TEN + minutes(120))
    assert (await client.patch(uid, **LATER)).refusal == (422, BOOKED)
    full = client.remote.book(3, TEN, attendees=2)
    assert full.attendees == 2
    assert (await client.patch(uid, eventTypeId=3)).status == 422


async def test_section_7_round_robin_is_not_exempt(client: Client) -> None:
    """Also of section 13, number 12."""
    uid = await client.uid(eventTypeId=5)
    client.remote.book(5, TEN + minutes(60), user_ids=[3])
    at_eleven: dict[str, Any] = {"slotStart": "2050-09-05T11:00:00Z"}
    assert (await client.post(eventTypeId=5, **at_eleven)).status == 201
    assert (await client.patch(uid, eventTypeId=5, **at_eleven)).refusal == (422, BOOKED)
    client.remote.hold(5, TEN + minutes(120))
    assert (await client.patch(uid, eventTypeId=5, **LATER)).refusal == (422, RESERVED)


async def test_section_7_it_is_always_renewed(client: Client) -> None:
    """Also of section 13, number 4: anybody may say for how long."""
    owner = bearer("cal_owner")
    made = await client.post(headers=owner, reservationDuration=60, slotDuration=45)
    uid = made.data["reservationUid"]
    await client.clock.advance(minutes(1))
    moved = await client.patch(uid, **LATER)
    assert (moved.status, moved.data) == (
        200,
        {
            "eventTypeId": 1,
            "slotStart": "2050-09-05T12:00:00.000Z",
            "slotEnd": "2050-09-05T12:30:00.000Z",  # neither the stored length
            "slotDuration": 30,
            "reservationUid": uid,
            "reservationDuration": 5,  # nor the stored time to live
            "reservationUntil": "2050-09-05T06:06:00.000Z",
        },
    )
    again = await client.patch(uid, reservationDuration=100_000)
    assert again.data["reservationDuration"] == 100_000


async def test_section_7_an_expired_hold_comes_back_to_life(client: Client) -> None:
    uid = await client.uid()
    await client.clock.advance(minutes(5))
    assert client.remote.live() == ()
    assert (await client.patch(uid)).status == 200
    assert [row.uid for row in client.remote.live()] == [uid]


async def test_section_7_user_and_seat_flag_stay(client: Client) -> None:
    uid = await client.uid(eventTypeId=3)
    assert (await client.patch(uid, eventTypeId=4)).status == 200
    (row,) = client.remote.rows
    assert (row.event_type_id, row.user_id, row.is_seat) == (4, 4, True)


# --- 8 DELETE --------------------------------------------------------------------------


async def test_section_8_delete_is_always_200(client: Client) -> None:
    uid, expired = await client.uid(), client.remote.hold(2, TEN, minutes=-1).uid
    for each in (uid, uid, expired, "none"):
        answer = await client.delete(each)
        assert (answer.status, answer.body) == (200, {"status": "success"})
    assert client.remote.rows == ()
    effects = [one.effect for one in client.remote.log]
    assert effects == ["reserved", "released", None, "released", None]


async def test_section_13_17_delete_removes_all_rows_of_a_uid(client: Client) -> None:
    for hour in range(2):
        client.remote.hold(1, TEN + minutes(60 * hour), uid="twin")
    assert (await client.get("twin")).data["slotStart"] == "2050-09-05T10:00:00.000Z"
    await client.delete("twin")
    assert client.remote.rows == ()


# --- 9.2 and 9.3 Bookings, expiry, and the remote's own idea of the time ---------------


async def test_section_9_2_a_booking_ignores_holds(client: Client) -> None:
    """Also of section 13, number 15."""
    uid = await client.uid()
    booking = client.remote.book(1, TEN)
    assert booking in client.remote.bookings
    assert (await client.get(uid)).data is not None
    assert [row.uid for row in client.remote.live(1)] == [uid]


async def test_section_9_3_expired_rows_block_nothing(client: Client) -> None:
    await client.uid()
    await client.clock.advance(minutes(5))
    assert await client.starts() == ["10:00", "10:30", "11:00", "11:30"]


async def test_a_clock_that_is_ahead_or_behind(client: Client) -> None:
    client.remote.skew = timedelta(minutes=3)
    assert (await client.post()).data["reservationUntil"] == "2050-09-05T06:08:00.000Z"
    client.remote.skew = timedelta(minutes=-3)
    later = await client.post(**LATER)
    assert later.data["reservationUntil"] == "2050-09-05T06:02:00.000Z"
    client.remote.skew = timedelta(minutes=8)
    assert client.remote.live() == ()
