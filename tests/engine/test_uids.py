"""Uids are RFC 9562 UUIDs of version 4 that name a bucket, and no two are ever the same."""

from __future__ import annotations

import os
import random
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import pytest

from slotengine import AllOf, Claim, EventType, LocalEngine, OneOf, Request, minutes
from slotengine.core.ledger.uids import bucket_for, bucket_in, bucket_of
from slotengine.engine.uids import BATCH, _draw, new_uid, new_uid_in
from slotengine.errors import InvalidField, UnknownEventType

MANY = 100_000


BUCKET = 0x0BAD


@pytest.mark.parametrize("draw", [lambda: new_uid_in(BUCKET), new_uid])
def test_a_uid_is_a_uuid_of_version_4(draw: Callable[[], str]) -> None:
    for _ in range(2 * BATCH):
        uid = draw()
        parsed = UUID(uid)
        assert (parsed.version, parsed.variant) == (4, RFC_4122)
        assert str(parsed) == uid


@pytest.mark.parametrize("bucket", [0, BUCKET, 0xFFFF, bucket_for("acme/room-1")])
def test_a_uid_names_its_bucket(bucket: int) -> None:
    assert {bucket_in(new_uid_in(bucket)) for _ in range(2 * BATCH)} == {bucket}


def test_no_two_are_the_same() -> None:
    assert len({new_uid_in(BUCKET) for _ in range(MANY)}) == MANY
    assert len({new_uid() for _ in range(MANY)}) == MANY


@pytest.mark.parametrize(
    ("draw", "random"), [(lambda: new_uid_in(BUCKET), 106), (new_uid, 122)], ids=["uid", "uuid"]
)
def test_every_other_bit_is_drawn(draw: Callable[[], str], random: int) -> None:
    """Goal: all other bits are random.  A bit that is biased by chance is 10 sigma away."""
    ones = Counter[int]()
    for _ in range(10_000):
        number = int(draw().replace("-", ""), 16)
        ones.update(bit for bit in range(128) if number >> bit & 1)
    fixed = {76: 0, 77: 0, 78: 10_000, 79: 0, 62: 0, 63: 10_000}
    if random == 106:
        fixed |= {bit: 10_000 * (BUCKET >> bit & 1) for bit in range(16)}
    assert len(fixed) + random == 128
    for bit in range(128):
        expected = fixed.get(bit)
        if expected is None:
            assert 4_500 < ones[bit] < 5_500
        else:
            assert ones[bit] == expected


def test_each_is_what_uuid_makes_of_the_same_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: none of the bits that are drawn is another's copy, nor lost."""
    octets = random.Random(7).randbytes(14 * BATCH)
    monkeypatch.setattr(os, "urandom", lambda size: octets[:size])
    heads = [octets[at : at + 14] for at in range(0, len(octets), 14)]
    drawn = [str(UUID(bytes=head + b"\0\0", version=4)) for head in heads]
    assert [f"{head}0000" for head in _draw()] == drawn


def test_threads_share_none() -> None:
    def draw(_: int) -> list[str]:
        return [new_uid_in(BUCKET) for _ in range(1_000)]

    with ThreadPoolExecutor(8) as threads:
        drawn = [uid for uids in threads.map(draw, range(40)) for uid in uids]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_process_draws_others_than_its_parent() -> None:
    """Goal: uids drawn ahead are not drawn again by a forked child.

    Method: parent and child draw more than a batch after the fork, and compare.
    """
    new_uid_in(BUCKET)  # so that the rest of a batch is there to be inherited
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Since 3.12 Python warns that threads do not survive a fork; other tests may have left
        # some, and this child needs none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:  # pragma: no cover - in a process of its own
        try:
            with os.fdopen(writing, "w") as pipe:
                pipe.writelines(f"{new_uid_in(BUCKET)}\n" for _ in range(2 * BATCH))
        finally:
            os._exit(0)
    os.close(writing)
    own = {new_uid_in(BUCKET) for _ in range(2 * BATCH)}
    with os.fdopen(reading) as pipe:
        childs = set(pipe.read().split())
    assert os.waitpid(child, 0)[1] == 0
    assert len(childs) == len(own) == 2 * BATCH
    assert not childs & own


# --- Of an engine ------------------------------------------------------------------------------


def test_every_reservation_is_in_the_bucket_of_its_first_resource() -> None:
    engine = LocalEngine()
    for name in ("acme/room", "acme/desk", "other/room"):
        engine.add_resource(name, capacity=9)
    talk = EventType(id="talk", length=minutes(30), any_of=[["acme/desk", "acme/room"]])
    engine.add_event_type(talk)
    start = datetime(2030, 1, 7, 9, 5, 7, tzinfo=UTC)
    acme = Request(start, minutes(30), (Claim("acme/room"), Claim("acme/desk")))
    other = Request(start, minutes(30), (Claim("other/room"),))
    made = [
        engine.reserve("acme/room", start, minutes(30)),
        engine.reserve("acme/room", start, minutes(30), key="k"),
        engine.reserve(acme),
        engine.adopt(acme),
        engine.reserve(OneOf([acme, other])),
        engine.reserve_slot("talk", start),
    ]
    assert {bucket_in(one.uid) for one in made} == {bucket_of("acme")}
    both = engine.reserve(AllOf([acme, other]))
    assert [bucket_in(one.uid) for one in both] == [bucket_of("acme"), bucket_of("other")]


def test_requests_for_nothing_known_are_refused_whatever_their_bucket() -> None:
    engine = LocalEngine()
    start = datetime(2030, 1, 7, 9, tzinfo=UTC)
    with pytest.raises(UnknownEventType):
        engine.reserve_slot("talk", start)
    with pytest.raises(InvalidField, match="claims must name at least one resource"):
        engine.reserve(Request(start, minutes(30), ()))
    with pytest.raises(InvalidField, match="candidates must be at least one"):
        engine.reserve(OneOf([]))
