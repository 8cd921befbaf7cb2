"""Keeps the holds of an engine and those of a remote Cal.com in step."""

from __future__ import annotations

from slotengine.extras import require

require("slotengine.calcom.sync", "calcom", "aiohttp", "orjson", "tenacity", "yarl")
