"""Who may have what: the interval index, holds and bookings, expiry, quotas, the waitlist."""
