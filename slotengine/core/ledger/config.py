"""What can be configured while a ledger runs, as plain values.

A `Configure` command has a batch of puts and removals, all of which are done or none.  Each
entry has a `Kind` and an id, and a version of its own, which rises with each change of it.
All values are atoms, or tuples of atoms and such tuples, so they can be compared and written
down.  Times are UTC microseconds, durations microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from slotengine.core.ledger.clients import CommandId
from slotengine.core.time.schedule import Windows
from slotengine.errors import InvalidField

LIMIT: Final = "limit:"
"""What the ids of limits begin with.

A limit, such as three bookings a day, is kept as a resource of so many units, of
which each reservation claims some for the whole period in which it begins: so
claims decide about limits, too.  Callers do not see those claims."""

LONGEST_DOCUMENT: Final = 65_536
"""The most bytes that a document may have in UTF-8, its secret part included."""


class Kind(StrEnum):
    """What an entry of the configuration is about."""

    SCHEDULE = "schedule"
    """Opening hours that resources and event types can name.  Its value is the schedule's text."""
    RESOURCE = "resource"
    LIMIT = "limit"
    EVENT_TYPE = "event_type"
    DOCUMENT = "document"


SCHEDULE: Final = Kind.SCHEDULE  # a module global is found faster than an enum's member
RESOURCE: Final = Kind.RESOURCE
LIMITED: Final = Kind.LIMIT
EVENT_TYPE: Final = Kind.EVENT_TYPE
DOCUMENT: Final = Kind.DOCUMENT

HoursRef: TypeAlias = str | Windows | None
"""Which hours: None for none, the id of a `Kind.SCHEDULE`, or the text of a schedule.

In memory only, it may also be a schedule of a class that has no text."""


class ResourceConfig(NamedTuple):
    """A resource.  One that is ``retired`` keeps what stands on it, but takes nothing new."""

    capacity: int = 1
    schedule: HoursRef = None
    retired: bool = False


class HostConfig(NamedTuple):
    """A resource as one event type uses it.

    ``credit`` is how many reservations of the event type it counts as having had, beside
    those that it has, when turns are compared.  None: see `configuration`.
    """

    resource: str
    weight: int = 1
    schedule: HoursRef = None
    units: int = 1
    credit: int | None = None


class RollingConfig(NamedTuple):
    """A booking window that ends so many days ahead."""

    days: int
    business: bool = False


class DatesConfig(NamedTuple):
    """A booking window from one date to another, inclusive, in ISO 8601."""

    first: str
    last: str


class PeriodLimitConfig(NamedTuple):
    """The most reservations of an event type in each period, or the most minutes in all."""

    per: str
    most: int
    by_minutes: bool = False


class EventTypeConfig(NamedTuple):
    """An event type: the fields of `EventType`, with durations in microseconds.

    One that is ``retired`` keeps its reservations, but gets no new ones.
    """

    length: int
    fixed: tuple[HostConfig, ...] = ()
    groups: tuple[tuple[HostConfig, ...], ...] = ()
    lengths: tuple[int, ...] = ()
    interval: int | None = None
    offset: int = 0
    before: int = 0
    after: int = 0
    notice: int = 0
    window: RollingConfig | DatesConfig | None = None
    limits: tuple[PeriodLimitConfig, ...] = ()
    seats: int | None = None
    schedule: HoursRef = None
    first_only: bool = False
    optimized: bool = False
    zone: str | None = None
    retired: bool = False

    def hosts(self) -> tuple[HostConfig, ...]:
        """Return all hosts: the fixed ones, then those of each group."""
        return self.fixed + tuple(host for group in self.groups for host in group)

    @property
    def longest_span(self) -> int:
        """The longest span that a slot may occupy, buffers included."""
        return self.before + max((self.length, *self.lengths)) + self.after


class LimitConfig(NamedTuple):
    """A limit, of which reservations can claim so many units in all."""

    units: int


