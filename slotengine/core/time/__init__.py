"""Instants, spans, time zones and schedules.  Knows nothing of reservations."""
