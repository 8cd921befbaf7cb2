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
    Adopt,
    Annotate,
    Cancel,
    Choice,
    Command,
    Confirm,
    Extend,
    ImportBusy,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import (
    Configure,
    Kind,
    Put,
    ResourceConfig,
    Retire,
    SettingChange,
)
from slotengine.core.ledger.expiry import PENDING
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
        draw(st.sampled_from((None, None, (1, *(0,) * (size - 1)), tuple(range(size))))),
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


def commands(
    resources: Mapping[str, int], uids: Sequence[str], *, last: int = 10
) -> st.SearchStrategy[Command]:
    """Commands for the ``resources``, given with their capacities, and about the ``uids``.

    What is made has no uid yet.

    >>> from hypothesis import find
    >>> find(commands({"room-1": 1}, ["a"]), lambda one: isinstance(one, Confirm)).uid
    'a'
    """
    uid, no_uid = st.sampled_from(uids), st.just("")
    request = proposals(resources, with_key=False, last=last)
    kinds: dict[type, st.SearchStrategy[Command]] = {
        Reserve: reserves(resources, last=last),
        Adopt: st.builds(Adopt, request.map(_as_it_stands), no_uid),
        Move: moves(resources, uid, last=last),
        Extend: st.builds(Extend, uid, ttls | st.just(PENDING), versions),
        Confirm: st.builds(Confirm, uid, st.booleans(), versions, st.booleans()),
        Release: st.builds(Release, uid, versions),
        Cancel: st.builds(Cancel, uid, versions),
        Annotate: st.builds(Annotate, uid, tags=tag_lists, version=versions),
        Replace: st.builds(Replace, uid, request, no_uid, versions),
        ImportBusy: imports(resources, last=last),
        Configure: st.builds(
            Configure, setting_changes(resources).map(_alone), st.booleans(), st.none()
        ),
    }
    return st.sampled_from(KINDS).flatmap(kinds.__getitem__)


KINDS: Final = (
    *(Reserve,) * 8,
    *(Move, Move, Extend, Confirm, Confirm, Release, Cancel, Annotate, Replace),
    *(Adopt, ImportBusy, Configure),
)
"""The kinds of `commands`, by how often they come."""


@st.composite
def imports(draw: st.DrawFn, resources: Mapping[str, int], *, last: int = 10) -> ImportBusy:
    """Commands that import busy time from one of two sources, for some of the resources."""
    names = draw(st.lists(st.sampled_from(list(resources)), max_size=2, unique=True))
    busy = tuple((name, (draw(spans(last=last)),)) for name in names)
    return ImportBusy(draw(st.sampled_from(("calendar", "feed"))), busy)


@st.composite
def setting_changes(draw: st.DrawFn, resources: Mapping[str, int]) -> SettingChange:
    """Changes of a resource: of how many units there are, or whether it is retired."""
    name, version = draw(st.sampled_from(list(resources))), draw(versions)
    if draw(st.integers(0, 3)) == 0:
        return Retire(Kind.RESOURCE, name, draw(st.booleans()), version)
    config = ResourceConfig(draw(st.integers(1, resources[name] + 1)))
    return Put(Kind.RESOURCE, name, config, version)


def _alone(change: SettingChange) -> tuple[SettingChange]:
    return (change,)


def _as_it_stands(request: Proposal) -> Proposal:
    """Return a request of something that stands elsewhere: no hours are asked."""
    return request._replace(closed=None)


def _asked(request: Proposal, requested: bool) -> Proposal:
    """Return a request as its caller asks it, to be decided now or later; so, too, its digest."""
    return keyed(request._replace(requested=requested), request.key)


@st.composite
def reserves(draw: st.DrawFn, resources: Mapping[str, int], *, last: int = 10) -> Reserve:
    """Commands that hold one thing, all or each of several, or any of several."""
    mode = draw(st.sampled_from((ONE, ONE, ONE, ONE, ALL, EACH, ANY)))
    requested = draw(st.sampled_from((False, False, False, True)))
    if mode is ONE:
        return Reserve((_asked(draw(proposals(resources, last=last)), requested),), ())
    several = draw(_several(resources, last))
    if mode is not ANY:
        several = (_asked(several[0], requested), *several[1:])
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
    uids: st.SearchStrategy[str],
    *,
    last: int = 10,
) -> Move:
    """Commands that move a reservation, to one thing or to any of several."""
    several, renew = draw(_several(resources, last)), draw(st.booleans())
    uid, version = draw(uids), draw(versions)
    if draw(st.booleans()):
        return Move(uid, several[:1], renew, None, version)
    return Move(uid, several, renew, Choice(draw(st.sampled_from(Policy))), version)


def _several(resources: Mapping[str, int], last: int) -> st.SearchStrategy[tuple[Proposal, ...]]:
    one = proposals(resources, with_key=False, last=last)
    return st.lists(one, min_size=2, max_size=3).map(tuple)
