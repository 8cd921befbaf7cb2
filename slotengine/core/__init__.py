"""The rules: synchronous and deterministic.  The time, ids and random choices are arguments.

Three rooms, each of which imports only those above it in this list:

``time``
    instants, spans, zones, schedules
``ledger``
    holds and bookings on resources: who may have what
``offer``
    event types, and the slots that are offered
"""
