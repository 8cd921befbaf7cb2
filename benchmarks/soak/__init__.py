"""A soak: a mixed load for a long time, and whether anything grows, drifts, lags or breaks.

``python -m benchmarks.soak --minutes 20``.  The engine is the real one and so is
its clock; customers come at a fixed rate (`customers`), subscribers listen, some
too slowly (`listeners`), and whatever the engine does is watched and counted
once more (`audit`).  Bookings are for the next minutes and short, and forgotten
when time has passed over them, so that the number of those that live settles.
"""
