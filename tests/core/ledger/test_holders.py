"""How much a holder may have on hold: each quota by itself, and what frees it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from slotengine.core.ledger.apply import apply
from slotengine.core.ledger.changes import Changes, Expired
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Entry, State
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import from_us
from slotengine.errors import (
    InvalidField,
    InvalidTTL,
    LifeExceeded,
    NoneFree,
    QuotaExceeded,
    SlotTaken,
)
from slotengine.testing.internal.keyed import keyed


def ledger_with(**quotas: Any) -> Ledger:
    ledger = Ledger(Terms(10, 1, 1_000, retention=500, **quotas))
    ledger.add_resource("hall", capacity=100)
    ledger.add_resource("room")
    return ledger


def hold(
    ledger: Ledger, uid: str, now: int, *, length: int = 10, ttl: int = 10, holder: str | None = "h"
) -> Entry:
    return ledger.reserve("hall", 0, length, uid=uid, now=now, ttl=ttl, holder=holder)


def refused(ledger: Ledger, now: int, **more: Any) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        hold(ledger, "refused", now, **more)
    ledger.check_invariants()
    return caught.value


def proposal(length: int = 10, resource: str = "hall") -> Proposal:
    return Proposal(0, length, (Claim(resource, 0, length),), 10, "h")


def test_a_question_counts_what_holders_have_and_keeps_no_counts() -> None:
    ledger = Ledger(Terms(shortest_ttl=1))
    ledger.add_resource("hall", capacity=9)
    hold(ledger, "a", 0)
    one = proposal()._replace(quota=Quota(holds=1))
    assert not ledger.is_free(one, now=0)
    assert ledger.is_free(one._replace(quota=Quota(holds=2)), now=0)
    assert ledger.is_free(one, now=10)
    assert ledger.state.holders is None


def test_only_so_many_holds() -> None:
    ledger = ledger_with(max_holds=2)
    hold(ledger, "a", 0)
    hold(ledger, "b", 3)
    found = refused(ledger, 5)
    assert found.args == ("holds", 2, 2, from_us(10))
    assert str(found) == (
        f"the holder has used 2 of a quota of 2 (holds); try again at {from_us(10).isoformat()}"
    )
    hold(ledger, "other", 5, holder="other")
    for number in range(3):
        hold(ledger, f"nobody-{number}", 5, holder=None)
    ledger.confirm("a", now=6)
    hold(ledger, "c", 6)
    refused(ledger, 6)
    ledger.release("c", now=7)
    hold(ledger, "d", 7)
    refused(ledger, 12)
    hold(ledger, "e", 13)  # at the very moment at which b lapses
    ledger.check_invariants()


def test_a_lapse_counts_whether_or_not_it_was_marked() -> None:
    ledger = Ledger(Terms(10, 1, 1_000, max_holds=1), maintenance=0)
    ledger.add_resource("hall", capacity=100)
    hold(ledger, "a", 0)
    refused(ledger, 9)
    hold(ledger, "b", 10)
    ledger.check_invariants()
    ledger.expire(20)
    hold(ledger, "c", 20)
    ledger.check_invariants()


def test_only_so_much_time() -> None:
    ledger = ledger_with(max_held=25)
    hold(ledger, "a", 0, length=10)
    hold(ledger, "b", 3, length=10)
    found = refused(ledger, 4, length=6)
    assert found.args == ("time", timedelta(0, 0, 25), timedelta(0, 0, 20), from_us(10))
    assert refused(ledger, 4, length=16).retry_at == from_us(13)
    assert refused(ledger, 4, length=26).retry_at is None
    found = refused(ledger, 4, length=26, holder="new")
    assert found.args == ("time", timedelta(0, 0, 25), timedelta(), None)
    hold(ledger, "c", 4, length=5)
    hold(ledger, "all at once", 4, length=25, holder="new")


def test_a_hold_that_moves_may_not_grow_beyond() -> None:
    ledger = ledger_with(max_held=25)
    hold(ledger, "a", 0, length=10)
    hold(ledger, "b", 0, length=10)
    with pytest.raises(QuotaExceeded) as caught:
        ledger.move("b", proposal(16), now=1)
    assert caught.value.args == (
        "time", timedelta(0, 0, 25), timedelta(0, 0, 20), from_us(10),
    )  # fmt: skip
    ledger.move("b", proposal(15), now=1)
    assert refused(ledger, 2, length=1).used == timedelta(0, 0, 25)
    ledger.move("b", proposal(5), now=3)
    hold(ledger, "c", 4, length=10)
    ledger.confirm("b", now=4)
    ledger.move("b", proposal(99), now=4)  # a booking may be as long as it likes
    ledger.check_invariants()


@pytest.mark.parametrize("how", ["unswept", "swept", "taken over"])
@pytest.mark.parametrize("swapped", [False, True])
def test_lapses_of_one_moment_count_the_same_in_any_order(how: str, swapped: bool) -> None:
    """One of two was made within the cool-down after an earlier lapse, the other one after it."""
    ledger = Ledger(Terms(10, 1, 1_000, retention=500, max_lapses=3, cool_down=90), maintenance=0)
    ledger.add_resource("hall", capacity=100)
    ledger.add_resource("room")
    soon, later = ("b", "a") if swapped else ("a", "b")
    hold(ledger, "first", 0, ttl=60)
    ledger.expire(60)
    hold(ledger, soon, 100, ttl=110)
    ledger.reserve("room", 0, 10, uid=later, now=150, ttl=60, holder="h")
    if how == "swept":
        ledger.expire(210)
    elif how == "taken over":
        ledger.reserve("room", 0, 10, uid="other", now=210, ttl=10)
    assert refused(ledger, 211).args == ("lapses", 3, 3, from_us(300))
    ledger.expire(300)
    hold(ledger, "again", 300, ttl=10)
    ledger.expire(310)
    hold(ledger, "after", 310)  # after one lapse
    ledger.check_invariants()


def test_who_lets_holds_lapse_has_to_cool_down() -> None:
    ledger = ledger_with(max_lapses=2, cool_down=100)
    hold(ledger, "a", 0)
    hold(ledger, "b", 1)
    hold(ledger, "c", 10)
    found = refused(ledger, 11)
    assert found.args == ("lapses", 2, 2, from_us(111))
    assert refused(ledger, 110).args == ("lapses", 2, 3, from_us(120))  # c has lapsed as well
    hold(ledger, "d", 120)
    ledger.release("d", now=121)
    hold(ledger, "e", 121)
    hold(ledger, "f", 131)  # one lapse, since the others are too long ago
    refused(ledger, 141)


@pytest.mark.parametrize("cool_down", [1, 10, 100])
def test_who_comes_back_again_and_again_lapses_in_a_row(cool_down: int) -> None:
    """However short the cool-down is beside the time that a hold lives."""
    ledger = ledger_with(max_lapses=3, cool_down=cool_down)
    for number in range(3):
        hold(ledger, str(number), number * 10)
    assert refused(ledger, 30).args == ("lapses", 3, 3, from_us(30 + cool_down))
    hold(ledger, "cool", 30 + cool_down)
    hold(ledger, "again", 40 + cool_down)  # after one lapse


def test_who_comes_back_later_does_not() -> None:
    ledger = ledger_with(max_lapses=2, cool_down=50)
    hold(ledger, "a", 0, ttl=10)
    hold(ledger, "b", 59, ttl=500)  # a microsecond too early
    found = refused(ledger, 559)
    assert found.args == ("lapses", 2, 2, from_us(609))
    hold(ledger, "c", 609, ttl=10)
    hold(ledger, "d", 669, ttl=10)
    hold(ledger, "e", 679, ttl=10)
    ledger.check_invariants()


@pytest.mark.parametrize("verb", ["release", "confirm"])
def test_lapses_are_forgotten_with_the_hold_that_kept_them(verb: str) -> None:
    ledger = ledger_with(max_lapses=2, cool_down=50)
    hold(ledger, "a", 0, ttl=10)
    hold(ledger, "b", 20, ttl=900)
    for number in range(20):  # others, whose lapses let this one be forgotten
        hold(ledger, f"o{number}", 30 + 10 * number, holder=f"o{number}")
    ledger.check_invariants()
    assert ledger.state.holders is not None
    assert "h" in ledger.state.holders.records
    getattr(ledger, verb)("b", now=300)
    ledger.check_invariants()
    assert "h" not in ledger.state.holders.records


def test_a_booking_forgives() -> None:
    ledger = ledger_with(max_lapses=2, cool_down=100)
    hold(ledger, "a", 0)
    hold(ledger, "b", 10)
    ledger.confirm("b", now=11)
    hold(ledger, "c", 12)
    hold(ledger, "d", 22)
    refused(ledger, 40)
    ledger.confirm("d", now=41, if_still_free=True)
    hold(ledger, "e", 42)


def test_a_hold_may_move_though_the_quota_is_lower_by_now() -> None:
    before, after = ledger_with(max_held=20), ledger_with(max_held=15)
    before.on_change = lambda change, entry: apply(after.state, change)
    hold(before, "a", 0, length=20)
    after.move("a", proposal(20, "room"), now=1)
    with pytest.raises(QuotaExceeded):
        after.move("a", proposal(21), now=1)
    after.move("a", proposal(19), now=1)
    after.check_invariants()


# --- Where nobody has marked yet what has lapsed ---------------------------------------------


def unswept(**quotas: Any) -> Ledger:
    """Return a ledger that marks nothing on the side."""
    ledger = Ledger(Terms(10, 1, 1_000, retention=500, **quotas), maintenance=0)
    ledger.add_resource("hall", capacity=100)
    return ledger


def test_lapses_count_in_their_order_also_if_a_later_one_is_in_the_way() -> None:
    """Which is marked before its turn comes; the cool-down is that of the latest all the same."""
    ledger = unswept(max_lapses=1, cool_down=100)
    ledger.add_resource("room")
    told: list[tuple[str, int]] = []
    ledger.on_change = lambda change, entry: told.append((change.verb.value, entry.until))
    hold(ledger, "early", 0, ttl=5)
    ledger.reserve("room", 0, 10, uid="late", now=0, ttl=8, holder="h")
    ledger.reserve("room", 0, 10, uid="other", now=10, ttl=10)
    assert told[2:] == [("expire", 5), ("expire", 8), ("reserve", 20)]
    ledger.expire(10)
    assert refused(ledger, 10).retry_at == from_us(108)


@pytest.mark.parametrize("now", [10, 15])
def test_a_booking_forgives_also_what_was_not_marked_yet(now: int) -> None:
    ledger = unswept(max_lapses=1, cool_down=100)
    hold(ledger, "a", 0, ttl=10)
    hold(ledger, "b", 0, ttl=20)
    hold(ledger, "c", 0, ttl=100)
    ledger.confirm("b", now=now)
    hold(ledger, "d", now)
    ledger.check_invariants()


def test_lapses_that_were_not_marked_count_in_their_order() -> None:
    ledger = unswept(max_lapses=2, cool_down=50)
    hold(ledger, "early", 0, ttl=10)
    hold(ledger, "late", 55, ttl=45)
    hold(ledger, "earlier", 56, ttl=4)
    found = refused(ledger, 120)  # the other way round, only the later one would count
    assert found.args == ("lapses", 2, 3, from_us(150))


def test_a_hold_may_grow_by_what_has_lapsed_though_not_marked() -> None:
    ledger = unswept(max_held=25)
    hold(ledger, "a", 0, ttl=10)
    hold(ledger, "b", 0, ttl=20)
    ledger.move("b", proposal(25), now=10)
    ledger.check_invariants()


def test_one_is_reinstated_while_the_last_hold_has_lapsed_unmarked() -> None:
    ledger = unswept(max_holds=1)
    hold(ledger, "a", 0, ttl=5)
    ledger.expire(5)
    hold(ledger, "b", 5, ttl=10)
    ledger.confirm("a", now=20, if_still_free=True)
    hold(ledger, "c", 20)
    ledger.check_invariants()


@pytest.mark.parametrize("now", [15, 20])
def test_a_reinstatement_forgives_also_what_was_not_marked_yet(now: int) -> None:
    ledger = unswept(max_lapses=2, cool_down=100)
    hold(ledger, "a", 0, ttl=5)
    ledger.expire(5)
    hold(ledger, "b", 5, ttl=10)
    ledger.confirm("a", now=now, if_still_free=True)
    hold(ledger, "c", now, ttl=10)
    hold(ledger, "d", now + 10)  # of which only "c" counts
    ledger.check_invariants()


# --- What is kept ----------------------------------------------------------------------------


def test_what_is_long_ago_is_forgotten() -> None:
    ledger = ledger_with(max_lapses=2, cool_down=50)
    for number in range(100):
        hold(ledger, str(number), number * 10, holder=f"h{number}")
    ledger.check_invariants()
    assert ledger.state.holders is not None
    assert len(ledger.state.holders.records) <= 8


def test_a_batch_meets_its_own() -> None:
    ledger = ledger_with(max_holds=2)
    with pytest.raises(QuotaExceeded):
        ledger.reserve_all([proposal()] * 3, uids=["a", "b", "c"], now=0)
    ledger.check_invariants()
    results = ledger.reserve_each([proposal()] * 3, uids=["a", "b", "c"], now=0)
    assert [type(one) for one in results] == [Entry, Entry, QuotaExceeded]
    with pytest.raises(NoneFree) as caught:
        ledger.reserve_any([proposal()], uid="d", now=1)
    assert [type(one) for one in caught.value.refusals] == [QuotaExceeded]


def test_a_repeat_is_no_second_hold() -> None:
    ledger = ledger_with(max_holds=1)
    asked = keyed(proposal())
    first = ledger.reserve_proposal(asked, uid="a", now=0)
    assert ledger.reserve_proposal(asked, uid="b", now=1) == first
    refused(ledger, 1)


def test_what_was_refused_does_not_count() -> None:
    ledger = ledger_with(max_holds=1)
    ledger.reserve("room", 0, 10, uid="a", now=0, ttl=10, holder="other")
    with pytest.raises(SlotTaken):
        ledger.reserve("room", 0, 10, uid="b", now=0, ttl=10, holder="h")
    hold(ledger, "c", 0)


@pytest.mark.parametrize(
    "quota", [{"max_holds": 0}, {"max_held": -1}, {"max_lapses": 1.5}, {"cool_down": 0}]
)
def test_quotas_are_positive(quota: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        Terms(**quota)
    assert caught.value.field in quota


def test_those_without_a_holder_and_bookings_are_nobodys_business() -> None:
    ledger = ledger_with(max_holds=1, max_held=99)
    hold(ledger, "a", 0, holder=None)
    ledger.move("a", proposal(20)._replace(holder=None), now=1)
    ledger.confirm("a", now=1)
    hold(ledger, "b", 1)
    ledger.confirm("b", now=2)
    ledger.cancel("b", now=3)
    ledger.check_invariants()
    hold(ledger, "c", 3)
    refused(ledger, 3)


def test_what_a_hold_itself_has_does_not_lapse_for_it() -> None:
    ledger = ledger_with(max_held=25)
    hold(ledger, "mine", 0, length=10, ttl=10)
    hold(ledger, "other", 1, length=10, ttl=10)
    with pytest.raises(QuotaExceeded) as caught:
        ledger.move("mine", proposal(20), now=2)
    assert caught.value.retry_at == from_us(11)


# --- Quotas that come with requests ----------------------------------------------------------


def under(quota: Quota | None, length: int = 10, ttl: int = 10, **more: Any) -> Proposal:
    return proposal(length)._replace(quota=quota, ttl=ttl, **more)


def keyed_under(quota: Quota | None) -> Proposal:
    return keyed(under(quota))


@pytest.mark.parametrize("direct", [True, False])
def test_a_quota_of_a_request_counts_all_that_its_holder_has(direct: bool) -> None:
    """Also what was made before anybody counted, and under other quotas."""
    ledger = ledger_with()

    def ask(uid: str, now: int, quota: Quota | None, holder: str = "h") -> Entry:
        if direct:
            return ledger.reserve(
                "hall", 0, 10, uid=uid, now=now, ttl=10, holder=holder, quota=quota
            )
        return ledger.reserve_proposal(under(quota, holder=holder), uid=uid, now=now)

    ask("a", 0, None)
    assert ledger.state.holders is None
    ask("b", 3, Quota(holds=2))
    with pytest.raises(QuotaExceeded) as caught:
        ask("c", 5, Quota(holds=2))
    assert caught.value.args == ("holds", 2, 2, from_us(10))
    ask("c", 5, Quota(holds=3))
    with pytest.raises(QuotaExceeded) as caught:
        ask("d", 6, Quota(holds=1))
    assert caught.value.args == ("holds", 1, 3, from_us(15))  # all of them must have lapsed
    ask("e", 6, Quota(holds=1), "other")
    ask("d", 6, None)
    with pytest.raises(QuotaExceeded) as caught:
        ask("f", 10, Quota(holds=2))
    assert caught.value.args == ("holds", 2, 3, from_us(15))
    ask("f", 15, Quota(holds=2))
    ledger.check_invariants()


def test_the_lower_of_two_quotas_decides() -> None:
    ledger = ledger_with(max_holds=2, max_held=25)
    ledger.reserve_proposal(under(Quota(holds=5, held=99)), uid="a", now=0)
    with pytest.raises(QuotaExceeded) as caught:
        ledger.reserve_proposal(under(Quota(holds=1)), uid="b", now=1)
    assert caught.value.args == ("holds", 1, 1, from_us(10))
    with pytest.raises(QuotaExceeded) as caught:
        ledger.reserve_proposal(under(Quota(holds=5, held=15)), uid="b", now=1)
    assert caught.value.limit == timedelta(0, 0, 15)
    ledger.reserve_proposal(under(Quota(holds=5, held=99)), uid="b", now=1)
    with pytest.raises(QuotaExceeded) as caught:
        ledger.reserve_proposal(under(Quota(holds=5)), uid="c", now=1)
    assert caught.value.limit == 2
    ledger.release("a", now=2)
    with pytest.raises(QuotaExceeded) as caught:
        ledger.reserve_proposal(under(Quota(held=99), length=16), uid="c", now=2)
    assert caught.value.limit == timedelta(0, 0, 25)


def test_who_moves_a_hold_does_not_matter_only_who_made_it() -> None:
    ledger = ledger_with()
    ledger.reserve_proposal(under(Quota(held=25)), uid="a", now=0)
    ledger.reserve_proposal(under(Quota(held=25)), uid="b", now=1)
    theirs = proposal(16)._replace(holder="another", quota=Quota(holds=9, held=999, life=1000))
    with pytest.raises(QuotaExceeded) as caught:
        ledger.move("b", theirs, now=2)
    assert caught.value.args == ("time", timedelta(0, 0, 25), timedelta(0, 0, 20), from_us(10))
    ledger.move("b", theirs._replace(end=15), now=2)
    moved = ledger.get("b", now=2)
    assert moved is not None
    assert moved.holder == "h"
    with pytest.raises(QuotaExceeded) as caught:
        ledger.reserve_proposal(under(Quota(held=25), length=1), uid="c", now=3)
    assert caught.value.used == timedelta(0, 0, 25)
    # Nothing of that counts for whoever moved it.
    ledger.reserve_proposal(under(Quota(holds=1, held=25), 25, holder="another"), uid="c", now=3)
    ledger.check_invariants()


@pytest.mark.parametrize("max_life", [None, 40, 20])
def test_a_hold_lives_no_longer_than_its_quota_says_whoever_renews_it(max_life: int | None) -> None:
    terms = Terms(10, 1, 20, retention=500, max_life=max_life)
    ledger = Ledger(terms)
    ledger.add_resource("hall", capacity=100)
    first = ledger.reserve_proposal(under(Quota(life=33), holder=None), uid="a", now=7)
    life = 33 if max_life is None else min(33, max_life)
    ledger.extend("a", ttl=10, now=14)
    with pytest.raises(LifeExceeded) as caught:
        ledger.extend("a", ttl=life - 13, now=21)
    assert caught.value.latest == from_us(7 + life)
    move = proposal()._replace(ttl=life - 13, quota=Quota(life=999), holder="another")
    with pytest.raises(LifeExceeded):
        ledger.move("a", move, now=21, renew=True)
    ledger.move("a", move, now=21)  # which leaves it the time it has
    assert first.until == 24
    ledger.move("a", move._replace(ttl=life - 14), now=21, renew=True)
    assert first.until == 7 + life
    # A booking has all the time in the world.
    ledger.confirm("a", now=22)
    ledger.move("a", move, now=22, renew=True)


def test_a_new_hold_asks_for_no_longer_than_its_quota_says() -> None:
    ledger = ledger_with()
    short = Quota(life=9)
    ttl: dict[str, Any] = {"ttl": 10, "quota": short}
    asks: list[Callable[[], object]] = [
        lambda: ledger.reserve("hall", 0, 10, uid="a", now=0, holder="h", **ttl),
        lambda: ledger.reserve_proposal(under(short), uid="a", now=0),
        lambda: ledger.reserve_any([under(None), under(short)], uid="a", now=0),
        lambda: ledger.reserve_all([under(None), under(short)], uids=["a", "b"], now=0),
        lambda: ledger.reserve_each([under(None), under(short)], uids=["a", "b"], now=0),
        lambda: ledger.is_free(under(short), now=0),
    ]
    for ask in asks:
        with pytest.raises(InvalidTTL) as caught:
            ask()
        assert caught.value.longest == timedelta(0, 0, 9)
    assert ledger.tally().held == 0
    ledger.reserve_proposal(under(short, ttl=9), uid="a", now=0)
    with pytest.raises(InvalidTTL) as caught:
        Terms(10, 2, 20).check_ttl(21)
    assert caught.value.args == tuple(timedelta(0, 0, us) for us in (21, 2, 20))


def test_a_repeat_is_the_same_request_under_another_quota() -> None:
    """Which comes from a configuration, and may have changed since."""
    ledger = ledger_with()
    first = ledger.reserve_proposal(keyed_under(Quota(holds=1)), uid="a", now=0)
    for quota in (None, Quota(holds=1), Quota(holds=1, life=5)):
        assert ledger.reserve_proposal(keyed_under(quota), uid="b", now=1) == first
        again = ledger.reserve_all([keyed_under(quota)], uids=["b"], now=1)
        assert again == [first]
    assert first.quota == Quota(holds=1)
    several = [under(Quota(holds=2)), under(Quota(holds=3))]
    chosen = ledger.reserve_any(several, uid="c", now=1, key="any", digest=b"asked")
    several = [under(Quota(holds=1, life=2)), under(None)]
    assert ledger.reserve_any(several, uid="d", now=1, key="any", digest=b"asked") == chosen


def test_a_batch_meets_its_own_under_a_quota() -> None:
    ledger = ledger_with()
    three = [under(Quota(holds=2))] * 3
    with pytest.raises(QuotaExceeded):
        ledger.reserve_all(three, uids=["a", "b", "c"], now=0)
    assert ledger.tally().held == 0
    results = ledger.reserve_each([under(None), *three], uids=["a", "b", "c", "d"], now=0)
    assert [type(one) for one in results] == [Entry, Entry, QuotaExceeded, QuotaExceeded]
    assert not ledger.is_free(three[0], now=0)
    assert ledger.is_free(three[0]._replace(holder="other"), now=0)
    ledger.check_invariants()


def test_a_quota_survives_a_replay() -> None:
    before, after = ledger_with(), ledger_with()
    before.on_change = lambda change, entry: apply(after.state, change)
    before.reserve_proposal(under(None), uid="early", now=0)
    quota = Quota(holds=3, held=30, life=15)
    before.reserve_proposal(under(quota), uid="a", now=1)
    before.extend("a", ttl=12, now=3)
    before.move("a", proposal(15), now=4)
    for ledger in (before, after):
        ledger.check_invariants()
        with pytest.raises(LifeExceeded) as late:
            ledger.extend("a", ttl=12, now=5)
        assert late.value.latest == from_us(16)
        with pytest.raises(QuotaExceeded):
            ledger.move("a", proposal(21), now=5)
        with pytest.raises(QuotaExceeded) as caught:
            ledger.reserve_proposal(under(Quota(holds=2)), uid="c", now=5)
        assert caught.value.args == ("holds", 2, 2, from_us(10))


def test_only_live_holds_are_counted_when_counting_begins() -> None:
    ledger = ledger_with()
    for uid in ("booked", "released", "lapsed", "live"):
        hold(ledger, uid, 0, ttl=5 if uid == "lapsed" else 50)
    ledger.confirm("booked", now=1)
    ledger.release("released", now=2)
    with pytest.raises(QuotaExceeded) as caught:
        ledger.reserve_proposal(under(Quota(holds=1)), uid="a", now=7)
    assert caught.value.args == ("holds", 1, 1, from_us(50))
    ledger.check_invariants()


def test_without_a_quota_on_what_they_have_nobody_is_counted() -> None:
    ledger = ledger_with()
    ledger.reserve_proposal(under(Quota(life=500)), uid="a", now=0)
    ledger.reserve_proposal(under(Quota()), uid="b", now=0)
    assert ledger.state.holders is None


def test_a_confirmation_does_not_go_through_all_that_a_holder_has() -> None:
    """Where no lapses are remembered, which it would forgive."""
    ledger = unswept()
    for number in range(5):
        ledger.reserve_proposal(under(Quota(holds=99), ttl=5), uid=str(number), now=0)
    ledger.reserve_proposal(under(None, ttl=100), uid="kept", now=1)
    ledger.confirm("kept", now=10)
    assert ledger.state.holders is not None
    assert len(ledger.state.holders.records["h"].holds) == 5  # lapsed, and not looked at
    ledger.check_invariants()
    with pytest.raises(QuotaExceeded):
        ledger.reserve_proposal(under(Quota(held=9)), uid="long", now=10)
    assert len(ledger.state.holders.records["h"].holds) == 5  # nor by what is refused
    ledger.expire(10)
    assert "h" not in ledger.state.holders.records


@pytest.mark.parametrize("name", ["holds", "held", "waits", "life"])
@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "3", 10**30])
def test_what_is_no_quota_is_refused(name: str, limit: Any) -> None:
    if limit == 10**30 and name != "life":
        return
    with pytest.raises(InvalidField) as caught:
        Quota(**{name: limit})
    assert caught.value.field == name


@pytest.mark.parametrize("direct", [True, False])
def test_a_quota_is_one_and_is_somebodys(direct: bool) -> None:
    ledger = ledger_with()

    def ask(quota: Any, holder: str | None) -> Entry:
        if direct:
            return hold_under(quota, holder)
        return ledger.reserve_proposal(under(quota, holder=holder), uid="a", now=0)

    def hold_under(quota: Any, holder: str | None) -> Entry:
        return ledger.reserve("hall", 0, 10, uid="a", now=0, ttl=10, holder=holder, quota=quota)

    with pytest.raises(InvalidField) as caught:
        ask((20, None, None, None), "h")
    assert caught.value.field == "quota"
    for quota in (Quota(holds=1), Quota(held=1), Quota(waits=1)):
        with pytest.raises(InvalidField) as caught:
            ask(quota, None)
        assert caught.value.field == "holder"
    ask(Quota(life=99), None)


def test_a_hold_moves_freely_where_no_quota_is_about_its_length() -> None:
    ledger = ledger_with(max_lapses=3)
    ledger.reserve_proposal(under(Quota(holds=1)), uid="a", now=0)
    ledger.move("a", proposal(99), now=1)
    hold(ledger, "b", 1, holder=None)
    ledger.confirm("b", now=1)
    with pytest.raises(QuotaExceeded):
        ledger.reserve_proposal(under(Quota(holds=1)), uid="c", now=1)
    ledger.check_invariants()


# --- Where lapses were recorded by a ledger that does not count them -----------------------------


def recorded(others: tuple[str, ...] = ()) -> tuple[Ledger, list[Changes]]:
    """Return a ledger without quotas, and its steps: of "early" and "late" only the latter is
    marked."""
    ledger = Ledger(Terms(10, 1, 1_000, retention=500), maintenance=0)
    steps: list[Changes] = []
    ledger.on_step = steps.append
    for name in ("hall", "room", *others):
        ledger.add_resource(name, capacity=100 if name == "hall" else 1)
    hold(ledger, "early", 0, ttl=5)
    ledger.reserve("room", 0, 10, uid="late", now=0, ttl=8, holder="h")
    ledger.reserve("room", 0, 10, uid="other", now=10, ttl=900)
    return ledger, steps


def counting(steps: list[Changes], most: int = 2) -> Ledger:
    """Return a ledger that counts lapses, made of steps; and make sure of its snapshot."""
    terms = Terms(10, 1, 1_000, retention=500, max_lapses=most, cool_down=100)
    ledger, again = Ledger(terms, maintenance=0), Ledger(terms, maintenance=0)
    ledger.replay(steps)
    again.replay([ledger.snapshot()])
    for one in (ledger, again):
        one.check_invariants()
    assert again.snapshot() == ledger.snapshot()
    return again


def test_lapses_count_in_whatever_order_they_were_marked() -> None:
    ledger, steps = recorded()
    assert refused(counting(steps), 10).retry_at == from_us(108)
    hold(counting(steps, most=3), "x", 10)
    ledger.expire(10)
    assert [one.uid for one in steps[-1] if isinstance(one, Expired)] == ["early"]
    assert refused(counting(steps), 10).retry_at == from_us(108)
    hold(counting(steps, most=3), "x", 10)


def test_a_lapse_is_forgiven_though_it_was_marked_after_the_booking() -> None:
    ledger, steps = recorded()
    hold(ledger, "booked", 11)
    ledger.confirm("booked", now=12)
    hold(counting(steps, most=1), "x", 12)
    ledger.expire(12)
    hold(counting(steps, most=1), "x", 12)


def test_lapses_that_wait_for_an_earlier_one_are_forgotten_after_all() -> None:
    """Though others lapse meanwhile, and some that were noted are forgiven."""
    ledger, steps = recorded(("desk", "den"))
    ledger.reserve("desk", 0, 10, uid="b", now=10, ttl=5, holder="bob")
    ledger.reserve("den", 0, 10, uid="c", now=10, ttl=5, holder="cid")
    ledger.reserve("desk", 0, 10, uid="b2", now=300, ttl=5, holder="bob")
    ledger.reserve("den", 0, 10, uid="c2", now=300, ttl=5, holder="cid")
    ledger.confirm("c2", now=301)
    ledger.reserve("desk", 0, 10, uid="b3", now=600, ttl=5)
    again = counting(steps)
    assert again.state.holders is not None
    assert again.state.holders.records["h"].pending == [(8, 0)]
    ledger.reserve("hall", 0, 10, uid="d", now=601, ttl=5, holder="dan")
    ledger.expire(2_000)
    again = counting(steps)
    hold(again, "x", 2_000)
    again.check_invariants()


def test_lapses_that_no_longer_count_make_no_difference_to_a_snapshot() -> None:
    terms = Terms(5, 1, 12, retention=6, max_lapses=2, cool_down=4)
    ledger, other = Ledger(terms, maintenance=0), Ledger(terms, maintenance=0)
    for name in ("room", "annex"):
        ledger.add_resource(name)
    ledger.reserve("room", 0, 1, uid="a", now=1, ttl=5, holder="h")
    ledger.expire(6)
    ledger.reserve("annex", 0, 1, uid="z", now=10, ttl=1)
    ledger.reserve("room", 0, 1, uid="b", now=10, ttl=2, holder="h")
    other.replay([ledger.snapshot()])  # without the lapse, which is too long ago
    for one in (ledger, other):  # a lapse that is not counted as long as z is not marked
        one.reserve("room", 0, 1, uid="c", now=12, ttl=12)
        assert one.state.entries["z"].state is State.HELD
    assert other.snapshot() == ledger.snapshot()
    for one in (ledger, other):
        one.expire(12)
    assert other.snapshot() == ledger.snapshot()


def test_a_moment_of_forgiveness_that_is_over_makes_no_difference_to_a_snapshot() -> None:
    terms = Terms(5, 1, 12, retention=6, max_lapses=2, cool_down=4)
    ledger, other = Ledger(terms, maintenance=0), Ledger(terms, maintenance=0)
    for name in ("room", "annex"):
        ledger.add_resource(name)
    for uid, name in (("a", "room"), ("b", "annex")):
        ledger.reserve(name, 0, 1, uid=uid, now=0, ttl=7, holder="h")
    ledger.confirm("a", now=3)
    other.replay([ledger.snapshot()])
    for one in (ledger, other):
        one.expire(7)
    assert other.snapshot() == ledger.snapshot()
