"""The transitions of a remote state: every pair of state and event."""

from __future__ import annotations

import pytest

from slotengine.calcom.sync.remote_state import (
    IN_FLIGHT,
    NEXT,
    PRESENT,
    RemoteEvent,
    RemoteState,
    after,
)

PAIRS = [(state, event) for state in RemoteState for event in RemoteEvent]


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda one: one.value)
def test_every_pair(state: RemoteState, event: RemoteEvent) -> None:
    """A pair that is not in the table is a bug."""
    if event not in NEXT[state]:
        with pytest.raises(AssertionError):
            after(state, event)
        return
    then = after(state, event)
    if state in IN_FLIGHT and event is RemoteEvent.LOST:
        assert then in {
            RemoteState.CREATE_UNKNOWN,
            RemoteState.MOVE_UNKNOWN,
            RemoteState.DELETE_UNKNOWN,
        }  # the outcome is never certain
    if event in {RemoteEvent.POST, RemoteEvent.PATCH, RemoteEvent.DELETE}:
        assert then in {*IN_FLIGHT, RemoteState.DELETE_UNKNOWN}
    if event in {RemoteEvent.MISSING, RemoteEvent.LAPSED}:
        assert then is RemoteState.ABSENT
    if event is RemoteEvent.FOUND:
        assert then is RemoteState.HELD


def test_a_request_in_flight_can_end_in_every_way() -> None:
    for state in IN_FLIGHT:
        assert {RemoteEvent.ACCEPTED, RemoteEvent.LOST, RemoteEvent.NOT_DONE} <= NEXT[state].keys()


def test_a_hold_with_a_known_uid_can_always_be_deleted_and_can_lapse() -> None:
    for state in PRESENT - IN_FLIGHT:
        assert {RemoteEvent.DELETE, RemoteEvent.LAPSED} <= NEXT[state].keys()


def test_only_a_post_makes_a_uid_known() -> None:
    ways = {(b, n) for b, table in NEXT.items() for n, then in table.items() if then in PRESENT}
    assert {state for state, _ in ways} - PRESENT == {RemoteState.CREATING}
