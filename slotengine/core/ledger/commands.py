"""What can be asked of a ledger, as plain values: `Ledger.decide` says what comes of each.

Everything that a verb means is in its command, but for the time at which it is decided.
Each may have the id that its ``client`` gave it, so that it can be repeated: see `clients`.
Times are UTC microseconds, durations microseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from slotengine.core.ledger.config import Configure
from slotengine.core.ledger.extra import KEEP, Keep
from slotengine.core.ledger.policy import Policy

if TYPE_CHECKING:
    from slotengine.core.ledger.clients import CommandId
    from slotengine.core.ledger.proposal import Proposal, StartRule
    from slotengine.core.time.interval import Span


class Mode(Enum):
    """Which of several requests are to be held."""

    ONE = "one"
    """The only one there is."""
    ALL = "all"
    """All of them, or none."""
    EACH = "each"
    """Each that can be had, whatever becomes of the others."""
    ANY = "any"
    """One of them, by `Choice`."""


ONE: Final = Mode.ONE  # a module global is found faster than an enum's member
ALL: Final = Mode.ALL
EACH: Final = Mode.EACH
ANY: Final = Mode.ANY


class Choice(NamedTuple):
    """Which candidate is preferred among those that fit.

    The load of a candidate is how many live claims its resources have, in all or
    overlapping the span ``load_in``.
    """

    policy: Policy = Policy.FIRST
    weights: Sequence[int] | None = None
    """How often each is to be taken, compared with the others; None: all alike."""
    load_in: tuple[int, int] | None = None


FIRST_CHOICE: Final = Choice()


class Reserve(NamedTuple):
    """Hold something.

    There is a uid for each request; if any one of them will do, there is a single uid, and
    the ``key``, with its ``digest``, and the ``choice`` are those of the whole command.  A
    single request may ``wait`` for that long if it is refused and that may pass.  With
    ``jump`` it comes before all commands that wait.
    """

    requests: tuple[Proposal, ...]
    uids: tuple[str, ...]
    mode: Mode = ONE
    choice: Choice = FIRST_CHOICE
    key: str | None = None
    digest: bytes | None = None
    wait: int | None = None
    jump: bool = False
    client: CommandId | None = None


class Adopt(NamedTuple):
    """Let a booking stand that was made elsewhere, whatever is in its way."""

    request: Proposal
    uid: str
    client: CommandId | None = None


class Move(NamedTuple):
    """Re-slot a hold or a booking to the first candidate that fits, by the ``choice``.

    Without a choice there is one candidate, and what refuses that refuses the command.
    With ``renew``, a hold also lives for the candidate's TTL from now.  It may keep what it
    has; for the rest it comes after all commands that wait, unless it may ``jump``.
    """

    uid: str
    candidates: tuple[Proposal, ...]
    renew: bool = False
    choice: Choice | None = None
    version: int | None = None
    jump: bool = False
    client: CommandId | None = None


class Extend(NamedTuple):
    """Let a live hold live for ``ttl`` from now."""

    uid: str
    ttl: int
    version: int | None = None
    client: CommandId | None = None


class Confirm(NamedTuple):
    """Turn a hold into a booking; with ``if_still_free`` one that has expired, too.

    The rest is about one that has expired: whether to ``enforce`` what was asked of it when
    it was made, by which ``rule`` it may begin, which of its resources are ``closed``, and
    whether it may ``jump`` ahead of the commands that wait.

    What was requested is decided now: by the ``request`` if its rules were worked out anew, else
    as it is kept.
    """

    uid: str
    if_still_free: bool = False
    version: int | None = None
    enforce: bool = True
    rule: StartRule | None = None
    closed: Collection[str] = ()
    jump: bool = False
    client: CommandId | None = None
    request: Proposal | None = None


class Release(NamedTuple):
    """Give a hold up."""

    uid: str
    version: int | None = None
    client: CommandId | None = None


class Cancel(NamedTuple):
    """Give a booking up."""

    uid: str
    version: int | None = None
    client: CommandId | None = None


class Annotate(NamedTuple):
    """Replace the metadata, the details or the tags of a reservation, or all of them."""

    uid: str
    metadata: tuple[tuple[str, str], ...] | Keep = KEEP
    details: str | Keep | None = KEEP
    tags: tuple[str, ...] | Keep = KEEP
    version: int | None = None
    client: CommandId | None = None


class Replace(NamedTuple):
    """End a hold or a booking, and make another one in its place, in one step.

    The first one's claims are not in the way of the second, which has a ``new_uid``.  A hold
    gives way to a hold, a booking to a booking.  Each names the other.
    """

    uid: str
    request: Proposal
    new_uid: str
    version: int | None = None
    jump: bool = False
    client: CommandId | None = None


class Forget(NamedTuple):
    """Forget those of these that are bookings, and were over ``before`` a moment.

    Then it is as if they had never been, but that keys are remembered for their time.
    """

    before: int
    uids: tuple[str, ...]
    client: CommandId | None = None


class ImportBusy(NamedTuple):
    """Let these be the spans that a source says resources are busy, and nothing else.

    Reservations that are there already stay.
    """

    source: str
    spans: tuple[tuple[str, tuple[Span, ...]], ...]
    client: CommandId | None = None


Command: TypeAlias = (
    Reserve
    | Adopt
    | Move
    | Extend
    | Confirm
    | Release
    | Cancel
    | Annotate
    | Replace
    | Configure
    | Forget
    | ImportBusy
)
"""Whatever can be asked of a ledger."""
