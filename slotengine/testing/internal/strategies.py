"""Hypothesis strategies for what the ledger is asked: proposals, quotas, operations.

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

from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.testing.internal.keyed import keyed
from slotengine.testing.internal.operations import Operation
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


@st.composite
def operations(
    draw: st.DrawFn, resources: Mapping[str, int], uids: Sequence[str], *, last: int = 10
) -> Operation:
    """Operations of callers on the ``resources``, given with their capacities, and the ``uids``.

    >>> from hypothesis import find
    >>> print(find(operations({"room-1": 1}, ["a"]), lambda one: one.verb == "confirm"))
    confirm a
    """
    wishes = proposals(resources, last=last)
    unkeyed = proposals(resources, with_key=False, last=last)
    several = st.lists(unkeyed, min_size=2, max_size=3).map(tuple)
    verb = draw(st.sampled_from(VERBS))
    match verb:
        case "reserve_request":
            return Operation(verb, (draw(wishes),))
        case "reserve_all" | "reserve_each":
            return Operation(verb, draw(several))
        case "reserve_any":
            policy = draw(st.sampled_from((Policy.FIRST, Policy.LEAST_LOADED)))
            return Operation(verb, draw(several), policy=policy)
        case _:
            moves = verb == "move_request"
            return Operation(
                verb,
                (draw(unkeyed),) if moves else (),
                uid=draw(st.sampled_from(uids)),
                ttl=draw(ttls),
                version=draw(st.sampled_from((None, None, None, 1, 2, 3)))
                if verb != "get"
                else None,
                renew=draw(st.booleans()) if moves else False,
                if_still_free=draw(st.booleans()) if verb == "confirm" else False,
            )


VERBS: Final = (
    *("reserve_request",) * 4,
    *("reserve_all", "reserve_each", "reserve_any"),
    *("extend", "move_request", "move_request", "confirm", "confirm", "release", "cancel", "get"),
)
"""The verbs of `operations`, by how often they come."""
