"""What a refusal tells: against counting instant by instant, and at the moment it is read."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.obstruction import Obstacle, free_from, steps
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import BOOKED_UNTIL, Claim, Seats
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import from_us
from slotengine.errors import InTheWay, LimitReached, NoSeatsLeft, SlotTaken

NOW = 5

# Few instants, so that some cover the claim and others only one end of it.
obstacles = st.lists(
    st.builds(
        lambda start, length, units, until: Obstacle(start, start + length, units, until),
        st.integers(0, 9),
        st.integers(1, 9),
        st.integers(1, 2),
        st.sampled_from((NOW + 1, NOW + 2, NOW + 3, BOOKED_UNTIL)),
    ),
    max_size=5,
)


def peak(found: list[Obstacle], start: int, end: int) -> int:
    return max(
        sum(one.units for one in found if one.start <= instant < one.end)
        for instant in range(start, end)
    )


@given(obstacles, st.integers(1, 3), st.integers(1, 3), st.booleans())
# One after the other, each at one end of the claim: never both at once.
@example([Obstacle(5, 7, 1, NOW + 1), Obstacle(8, 10, 1, NOW + 2)], 1, 2, False)
def test_the_moment_of_a_retry_is_the_first_at_which_it_fits(
    found: list[Obstacle], units: int, spare: int, covering: bool
) -> None:
    claim, capacity = Claim("room", 6, 9, units), units - 1 + spare
    if covering:
        found = [one._replace(start=one.start % 7, end=9 + one.end % 3) for one in found]
    found = [one for one in found if one.end > 6 and one.start < 9]
    moments = [NOW, NOW + 1, NOW + 2, NOW + 3]
    fits = [
        moment
        for moment in moments
        if peak([one for one in found if one.until > moment], 6, 9) + units <= capacity
    ]
    assert free_from(found, claim, capacity, NOW) == (fits[0] if fits else BOOKED_UNTIL)


@given(obstacles)
def test_steps_say_how_much_is_taken_at_every_instant(found: list[Obstacle]) -> None:
    inside = [one for one in found if one.end > 3 and one.start < 12]
    pieces = steps(inside, 3, 12)
    for instant in range(3, 12):
        (*taken,) = (one.units for one in pieces if one.start <= instant < one.end)
        assert taken == [units for units in [peak(inside, instant, instant + 1)] if units]
    assert all(3 <= start < end <= 12 for start, end, _ in pieces)
    assert all(
        left.end < right.start or left.units != right.units for left, right in pairwise(pieces)
    )


# --- At the moment it is read ----------------------------------------------------------------


@pytest.fixture
def ledger() -> Ledger:
    """A ledger that marks nothing on the side, so that all that lapsed still stands."""
    ledger = Ledger(Terms(100, 10, 1_000), maintenance=0)
    ledger.add_resource("hall", capacity=3)
    ledger.add_limit("limit:day", 3)
    return ledger


def want(start: int, *, units: int = 1, ttl: int = 100, seats: Seats | None = None) -> Proposal:
    claims = (Claim("hall", start, start + 10, units),)
    return Proposal(start, start + 10, claims, ttl, event_type="talk", seats=seats)


def test_what_lapses_at_that_moment_is_in_nobodys_way(ledger: Ledger) -> None:
    ledger.reserve_proposal(want(0, ttl=50), uid="a", now=0)
    ledger.reserve_proposal(want(0, units=2), uid="b", now=0)
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_proposal(want(0, units=2), uid="c", now=0)
    ledger.look(50)
    assert refused.value.in_the_way == (InTheWay(from_us(0), from_us(10), 2, booked=False),)
    assert refused.value.retry_at == from_us(100)


def test_nothing_is_in_the_way_once_it_fits_though_something_stands_there(ledger: Ledger) -> None:
    for uid in "abc":
        ledger.reserve_proposal(want(0), uid=uid, now=0)
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_proposal(want(0), uid="d", now=0)
    ledger.release("a", now=20)
    assert refused.value.in_the_way == ()
    assert refused.value.retry_at == from_us(20)


def test_a_limit_says_how_much_of_it_is_taken_and_not_by_what(ledger: Ledger) -> None:
    def limited(start: int, units: int) -> Proposal:
        return want(start)._replace(limits=(Claim("limit:day", 0, 1_000, units),))

    for start in range(3):
        ledger.reserve_proposal(limited(start * 10, 1), uid=str(start), now=0)
    ledger.confirm("2", now=0)
    with pytest.raises(LimitReached) as refused:
        ledger.reserve_proposal(limited(50, 1), uid="x", now=0)
    day = from_us(0), from_us(1_000)
    assert refused.value.in_the_way == (
        InTheWay(*day, 2, booked=False), InTheWay(*day, 1, booked=True),
    )  # fmt: skip


def test_who_moves_is_not_told_of_itself(ledger: Ledger) -> None:
    """Neither of its own claim on a resource of a pool nor of its own share of a limit."""
    ledger.add_resource("room")

    def limited(start: int, units: int) -> Proposal:
        pool = Pool((Claim("room", start, start + 10),))
        limits = (Claim("limit:day", 0, 1_000, units),)
        return Proposal(start, start + 10, (), 100, event_type="talk", pools=(pool,), limits=limits)

    ledger.reserve_proposal(limited(0, 1), uid="mine", now=0)
    ledger.reserve_proposal(limited(10, 1), uid="other", now=0)
    with pytest.raises(SlotTaken) as taken:
        ledger.move("mine", limited(5, 1), now=0)
    assert taken.value.in_the_way == (InTheWay(from_us(10), from_us(20), 1, booked=False),)
    for units in (3, 4):
        with pytest.raises(LimitReached) as reached:
            ledger.move("mine", limited(30, units), now=0)
        assert [way.units for way in reached.value.in_the_way] == [1], units


def test_whoever_is_alone_in_a_session_leaves_nothing_in_the_way(ledger: Ledger) -> None:
    ledger.reserve_proposal(want(0, units=2, seats=Seats(2)), uid="mine", now=0)
    ledger.reserve_proposal(want(10, units=2), uid="other", now=0)
    with pytest.raises(SlotTaken) as refused:
        ledger.move("mine", want(5, units=2), now=0)
    assert refused.value.in_the_way == (InTheWay(from_us(10), from_us(20), 2, booked=False),)


def test_who_leaves_a_session_at_that_moment_has_left(ledger: Ledger) -> None:
    for uid, ttl in (("a", 50), ("b", 100)):
        ledger.reserve_proposal(want(0, seats=Seats(2), ttl=ttl), uid=uid, now=0)
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(want(0, seats=Seats(2, 2)), uid="c", now=0)
    ledger.look(50)
    assert refused.value.in_the_way == (InTheWay(from_us(0), from_us(10), 1, booked=False),)
    assert refused.value.retry_at == from_us(100)


@pytest.mark.parametrize("length", [10, 20])
def test_of_a_session_that_is_over_by_then_its_resource_is_left(
    ledger: Ledger, length: int
) -> None:
    for uid in "ab":
        ledger.reserve_proposal(want(0, seats=Seats(2)), uid=uid, now=0)
    ledger.reserve_proposal(want(0, units=2, ttl=300), uid="x", now=0)
    asked = want(0, seats=Seats(2))._replace(end=length, claims=(Claim("hall", 0, length, 3),))
    with pytest.raises((NoSeatsLeft, SlotTaken)) as refused:
        ledger.reserve_proposal(asked, uid="c", now=0)
    ledger.look(100)
    assert refused.value.in_the_way == (InTheWay(from_us(0), from_us(10), 2, booked=False),)
    assert refused.value.retry_at == from_us(300)


@pytest.mark.parametrize(
    ("claims", "span"), [((Claim("room", 0, 15),), (0, 15)), ((), (0, 10))], ids=["fixed", "pool"]
)
def test_nothing_is_in_the_way_of_other_hosts_once_the_session_is_over(
    ledger: Ledger, claims: tuple[Claim, ...], span: tuple[int, int]
) -> None:
    for name in ("room", "desk"):
        ledger.add_resource(name)
    ledger.reserve_proposal(want(0, seats=Seats(2)), uid="a", now=0)
    asked = want(0, seats=Seats(2))._replace(
        claims=claims,
        pools=(Pool((Claim("desk", 0, 15),)),),
        hosts=frozenset({"room", "desk"}),
    )
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_proposal(asked, uid="b", now=0)
    assert refused.value.resource == "hall"
    ledger.look(100)
    assert (refused.value.start, refused.value.end) == (from_us(span[0]), from_us(span[1]))
    assert refused.value.in_the_way == ()
    assert refused.value.retry_at == from_us(100)


def test_who_leaves_for_a_longer_slot_waits_for_the_others_alone(ledger: Ledger) -> None:
    for uid, ttl in (("other", 50), ("mine", 100)):
        ledger.reserve_proposal(want(0, units=3, seats=Seats(2), ttl=ttl), uid=uid, now=0)
    longer = want(0, seats=Seats(2))._replace(end=20, claims=(Claim("hall", 0, 20, 3),))
    with pytest.raises(SlotTaken) as refused:
        ledger.move("mine", longer, now=0)
    assert refused.value.retry_at == from_us(50)


@pytest.mark.parametrize("now", [50, 60])
def test_who_leaves_for_a_longer_slot_has_nobody_to_wait_for_in_the_end(
    ledger: Ledger, now: int
) -> None:
    for uid, ttl in (("other", 50), ("mine", 100)):
        ledger.reserve_proposal(want(0, seats=Seats(2), ttl=ttl), uid=uid, now=0)
    longer = want(0, seats=Seats(2))._replace(end=20, claims=(Claim("hall", 0, 20),))
    with pytest.raises(SlotTaken) as refused:
        ledger.move("mine", longer, now=0)
    ledger.look(now)
    assert refused.value.in_the_way == ()
    assert refused.value.retry_at == from_us(now)
    assert [one.uid for one in ledger.reservations_in("hall", 0, 10, now=now)] == ["mine"]


def test_other_hosts_may_be_waited_for_when_the_session_is_over(ledger: Ledger) -> None:
    ledger.add_resource("room")
    ledger.reserve_proposal(want(0, seats=Seats(2)), uid="a", now=0)
    ledger.reserve("room", 0, 10, uid="x", now=0, ttl=300)
    elsewhere = (Claim("room", 0, 10),)
    asked = want(0, seats=Seats(2))._replace(claims=elsewhere, hosts=frozenset({"room"}))
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_proposal(asked, uid="b", now=0)
    ledger.look(100)
    assert refused.value.retry_at == from_us(300)


def test_a_seat_is_free_when_the_first_has_left(ledger: Ledger) -> None:
    for uid, ttl in (("a", 50), ("b", 100)):
        ledger.reserve_proposal(want(0, seats=Seats(2), ttl=ttl), uid=uid, now=0)
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(want(0, seats=Seats(2)), uid="c", now=0)
    assert refused.value.retry_at == from_us(50)


def test_nobody_joins_a_session_at_the_moment_at_which_it_is_over(ledger: Ledger) -> None:
    """Whoever comes then opens one, and must have all that takes."""
    for uid in "ab":
        ledger.reserve_proposal(want(0, seats=Seats(2)), uid=uid, now=0)
    ledger.reserve_proposal(want(0, ttl=200), uid="x", now=0)
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(want(0, units=3, seats=Seats(2)), uid="c", now=0)
    assert refused.value.retry_at == from_us(200)


def test_a_seat_that_is_free_by_then_can_be_had_at_once(ledger: Ledger) -> None:
    for uid in "ab":
        ledger.reserve_proposal(want(0, seats=Seats(2)), uid=uid, now=0)
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(want(0, seats=Seats(2)), uid="c", now=0)
    ledger.release("a", now=20)
    assert refused.value.in_the_way == ()
    assert refused.value.retry_at == from_us(20)


def test_more_than_there_is_never_fits() -> None:
    """Such as of a limit that was lowered below what one reservation takes."""
    held = [Obstacle(0, 10, 1, NOW + 5)]
    assert free_from(held, Claim("limit:some", 0, 10, 2), 1, NOW) == BOOKED_UNTIL
    assert free_from(held, Claim("limit:some", 0, 10, 1), 1, NOW) == NOW + 5
