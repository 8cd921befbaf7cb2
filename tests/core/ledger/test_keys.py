"""Idempotency keys: digests of requests, and how long a key is remembered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from slotengine.core.ledger.keys import FORM, KEY_LIFE, Keys, KeyUse, digest, encode, said
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.reservation import Claim
from slotengine.core.time.instant import SECOND
from slotengine.core.time.schedule import (
    ALWAYS_OPEN,
    Away,
    FixedWindows,
    Schedule,
    ScheduleIntersection,
    ScheduleUnion,
    hours,
)

OFFICE = Schedule.weekly_hours("Europe/Rome", "mon-fri 09:00-17:00", "sat 10:00-12:30")

DAY = datetime(2030, 1, 7, tzinfo=UTC)


class Tides:
    """A schedule of the user's own."""

    def covers(self, start: int, end: int) -> bool:
        return True

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        yield start, end


class NamedTides(Tides):
    def __init__(self, port: str) -> None:
        self.port = port

    def __repr__(self) -> str:
        return f"NamedTides({self.port!r})"


# --- The canonical form ----------------------------------------------------------------

FORMS: list[tuple[object, bytes]] = [
    (None, b"N"),
    (True, b"T"),
    (False, b"F"),
    (-42, b"i-42;"),
    ("", b"s0:"),
    ("caffè", b"s6:caff\xc3\xa8"),
    ("\ud800", b"s3:\xed\xa0\x80"),
    (b"\0;", b"b2:\0;"),
    ([1, "a"], b"[i1;s1:a]"),
    ((), b"[]"),
    (Claim("room", 1, 2), b"[s4:roomi1;i2;i1;]"),
    (frozenset({"b", "a", "aa"}), b"(s1:as1:bs2:aa)"),
    ({"b": 1, "a": {}}, b"{s1:a{}s1:bi1;}"),
    (Policy.FIRST, b"s5:first"),
    (timedelta(seconds=90, microseconds=1), b"i90000001;"),
    (datetime(1970, 1, 1, 2, 0, 7, tzinfo=timezone(timedelta(hours=2))), b"i7000000;"),
    (ALWAYS_OPEN, b'<{"open":"always"}>'),
    (FixedWindows([(1, 2)]), b'<{"spans":[[1,2]]}>'),
    (ScheduleIntersection((ALWAYS_OPEN,)), b'<{"all_of":[{"open":"always"}]}>'),
    (1.5, b"?[s14:builtins.floats3:1.5]"),
    (date(2030, 1, 7), b"?[s13:datetime.dates25:datetime.date(2030, 1, 7)]"),
    (DAY.replace(tzinfo=None), b"?[s17:datetime.datetimes35:datetime.datetime(2030, 1, 7, 0, 0)]"),
    (Tides(), b"?[s33:tests.core.ledger.test_keys.TidesN]"),
    (NamedTides("Genoa"), b"?[s38:tests.core.ledger.test_keys.NamedTidess19:NamedTides('Genoa')]"),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=[str(form) for _, form in FORMS])
def test_the_canonical_form(value: object, form: bytes) -> None:
    assert encode(value) == form


def test_the_class_of_a_schedule_of_ones_own_is_all_that_counts_without_a_repr() -> None:
    assert encode(Tides()) == encode(Tides())
    assert encode(NamedTides("Genoa")) != encode(NamedTides("Venice"))
    assert encode(ScheduleUnion([Tides(), ALWAYS_OPEN])).startswith(b"?")


