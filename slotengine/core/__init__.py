"""The heart: synchronous and deterministic.  Time and ids come in as arguments."""
