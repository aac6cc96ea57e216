"""Which bytes of the key pool are spent: an SQLite file, durable when a transaction ends.

No key is in it. A *segment* is key material that came in one piece: the pre-shared secret, or what
a block gave. It has as many bytes for each direction. In the direction in which we speak bytes are
drawn upwards; of the other one the ranges are kept that the peer has used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bellrelay.service.read_only_sqlite import read_only

__all__ = ["Allowance", "KeyLedger", "Segment"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segment (
    position INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL UNIQUE,
    origin TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, made REAL NOT NULL,
    shared INTEGER NOT NULL, drawn INTEGER NOT NULL DEFAULT 0,
    live INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS live_segment ON segment (position) WHERE live = 1;
CREATE TABLE IF NOT EXISTS taken (
    number INTEGER NOT NULL, first INTEGER NOT NULL, end INTEGER NOT NULL,
    PRIMARY KEY (number, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS allowance (
    direction INTEGER PRIMARY KEY, bytes REAL NOT NULL, at REAL NOT NULL
);
"""


@dataclass(frozen=True)
class Segment:
    """Material that came in one piece, ``size`` bytes for each direction.

    number : of 39 bits, the same on both sides. origin : what it is of. made : UTC seconds.
    shared : whether the peer is known to have it too. drawn : bytes that we have spent or passed
    over, the first ones.
    """

    number: int
    origin: str
    size: int
    made: float
    shared: bool
    drawn: int = 0


_SEGMENTS = "SELECT number, origin, size, made, shared, drawn FROM segment WHERE live = 1"


def _segment(row: tuple[int, str, int, float, int, int]) -> Segment:
    number, origin, size, made, shared, drawn = row
    return Segment(number, origin, size, made, bool(shared), drawn)


@dataclass(frozen=True)
class Allowance:
    """What may be spent of the reserve of a direction: ``bytes`` at the time ``at``."""

    bytes: float
    at: float


class KeyLedger:
    """The ledger of one pool; one thread at a time.

    Changes go into a :meth:`transaction`; they are on disk when it ends, or not made.

    Parameters
    ----------
    look
        Nothing is written, and no transaction can be begun.
    """

    def __init__(self, path: Path, *, look: bool = False) -> None:
        if look:
            self._db = read_only(path)
            return
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes within, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def about(self, name: str) -> str | None:
        """A word that was put down."""
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_about(self, name: str, value: str) -> None:
        """Put a word down."""
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def segments(self) -> list[Segment]:
        """Segments of which something is left, in the order in which they came."""
        return [_segment(row) for row in self._db.execute(f"{_SEGMENTS} ORDER BY position")]

    def segment(self, number: int) -> Segment | None:
        """The segment of this number, if something of it is left."""
        row = self._db.execute(f"{_SEGMENTS} AND number = ?", (number,)).fetchone()
        return None if row is None else _segment(row)

    def oldest_with(self, n_bytes: int) -> Segment | None:
        """The first segment from which so many bytes can be drawn."""
        query = f"{_SEGMENTS} AND shared = 1 AND size - drawn >= ? ORDER BY position LIMIT 1"
        row = self._db.execute(query, (n_bytes,)).fetchone()
        return None if row is None else _segment(row)

    def left_to_draw(self, *, shared: bool = True) -> int:
        """Bytes in all that can be drawn, or that wait for the peer to have them too."""
        query = "SELECT total(size - drawn) FROM segment WHERE live = 1 AND shared = ?"
        return int(self._db.execute(query, (int(shared),)).fetchone()[0])

    def left_to_take(self) -> int:
        """Bytes in all that the peer has not used, what it passed over among them."""
        query = (
            "SELECT (SELECT total(size) FROM segment WHERE live = 1)"
            " - (SELECT total(end - first) FROM taken)"
        )
        return int(self._db.execute(query).fetchone()[0])

    def knows(self, origin: str, number: int) -> bool:
        """Whether a segment of this origin or number has ever come."""
        query = "SELECT 1 FROM segment WHERE origin = ? OR number = ?"
        return self._db.execute(query, (origin, number)).fetchone() is not None

    def finish(self, number: int) -> None:
        """Nothing is left of a segment; that it was there stays on record."""
        self._db.execute("UPDATE segment SET live = 0 WHERE number = ?", (number,))
        self._db.execute("DELETE FROM taken WHERE number = ?", (number,))

    def add_segment(self, segment: Segment) -> None:
        """Put down a new segment."""
        self._db.execute(
            "INSERT INTO segment (number, origin, size, made, shared) VALUES (?, ?, ?, ?, ?)",
            (segment.number, segment.origin, segment.size, segment.made, segment.shared),
        )

    def set_shared(self, origin: str) -> None:
        """The peer has this segment."""
        self._db.execute("UPDATE segment SET shared = 1 WHERE origin = ?", (origin,))

    def set_drawn(self, number: int, drawn: int) -> None:
        """We have spent a segment up to here; never less than before."""
        self._db.execute(
            "UPDATE segment SET drawn = max(drawn, ?) WHERE number = ?", (drawn, number)
        )

    def taken(self, number: int) -> list[tuple[int, int]]:
        """Ranges [first, end) that the peer has used of a segment, in order and apart."""
        query = "SELECT first, end FROM taken WHERE number = ? ORDER BY first"
        return [(first, end) for first, end in self._db.execute(query, (number,))]

    def add_taken(self, number: int, first: int, end: int) -> None:
        """The peer has used a range. It may hold ranges that were used, or touch them."""
        touching = [r for r in self.taken(number) if r[0] <= end and r[1] >= first]
        for begin, stop in touching:
            self._db.execute("DELETE FROM taken WHERE number = ? AND first = ?", (number, begin))
            first, end = min(first, begin), max(end, stop)
        self._db.execute("INSERT INTO taken VALUES (?, ?, ?)", (number, first, end))

    def allowance(self, direction: int) -> Allowance | None:
        """What may be spent of the reserve, as it was put down last."""
        query = "SELECT bytes, at FROM allowance WHERE direction = ?"
        row = self._db.execute(query, (direction,)).fetchone()
        return None if row is None else Allowance(*row)

    def set_allowance(self, direction: int, allowance: Allowance) -> None:
        """Put down what may be spent of the reserve."""
        self._db.execute(
            "INSERT OR REPLACE INTO allowance VALUES (?, ?, ?)",
            (direction, allowance.bytes, allowance.at),
        )
