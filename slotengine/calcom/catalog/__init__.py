"""The catalog: the users, event types and bookings that a server offers, read from a file.

- `load` reads a file and returns a `Catalog`.
- `schema` validates each table by itself; the tables are in `user_tables`, `event_type_tables`
  and `limit_tables`, and the values of their keys in `values`.
- `checks` validates the tables against each other, and `booking_warnings` finds bookings that
  conflict.
- `event_types`, `calendars`, `directory`, `rate_limits` and `quotas` are the parts of a catalog.
- `secrets` stores credentials as digests.

Needs the extra ``server``.
"""

from __future__ import annotations

from slotengine import extras

extras.require("slotengine.calcom.catalog", "server", "orjson", "pydantic")

from slotengine.calcom.catalog.catalog import Catalog, CatalogEventType  # noqa: E402
from slotengine.calcom.catalog.load import CatalogError, catalog_from, load_catalog  # noqa: E402

__all__ = ["Catalog", "CatalogError", "CatalogEventType", "catalog_from", "load_catalog"]
