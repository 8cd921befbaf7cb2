"""A server that speaks Cal.com's slots API (2024-09-04), over a catalog and an engine.

`create_app` makes an application to embed, `serve` runs one.  Needs the extra ``server``.

- `service` is the server without the web: what answers a request, given as the plain values of
  `messages`.  `app` is the one file that knows a web framework.
- `auth` knows who calls, `throttle` who is counted as whom, `bodies` which bodies are read.
- `reservations` and `slots` are the endpoints, `docs_page` what the server says of itself.
- `models` has what the bodies, queries and answers of the API have in common; they are declared in
  `reservations_wire` and `slots_wire`, and `openapi` makes its document of them.
- `responses` and `refusals` are what is answered.
"""

from __future__ import annotations

from slotengine import extras

extras.require("slotengine.calcom.server", "server", "aiohttp", "orjson", "pydantic")

from slotengine.calcom.server.app import ENGINE, create_app, serve  # noqa: E402

__all__ = ["ENGINE", "create_app", "serve"]
