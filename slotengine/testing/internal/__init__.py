"""What the simulator and slotengine's own tests are made of; not for users.

It may change with any release.  Here are the rules of slotengine again, written as
simply as possible, to compare with (``naive_ledger``, ``naive_waitlist``,
``naive_booking_rules``, ``naive_availability``); calls as plain values that can be
carried out on an engine and on the naive ledger (``actions``); Hypothesis
strategies for these (``strategies``); and the naive ledger as a model of what
concurrent callers may see (``ledger_model``).
"""
