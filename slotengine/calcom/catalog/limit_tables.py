"""The tables of rate limits and quotas, one value for each kind of caller."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from slotengine.calcom.catalog.quotas import NO_QUOTAS, CallerQuotas
from slotengine.calcom.catalog.rate_limits import UNLIMITED, RateLimit, RateLimits
from slotengine.calcom.catalog.values import QuotaAmount, Seconds, Table
from slotengine.calcom.wire import MINUTE
from slotengine.engine.values import Quota

# --- Rate limits -----------------------------------------------------------------------


class RateLimitTable(Table):
    """A rate limit: requests per window, and how long a caller beyond it is blocked."""

    requests: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    window_seconds: Seconds = 60
    block_seconds: Seconds = 60
    disabled: bool = False

    def limit(self, default: RateLimit | None) -> RateLimit | None:
        """Return the limit, with the default number of requests if the table has none."""
        if self.disabled or default is None:
            return None
        requests = default.requests if self.requests is None else self.requests
        return RateLimit(requests, self.window_seconds, self.block_seconds)


class RateLimitsTable(Table):
    """The rate limits of each kind of caller."""

    api_key: RateLimitTable = RateLimitTable()
    access_token: RateLimitTable = RateLimitTable()
    oauth_client: RateLimitTable = RateLimitTable()
    address: RateLimitTable = RateLimitTable()
    address_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]+$")] | None = None
    disabled: bool = False

    def limits(self) -> RateLimits:
        """Return all limits; the original's where the table has none."""
        if self.disabled:
            return replace(UNLIMITED, address_header=self.address_header)
        default = RateLimits()
        return RateLimits(
            api_key=self.api_key.limit(default.api_key),
            access_token=self.access_token.limit(default.access_token),
            oauth_client=self.oauth_client.limit(default.oauth_client),
            address=self.address.limit(default.address),
            address_header=self.address_header,
        )


# --- Quotas ----------------------------------------------------------------------------


class QuotaTable(Table):
    """A quota: how much one caller may have on hold."""

    holds: QuotaAmount = None
    held_minutes: QuotaAmount = None
    life_minutes: QuotaAmount = None
    disabled: bool = False

    def quota(self, default: Quota | None) -> Quota | None:
        """Return the quota, with defaults for missing keys; None for no quota."""
        if self.disabled:
            return None
        given, default = self.model_fields_set, default or Quota()
        made = Quota(
            holds=self.holds if "holds" in given else default.holds,
            held=_span(self.held_minutes) if "held_minutes" in given else default.held,
            life=_span(self.life_minutes) if "life_minutes" in given else default.life,
        )
        return None if made == Quota() else made


def _span(count: int | None) -> timedelta | None:
    return None if count is None else count * MINUTE


class QuotasTable(Table):
    """The quotas of each kind of caller."""

    api_key: QuotaTable = QuotaTable()
    access_token: QuotaTable = QuotaTable()
    oauth_client: QuotaTable = QuotaTable()
    address: QuotaTable = QuotaTable()
    disabled: bool = False

    def quotas(self) -> CallerQuotas:
        """Return all quotas; the defaults where the table has none."""
        if self.disabled:
            return NO_QUOTAS
        default = CallerQuotas()
        return CallerQuotas(
            api_key=self.api_key.quota(default.api_key),
            access_token=self.access_token.quota(default.access_token),
            oauth_client=self.oauth_client.quota(default.oauth_client),
            address=self.address.quota(default.address),
        )
