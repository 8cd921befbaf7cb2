"""The tables of rate limits and quotas, one value for each kind of caller."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from slotengine.calcom.catalog.quotas import NO_QUOTAS, CallerQuotas
from slotengine.calcom.catalog.rate_limits import UNLIMITED, RateLimit, RateLimits
from slotengine.calcom.catalog.values import Most, Seconds, Table
from slotengine.calcom.wire import MINUTE
from slotengine.engine.values import Quota

# --- Rate limits -----------------------------------------------------------------------


class RateLimitTable(Table):
    """How often one caller may call, and for how long nothing is answered after that."""

    requests: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    window_seconds: Seconds = 60
    block_seconds: Seconds = 60
    disabled: bool = False

    def limit(self, usual: RateLimit | None) -> RateLimit | None:
        """Return the limit, with as many requests as usual if it does not say how many."""
        if self.disabled or usual is None:
            return None
        requests = usual.requests if self.requests is None else self.requests
        return RateLimit(requests, self.window_seconds, self.block_seconds)


class RateLimitsTable(Table):
    """How often callers of each kind may call."""

    api_key: RateLimitTable = RateLimitTable()
    access_token: RateLimitTable = RateLimitTable()
    oauth_client: RateLimitTable = RateLimitTable()
    address: RateLimitTable = RateLimitTable()
    address_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]+$")] | None = None
    disabled: bool = False

    def limits(self) -> RateLimits:
        """Return all of them, the original's where nothing is said."""
        if self.disabled:
            return replace(UNLIMITED, address_header=self.address_header)
        usual = RateLimits()
        return RateLimits(
            api_key=self.api_key.limit(usual.api_key),
            access_token=self.access_token.limit(usual.access_token),
            oauth_client=self.oauth_client.limit(usual.oauth_client),
            address=self.address.limit(usual.address),
            address_header=self.address_header,
        )


# --- Quotas ----------------------------------------------------------------------------


class QuotaTable(Table):
    """How much one caller may have on hold."""

    holds: Most = None
    held_minutes: Most = None
    life_minutes: Most = None
    disabled: bool = False

    def quota(self, usual: Quota | None) -> Quota | None:
        """Return the quota, as usual where nothing is said; None for none."""
        if self.disabled:
            return None
        said, usual = self.model_fields_set, usual or Quota()
        made = Quota(
            holds=self.holds if "holds" in said else usual.holds,
            held=_span(self.held_minutes) if "held_minutes" in said else usual.held,
            life=_span(self.life_minutes) if "life_minutes" in said else usual.life,
        )
        return None if made == Quota() else made


def _span(count: int | None) -> timedelta | None:
    return None if count is None else count * MINUTE


class QuotasTable(Table):
    """How much callers of each kind may have on hold."""

    api_key: QuotaTable = QuotaTable()
    access_token: QuotaTable = QuotaTable()
    oauth_client: QuotaTable = QuotaTable()
    address: QuotaTable = QuotaTable()
    disabled: bool = False

    def quotas(self) -> CallerQuotas:
        """Return all of them, the usual ones where nothing is said."""
        if self.disabled:
            return NO_QUOTAS
        usual = CallerQuotas()
        return CallerQuotas(
            api_key=self.api_key.quota(usual.api_key),
            access_token=self.access_token.quota(usual.access_token),
            oauth_client=self.oauth_client.quota(usual.oauth_client),
            address=self.address.quota(usual.address),
        )
