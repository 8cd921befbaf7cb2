"""Changes of the configuration again: resources, limits and event types of a naive ledger.

A batch is checked entry by entry, and then done.  Compare it with
`slotengine.core.ledger.configure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from slotengine.core.ledger.config import (
    EventTypeConfig,
    HasConfig,
    HostConfig,
    Kind,
    LimitConfig,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Setting,
    SettingChange,
    Value,
    limits_of,
)
from slotengine.core.ledger.reservation import BOOKED_UNTIL, is_limit
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule import Windows
from slotengine.core.time.schedule_text import schedule_from_text, schedule_text
from slotengine.errors import InTheWay, StaleSetting, StillTaken, UnknownResource, UnknownSetting
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.naive_occupancy import sharing


def number_settings(naive: NaiveLedger) -> None:
    """Give the resources and limits of a naive ledger versions, as if added one by one."""
    for name in naive.resources:
        naive.edition += 1
        kind = Kind.LIMIT if is_limit(name) else Kind.RESOURCE
        naive.versions[kind, name] = naive.edition


def configure(
    naive: NaiveLedger, entries: Sequence[SettingChange], *, force: bool = False
) -> tuple[Setting, ...]:
    """Do as `Ledger.configure`, if no entry needs what another one takes away.

    Event types are put, and not removed.
    """
    changed: list[Put | Remove] = []
    for entry in _without_retiring(naive, entries):
        version = naive.versions.get((entry.kind, entry.id), 0)
        if entry.version is not None and entry.version != version:
            raise StaleSetting(entry.kind, entry.id, entry.version, version)
        if isinstance(entry, Put):
            entry = entry._replace(value=_written(naive, entry))
            if entry.value != _value(naive, entry):
                changed.append(entry)
        if isinstance(entry, Remove):
            if not version:
                if entry.kind is Kind.RESOURCE:
                    raise UnknownResource(entry.id)
                raise UnknownSetting(entry.kind, entry.id)
            changed.append(entry)
    changed += [limit for entry in changed for limit in _limits_of(naive, entry)]
    for entry in changed:
        _check_room(naive, entry, force=force)
    if changed:
        naive.edition += 1
    kinds = list(Kind)
    changed.sort(key=lambda entry: kinds.index(entry.kind))
    return tuple(_done(naive, entry) for entry in changed)


def _written(naive: NaiveLedger, entry: Put) -> Value | HasConfig:
    """Return a value as it is kept: an event type plainly, with a credit for each who joins."""
    value = entry.value
    if isinstance(value, EventType):
        value = value.as_config()
    if not isinstance(value, EventTypeConfig):
        return value
    before = naive.event_types.get(entry.id)
    groups = () if before is None else before.groups
    had = {host.resource: host.credit or 0 for group in groups for host in group}

    def credited(group: tuple[HostConfig, ...]) -> tuple[HostConfig, ...]:
        levels = [
            Fraction(_turns(naive, entry.id, host.resource) + had[host.resource], host.weight)
            for host in group
            if host.resource in had
        ]
        least = min(levels, default=Fraction(0))
        return tuple(
            host._replace(credit=had.get(host.resource, int(least * host.weight)))
            if host.credit is None
            else host
            for host in group
        )

    return value._replace(groups=tuple(map(credited, value.groups)))


def _turns(naive: NaiveLedger, event_type: str, resource: str) -> int:
    """Return how many sessions of an event type a resource has."""
    sessions = {
        one.session
        for one in naive.live(None)
        if one.event_type == event_type and resource in {claim.resource for claim in one.claims}
    }
    return len(sessions)


def _limits_of(naive: NaiveLedger, entry: Put | Remove) -> Iterator[Put | Remove]:
    """Yield what changes with an event type: limits that are new, others, or gone."""
    value = entry.value if isinstance(entry, Put) else None
    if not isinstance(value, EventTypeConfig):
        return
    units = limits_of(entry.id, value)
    for name, most in units.items():
        if naive.resources.get(name) != (most, None):
            yield Put(Kind.LIMIT, name, LimitConfig(most))
    claimed = {claim.resource for one in naive.known.values() for claim in one.claims}
    before = naive.event_types.get(entry.id)
    had = {} if before is None else limits_of(entry.id, before.as_config())
    for name in had:
        if name not in units and name not in claimed:
            yield Remove(Kind.LIMIT, name)


def _without_retiring(
    naive: NaiveLedger, entries: Sequence[SettingChange]
) -> Iterator[Put | Remove]:
    """Yield the entries, with each that retires something as the put or removal it comes to."""
    for entry in entries:
        if not isinstance(entry, Retire):
            yield entry
        elif entry.id not in naive.resources and entry.id not in naive.event_types:
            yield Remove(entry.kind, entry.id, entry.version)  # which is refused
        else:
            value = _value(naive, Put(entry.kind, entry.id, ResourceConfig()))
            assert isinstance(value, ResourceConfig | EventTypeConfig)
            value = value._replace(retired=entry.retired)
            yield Put(entry.kind, entry.id, value, entry.version)


def _value(naive: NaiveLedger, entry: Put) -> Value | None:
    """Return the value that an entry has, if it is there."""
    if entry.kind is Kind.EVENT_TYPE:
        found = naive.event_types.get(entry.id)
        if found is None:
            return None
        return found.as_config()._replace(retired=entry.id in naive.retired)
    if entry.id not in naive.resources:
        return None
    capacity, hours = naive.resources[entry.id]
    if entry.kind is Kind.LIMIT:
        return LimitConfig(capacity)
    text = None if hours is None else schedule_text(hours)
    return ResourceConfig(capacity, text, entry.id in naive.retired)


def _units(entry: Put | Remove) -> int:
    if isinstance(entry, Remove):
        return 0
    assert isinstance(entry.value, ResourceConfig | LimitConfig)
    return entry.value[0]


def _check_room(naive: NaiveLedger, entry: Put | Remove, *, force: bool) -> None:
    """Raise if more is taken than would be left: from now on, or at any time if it is removed."""
    left = 0 if entry.kind is Kind.EVENT_TYPE else _units(entry)
    if entry.id not in naive.resources or left >= naive.resources[entry.id][0] or (force and left):
        return
    live = naive.live(None)
    claims = {
        (one.session, claim)
        for one in live
        for claim in one.claims
        if claim.resource == entry.id and (not left or claim.end > naive.now)
    }
    moments = {moment for _, claim in claims for moment in (claim.start, claim.end)}
    if left:
        moments = {max(moment, naive.now) for moment in moments}
    levels: list[tuple[int, int, int]] = []
    for low, high in pairwise(sorted(moments)):
        units = sum(claim.units for _, claim in claims if claim.start <= low < claim.end)
        if levels and levels[-1][1:] == (low, units):
            levels[-1] = levels[-1][0], high, units
        else:
            levels.append((low, high, units))
    over = [level for level in levels if level[2] > left]
    if not over:
        return
    booked = {
        claim
        for one in live
        for claim in one.claims
        if any(other.until == BOOKED_UNTIL for other in sharing(one, live))
    }
    spans = tuple(
        InTheWay(
            from_us(low),
            from_us(high),
            units,
            any(one.resource == entry.id and one.start < high and low < one.end for one in booked),
        )
        for low, high, units in over
    )
    most = max(units for _, _, units in over)
    raise StillTaken(entry.kind, entry.id, left, most, spans[:100], len(spans))


def _done(naive: NaiveLedger, entry: Put | Remove) -> Setting:
    """Do what an entry says, and return the setting that comes of it."""
    kind, name = entry.kind, entry.id
    naive.retired.discard(name)
    if isinstance(entry, Remove):
        del naive.resources[name], naive.versions[kind, name]
        naive.imported = {
            source: {resource: spans for resource, spans in theirs.items() if resource != name}
            for source, theirs in naive.imported.items()
        }
        return Setting(kind, name, None, naive.edition)
    value = entry.value
    assert isinstance(value, ResourceConfig | LimitConfig | EventTypeConfig)
    if not isinstance(value, LimitConfig) and value.retired:
        naive.retired.add(name)
    if isinstance(value, EventTypeConfig):
        naive.event_types[name] = EventType.from_config(name, value, _hours)
    else:
        hours = _hours(value.schedule) if isinstance(value, ResourceConfig) else None
        naive.resources[name] = _units(entry), hours
    naive.versions[kind, name] = naive.edition
    return Setting(kind, name, value, naive.edition)


def _hours(which: str | Windows | None) -> Windows | None:
    return schedule_from_text(which) if isinstance(which, str) else which
