"""SQLite in memory, from the standard library: one row per hold, indexed by resource and start.

No two live rows of one resource overlap.  Of all rows that start before the end of a slot,
the last one therefore shows whether the slot is free, which is the cheapest query there
is.  One statement runs it and inserts.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager

from benchmarks.peers import Attempt
from benchmarks.targets import RecordingTarget
from benchmarks.workloads import TTL, Outcome, Storm, Timed, drive, steps
from slotengine import FixedWindows
from slotengine.engine.uids import new_uid

NEVER = 2**63 - 1

SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE holds (
    uid TEXT UNIQUE, resource TEXT, start INTEGER, finish INTEGER, until INTEGER
);
CREATE UNIQUE INDEX slots ON holds (resource, start, finish);
CREATE INDEX lapses ON holds (until) WHERE until < {NEVER};
"""
LAPSE = f"DELETE FROM holds WHERE until <= ? AND until < {NEVER}"
RESERVE = """
INSERT INTO holds (uid, resource, start, finish, until)
SELECT ?, ?, ?, ?, ? WHERE ? >= ifnull((
    SELECT finish FROM holds WHERE resource = ? AND start < ? ORDER BY start DESC LIMIT 1), 0)
"""
CONFIRM = f"UPDATE holds SET until = {NEVER} WHERE uid = ? AND until > ?"
RELEASE = "DELETE FROM holds WHERE uid = ? AND until > ?"


class SQLiteTarget:
    """A token is the uid of the row.  Hours are checked before the database is used."""

    def __init__(self, storm: Storm) -> None:
        self.covers = FixedWindows(storm.windows).covers
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.execute, self.close = connection.execute, connection.close
        for statement in filter(str.strip, SCHEMA.split(";")):
            self.execute(statement)

    def reserve(self, resource: str, start: int, end: int, now: int) -> str | None:
        if not self.covers(start, end):
            return None
        self.execute(LAPSE, (now,))
        uid = new_uid()
        values = uid, resource, start, end, now + TTL, start, resource, end
        asked = self.execute(RESERVE, values)
        return uid if asked.rowcount else None

    def confirm(self, token: str, now: int) -> None:
        assert self.execute(CONFIRM, (token, now)).rowcount == 1

    def release(self, token: str, now: int) -> None:
        assert self.execute(RELEASE, (token, now)).rowcount == 1


@contextmanager
def in_memory(storm: Storm) -> Iterator[Attempt]:
    """Make a new database for each attempt."""

    known = steps(storm, RecordingTarget(storm))

    def attempt(timings: array[int] | None = None) -> Outcome:
        with closing(SQLiteTarget(storm)) as target:
            return drive(storm, known, target if timings is None else Timed(target, timings))

    yield attempt
