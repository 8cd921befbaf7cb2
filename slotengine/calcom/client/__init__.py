"""A client of a remote Cal.com: one request for each operation, retried only where that is safe."""

from __future__ import annotations

from slotengine.extras import require

require("slotengine.calcom.client", "calcom", "aiohttp", "orjson", "tenacity", "yarl")
