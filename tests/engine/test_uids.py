"""Uids are RFC 9562 UUIDs of version 4, and no two are ever the same."""

from __future__ import annotations

import os
import random
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest

from slotengine.engine.uids import BATCH, _draw, new_uid

MANY = 100_000


def test_a_uid_is_a_uuid_of_version_4() -> None:
    for _ in range(2 * BATCH):
        uid = new_uid()
        parsed = UUID(uid)
        assert (parsed.version, parsed.variant) == (4, RFC_4122)
        assert str(parsed) == uid


def test_no_two_are_the_same() -> None:
    assert len({new_uid() for _ in range(MANY)}) == MANY


def test_every_other_bit_is_drawn() -> None:
    """Goal: 122 bits of each uid are random.  A bit that is biased by chance is 10 sigma away."""
    ones = Counter[int]()
    for _ in range(10_000):
        number = int(new_uid().replace("-", ""), 16)
        ones.update(bit for bit in range(128) if number >> bit & 1)
    version, variant = {76: 0, 77: 0, 78: 10_000, 79: 0}, {62: 0, 63: 10_000}
    for bit in range(128):
        expected = (version | variant).get(bit)
        if expected is None:
            assert 4_500 < ones[bit] < 5_500
        else:
            assert ones[bit] == expected


def test_each_is_what_uuid_makes_of_the_same_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: none of the bits that are drawn is another's copy, nor lost."""
    octets = random.Random(7).randbytes(16 * BATCH)
    monkeypatch.setattr(os, "urandom", lambda size: octets[:size])
    drawn = [UUID(bytes=octets[at : at + 16], version=4) for at in range(0, len(octets), 16)]
    assert _draw() == list(map(str, drawn))


def test_threads_share_none() -> None:
    def draw(_: int) -> list[str]:
        return [new_uid() for _ in range(1_000)]

    with ThreadPoolExecutor(8) as threads:
        drawn = [uid for uids in threads.map(draw, range(40)) for uid in uids]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_process_draws_others_than_its_parent() -> None:
    """Goal: uids drawn ahead are not drawn again by a forked child.

    Method: parent and child draw more than a batch after the fork, and compare.
    """
    new_uid()  # so that the rest of a batch is there to be inherited
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Since 3.12 Python warns that threads do not survive a fork; other tests may have left
        # some, and this child needs none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:  # pragma: no cover - in a process of its own
        try:
            with os.fdopen(writing, "w") as pipe:
                pipe.writelines(f"{new_uid()}\n" for _ in range(2 * BATCH))
        finally:
            os._exit(0)
    os.close(writing)
    own = {new_uid() for _ in range(2 * BATCH)}
    with os.fdopen(reading) as pipe:
        childs = set(pipe.read().split())
    assert os.waitpid(child, 0)[1] == 0
    assert len(childs) == len(own) == 2 * BATCH
    assert not childs & own