def test_a_digest_never_changes() -> None:
    """They are kept in journals: whoever changes one of these has to raise `FORM`."""
    claims = (Claim("room-1", 1_700_000_123_000_000, 1_700_000_423_000_000, 2),)
    found = {
        "nothing": digest("reserve"),
        "plain": digest("reserve", start=7, length=5, claims=claims, holder="caffè"),
        "slot": digest(
            "slot", event_type="talk", start=-61 * SECOND, only=frozenset({"b", "a"}), enforce=True
        ),
        "schedule": digest(
            "reserve",
            schedule=Schedule(
                "Europe/Rome",
                {0: hours("09:00-17:00")},
                {date(2030, 1, 7): ()},
                away=[Away(date(2030, 8, 1), date(2030, 8, 15))],
            ),
        ),
        "any": digest("any", candidates=[{"start": 1}, {"start": 2}], policy=Policy.WEIGHTED),
    }
    assert {name: one.hex() for name, one in found.items()} == {
        "nothing": "01ea853b4aa0f1ca6e1808cf21baf428c9",
        "plain": "0132c1b6428d814f05b052a1cac79818ab",
        "slot": "018d8255e26883076a8e4b40a0c8396c35",
        "schedule": "01054d093d637aaf06a26a8ceb4da77ad8",
        "any": "0121d6967572ecb6d684f92fb6b91d3067",
    }
    assert {one[0] for one in found.values()} == {FORM}
    assert {len(one) for one in found.values()} == {17}


def test_what_was_not_said_changes_no_digest() -> None:
    assert digest("reserve", start=7, tags=None) == digest("reserve", start=7)
    assert digest("reserve", start=7, tags=()) != digest("reserve", start=7)


def test_what_has_the_value_of_what_is_not_said_is_left_out() -> None:
    asked = {"seats": 1, "enforce": False, "holder": "ada"}
    unsaid = {"seats": encode(1), "enforce": encode(True)}
    assert said(asked, unsaid) == {"enforce": False, "holder": "ada"}


# --- Equal requests, and others -----------------------------------------------------------

texts = st.text(st.sampled_from("ab1:;[]{}iNè\0"), max_size=3)
atoms = st.none() | st.booleans() | st.integers(-20, 20) | texts | st.binary(max_size=2)
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=3)
        | st.frozensets(atoms, max_size=3)
    ),
    max_leaves=6,
)
requests = st.dictionaries(st.sampled_from(["start", "only", "tags", "holder"]), values)


def exact(value: object) -> object:
    """Return a value that equals another's only if the kinds of atoms are the same, too."""
    match value:
        case tuple():
            return tuple(map(exact, value))
        case dict():
            return "dict", frozenset((name, exact(one)) for name, one in value.items())
        case frozenset():
            return "set", frozenset(map(exact, value))
        case _:
            return type(value), value


def shuffled(value: object, by: random.Random) -> object:
    """Return an equal value with another order of whatever has none."""
    match value:
        case tuple():
            return [shuffled(one, by) for one in value]
        case dict():
            pairs = [(name, shuffled(one, by)) for name, one in value.items()]
            by.shuffle(pairs)
            return dict(pairs)
        case frozenset():
            return set(by.sample(sorted(value, key=repr), len(value)))
        case _:
            return value


@given(requests, requests)
def test_requests_have_equal_digests_if_and_only_if_they_are_equal(
    one: dict[str, object], other: dict[str, object]
) -> None:
    said, also = ({name: v for name, v in each.items() if v is not None} for each in (one, other))
    assert (digest("v", **one) == digest("v", **other)) == (exact(said) == exact(also))


@given(requests, st.randoms(use_true_random=False))
def test_order_is_no_matter_where_there_is_none(
    request: dict[str, object], by: random.Random
) -> None:
    again = shuffled(request, by)
    assert isinstance(again, dict)
    assert digest("v", **again) == digest("v", **request)


moments = st.datetimes(
    DAY.replace(2000, tzinfo=None),
    DAY.replace(2100, tzinfo=None),
    timezones=st.timezones(),
    allow_imaginary=False,
)


@given(moments, st.timezones())
def test_equal_moments_are_equal_in_every_zone(moment: datetime, zone: timezone) -> None:
    assert encode(moment) == encode(moment.astimezone(UTC).astimezone(zone))


# --- How long a key is remembered ------------------------------------------------------------


