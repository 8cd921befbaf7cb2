"""The engine: the ledger with a clock, a sweeper, events, and an async face.

Everything here runs on asyncio and on trio, through anyio.
"""
