"""What callers do: read plainly, and with the uids of what is made."""

from __future__ import annotations

import pytest

from slotengine import EventType, Host, Limit, Period, Policy, minutes
from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    EACH,
    Adopt,
    Annotate,
    Choice,
    Confirm,
    Extend,
    Forget,
    ImportBusy,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import (
    Configure,
    Kind,
    LimitConfig,
    Put,
    Remove,
    ResourceConfig,
    Retire,
)
from slotengine.core.ledger.expiry import PENDING
from slotengine.core.ledger.extra import Extra, Series
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Seats, State
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.errors import SlotTaken
from slotengine.testing.internal.action_text import Scale, text
from slotengine.testing.internal.actions import (
    Action,
    ForgetBookings,
    Get,
    IsFree,
    ListLive,
    MoveSlot,
    MoveTo,
    ReserveSlot,
    in_series,
    requests_of,
    uids_in,
    with_requests,
    with_uids,
)
from slotengine.testing.internal.observed import ObservedReservation

HALL = Proposal(3, 6, (Claim("hall", 2, 6, 2), Claim("room", 3, 6)), 8, key="k")
ROOM = Proposal(3, 6, (Claim("room", 3, 6),), 8)
TALK = SlotRequest("talk", 5, 2, 8, key="k", seats=2, only=frozenset({"b", "a"}), enforce=False)
TAGGED = ROOM._replace(extra=Extra(tags=("vip",)), quota=Quota(holds=2, life=9), ttl=PENDING)
CALL = EventType(id="call", length=minutes(30), all_of=["room"])
GROUPED = EventType(
    id="talk", length=minutes(30), all_of=["hall"],
    any_of=[[Host("room", weight=2), Host("annex", credit=3)]], limits=[Limit(Period.DAY, count=2)],
)  # fmt: skip
SEAT = ROOM._replace(event_type="class", seats=Seats(3, 2))


@pytest.mark.parametrize(("action", "words"), [
    (Reserve((HALL,), ()), "reserve hall[2..6]*2+room 3..6 for 8 k"),
    (Reserve((TAGGED,), ()), "reserve room 3..6 for ever (vip) (quota: 2 holds, 9 life)"),
    (Reserve((ROOM._replace(quota=Quota()),), ()), "reserve room 3..6 for 8 (quota: none)"),
    (Reserve((SEAT,), (), wait=9), "reserve room 3..6 for 8 as 2 of 3 of class and wait for 9"),
    (Reserve((ROOM, SEAT), (), EACH),
     "reserve each of room 3..6 for 8 | room 3..6 for 8 as 2 of 3 of class"),
    (Reserve(in_series((ROOM,)), (), ALL), "reserve all of room 3..6 for 8 as a series"),
    (
        Reserve((ROOM,), (), ANY, Choice(Policy.WEIGHTED, (2, 1), (0, 9)), "k"),
        "reserve any of room 3..6 for 8 weighted by 2:1 in 0..9 k",
    ),
    (Reserve((ROOM._replace(requested=True),), ()), "reserve room 3..6 for 8 on request"),
    (ReserveSlot(SlotRequest("talk", 5, requested=True)), "reserve talk at 5 on request"),
    (Adopt(ROOM, ""), "adopt room 3..6 for 8"),
    (Move("r1", (ROOM,), renew=True, version=2), "move r1 to room 3..6 for 8 renewed at version 2"),
    (
        Move("r1", (ROOM, ROOM), choice=Choice(Policy.LEAST_LOADED)),
        "move r1 to any of room 3..6 for 8 | room 3..6 for 8 least loaded",
    ),
    (MoveTo("", 4, jump=True), "move to 4 jumping the waitlist"),
    (MoveTo("r1", 4, 2, "room", 8), "move r1 to 4 on room of 2 for 8"),
    (ReserveSlot(TALK),
     "reserve talk at 5 of 2 for 2 persons with a or b against the rules for 8 k"),
    (MoveSlot("r1", SlotRequest("", 5), True, 2), "move r1 by the rules at 5 with 2 seats renewed"),
    (Extend("r1", 8), "extend r1 for 8"),
    (Confirm("r1", True, 3, False), "confirm r1 if still free against the rules at version 3"),
    (Release(""), "release"),
    (Release("r1", 2, CommandId(b"", 3, 1)), "release r1 at version 2 as command 3"),
    (MoveTo("r1", 4, client=CommandId(b"", 0, 0)), "move r1 to 4 as command 0"),
    (Annotate("r1", (("guests", "3"),), None, ()),
     "annotate r1 metadata {'guests': '3'} details None tags []"),
    (Replace("r1", ROOM, ""), "replace r1 by room 3..6 for 8"),
    (ForgetBookings(7), "forget bookings before 7"),
    (IsFree(ROOM), "is room 3..6 for 8 free?"),
    (ListLive("room", 0, 9), "list room 0..9"),
    (Get("r1"), "get r1"),
    (Forget(7, ("a", "b")), "forget bookings before 7 a, b"),
    (ImportBusy("feed", (("room", ((0, 9),)),)), "feed says busy: room 0..9"),
    (ImportBusy("feed", ()), "feed says busy: nothing"),
    (
        Configure((
            Put(Kind.LIMIT, "limit:some", LimitConfig(3), 2), Remove(Kind.RESOURCE, "a"),
            Retire(Kind.RESOURCE, "b"), Retire(Kind.RESOURCE, "c", retired=False),
        ), force=True),
        "configure limit limit:some = LimitConfig(units=3) at version 2, resource a removed, "
        "resource b retired, resource c taken back by force",
    ),
    (
        Configure((
            Put(Kind.EVENT_TYPE, "talk", GROUPED), Put(Kind.EVENT_TYPE, "call", CALL),
            Put(Kind.RESOURCE, "a", ResourceConfig(2, None, retired=True)),
        )),
        "configure event_type talk = hall, and room weighing 2 or annex credited 3, at most "
        "2 a day, event_type call = room, resource a = 2 units retired",
    ),
])  # fmt: skip
def test_an_action_reads_plainly(action: Action, words: str) -> None:
    assert text(action) == words


