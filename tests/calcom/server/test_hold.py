"""What can be done with a hold: sections 6, 7 and 8 of the contract."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slotengine import State, minutes
from tests.calcom.server.api import (
    NO_HOSTS,
    NOW,
    OWNER,
    Api,
    hosts_of,
)

pytestmark = pytest.mark.anyio

# --- 6: GET ----------------------------------------------------------------------------


async def test_get(api: Api) -> None:
    made = await api.post()
    answer = await api.get(made.data["reservationUid"])
    assert answer.status == 200
    expected = dict(made.data)
    del expected["reservationDuration"]
    assert answer.data == expected


@pytest.mark.parametrize("uid", ["unknown", "00000000-0000-4000-8000-000000000000", "%00", "ü"])
async def test_get_of_an_unknown_uid_is_null(api: Api, uid: str) -> None:
    answer = await api.get(uid)
    assert (answer.status, answer.body) == (200, {"status": "success", "data": None})


async def test_get_shows_an_expired_hold_for_the_retention(api: Api) -> None:
    made = await api.post()
    uid = made.data["reservationUid"]
    await api.clock.advance(minutes(5))
    answer = await api.get(uid)
    assert answer.data["reservationUntil"] == made.data["reservationUntil"]
    await api.clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    assert (await api.get(uid)).data is not None
    await api.clock.advance(timedelta(microseconds=1))
    assert (await api.get(uid)).data is None


async def test_get_of_what_is_no_hold_any_more_is_null(api: Api) -> None:
    released, confirmed, cancelled = [
        await api.hold(slotStart=f"2050-09-05T{hour}:00:00Z") for hour in (10, 11, 12)
    ]
    await api.delete(released)
    await api.engine.confirm(confirmed)
    await api.engine.confirm(cancelled)
    await api.engine.cancel(cancelled)
    for uid in (released, confirmed, cancelled):
        assert (await api.get(uid)).data is None


# --- 7: PATCH --------------------------------------------------------------------------


async def test_patch_renews_in_place(api: Api) -> None:
    uid = await api.hold()
    await api.clock.advance(minutes(4))
    answer = await api.patch(uid)
    assert answer.status == 200
    assert answer.data == {
        "eventTypeId": 1,
        "slotStart": "2050-09-05T10:00:00.000Z",
        "slotEnd": "2050-09-05T10:30:00.000Z",
        "slotDuration": 30,
        "reservationUid": uid,
        "reservationDuration": 5,
        "reservationUntil": "2050-09-05T06:09:00.000Z",
    }
    await api.clock.advance(minutes(4))
    assert (await api.post()).status == 422
    await api.clock.advance(minutes(1))
    assert (await api.post()).status == 201


async def test_patch_moves_also_to_an_overlapping_time(api: Api) -> None:
    uid = await api.hold()
    answer = await api.patch(uid, slotStart="2050-09-05T10:15:00Z")
    assert (answer.status, answer.data["reservationUid"]) == (200, uid)
    assert (await api.get(uid)).data["slotStart"] == "2050-09-05T10:15:00.000Z"
    assert (await api.post(slotStart="2050-09-05T09:45:00Z")).status == 201  # given up
    assert (await api.post(slotStart="2050-09-05T10:30:00Z")).status == 422  # taken


async def test_patch_forgets_the_previous_durations(api: Api) -> None:
    made = await api.post(headers=OWNER, slotDuration=45, reservationDuration=60)
    uid = made.data["reservationUid"]
    answer = await api.patch(uid)
    assert answer.data["slotDuration"] == 30
    assert answer.data["reservationUntil"] == "2050-09-05T06:05:00.000Z"


async def test_patch_to_another_event_type(api: Api) -> None:
    uid = await api.hold()
    answer = await api.patch(uid, eventTypeId=5, slotStart="2050-09-05T12:00:00Z")
    assert answer.status == 200
    assert answer.data["eventTypeId"] == 5
    assert hosts_of(api, uid) == {"user:4", "user:5"}
    assert (await api.post()).status == 201


async def test_patch_is_refused_and_nothing_has_changed(api: Api) -> None:
    uid = await api.hold()
    await api.hold(slotStart="2050-09-05T12:00:00Z")
    await api.clock.advance(minutes(1))
    before = api.state()
    refused: list[tuple[dict[str, Any], int]] = [
        ({"slotStart": "2050-09-05T12:15:00Z"}, 422),
        ({"slotStart": "2050-09-06T10:00:00Z"}, 422),
        ({"slotStart": "2050-09-05T05:00:00Z"}, 422),
        ({"eventTypeId": 4, "slotStart": "2050-09-10T10:00:00Z"}, 422),
        ({"eventTypeId": 999}, 404),
        ({"slotDuration": 7}, 400),
        ({"slotStart": "2050-02-30"}, 400),
        ({"slotStart": None}, 400),
        ({"eventTypeId": "1"}, 400),
    ]
    for body, status in refused:
        assert (await api.patch(uid, **body)).status == status
    assert api.state() == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer cal_stranger"}, 403), (OWNER, 200)],
)
async def test_patch_needs_the_permission_of_post(
    api: Api, headers: dict[str, str], status: int
) -> None:
    held = await api.post(headers=OWNER)  # without a quota, whoever patches it
    answer = await api.patch(held.data["reservationUid"], headers=headers, reservationDuration=60)
    assert answer.status == status
    if status == 200:
        assert answer.data["reservationUntil"] == "2050-09-05T07:00:00.000Z"
        assert answer.data["reservationDuration"] == 60


async def test_patch_of_what_is_no_hold(api: Api) -> None:
    released, confirmed, expired = [
        await api.hold(slotStart=f"2050-09-05T{hour}:00:00Z") for hour in (10, 11, 12)
    ]
    await api.delete(released)
    await api.engine.confirm(confirmed)
    await api.clock.advance(minutes(5))
    before = api.state()
    for uid in (released, confirmed, expired, "unknown", "%F0%9F%A6%89"):
        answer = await api.patch(uid, slotStart="2050-09-07")
        assert answer.status == 404
        shown = "🦉" if uid.startswith("%") else uid
        assert answer.message == f"Slot with uid={shown} not found"
        assert answer.body["error"]["code"] == "NotFoundException"
    assert api.state() == before


async def test_patch_of_a_round_robin_hold_keeps_its_host_if_possible(api: Api) -> None:
    uids = [await api.hold(eventTypeId=6) for _ in range(3)]
    await api.hold(eventTypeId=6, slotStart="2050-09-05T12:00:00Z")
    await api.delete(uids[0])
    for uid in uids[1:]:
        before = hosts_of(api, uid)
        assert (await api.patch(uid, eventTypeId=6)).status == 200
        assert hosts_of(api, uid) == before


async def test_patch_of_a_round_robin_hold_changes_its_host_if_need_be(api: Api) -> None:
    uids = [await api.hold(eventTypeId=6) for _ in range(3)]
    uid = next(uid for uid in uids if hosts_of(api, uid) == {"user:4"})
    while_booked = "2050-09-06T10:00:00Z"
    assert (await api.patch(uid, eventTypeId=6, slotStart=while_booked)).status == 200
    assert hosts_of(api, uid) < {"user:5", "user:6"}


async def test_patch_of_a_round_robin_hold_where_nobody_is_free(api: Api) -> None:
    for _ in range(3):
        await api.hold(eventTypeId=6)
    uid = await api.hold(eventTypeId=6, slotStart="2050-09-05T12:00:00Z")
    answer = await api.patch(uid, eventTypeId=6, slotStart="2050-09-05T10:15:00Z")
    assert (answer.status, answer.message) == (422, NO_HOSTS)
    assert (await api.get(uid)).data["slotStart"] == "2050-09-05T12:00:00.000Z"


async def test_patch_of_a_seat(api: Api) -> None:
    uid = await api.hold(eventTypeId=3)
    await api.hold(eventTypeId=3)
    assert (await api.patch(uid, eventTypeId=3)).status == 200  # its own seat is not in its way
    full = await api.patch(uid, eventTypeId=3, slotStart="2050-09-06T10:00:00Z")
    assert full.message == "Booking with id=3 at 2050-09-06T10:00:00Z has no more seats left."


async def test_many_patches_at_once(api: Api) -> None:
    uid = await api.hold()
    answers = await asyncio.gather(
        *(api.patch(uid, slotStart=f"2050-09-05T{10 + i % 8}:00:00Z") for i in range(50))
    )
    assert {answer.status for answer in answers} == {200}
    assert api.engine.statistics().held == 1


def let_time_pass(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hold lapse between the next look at it and what follows; nothing else can happen."""
    get = api.engine.local.get

    def get_in_time(uid: str) -> object:
        held = get(uid)
        monkeypatch.setattr(api.engine.local, "get", get)
        api.clock.set(NOW + minutes(5))
        return held

    monkeypatch.setattr(api.engine.local, "get", get_in_time)


