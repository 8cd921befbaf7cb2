"""What is known of a hold at the remote: the states, and every transition between them.

One table, `NEXT`, has every transition::

    ABSENT ──post──▶ CREATING ──accepted──▶ HELD ──patch──▶ MOVING ──lost──▶ MOVE_UNKNOWN
      ▲                 │ │ └──refused──▶ REFUSED  │
      │                 │ └──lost, contested──▶ CREATE_UNKNOWN
      └──not done───────┘                          └─delete─▶ DELETING ──lost──▶ DELETE_UNKNOWN

The state changes *before* a request is sent.  So if the process is interrupted
during the request, the state already says that it may have been carried out.

Pure.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class RemoteState(Enum):
    """What is known of one reservation's hold at the remote."""

    ABSENT = "absent"
    """There is no hold, except perhaps an orphaned one."""
    CREATING = "creating"
    """A POST is in flight."""
    CREATE_UNKNOWN = "create unknown"
    """A POST may have been carried out; the uid of its hold is not known."""
    HELD = "held"
    """The remote has the hold, and its uid and end are known."""
    MOVING = "moving"
    """A PATCH is in flight."""
    MOVE_UNKNOWN = "move unknown"
    """A PATCH may have been carried out; a GET can tell."""
    DELETING = "deleting"
    """A DELETE is in flight."""
    DELETE_UNKNOWN = "delete unknown"
    """A DELETE may have been carried out; another one does no harm."""
    REFUSED = "refused"
    """The remote said no: the time is taken."""


class RevokeReason(Enum):
    """Why a hold was revoked."""

    REFUSED = "refused"
    """The remote said no: the time is taken, or the request is not allowed."""
    UNCERTAIN = "uncertain"
    """It could not be determined in time whether the remote holds it."""
    NOT_REACHED = "not reached"
    """The remote could not be asked, and does not hold it."""


class RemoteEvent(Enum):
    """What changes the state: a request that is about to be sent, or its outcome."""

    POST = "post"
    PATCH = "patch"
    DELETE = "delete"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    CONTESTED = "contested"
    """Refused, perhaps because of an orphaned hold of our own."""
    LOST = "lost"
    """No response: the request may have been carried out."""
    NOT_DONE = "not done"
    """The request was certainly not carried out."""
    FOUND = "found"
    """A GET has shown where the hold is."""
    MISSING = "missing"
    """A GET, or a 404, has shown that there is no hold."""
    LAPSED = "lapsed"
    """The hold, if there was one, has expired at the remote."""


NEXT: Final[dict[RemoteState, dict[RemoteEvent, RemoteState]]] = {
    RemoteState.ABSENT: {RemoteEvent.POST: RemoteState.CREATING},
    RemoteState.CREATING: {
        RemoteEvent.ACCEPTED: RemoteState.HELD,
        RemoteEvent.REFUSED: RemoteState.REFUSED,
        RemoteEvent.CONTESTED: RemoteState.CREATE_UNKNOWN,
        RemoteEvent.LOST: RemoteState.CREATE_UNKNOWN,
        RemoteEvent.NOT_DONE: RemoteState.ABSENT,
    },
    RemoteState.CREATE_UNKNOWN: {RemoteEvent.POST: RemoteState.CREATING},
    RemoteState.HELD: {
        RemoteEvent.PATCH: RemoteState.MOVING,
        RemoteEvent.DELETE: RemoteState.DELETING,
        RemoteEvent.FOUND: RemoteState.HELD,
        RemoteEvent.MISSING: RemoteState.ABSENT,
        RemoteEvent.LAPSED: RemoteState.ABSENT,
    },
    RemoteState.MOVING: {
        RemoteEvent.ACCEPTED: RemoteState.HELD,
        RemoteEvent.REFUSED: RemoteState.HELD,
        RemoteEvent.NOT_DONE: RemoteState.HELD,
        RemoteEvent.MISSING: RemoteState.ABSENT,
        RemoteEvent.LOST: RemoteState.MOVE_UNKNOWN,
    },
    RemoteState.MOVE_UNKNOWN: {
        RemoteEvent.DELETE: RemoteState.DELETE_UNKNOWN,
        RemoteEvent.FOUND: RemoteState.HELD,
        RemoteEvent.MISSING: RemoteState.ABSENT,
        RemoteEvent.LAPSED: RemoteState.ABSENT,
    },
    RemoteState.DELETING: {
        RemoteEvent.ACCEPTED: RemoteState.ABSENT,
        RemoteEvent.NOT_DONE: RemoteState.HELD,
        RemoteEvent.LOST: RemoteState.DELETE_UNKNOWN,
    },
    RemoteState.DELETE_UNKNOWN: {
        RemoteEvent.DELETE: RemoteState.DELETE_UNKNOWN,
        RemoteEvent.ACCEPTED: RemoteState.ABSENT,
        RemoteEvent.NOT_DONE: RemoteState.DELETE_UNKNOWN,
        RemoteEvent.LOST: RemoteState.DELETE_UNKNOWN,
        RemoteEvent.LAPSED: RemoteState.ABSENT,
    },
    RemoteState.REFUSED: {RemoteEvent.POST: RemoteState.CREATING},
}
"""Every transition.  A pair that is not here cannot happen."""

IN_FLIGHT: Final = frozenset({RemoteState.CREATING, RemoteState.MOVING, RemoteState.DELETING})
"""The states in which a request was sent and has no response yet."""

PRESENT: Final = frozenset(
    {
        RemoteState.HELD,
        RemoteState.MOVING,
        RemoteState.MOVE_UNKNOWN,
        RemoteState.DELETING,
        RemoteState.DELETE_UNKNOWN,
    }
)
"""The states in which the remote has, or may have, a hold whose uid is known."""


def after(state: RemoteState, event: RemoteEvent) -> RemoteState:
    """Return the state after an event.

    >>> after(RemoteState.CREATING, RemoteEvent.LOST)
    <RemoteState.CREATE_UNKNOWN: 'create unknown'>
    """
    assert event in NEXT[state], (state, event)
    return NEXT[state][event]
