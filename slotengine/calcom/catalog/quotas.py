"""How much callers of each kind may have on hold at once.

A caller without credentials is known by address, and has `ADDRESS_QUOTA` unless the
catalog sets another; callers with credentials have no quota by default.

`server.auth` determines the holder for whom a hold counts; the engine counts and
refuses: see `slotengine.Quota`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slotengine.engine.values import Quota, minutes

ADDRESS_QUOTA: Final = Quota(holds=20, life=minutes(30))
"""The default quota of an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerQuotas:
    """The quota of each kind of caller; None: no quota."""

    api_key: Quota | None = None
    access_token: Quota | None = None
    oauth_client: Quota | None = None
    address: Quota | None = ADDRESS_QUOTA


DEFAULT_QUOTAS: Final = CallerQuotas()
"""The quotas of a catalog that sets none."""
NO_QUOTAS: Final = CallerQuotas(address=None)
