"""Requests of the core with an idempotency key, and with the digest that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from slotengine.core.ledger.keys import digest

if TYPE_CHECKING:
    from slotengine.core.ledger.proposal import Proposal


def keyed(proposal: Proposal, key: str | None = "k") -> Proposal:
    """Return a proposal with a key, as if the proposal were what its caller asked."""
    if key is None:
        return proposal
    return proposal._replace(key=key, digest=digest_of([proposal]))


def digest_of(proposals: Iterable[Proposal], **more: object) -> bytes:
    """Return the digest of some proposals, as if these were what their caller asked."""
    nothing = {"key": None, "digest": None, "quota": None, "rule": None}
    asked = [tuple(proposal._replace(**nothing)) for proposal in proposals]  # type: ignore[arg-type]
    return digest("proposals", asked=asked, **more)