async def test_patch_is_too_late_while_it_looks(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = await api.hold()
    let_time_pass(api, monkeypatch)
    assert (await api.patch(uid, slotStart="2050-09-05T12:00:00Z")).status == 404
    lapsed = api.engine.local.get(uid)
    assert lapsed is not None
    assert lapsed.start == datetime(2050, 9, 5, 10, tzinfo=UTC)


# --- 8: DELETE -------------------------------------------------------------------------


async def test_delete(api: Api) -> None:
    uid = await api.hold()
    for _ in range(2):
        answer = await api.delete(uid)
        assert (answer.status, answer.body) == (200, {"status": "success"})
    assert (await api.get(uid)).data is None
    assert (await api.post()).status == 201


async def test_delete_of_anything_else_changes_nothing(api: Api) -> None:
    confirmed = await api.hold()
    await api.engine.confirm(confirmed)
    expired = await api.hold(slotStart="2050-09-05T12:00:00Z")
    await api.clock.advance(minutes(5))
    before = api.state()
    for uid in (confirmed, expired, "unknown", "%2F", "a b", "x" * 4000):
        answer = await api.delete(uid)
        assert (answer.status, answer.body) == (200, {"status": "success"})
    assert api.state() == before
    booking = api.engine.local.get(confirmed)
    assert booking is not None
    assert booking.state is State.CONFIRMED


async def test_delete_is_too_late_while_it_looks(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = await api.hold()
    let_time_pass(api, monkeypatch)
    assert (await api.delete(uid)).status == 200
    lapsed = api.engine.local.get(uid)
    assert lapsed is not None
    assert lapsed.state is State.EXPIRED
