"""How much callers of each kind may have on hold at once.

Whoever calls without credentials is known by address, and may hold what
`STRANGERS` says, unless the catalog says otherwise; all others anything.

`server.auth` says for which holder a hold counts; the engine counts and refuses: see
`slotengine.Quota`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slotengine.engine.values import Quota, minutes

STRANGERS: Final = Quota(holds=20, life=minutes(30))
"""What an address may have on hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerQuotas:
    """The quota for each kind of caller, None for none."""

    api_key: Quota | None = None
    access_token: Quota | None = None
    oauth_client: Quota | None = None
    address: Quota | None = STRANGERS


USUAL: Final = CallerQuotas()
"""Where nothing else is said."""
NO_QUOTAS: Final = CallerQuotas(address=None)
