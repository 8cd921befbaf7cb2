"""What a server offers: read from a file, checked, and put in the terms of an engine.

`load` reads a file; `schema` says what is right in each table by itself, and `checks` what is
wrong although each table is right.  `event_types`, `calendars`, `directory`, `rate_limits` and
`quotas` are its parts, and `secrets` keeps credentials as digests.  Needs the extra ``server``.
"""

from __future__ import annotations

from slotengine import extras

extras.require("slotengine.calcom.catalog", "server", "orjson", "pydantic")

from slotengine.calcom.catalog.catalog import Catalog, Offer  # noqa: E402
from slotengine.calcom.catalog.load import CatalogError, catalog_from, load_catalog  # noqa: E402

__all__ = ["Catalog", "CatalogError", "Offer", "catalog_from", "load_catalog"]
