"""What comes of a `Configure` command: settings, or a refusal.

What is refused, besides bad input and a version that is stale:

- a reference to what is not there, and the removal of what others refer to;
- less capacity than is taken from now on, unless by ``force``;
- the removal of a resource or a limit on which something stands, past bookings included; and
  of an event type that has reservations which are not over, unless by ``force``.

An event type brings its limits with it.  One that it has no longer is removed once no
reservation has a claim on it.  A limit counts the reservations that are made or moved while
it is there.

A host that joins a group of an event type that is there already starts with a ``credit``, so
that it does not get every booking until it has as many as the others.  By default that is the
load of the least loaded host who was there before, in proportion to the weights, and with
that host's own credit.  A host that was there before keeps the credit that it has.

Everything here reads.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from slotengine.core.ledger.checks import check_name, check_schedule, is_count
from slotengine.core.ledger.config import (
    DOCUMENT,
    EVENT_TYPE,
    LIMIT,
    LIMITED,
    LONGEST_DOCUMENT,
    RESOURCE,
    SCHEDULE,
    Configure,
    Document,
    EventTypeConfig,
    HasConfig,
    HostConfig,
    HoursRef,
    Kind,
    LimitConfig,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Setting,
    SettingChange,
    Value,
    check_kind,
    event_type_of_limit,
    hours_in,
    limits_of,
)
from slotengine.core.ledger.obstruction import Busy, Standing, steps
from slotengine.core.ledger.reservation import BOOKED_UNTIL, Entry, Reservable, is_limit
from slotengine.core.ledger.timeline import END_OF_TIME, START_OF_TIME, Taken
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule_text import is_schedule_text, schedule_text
from slotengine.errors import (
    InTheWay,
    InvalidField,
    InvalidRequest,
    SettingInUse,
    StaleSetting,
    StillTaken,
    TooManyUnits,
    UnknownEventType,
    UnknownResource,
    UnknownSetting,
)

if TYPE_CHECKING:
    from slotengine.core.ledger.configuration import Configuration
    from slotengine.core.ledger.terms import Terms
    from slotengine.core.ledger.view import View

_OTHERS: Final = (ResourceConfig, LimitConfig, EventTypeConfig, Document)

MOST_TOLD: Final = 100
"""How many spans, or users of an entry, a refusal lists."""

Key: TypeAlias = tuple[Kind, str | None, str]
"""The identity of an entry: its kind, its collection if it is a document, and its id."""


class Surroundings(NamedTuple):
    """What a decision about the configuration has to know of the rest of the ledger."""

    view: View
    reservations: Iterable[Entry]
    terms: Terms


class Settled(NamedTuple):
    """What is to be set, in order, and the lapsed holds that have to be marked before."""

    settings: tuple[Setting, ...]
    lapsed: list[Entry]


def decide_settings(
    configuration: Configuration, command: Configure, around: Surroundings
) -> Settled:
    """Return what is to be set, or refuse.

    An entry that already is what is asked is left out.  O(1) for each resource that is added;
    O(n) for the n claims on a resource or limit that is given less, and for the e
    entries of the configuration if one is removed.

    Raises `StaleSetting`, `SettingInUse`, `StillTaken`, `UnknownResource`, `UnknownEventType`,
    `UnknownSetting`, `TooManyUnits` or `InvalidField`.
    """
    draft = _Draft(configuration, around)
    draft.take(command.entries)
    for key in list(draft.changed):
        if key[0] is EVENT_TYPE:
            draft.change_limits(key)
    lapsed: list[Entry] = []
    for key, setting in draft.changed.items():
        draft.check_references(key, setting.value)
        lapsed += draft.check_standing(key, setting.value, force=command.force)
    return Settled(tuple(sorted(draft.changed.values(), key=_order)), lapsed)


class _Draft:
    """The configuration as it would be after a batch."""

    def __init__(self, configuration: Configuration, around: Surroundings) -> None:
        self.present = configuration
        self.around = around
        self.changed: dict[Key, Setting] = {}

    # --- Entry by entry --------------------------------------------------------------------

    def take(self, entries: Iterable[SettingChange]) -> None:
        seen: set[Key] = set()
        for entry in entries:
            key = _key(entry)
            if key in seen:
                raise InvalidField("entries", f"must name each entry once, not {key[2]!r} twice")
            seen.add(key)
            before = self.present.get(entry.kind, entry.id, entry.collection)
            _check_version(key, entry.version, before)
            if isinstance(entry, Put):
                value = self._checked(entry)
                if before is None or before.value != value:
                    self._set(key, value)
            elif before is None:
                raise _unknown(key)
            elif isinstance(entry, Remove):
                self._set(key, None)
            else:
                value = _retired(before, entry.retired)
                if before.value != value:
                    self._set(key, value)

    def _set(self, key: Key, value: Value | None) -> None:
        kind, collection, name = key
        self.changed[key] = Setting(kind, name, value, self.present.edition + 1, collection)

    def _checked(self, entry: Put) -> Value:
        """Return the value of an entry as it is to be kept.  Raises `InvalidField`."""
        kind, name, value = entry.kind, entry.id, entry.value
        if isinstance(value, HasConfig):
            value = value.as_config(self.present.texts.text)
        if kind is SCHEDULE and not isinstance(value, _OTHERS):
            if is_schedule_text(name):
                raise InvalidField("id", f"of a schedule must not begin with {name[0]!r}")
            text = value if isinstance(value, str) else schedule_text(value)
            return self.present.texts.canonical(text)
        match kind, value:
            case Kind.RESOURCE, ResourceConfig():
                return self._checked_resource(name, value)
            case Kind.LIMIT, LimitConfig():
                if not is_limit(name):
                    raise InvalidField("limit", f"must have an id that begins with {LIMIT!r}")
                _check_units("units", value.units)
                return value
            case Kind.EVENT_TYPE, EventTypeConfig():
                return self._checked_event_type(name, value)
            case Kind.DOCUMENT, Document():
                return _checked_document(value)
        raise InvalidField("value", f"of a {kind} cannot be a {type(value).__name__}")

    def _checked_resource(self, name: str, value: ResourceConfig) -> ResourceConfig:
        if is_limit(name):
            raise InvalidField("resource", f"must not have an id that begins with {LIMIT!r}")
        _check_units("capacity", value.capacity)
        _check_flag("retired", value.retired)
        return value._replace(schedule=self._checked_hours(value.schedule))

    def _checked_event_type(self, name: str, value: EventTypeConfig) -> EventTypeConfig:
        """Check what the ledger needs to know; `EventType` checks the rules themselves."""
        _check_flag("retired", value.retired)
        self.around.terms.check_with_buffers(value.longest_span)
        value = value._replace(
            schedule=self._checked_hours(value.schedule),
            fixed=self._checked_hosts(value.fixed),
            groups=tuple(map(self._checked_hosts, value.groups)),
        )
        return self._credited(name, value)

    def _checked_hosts(self, hosts: tuple[HostConfig, ...]) -> tuple[HostConfig, ...]:
        return tuple(host._replace(schedule=self._checked_hours(host.schedule)) for host in hosts)

    def _checked_hours(self, which: HoursRef) -> HoursRef:
        """Return hours as they are to be kept."""
        if not isinstance(which, str):
            check_schedule(which)
            return None if which is None else self.present.texts.text(which)
        if is_schedule_text(which):
            return self.present.texts.canonical(which)
        check_name("schedule", which)
        return which

    # --- What an event type brings with it ---------------------------------------------------

    def _credited(self, name: str, value: EventTypeConfig) -> EventTypeConfig:
        """Return an event type with a credit for each host of a group."""
        before = self.present.event_types.get(name)
        credit: dict[str, int] = {}
        if before is not None and isinstance(before.value, EventTypeConfig):
            hosts = chain.from_iterable(before.value.groups)
            credit = {host.resource: host.credit or 0 for host in hosts}

        def level(host: HostConfig) -> Fraction:
            turns = self.around.view.turns(self.present.resources[host.resource], name)
            return Fraction(turns.load + credit[host.resource], host.weight)

        def credited(group: tuple[HostConfig, ...]) -> tuple[HostConfig, ...]:
            if all(host.credit is not None for host in group):
                return group
            levels = [level(host) for host in group if host.resource in credit]
            least = min(levels, default=Fraction(0))
            return tuple(
                host._replace(credit=credit.get(host.resource, int(least * host.weight)))
                if host.credit is None
                else host
                for host in group
            )

        return value._replace(groups=tuple(map(credited, value.groups)))

    def change_limits(self, key: Key) -> None:
        """Let the limits of an event type be put with it, and those go that it has no longer."""
        name = key[2]
        value, before = self.changed[key].value, self.present.event_types.get(name)
        wanted = limits_of(name, value) if isinstance(value, EventTypeConfig) else {}
        had: dict[str, int] = {}
        if before is not None and isinstance(before.value, EventTypeConfig):
            had = limits_of(name, before.value)
        for limit, units in wanted.items():
            there = self.present.limits.get(limit)
            if there is None or there.capacity != units:
                self._set((LIMITED, None, limit), LimitConfig(units))
        for limit in had:
            if limit not in wanted and not self._is_claimed(limit):
                self._set((LIMITED, None, limit), None)

    def _is_claimed(self, limit: str) -> bool:
        """Return whether any reservation has a claim on a limit, or had one and may come back.

        One that is past its retention may not, whether or not it was forgotten.
        """
        since = self.around.view.now - self.around.terms.retention
        return any(
            claim.resource == limit
            for one in self.around.reservations
            if one.until > since
            for claim in one.all_claims()
        )

    # --- What refers to what -----------------------------------------------------------------

    def get(self, kind: Kind, name: str) -> Value | None:
        """Return the value of an entry as it would be; None if it would not be there."""
        setting = self.changed.get((kind, None, name)) or self.present.get(kind, name)
        return None if setting is None else setting.value

    def check_references(self, key: Key, value: Value | None) -> None:
        """Raise if an entry needs what is not there, or others need it as it no longer is."""
        kind, _, name = key
        for which in hours_in(value):
            if not isinstance(which, str) or is_schedule_text(which):
                continue
            if self.get(SCHEDULE, which) is None:
                raise UnknownSetting(SCHEDULE, which)
        users: Iterable[tuple[Kind, str]] = ()
        if isinstance(value, EventTypeConfig):
            self._check_hosts(value)
        elif kind is LIMITED:
            users = self._users_of_limit(name, value)
        elif kind is SCHEDULE and value is None:
            users = self._users_of_schedule(name)
        elif kind is RESOURCE:
            users = self._users_of_resource(name, value)
        using = list(users)
        if using:
            told = tuple((str(one), user) for one, user in using[:MOST_TOLD])
            raise SettingInUse(kind, name, told, len(using))

    def _check_hosts(self, value: EventTypeConfig) -> None:
        for host in value.hosts():
            resource = self.get(RESOURCE, host.resource)
            if not isinstance(resource, ResourceConfig):
                raise UnknownResource(host.resource)
            if host.units > resource.capacity:
                raise TooManyUnits(host.resource, host.units, resource.capacity)

    def _users_of_limit(self, name: str, value: Value | None) -> Iterator[tuple[Kind, str]]:
        """Yield the event type that has a limit, unless the limit is as it says."""
        owner = event_type_of_limit(name)
        theirs = self.get(EVENT_TYPE, owner)
        units = value.units if isinstance(value, LimitConfig) else None
        wanted = limits_of(owner, theirs) if isinstance(theirs, EventTypeConfig) else {}
        if wanted.get(name, units) != units:
            yield EVENT_TYPE, owner

    def _users_of_schedule(self, name: str) -> Iterator[tuple[Kind, str]]:
        for kind, known in ((RESOURCE, self.present.resources), (EVENT_TYPE, self._event_types())):
            changed = (setting.id for setting in self.changed.values() if setting.kind is kind)
            for user in dict.fromkeys((*known, *changed)):
                if name in hours_in(self.get(kind, user)):
                    yield kind, user

    def _users_of_resource(self, name: str, value: Value | None) -> Iterator[tuple[Kind, str]]:
        """Yield the event types that need more of a resource than there would be."""
        there = self.present.resources.get(name)
        units = value.capacity if isinstance(value, ResourceConfig) else 0
        if there is None or units >= there.capacity:
            return
        for user, theirs in self._event_types().items():
            if any(host.resource == name and host.units > units for host in theirs.hosts()):
                yield EVENT_TYPE, user

    def _event_types(self) -> dict[str, EventTypeConfig]:
        """Return the event types as they would be."""
        every = self.present.event_types | {
            setting.id: setting for setting in self.changed.values() if setting.kind is EVENT_TYPE
        }
        values = ((name, setting.value) for name, setting in every.items())
        return {name: value for name, value in values if isinstance(value, EventTypeConfig)}

    # --- What stands -------------------------------------------------------------------------

    def check_standing(self, key: Key, value: Value | None, *, force: bool) -> list[Entry]:
        """Raise if more is taken than would be left; return the lapsed holds to be marked."""
        kind, _, name = key
        if kind is EVENT_TYPE and value is None and not force:
            self._check_nothing_of(key)
        known = {RESOURCE: self.present.resources, LIMITED: self.present.limits}.get(kind, {})
        found = known.get(name)
        if found is None:
            return []
        left = 0
        if isinstance(value, ResourceConfig):
            left = value.capacity
        elif isinstance(value, LimitConfig):
            left = value.units
        if left >= found.capacity:
            return []
        if left == 0 or not force:
            self._check_left(key, found, left)
        return self.around.view.lapsed_in(found, START_OF_TIME, END_OF_TIME)

    def _check_left(self, key: Key, found: Reservable, left: int) -> None:
        view = self.around.view
        since = view.now if left else START_OF_TIME
        _check_room(key, left, view.live_in(found, since, END_OF_TIME), since)

    def _check_nothing_of(self, key: Key) -> None:
        now = self.around.view.now
        live: list[Standing] = [
            Taken(one.start, one.end, 1, one)
            for one in self.around.reservations
            if one.event_type == key[2] and one.placed and min(one.until, one.end) > now
        ]
        _check_room(key, 0, live, now)


def _check_room(key: Key, left: int, live: list[Standing], since: int) -> None:
    """Raise `StillTaken` if more is taken at any time since a moment than would be left."""
    over = [one for one in steps(live, since, END_OF_TIME) if one.units > left]
    if not over:
        return
    booked = [one for one in live if one.owner.until == BOOKED_UNTIL]
    spans = tuple(_in_the_way(one, booked) for one in over[:MOST_TOLD])
    raise StillTaken(key[0], key[2], left, max(one.units for one in over), spans, len(over))


def _in_the_way(busy: Busy, booked: Iterable[Standing]) -> InTheWay:
    start, end, units = busy
    by_booking = any(one.start < end and start < one.end for one in booked)
    return InTheWay(from_us(start), from_us(end), units, by_booking)


# --- Checking what callers say -------------------------------------------------------------


def _key(entry: SettingChange) -> Key:
    if not isinstance(entry, Put | Remove | Retire):
        raise InvalidField("entries", f"must be Put, Remove or Retire, not {entry!r:.199}")
    kind, collection = entry.kind, entry.collection
    check_kind(kind)
    check_name("id", entry.id)
    if kind is DOCUMENT:
        check_name("collection", collection)
    elif collection is not None:
        raise InvalidField("collection", f"is for documents, but a {kind} has {collection!r:.99}")
    return kind, collection, entry.id


def _check_version(key: Key, expected: int | None, before: Setting | None) -> None:
    if expected is None:
        return
    if type(expected) is not int or expected < 0:
        raise InvalidField("version", f"must be a version, or 0, not {expected!r}")
    actual = 0 if before is None else before.version
    if expected != actual:
        raise StaleSetting(key[0], _name(key), expected, actual)


def _retired(before: Setting, retired: bool) -> Value:
    """Return the value of an entry that is retired, or is not any more."""
    value = before.value
    if not isinstance(value, ResourceConfig | EventTypeConfig):
        raise InvalidField("kind", f"must be one that can be retired, which a {before.kind} cannot")
    _check_flag("retired", retired)
    return value._replace(retired=retired)


def _check_units(name: str, units: object) -> None:
    if not is_count(units):
        raise InvalidField(name, f"must be a whole number of units, not {units!r}")


def _check_flag(name: str, flag: object) -> None:
    if not isinstance(flag, bool):
        raise InvalidField(name, f"must be True or False, not {flag!r}")


def _checked_document(document: Document) -> Document:
    body, secret = document
    size = 0
    for name, text in (("body", body), ("secret", "" if secret is None else secret)):
        if not isinstance(text, str):
            raise InvalidField(name, f"of a document must be text, not a {type(text).__name__}")
        written = _written(text)
        if written is None:
            raise InvalidField(name, "of a document must have no lone surrogates")
        size += len(written)
    if size > LONGEST_DOCUMENT:
        problem = f"and secret must be at most {LONGEST_DOCUMENT} bytes in UTF-8, not {size}"
        raise InvalidField("body", problem)
    return document


def _written(text: str) -> bytes | None:
    """Return a text in UTF-8, or None; no error, because that would have the text with it."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _unknown(key: Key) -> InvalidRequest:
    if key[0] is RESOURCE:
        return UnknownResource(key[2])
    if key[0] is EVENT_TYPE:
        return UnknownEventType(key[2])
    return UnknownSetting(key[0], _name(key))


def _name(key: Key) -> str:
    """Return what an entry is called in a refusal."""
    _, collection, name = key
    return name if collection is None else f"{collection}/{name}"


_PLACES: Final = {kind: place for place, kind in enumerate(Kind)}


def _order(setting: Setting) -> int:
    """Return where among others a setting comes, so that none needs a later one."""
    return _PLACES[setting.kind]
