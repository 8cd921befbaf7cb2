"""The rules: synchronous and deterministic.  Times, ids and random choices are arguments.

There are three packages.  Each imports only those above it in this list:

``time``
    Instants, spans, time zones and schedules.
``ledger``
    Holds and bookings on resources: who may have what.
``offer``
    Event types, reservations by their rules, and available slots.
"""
