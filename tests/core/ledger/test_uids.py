"""The bucket of a tenant never changes, and serial numbers are unique and exact everywhere."""

from __future__ import annotations

from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.core.ledger.uids import (
    BUCKETS,
    COUNTER_BITS,
    SHARD_BITS,
    bucket_for,
    bucket_in,
    bucket_of,
    serial_of,
    session_uid,
    tenant_of,
)
from slotengine.errors import InvalidField


@pytest.mark.parametrize(
    ("resource", "tenant"),
    [("acme/room-1", "acme"), ("acme/a/b", "acme"), ("room-1", "room-1"), ("/x", ""), ("", "")],
)
def test_a_tenant_stands_before_the_first_slash(resource: str, tenant: str) -> None:
    assert tenant_of(resource) == tenant
    assert bucket_for(resource) == bucket_of(tenant)


@pytest.mark.parametrize(
    ("tenant", "bucket"),
    [("", 0xB1FE), ("acme", 0xCE80), ("room-1", 0x3798), ("jos\u00e9", 0xE695)],
)
def test_a_bucket_is_what_it_always_was(tenant: str, bucket: int) -> None:
    """Uids that were given out name their buckets: another hash would lose every reservation."""
    assert bucket_of(tenant) == bucket


def test_tenants_spread_over_all_buckets() -> None:
    """Goal: of 65,536 tenants, the share of buckets hit is that of a random function, 1 - 1/e."""
    hit = {bucket_of(f"tenant-{i}") for i in range(BUCKETS)}
    assert 0.62 < len(hit) / BUCKETS < 0.645
    assert min(hit) >= 0
    assert max(hit) < BUCKETS


@pytest.mark.parametrize("resource", [None, 5, ["room"]])
def test_what_is_no_id_is_in_the_first_bucket(resource: object) -> None:
    assert bucket_for(resource) == 0


def test_a_resource_that_no_encoding_has_is_in_a_bucket_all_the_same() -> None:
    assert 0 <= bucket_for("\ud800") < BUCKETS


@pytest.mark.parametrize(
    "uid", ["", "r1", "beefless", "12-34", " 123", "12 3", "BEEF", "be\u0661f"]
)
def test_a_uid_without_a_bucket_is_refused(uid: str) -> None:
    with pytest.raises(InvalidField, match="uid must end in four hex digits"):
        bucket_in(uid)


def test_serial_numbers_are_exact_as_floating_point_numbers() -> None:
    last = serial_of(2**SHARD_BITS - 1, 2**COUNTER_BITS - 1)
    assert last == 2**53 - 1
    assert float(last) == last != float(last - 1)


shards = st.integers(0, 2**SHARD_BITS - 1)
counts = st.integers(1, 2**COUNTER_BITS - 1)


@given(shards, counts, shards, counts)
def test_no_two_serial_numbers_are_the_same(one: int, i: int, other: int, j: int) -> None:
    assert (serial_of(one, i) == serial_of(other, j)) == ((one, i) == (other, j))


@given(st.uuids(version=4).map(str), st.integers(1, 2**40), st.sampled_from(["acme/x", "y"]))
def test_a_session_has_a_uid_in_its_bucket(opener: str, version: int, resource: str) -> None:
    uid = session_uid(opener, version, resource)
    assert (UUID(uid).version, UUID(uid).variant, str(UUID(uid))) == (4, RFC_4122, uid)
    assert bucket_in(uid) == bucket_for(resource)
    assert len({uid, session_uid(opener, version + 1, resource), session_uid("r1", 1, "y")}) == 3
