"""A soak test: a mixed load for a long time, to see whether anything grows, drifts, lags or breaks.

``python -m benchmarks.soak --minutes 20``.  The engine and its clock are real.  Customers
call at a fixed rate (`customers`), subscribers listen, some of them too slowly
(`listeners`), and everything the engine does is checked and counted independently
(`audit`).  Bookings are short, for the next few minutes, and forgotten once they are over,
so that the number of live reservations becomes steady.
"""
