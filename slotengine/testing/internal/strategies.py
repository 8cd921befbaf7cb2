"""Hypothesis strategies for what the ledger is asked: proposals, quotas, commands.

Beside the public `slotengine.testing.strategies` (extra ``testing``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from slotengine.extras import missing

try:
    import hypothesis.strategies as st
except ModuleNotFoundError:
    raise missing("slotengine.testing.internal.strategies", "testing", "hypothesis") from None

from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    EACH,
    ONE,
    Annotate,
    Cancel,
    Choice,
    Command,
    Confirm,
    Extend,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.testing.internal.actions import in_series
from slotengine.testing.internal.keyed import digest_of, keyed
from slotengine.testing.strategies import spans

ttls: st.SearchStrategy[int] = st.sampled_from((5, 5, 5, 1, 2, 3, 12))
"""TTLs; most are alike, as in a service."""

quotas: st.SearchStrategy[Quota] = st.builds(
    Quota,
    st.sampled_from((None, 1, 2, 3)),
    st.sampled_from((None, 3, 4, 7)),
    st.none(),
    st.sampled_from((None, None, None, 4, 7, 13)),
)
"""Quotas that differ for one holder; some allow a hold less life than it asks for."""

LIKELY: Final = ((2, 5), (2, 5), (2, 6), (6, 8))
"""Slots that are requested often, so that sessions are shared."""


@st.composite
def pools(draw: st.DrawFn, hosts: Sequence[str], start: int, end: int) -> Pool:
    """Pools of the first two of the hosts, or of all of them."""
    some = draw(st.sampled_from((hosts[:2], hosts)))
    size = len(some)
    return Pool(
        tuple(Claim(host, start, end, 1) for host in some),
        draw(st.sampled_from((None, (1,) * size, (3, *range(1, size))))),
    )


@st.composite
def proposals(
    draw: st.DrawFn,
    resources: Mapping[str, int],
    *,
    hosts: Sequence[str] = (),
    with_key: bool = True,
    with_quota: bool = True,
    last: int = 10,
) -> Proposal:
    """Proposals for one or two of the ``resources``, given with their capacities.

    They have buffers, seats, keys (``with_key``) and quotas (``with_quota``).  Some
    need one of two or three ``hosts`` as well, or instead.
    """
    start, end = draw(st.one_of(spans(last=last), st.sampled_from(LIKELY)))
    names = draw(st.lists(st.sampled_from(list(resources)), min_size=1, max_size=2, unique=True))
    before, after = draw(st.sampled_from(((0, 0), (0, 0), (1, 0), (1, 2))))
    units = draw(st.sampled_from((1, 1, 2, 3)))
    claims = tuple(
        Claim(one, start - before, end + after, min(units, resources[one])) for one in names
    )
    holder = draw(st.sampled_from((None, "holder-1", "holder-2")))
    seats = draw(st.sampled_from((None, None, Seats(2), Seats(3), Seats(3), Seats(3, 2))))
    needed: tuple[Pool, ...] = ()
    with_host = draw(st.booleans()) if hosts else False
    if with_host:
        claims = draw(st.sampled_from(((), claims)))
        needed = (draw(pools(hosts, start - before, end + after)),)
    closed = draw(st.sampled_from((None, None, None, ())))
    ahead = Demand.HOURS if closed is None else Demand.AHEAD
    made = Proposal(
        start,
        end,
        claims,
        draw(ttls),
        holder,
        "workshop" if seats or needed else draw(st.sampled_from((None, "consultation"))),
        seats,
        pools=needed,
        closed=closed,
        quota=draw(st.none() | quotas) if holder and with_quota else None,
        demand=draw(st.sampled_from((Demand.NOTHING, Demand.NOTHING, ahead))),
    )
    key = draw(st.sampled_from((None, None, "key-1", "key-2"))) if with_key else None
    return keyed(made, key)


versions = st.sampled_from((None, None, None, 1, 2, 3))
"""The versions that callers expect; mostly any."""


tag_lists: st.SearchStrategy[tuple[str, ...]] = st.sampled_from(((), ("vip",), ("vip", "new")))
"""Tags of reservations; mostly some."""


@st.composite
def commands(
    draw: st.DrawFn, resources: Mapping[str, int], uids: Sequence[str], *, last: int = 10
) -> Command:
    """Commands for the ``resources``, given with their capacities, and about the ``uids``.

    What is made has no uid yet.

    >>> from hypothesis import find
    >>> find(commands({"room-1": 1}, ["a"]), lambda one: isinstance(one, Confirm)).uid
    'a'
    """
    kind = draw(st.sampled_from(KINDS))
    if kind is Reserve:
        return draw(reserves(resources, last=last))
    uid, version = draw(st.sampled_from(uids)), draw(versions)
    request = proposals(resources, with_key=False, last=last)
    match kind:
        case _ if kind is Extend:
            return Extend(uid, draw(ttls), version)
        case _ if kind is Confirm:
            return Confirm(uid, draw(st.booleans()), version, draw(st.booleans()))
        case _ if kind is Annotate:
            return Annotate(uid, tags=draw(tag_lists), version=version)
        case _ if kind is Replace:
            return Replace(uid, draw(request), "", version)
        case _ if kind is Move:
            return draw(moves(resources, uid, version, last=last))
    assert kind is Release or kind is Cancel
    return kind(uid, version)


KINDS: Final = (
    *(Reserve,) * 6,
    *(Move, Move, Extend, Confirm, Confirm, Release, Cancel, Annotate, Replace),
)
"""The kinds of `commands`, by how often they come."""


@st.composite
def reserves(draw: st.DrawFn, resources: Mapping[str, int], *, last: int = 10) -> Reserve:
    """Commands that hold one thing, all or each of several, or any of several."""
    mode = draw(st.sampled_from((ONE, ONE, ONE, ONE, ALL, EACH, ANY)))
    if mode is ONE:
        return Reserve((draw(proposals(resources, last=last)),), ())
    several = draw(_several(resources, last))
    if mode is ALL and draw(st.booleans()):
        several = in_series(several)
    if mode is not ANY:
        return Reserve(several, (), mode)
    key = draw(st.sampled_from((None, None, "key-3")))
    choice = Choice(draw(st.sampled_from(Policy)))
    digest = None if key is None else digest_of(several, policy=choice.policy)
    return Reserve(several, (), ANY, choice, key, digest)


@st.composite
def moves(
    draw: st.DrawFn,
    resources: Mapping[str, int],
    uid: str,
    version: int | None,
    *,
    last: int = 10,
) -> Move:
    """Commands that move a reservation, to one thing or to any of several."""
    several, renew = draw(_several(resources, last)), draw(st.booleans())
    if draw(st.booleans()):
        return Move(uid, several[:1], renew, None, version)
    return Move(uid, several, renew, Choice(draw(st.sampled_from(Policy))), version)


def _several(resources: Mapping[str, int], last: int) -> st.SearchStrategy[tuple[Proposal, ...]]:
    one = proposals(resources, with_key=False, last=last)
    return st.lists(one, min_size=2, max_size=3).map(tuple)
