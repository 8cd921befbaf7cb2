"""The configuration as it is, and what a change does to it.

`Configuration` is part of a ledger's state.  Resources and limits are kept where their claims
are (`Resource`); the rest is here.  Nothing here decides or refuses: see `configure`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from slotengine.core.ledger.config import (
    LIMITED,
    RESOURCE,
    Configured,
    Document,
    EventTypeConfig,
    HoursRef,
    Kind,
    LimitConfig,
    ResourceConfig,
    Setting,
    Value,
    limits_of,
)
from slotengine.core.time.schedule_text import ScheduleTexts, is_schedule_text

if TYPE_CHECKING:
    from slotengine.core.ledger.occupancy import Occupancy
    from slotengine.core.ledger.reservation import Reservable
    from slotengine.core.time.schedule import Windows


class Configuration:
    """All entries of the configuration; resources and limits are kept by an ``occupancy``."""

    __slots__ = (
        "_occupancy",
        "documents",
        "edition",
        "event_types",
        "limits",
        "resources",
        "retired_event_types",
        "schedules",
        "texts",
    )

    def __init__(self, occupancy: Occupancy) -> None:
        self._occupancy = occupancy
        self.resources = occupancy.resources
        self.limits = occupancy.limits
        self.schedules: dict[str, Setting] = {}
        self.event_types: dict[str, Setting] = {}
        self.documents: dict[tuple[str, str], Setting] = {}
        self.retired_event_types: set[str] = set()
        self.edition = 0
        """How often anything was changed: what is worked out from it holds for one edition.

        The version of an entry is the edition in which it was last changed, so it never
        comes again for another value."""
        self.texts = ScheduleTexts()
        """A memo of parsed schedules."""

    # --- Reading -----------------------------------------------------------------------

    def get(self, kind: Kind, id: str, collection: str | None = None) -> Setting | None:
        """Return an entry, or None if it is not there.  O(1)."""
        match kind:
            case Kind.RESOURCE:
                found = self.resources.get(id)
                return None if found is None else _resource_setting(found)
            case Kind.LIMIT:
                limit = self.limits.get(id)
                return None if limit is None else _limit_setting(limit)
            case Kind.SCHEDULE:
                return self.schedules.get(id)
            case Kind.EVENT_TYPE:
                return self.event_types.get(id)
            case _:
                return self.documents.get((collection or "", id))

    def settings(self) -> Iterator[Setting]:
        """Yield all entries, in an order in which they can be put: none refers to a later one."""
        yield from self.schedules.values()
        yield from map(_resource_setting, self.resources.values())
        yield from map(_limit_setting, self.limits.values())
        yield from self.event_types.values()
        yield from self.documents.values()

    def hours(self, which: HoursRef) -> Windows | None:
        """Return the schedule that a value refers to."""
        if not isinstance(which, str):
            return which
        if not is_schedule_text(which):
            text = self.schedules[which].value
            assert isinstance(text, str)
            which = text
        return self.texts.schedule(which)

    # --- Applying: writes, and cannot refuse -----------------------------------------------

    def apply(self, change: Configured) -> None:
        """Do what was decided.  O(r) for r resources if a schedule changes that some may name."""
        for setting in change.settings:
            if setting.value is None:
                self._remove(setting)
            else:
                self._put(setting, setting.value)
        self.edition = change.edition

    def _put(self, setting: Setting, value: Value) -> None:
        match value:
            case ResourceConfig():
                self._put_resource(setting.id, value, setting.version)
            case LimitConfig():
                self._put_limit(setting.id, value.units, setting.version)
            case EventTypeConfig():
                self._put_event_type(setting, value)
            case Document():
                self.documents[setting.collection or "", setting.id] = setting
            case _:
                self._put_schedule(setting)

    def _put_resource(self, id: str, value: ResourceConfig, version: int) -> None:
        resource = self.resources.get(id)
        if resource is None:
            resource = self._occupancy.add_resource(id, value.capacity)
        elif value.capacity != resource.capacity:
            resource.set_capacity(value.capacity)
        resource.hours = value.schedule
        resource.schedule = self.hours(value.schedule)
        resource.set_retired(value.retired)
        resource.version = version

    def _put_limit(self, id: str, units: int, version: int) -> None:
        limit = self.limits.get(id)
        if limit is None:
            limit = self._occupancy.add_limit(id, units)
        elif units != limit.capacity:
            limit.set_capacity(units, counted=True)
        limit.version = version

    def _put_event_type(self, setting: Setting, value: EventTypeConfig) -> None:
        self.event_types[setting.id] = setting
        if value.retired:
            self.retired_event_types.add(setting.id)
        else:
            self.retired_event_types.discard(setting.id)
        for host in chain.from_iterable(value.groups):
            self.resources[host.resource].count_turns()

    def _put_schedule(self, setting: Setting) -> None:
        is_new = setting.id not in self.schedules
        self.schedules[setting.id] = setting
        if not is_new:
            for resource in self.resources.values():
                if resource.hours == setting.id:
                    resource.schedule = self.hours(setting.id)

    def _remove(self, setting: Setting) -> None:
        match setting.kind:
            case Kind.RESOURCE:
                self._occupancy.remove_resource(setting.id)
            case Kind.LIMIT:
                del self.limits[setting.id]
            case Kind.SCHEDULE:
                del self.schedules[setting.id]
            case Kind.EVENT_TYPE:
                del self.event_types[setting.id]
                self.retired_event_types.discard(setting.id)
            case _:
                del self.documents[setting.collection or "", setting.id]

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n); for tests and simulation."""
        for setting in self.settings():
            assert 0 < setting.version <= self.edition
            assert setting == self.get(setting.kind, setting.id, setting.collection)
        for resource in self.resources.values():
            assert resource.schedule == self.hours(resource.hours)
        for setting in self.event_types.values():
            value = setting.value
            assert isinstance(value, EventTypeConfig)
            assert value.retired == (setting.id in self.retired_event_types)
            for host in value.hosts():
                assert host.units <= self.resources[host.resource].capacity
            for name, units in limits_of(setting.id, value).items():
                assert self.limits[name].capacity == units
        assert self.retired_event_types <= self.event_types.keys()


def _resource_setting(resource: Reservable) -> Setting:
    value = ResourceConfig(resource.capacity, resource.hours, resource.retired)
    return Setting(RESOURCE, resource.id, value, resource.version)


def _limit_setting(limit: Reservable) -> Setting:
    return Setting(LIMITED, limit.id, LimitConfig(limit.capacity), limit.version)
