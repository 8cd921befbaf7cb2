"""Changes of the configuration again: resources and limits of a naive ledger.

A batch is checked entry by entry, and then done.  Compare it with
`slotengine.core.ledger.configure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from slotengine.core.ledger.config import (
    Kind,
    LimitConfig,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Setting,
    SettingChange,
    Value,
)
from slotengine.core.ledger.reservation import BOOKED_UNTIL, is_limit
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule import Windows
from slotengine.core.time.schedule_text import schedule_from_text, schedule_text
from slotengine.errors import InTheWay, StaleSetting, StillTaken, UnknownResource, UnknownSetting
from slotengine.testing.internal.naive_occupancy import NaiveOccupancy, sharing


def number_settings(naive: NaiveOccupancy) -> None:
    """Give the resources and limits of a naive ledger versions, as if added one by one."""
    for name in naive.resources:
        naive.edition += 1
        kind = Kind.LIMIT if is_limit(name) else Kind.RESOURCE
        naive.versions[kind, name] = naive.edition


def configure(
    naive: NaiveOccupancy, entries: Sequence[SettingChange], *, force: bool = False
) -> tuple[Setting, ...]:
    """Do as `Ledger.configure`, with resources and limits that no other entry names."""
    changed: list[Put | Remove] = []
    for entry in _without_retiring(naive, entries):
        version = naive.versions.get((entry.kind, entry.id), 0)
        if entry.version is not None and entry.version != version:
            raise StaleSetting(entry.kind, entry.id, entry.version, version)
        if isinstance(entry, Put) and entry.value != _value(naive, entry):
            changed.append(entry)
        if isinstance(entry, Remove):
            if not version:
                if entry.kind is Kind.RESOURCE:
                    raise UnknownResource(entry.id)
                raise UnknownSetting(entry.kind, entry.id)
            changed.append(entry)
    for entry in changed:
        _check_room(naive, entry, force=force)
    if changed:
        naive.edition += 1
    kinds = list(Kind)
    changed.sort(key=lambda entry: kinds.index(entry.kind))
    return tuple(_done(naive, entry) for entry in changed)


def _without_retiring(
    naive: NaiveOccupancy, entries: Sequence[SettingChange]
) -> Iterator[Put | Remove]:
    """Yield the entries, with each that retires something as the put or removal it comes to."""
    for entry in entries:
        if not isinstance(entry, Retire):
            yield entry
        elif entry.id not in naive.resources:  # which is refused
            yield Remove(entry.kind, entry.id, entry.version)
        else:
            value = _value(naive, Put(entry.kind, entry.id, ResourceConfig()))
            assert isinstance(value, ResourceConfig)
            value = value._replace(retired=entry.retired)
            yield Put(entry.kind, entry.id, value, entry.version)


def _value(naive: NaiveOccupancy, entry: Put) -> Value | None:
    """Return the value that an entry has, if it is there."""
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


def _check_room(naive: NaiveOccupancy, entry: Put | Remove, *, force: bool) -> None:
    """Raise if more is taken than would be left: from now on, or at any time if it is removed."""
    left = _units(entry)
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


def _done(naive: NaiveOccupancy, entry: Put | Remove) -> Setting:
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
    value, hours = entry.value, None
    if isinstance(value, ResourceConfig):
        hours = _hours(value.schedule)
        if value.retired:
            naive.retired.add(name)
    naive.resources[name] = _units(entry), hours
    naive.versions[kind, name] = naive.edition
    assert isinstance(value, ResourceConfig | LimitConfig)
    return Setting(kind, name, value, naive.edition)


def _hours(which: str | Windows | None) -> Windows | None:
    return schedule_from_text(which) if isinstance(which, str) else which
