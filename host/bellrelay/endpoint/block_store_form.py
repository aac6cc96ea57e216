"""The form of the block store's file: its tables, older forms, and which relay has which number.

A block is named by its relay's number in the list that both endpoints have agreed upon. The list
stands in the file, so that a configuration with another order of relays makes no block another's:
rows are given their relay's new number, all at once.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence

from .block import BlockState, Cause

__all__ = ["FORM", "UnknownForm", "count_as_they_change", "renumber", "to_current_form"]

FORM = 1
_TABLES = ("block", "verdict", "key")
_SCHEMA = (
    """CREATE TABLE block (
    relay INTEGER NOT NULL, acquisition INTEGER NOT NULL, number INTEGER NOT NULL,
    state INTEGER NOT NULL, cause TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    sequence INTEGER NOT NULL, digest BLOB NOT NULL DEFAULT x'',
    record TEXT NOT NULL DEFAULT '{}', begun_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    PRIMARY KEY (relay, acquisition, number)
) WITHOUT ROWID""",
    """CREATE TABLE verdict (
    relay INTEGER NOT NULL, acquisition INTEGER NOT NULL, number INTEGER NOT NULL,
    deliver INTEGER, tag_index INTEGER NOT NULL, tag_key BLOB NOT NULL,
    PRIMARY KEY (relay, acquisition, number)
) WITHOUT ROWID""",
    """CREATE TABLE key (
    key_id TEXT PRIMARY KEY, relay INTEGER NOT NULL, acquisition INTEGER NOT NULL,
    number INTEGER NOT NULL, confirmed INTEGER NOT NULL, length INTEGER NOT NULL,
    packed BLOB NOT NULL, to_pool BLOB NOT NULL, record TEXT NOT NULL, stored_ns INTEGER NOT NULL,
    UNIQUE (relay, acquisition, number)
) WITHOUT ROWID""",
    "CREATE INDEX block_changed ON block (changed_ns)",
    """CREATE TABLE IF NOT EXISTS relay (
    relay_id TEXT PRIMARY KEY, cause TEXT NOT NULL, detail TEXT NOT NULL, since_ns INTEGER NOT NULL
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS schedule (
    relay_id TEXT NOT NULL, acquisition INTEGER NOT NULL,
    every INTEGER NOT NULL, length INTEGER NOT NULL, PRIMARY KEY (relay_id, acquisition)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS about (
    name TEXT PRIMARY KEY, value BLOB NOT NULL
) WITHOUT ROWID""",
)
_COLUMNS_BEFORE_RELAYS = {
    "block": "acquisition, number, state, cause, detail, sequence, digest, record, begun_ns,"
    " changed_ns",
    "verdict": "acquisition, number, deliver, tag_index, tag_key",
    "key": "key_id, acquisition, number, confirmed, length, packed, to_pool, record, stored_ns",
}


_SHORT_WAYS = (
    # Of those that matter now: rows of the past stay for ever, with long records in them.
    "CREATE INDEX IF NOT EXISTS block_state ON block (state)",
    "CREATE INDEX IF NOT EXISTS key_not_handed_over ON key (confirmed)"
    " WHERE (length = 0 OR packed != x'')",
    "CREATE INDEX IF NOT EXISTS key_for_pool ON key (confirmed) WHERE to_pool != x''",
)
_TALLIES = (
    """CREATE TABLE block_tally (
    state INTEGER NOT NULL, cause TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (state, cause)
) WITHOUT ROWID""",
    "INSERT INTO block_tally SELECT state, cause, count(*) FROM block GROUP BY state, cause",
    """CREATE TRIGGER block_begins AFTER INSERT ON block BEGIN
    INSERT OR IGNORE INTO block_tally VALUES (NEW.state, NEW.cause, 0);
    UPDATE block_tally SET number = number + 1 WHERE state = NEW.state AND cause = NEW.cause;
END""",
    """CREATE TRIGGER block_advances AFTER UPDATE OF state, cause ON block BEGIN
    UPDATE block_tally SET number = number - 1 WHERE state = OLD.state AND cause = OLD.cause;
    INSERT OR IGNORE INTO block_tally VALUES (NEW.state, NEW.cause, 0);
    UPDATE block_tally SET number = number + 1 WHERE state = NEW.state AND cause = NEW.cause;
END""",
    """CREATE TRIGGER block_goes AFTER DELETE ON block BEGIN
    UPDATE block_tally SET number = number - 1 WHERE state = OLD.state AND cause = OLD.cause;
END""",
    "CREATE TABLE key_tally (number INTEGER NOT NULL, bits INTEGER NOT NULL)",
    "INSERT INTO key_tally SELECT count(*), coalesce(sum(length), 0) FROM key WHERE confirmed = 1",
    """CREATE TRIGGER key_is_confirmed AFTER UPDATE OF confirmed ON key
WHEN NEW.confirmed = 1 AND OLD.confirmed = 0 BEGIN
    UPDATE key_tally SET number = number + 1, bits = bits + NEW.length;
END""",
)


class UnknownForm(ValueError):
    """The file was made by a later version, or cannot be taken over; the message says why."""


def to_current_form(db: sqlite3.Connection) -> None:
    """Make the tables, or make those of an older version current; within a transaction.

    A store of before there were several relays has blocks of one: its number is 0.

    Raises
    ------
    UnknownForm
        A later version's.
    """
    (form,) = db.execute("PRAGMA user_version").fetchone()
    if form > FORM:
        raise UnknownForm(f"is of form {form}, and this version knows forms up to {FORM}")
    if form == FORM:
        return
    there = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    old = [name for name in _TABLES if name in there]
    db.execute("DROP INDEX IF EXISTS block_changed")
    for name in old:
        db.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    for statement in _SCHEMA:
        db.execute(statement)
    for name in old:
        columns = _COLUMNS_BEFORE_RELAYS[name]
        db.execute(f"INSERT INTO {name} (relay, {columns}) SELECT 0, {columns} FROM old_{name}")
        db.execute(f"DROP TABLE old_{name}")
    db.execute(f"PRAGMA user_version = {FORM}")


def count_as_they_change(db: sqlite3.Connection) -> None:
    """Have SQLite count blocks and keys as they change, and find those that matter now.

    Years of blocks would have to be read for every look at a metric. Within a transaction; nothing
    if that was done before, and no other form: a version that knows nothing of it can go on.
    """
    for statement in _SHORT_WAYS:
        db.execute(statement)
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'block_tally'").fetchone() is None:
        for statement in _TALLIES:
            db.execute(statement)


def renumber(db: sqlite3.Connection, relays: Sequence[str]) -> None:
    """Give every row the number that its relay has in this list; within a transaction.

    Relays that are no longer in it keep their rows, under numbers behind the list. Their blocks
    that could begin again never will: they end.

    Raises
    ------
    UnknownForm
        Such a relay has a block that is too far on to be given up on one side: it must end with
        the list of before.
    """
    found = db.execute("SELECT value FROM about WHERE name = 'relays'").fetchone()
    before: list[str] = list(relays) if found is None else json.loads(found[0])
    after = [*relays, *(name for name in before if name not in relays)]
    _end_blocks(db, before, [name for name in before if name not in relays])
    if before != after:
        for table in _TABLES:
            # Over numbers that no relay has, so that no two meet.
            db.execute(f"UPDATE {table} SET relay = -1 - relay")
            for number, name in enumerate(before):
                db.execute(
                    f"UPDATE {table} SET relay = ? WHERE relay = ?",
                    (after.index(name), -1 - number),
                )
    db.execute("INSERT OR REPLACE INTO about VALUES ('relays', ?)", (json.dumps(after),))


def _end_blocks(db: sqlite3.Connection, before: Sequence[str], gone: Iterable[str]) -> None:
    for name in gone:
        number = before.index(name)
        further = db.execute(
            "SELECT count(*) FROM block WHERE relay = ? AND state BETWEEN ? AND ?",
            (number, BlockState.ESTIMATED, BlockState.AMPLIFIED),
        ).fetchone()[0]
        if further:
            raise UnknownForm(
                f"has {further} blocks of relay {name} under way: leave it among the relays until "
                "they have ended"
            )
        db.execute(
            "UPDATE block SET state = ?, cause = ?, changed_ns = ? WHERE relay = ? AND state < ?",
            (
                BlockState.ABORTED,
                str(Cause.NOT_COLLECTED),
                time.time_ns(),
                number,
                BlockState.STORED,
            ),
        )
