"""A server of Cal.com's slots API (2024-09-04), over a catalog and an engine.

`create_app` returns an application to embed, and `serve` runs a server.  Needs the extra
``server``.

- `service` handles requests, as the plain values of `messages`; `app` connects it to aiohttp.
- `auth` authenticates callers, `throttle` limits their rate, and `bodies` limits bodies.
- `reservations`, `slots` (with `search_size`) and `docs_page` are the endpoints.
- `models`, `reservations_wire` and `slots_wire` declare the bodies, queries and responses;
  `openapi` makes its document of them.
- `responses` and `refusals` make responses and errors, `shutdown` ends a server gracefully.
"""

from __future__ import annotations

from slotengine import extras

extras.require("slotengine.calcom.server", "server", "aiohttp", "orjson", "pydantic")

from slotengine.calcom.server.app import ENGINE, create_app, serve  # noqa: E402

__all__ = ["ENGINE", "create_app", "serve"]