class Document(NamedTuple):
    """Text that is kept for what stands above the ledger, which does not read it.

    Its ``secret`` is in no ``repr``, event, log or export.

    >>> Document("https://example.com/hook", secret="s3cret")
    Document(body='https://example.com/hook', secret=<hidden>)
    """

    body: str
    secret: str | None = None

    def __repr__(self) -> str:
        hidden = None if self.secret is None else "<hidden>"
        return f"Document(body={self.body!r}, secret={hidden})"


@runtime_checkable
class HasConfig(Protocol):
    """What stands for a plain value, such as an `EventType`."""

    def as_config(self, written: Callable[[Windows], HoursRef], /) -> EventTypeConfig:
        """Return the plain value; ``written`` says what stands for a schedule."""


Value: TypeAlias = str | Windows | ResourceConfig | LimitConfig | EventTypeConfig | Document
"""The value of an entry: the text of a schedule, else what is named after its kind.

Schedules are kept as texts."""


class Put(NamedTuple):
    """Let an entry have a value, be it new or not.

    With ``version``, only if it is at that version now; 0 stands for not being there.
    Documents have a ``collection``, beside the id.  The value of a `Kind.EVENT_TYPE` may be
    an `EventType`.
    """

    kind: Kind
    id: str
    value: Value | HasConfig
    version: int | None = None
    collection: str | None = None


class Remove(NamedTuple):
    """Let an entry not be there any more; with ``version``, only if it is at that now."""

    kind: Kind
    id: str
    version: int | None = None
    collection: str | None = None


class Retire(NamedTuple):
    """Let nothing new be had of a resource or an event type, or let that be over again.

    As putting its value with another ``retired``; what stands stays.
    """

    kind: Kind
    id: str
    retired: bool = True
    version: int | None = None

    @property
    def collection(self) -> None:
        """None: it is never about a document."""


SettingChange: TypeAlias = Put | Remove | Retire
"""What a batch of changes of the configuration is made of."""


class Configure(NamedTuple):
    """Change the configuration: do all that the entries say, or nothing.

    With ``force``, also where less is left than is taken: what stands stays.
    """

    entries: tuple[SettingChange, ...]
    force: bool = False
    client: CommandId | None = None


class Setting(NamedTuple):
    """An entry as it is; in a change, as it is from then on, without a value if removed."""

    kind: Kind
    id: str
    value: Value | None
    version: int
    collection: str | None = None

    def without_secret(self) -> Setting:
        """Return what may be told of it."""
        value = self.value
        if isinstance(value, Document):
            return self._replace(value=value._replace(secret=None))
        return self


class Configured(NamedTuple):
    """The change of a configuration: what is set from then on.

    ``edition`` is how often the configuration was changed, this time included."""

    seq: int
    at: int
    edition: int
    settings: tuple[Setting, ...]

    def without_secrets(self) -> Configured:
        """Return what may be told of it."""
        return self._replace(settings=tuple(one.without_secret() for one in self.settings))


def check_kind(kind: object) -> None:
    """Raise `InvalidField` unless it is a `Kind`."""
    if not isinstance(kind, Kind):
        raise InvalidField("kind", f"must be a Kind, not {kind!r:.199}")


def hours_in(value: object) -> Iterator[HoursRef]:
    """Yield which hours a value refers to: by name, by text, or themselves."""
    if isinstance(value, ResourceConfig):
        yield value.schedule
    elif isinstance(value, EventTypeConfig):
        yield value.schedule
        for host in value.hosts():
            yield host.schedule


def limit_id(event_type: str, per: str, *, by_minutes: bool) -> str:
    """Return the id of the limit that counts an event type's reservations in each period.

    >>> limit_id("talk", "day", by_minutes=False)
    'limit:day count:talk'
    """
    return f"{LIMIT}{per} {'time' if by_minutes else 'count'}:{event_type}"


def limits_of(event_type: str, config: EventTypeConfig) -> dict[str, int]:
    """Return the units of each limit that belongs to an event type, by id."""
    return {
        limit_id(event_type, one.per, by_minutes=one.by_minutes): one.most for one in config.limits
    }


def event_type_of_limit(limit: str) -> str:
    """Return the event type that a limit belongs to, if it belongs to one.

    >>> event_type_of_limit("limit:day count:talk")
    'talk'
    """
    return limit.removeprefix(LIMIT).partition(":")[2]