def test_a_key_outlives_its_reservation_until_a_day_after_its_making() -> None:
    keys = Keys()
    use = KeyUse(b"digest", "uid", made=61 * SECOND)
    end = use.made + KEY_LIFE
    keys.add("key", use)
    assert keys.drop_spent(end) == 0
    keys.forget("key", end - 1)
    assert (keys.find("key"), keys.due, len(keys)) == (use, end, 1)
    assert not keys.is_over(use, end - 1)
    assert keys.drop_spent(end - 1) == 0
    assert list(keys.spent()) == [("key", use)]
    assert keys.is_over(use, end)
    assert keys.drop_spent(end) == 1
    assert keys.find("key") is None


def test_a_key_of_an_old_reservation_ends_with_it() -> None:
    keys = Keys()
    keys.add("key", KeyUse(b"digest", "uid", made=0))
    keys.forget("key", KEY_LIFE)
    assert keys.find("key") is None
    assert len(keys) == 0


def test_a_key_that_is_used_again_is_not_dropped_with_what_it_was_used_for_before() -> None:
    keys = Keys()
    keys.add("key", KeyUse(b"digest", "first", made=0))
    keys.forget("key", 5)
    again = KeyUse(b"digest", "second", made=KEY_LIFE + 1)
    keys.add("key", again)
    assert len(keys) == 1
    keys.forget("key", KEY_LIFE + 2)
    assert keys.drop_spent(KEY_LIFE + 2, limit=1) == 1
    assert keys.find("key") == again
    keys.check_invariants()


def test_only_so_many_are_dropped() -> None:
    keys = Keys()
    for i in range(5):
        keys.add(f"key-{i}", KeyUse(b"", "uid", made=i))
        keys.forget(f"key-{i}", i)
    assert keys.drop_spent(KEY_LIFE + 5, limit=2) == 2
    assert (len(keys), keys.due) == (3, KEY_LIFE + 2)


class KeysAgainstList(RuleBasedStateMachine):
    """Goal: a key is known exactly as long as it has to be.

    Method: a plain list of all uses there ever were, with the moment at which each was forgotten.
    """

    @initialize()
    def begin(self) -> None:
        self.keys = Keys()
        self.uses: list[tuple[str, KeyUse]] = []
        self.forgotten: dict[str, int] = {}
        self.now = 0

    names = st.sampled_from(("a", "b", "c"))
    steps = st.sampled_from((0, 1, KEY_LIFE // 3, KEY_LIFE - 1, KEY_LIFE))

    def used(self, name: str) -> KeyUse | None:
        """Return what a key was used for, if it is not free."""
        last = next((use for key, use in reversed(self.uses) if key == name), None)
        if last is None or last.uid not in self.forgotten:
            return last
        return None if last.made + KEY_LIFE <= self.now else last

    @rule(step=steps)
    def wait(self, step: int) -> None:
        self.now += step

    @rule(name=names)
    def use(self, name: str) -> None:
        if self.used(name) is None:
            use = KeyUse(name.encode(), f"uid-{len(self.uses)}", self.now)
            self.uses.append((name, use))
            self.keys.add(name, use)

    @rule(name=names)
    def forget(self, name: str) -> None:
        use = self.used(name)
        if use is not None and use.uid not in self.forgotten:
            self.forgotten[use.uid] = self.now
            self.keys.forget(name, self.now)

    @rule(limit=st.sampled_from((1, 100)))
    def drop(self, limit: int) -> None:
        self.keys.drop_spent(self.now, limit)

    @invariant()
    def agrees(self) -> None:
        self.keys.check_invariants()
        for name in ("a", "b", "c"):
            found = self.keys.find(name)
            known = found is not None and (
                found.uid not in self.forgotten or not self.keys.is_over(found, self.now)
            )
            assert (found if known else None) == self.used(name)

    @invariant()
    def nothing_is_kept_for_longer(self) -> None:
        self.keys.drop_spent(self.now)
        assert len(self.keys) == sum(self.used(name) is not None for name in ("a", "b", "c"))


TestKeysAgainstList = KeysAgainstList.TestCase