def test_a_time_is_told_in_ticks() -> None:
    scale = Scale(100, 10)
    assert text(ForgetBookings(129), scale) == "forget bookings before 3-1us"
    assert text(ForgetBookings(131), scale) == "forget bookings before 3+1us"


@pytest.mark.parametrize("action", [
    Reserve((HALL, ROOM), (), EACH), Move("r1", (HALL,)), Adopt(HALL, ""), Replace("r1", HALL, ""),
    IsFree(HALL), Get("r1"), ReserveSlot(TALK),
])  # fmt: skip
def test_requests_can_be_replaced(action: Action) -> None:
    others = tuple(one._replace(ttl=1) for one in requests_of(action))
    assert requests_of(with_requests(action, others)) == others
    assert with_requests(with_requests(action, others), requests_of(action)) == action


def made(uid: str, extra: Extra | None = None) -> ObservedReservation:
    return ObservedReservation(
        uid, State.HELD, 1, 3, 6, ROOM.claims, 8, 0, None, None, None, extra=extra
    )


REFUSED = SlotTaken, ()


def test_what_is_made_has_the_uids_of_the_answer() -> None:
    assert uids_in([made("a"), REFUSED, made("b")]) == ["a", "b"]
    each = Reserve((ROOM, ROOM, ROOM), (), EACH)
    assert with_uids(each, [made("a"), REFUSED, made("b")]) == each._replace(
        uids=("a", "new-1", "b")
    )
    assert with_uids(each, REFUSED, "x") == each._replace(uids=("x-0", "x-1", "x-2"))
    any_of = Reserve((ROOM, ROOM), (), ANY)
    assert with_uids(any_of, made("a")) == any_of._replace(uids=("a",))
    assert with_uids(Adopt(ROOM, ""), made("a")) == Adopt(ROOM, "a")
    assert with_uids(Replace("r1", ROOM, ""), made("a")) == Replace("r1", ROOM, "a")
    assert with_uids(ReserveSlot(TALK), None) == ReserveSlot(TALK, "new-0")
    assert with_uids(Get("r1"), None) == Get("r1")


def test_a_series_has_the_uid_of_the_answer() -> None:
    series = Reserve(in_series((ROOM, ROOM)), (), ALL)
    first = made("a", Extra(series=Series("s", 0)))
    known = with_uids(series, [first, made("b", Extra(series=Series("s", 1)))])
    assert isinstance(known, Reserve)
    assert known.requests == in_series((ROOM, ROOM), "s")
    refused = with_uids(series, REFUSED)
    assert isinstance(refused, Reserve)
    assert refused.requests == in_series((ROOM, ROOM), "new")
