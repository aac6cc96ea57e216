"""State of blocks, finished keys and the relay's standing, on disk before anything depends on it.

One SQLite file, of mode 0600, written with synchronous=FULL: when a method returns, what it wrote
survives the loss of power. Keys lie in it in clear, as the file's mode is all that protects them.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bellrelay.wire.tracking import TrackingSlots

from .block import BlockId, BlockState, Cause, allowed_steps
from .block_store_form import UnknownForm, count_as_they_change, renumber, to_current_form

__all__ = ["BlockRow", "BlockStore", "StoreError", "StoredKey", "StoredVerdict"]


class StoreError(OSError):
    """The store cannot be used, or was asked for a step that no block takes."""


@dataclass(frozen=True)
class BlockRow:
    """A block as it stands on disk.

    sequence : of the relay's record at which its announcements begin. digest : of its complete
    list, empty until that was known. record : what is known of it, without any secret.
    """

    block: BlockId
    state: BlockState
    cause: str
    detail: str
    sequence: int
    digest: bytes
    record: Mapping[str, Any]
    begun_ns: int
    changed_ns: int


@dataclass(frozen=True)
class StoredVerdict:
    """What becomes of a pending key. deliver : None while that is not decided.

    tag_index, tag_key : where in the pool the key of the verdict's tag began, and the key itself:
    taken before the key of the block was pending, so that the verdict can always be said, word for
    word the same, whatever became of the pool.
    """

    deliver: bool | None
    tag_index: int
    tag_key: bytes = field(repr=False)


@dataclass(frozen=True)
class StoredKey:
    """A key. packed : bits in big-endian order, ``length`` of them. record : how it came about.

    to_pool : bytes that were made with it and belong to the key pool, until they are there.
    """

    key_id: str
    block: BlockId
    confirmed: bool
    length: int
    record: Mapping[str, Any]
    stored_ns: int
    packed: bytes = field(repr=False)
    to_pool: bytes = field(repr=False)


def _at(block: BlockId) -> tuple[int, int, int]:
    """As the columns relay, acquisition, number have it."""
    return block.relay, block.acquisition, block.index


class BlockStore:
    """The store of one endpoint; its methods may be called from any thread.

    Parameters
    ----------
    directory, owner
        Where, and whose.
    relays
        Ids of the relays, by the number that blocks name them by. None: as they were last.

    Raises
    ------
    StoreError
        The file cannot be opened, is another endpoint's or a later version's, or cannot be taken
        over to these relays.
    """

    def __init__(self, directory: Path, owner: str, relays: Sequence[str] | None = None) -> None:
        self.path = directory / "blocks.sqlite"
        self._lock = threading.RLock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before SQLite could make it with the modes that the umask leaves. One that is there is
            # not opened: closing it would drop this process's locks on it.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            os.chmod(self.path, 0o600)
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # What is deleted is overwritten: aborted keys do not stay on the disk's free pages.
            self._db.execute("PRAGMA secure_delete=ON")
            self._take_over(owner, relays)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _take_over(self, owner: str, relays: Sequence[str] | None) -> None:
        try:
            with self._write() as db:
                to_current_form(db)
                count_as_they_change(db)
                db.execute("INSERT OR IGNORE INTO about VALUES ('owner', ?)", (owner,))
                found = db.execute("SELECT value FROM about WHERE name = 'owner'").fetchone()[0]
                if found != owner:
                    raise UnknownForm(f"belongs to {found}, not to {owner}")
                if relays is not None:
                    renumber(db, relays)
        except UnknownForm as error:
            self._db.close()
            raise StoreError(f"{self.path}: {error}") from None

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    # ------------------------------------------------------------------------------- blocks

    def begin(self, block: BlockId, sequence: int, record: Mapping[str, Any] | None = None) -> None:
        """A block is being collected from this record on; nothing if it is known already.

        sequence : 0 if only the peer has said of the block, and the record is not known.
        record : what is known of it from its beginning.
        """
        now = time.time_ns()
        with self._write() as db:
            db.execute(
                "INSERT INTO block (relay, acquisition, number, state, sequence, begun_ns,"
                " changed_ns, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET sequence = excluded.sequence WHERE sequence = 0",
                (*_at(block), BlockState.COLLECTING, sequence, now, now, json.dumps(record or {})),
            )

    def hold_schedule(self, relay_id: str, acquisition: int, tracking: TrackingSlots) -> bool:
        """Hold an acquisition to its schedule of tracking slots, for ever; False: it has another.

        Who asks first fixes it, be it for a block or for the settings of tracking slots: otherwise
        settings that were asked for would make key once the configuration has changed.
        """
        where = "FROM schedule WHERE relay_id = ? AND acquisition = ?"
        with self._lock:
            row = self._db.execute(f"SELECT every, length {where}", (relay_id, acquisition))
            found = row.fetchone()
        if found is None:
            with self._write() as db:
                db.execute(
                    "INSERT OR IGNORE INTO schedule VALUES (?, ?, ?, ?)",
                    (relay_id, acquisition, tracking.every, tracking.length),
                )
                row = db.execute(f"SELECT every, length {where}", (relay_id, acquisition))
                found = row.fetchone()
        return tuple(found) == (tracking.every, tracking.length)

    def commit_list(self, block: BlockId, digest: bytes, record: Mapping[str, Any]) -> bool:
        """Put down the digest of the complete list; False if another one was put down before.

        ``record`` is added to what is known of the block when the digest is new, and only then.
        """
        with self._write() as db:
            row = self._row(block)
            if not row.digest:
                db.execute(
                    "UPDATE block SET digest = ?, record = ?"
                    " WHERE relay = ? AND acquisition = ? AND number = ?",
                    (digest, json.dumps({**row.record, **record}), *_at(block)),
                )
            return self._row(block).digest == digest

    def advance(
        self,
        block: BlockId,
        state: BlockState,
        record: Mapping[str, Any] | None = None,
        cause: Cause | None = None,
        detail: str = "",
    ) -> None:
        """Go to a state that may follow; ``record`` is added to what is known of the block.

        An aborted block's pending key is destroyed in the same step.
        """
        with self._write() as db:
            self._advance(db, block, state, record, cause, detail)
            if state is BlockState.ABORTED:
                self._decide(db, block, deliver=False)
                db.execute(
                    "DELETE FROM key WHERE relay = ? AND acquisition = ? AND number = ?"
                    " AND confirmed = 0",
                    _at(block),
                )

    def _advance(
        self,
        db: sqlite3.Connection,
        block: BlockId,
        state: BlockState,
        record: Mapping[str, Any] | None,
        cause: Cause | None = None,
        detail: str = "",
    ) -> None:
        row = self._row(block)
        if state not in allowed_steps(row.state):
            raise StoreError(f"block {block}: {row.state.word} to {state.word} is no step")
        db.execute(
            "UPDATE block SET state = ?, cause = ?, detail = ?, record = ?, changed_ns = ?"
            " WHERE relay = ? AND acquisition = ? AND number = ?",
            (
                state,
                "" if cause is None else str(cause),
                detail,
                json.dumps({**row.record, **(record or {})}),
                time.time_ns(),
                *_at(block),
            ),
        )

    def _row(self, block: BlockId) -> BlockRow:
        row = self.find(block)
        if row is None:
            raise StoreError(f"block {block}: not known")
        return row

    def find(self, block: BlockId) -> BlockRow | None:
        """What is known of a block."""
        rows = self._rows("WHERE relay = ? AND acquisition = ? AND number = ?", *_at(block))
        return rows[0] if rows else None

    def open_blocks(self) -> list[BlockRow]:
        """Blocks that have not ended, in order."""
        return self._rows("WHERE state < ?", BlockState.STORED)

    def latest(self, relay: int = 0, *, placed: bool = False) -> BlockRow | None:
        """The last block of a relay; with ``placed``, of which it is known where it begins."""
        where = "WHERE relay = ? AND sequence > 0" if placed else "WHERE relay = ?"
        rows = self._rows(where, relay, limit="DESC LIMIT 1")
        return rows[0] if rows else None

    def blocks(self) -> list[BlockRow]:
        """All, in order."""
        return self._rows("")

    def ended_since(self, changed_ns: int) -> list[BlockRow]:
        """Blocks that have ended later than this, UTC; in order."""
        # The sign keeps SQLite from looking through all that ever ended, by their state.
        return self._rows("WHERE +state >= ? AND changed_ns > ?", BlockState.STORED, changed_ns)

    def ended_last(self, most: int) -> list[BlockRow]:
        """So many blocks that were the last to end, in the order in which they did.

        And the last one that was stored, if it is not among them.
        """
        newest = "ORDER BY changed_ns DESC LIMIT ?)"
        return sorted(
            self._rows(
                "WHERE (relay, acquisition, number) IN (SELECT relay, acquisition, number FROM"
                f" (SELECT * FROM block WHERE +state >= ? {newest} UNION SELECT relay, acquisition,"
                f" number FROM (SELECT * FROM block WHERE +state = ? {newest})",
                BlockState.STORED,
                most,
                BlockState.STORED,
                1,
            ),
            key=lambda row: row.changed_ns,
        )

    def counts(self) -> dict[str, int]:
        """Number of blocks by state, and of aborted ones by cause (as ``aborted:CAUSE``)."""
        with self._lock:
            tally = self._db.execute("SELECT state, cause, number FROM block_tally").fetchall()
        counts: dict[str, int] = {}
        for state, cause, number in tally:
            if number:
                word = BlockState(state).word
                counts[word] = counts.get(word, 0) + number
                if state == BlockState.ABORTED:
                    counts[f"{word}:{cause}"] = number
        return counts

    def _rows(self, where: str, *values: int, limit: str = "") -> list[BlockRow]:
        order = f"ORDER BY acquisition {limit.split(' ')[0]}, number {limit or ', relay'}"
        with self._lock:
            found = self._db.execute(
                "SELECT acquisition, number, relay, state, cause, detail, sequence, digest, record,"
                f" begun_ns, changed_ns FROM block {where} {order}",
                values,
            ).fetchall()
        return [
            BlockRow(
                BlockId(r[0], r[1], r[2]),
                BlockState(r[3]),
                r[4],
                r[5],
                r[6],
                bytes(r[7]),
                json.loads(r[8]),
                r[9],
                r[10],
            )
            for r in found
        ]

    # --------------------------------------------------------------------------------- keys

    def put_pending(self, key: StoredKey, verdict: StoredVerdict) -> None:
        """Put down a key that is not to be used yet; the block is amplified."""
        at = _at(key.block)
        with self._write() as db:
            self._advance(db, key.block, BlockState.AMPLIFIED, key.record)
            db.execute(
                "INSERT INTO key VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
                (
                    key.key_id,
                    *at,
                    key.length,
                    key.packed,
                    key.to_pool,
                    json.dumps(dict(key.record)),
                    key.stored_ns,
                ),
            )
            db.execute(
                "INSERT INTO verdict VALUES (?, ?, ?, NULL, ?, ?)",
                (*at, verdict.tag_index, verdict.tag_key),
            )

    def confirm(self, block: BlockId) -> None:
        """The block's pending key may be used: decided once and for all."""
        with self._write() as db:
            self._advance(db, block, BlockState.STORED, None)
            self._decide(db, block, deliver=True)
            db.execute(
                "UPDATE key SET confirmed = 1 WHERE relay = ? AND acquisition = ? AND number = ?",
                _at(block),
            )

    def _decide(self, db: sqlite3.Connection, block: BlockId, *, deliver: bool) -> None:
        db.execute(
            "UPDATE verdict SET deliver = ? WHERE relay = ? AND acquisition = ? AND number = ?",
            (int(deliver), *_at(block)),
        )

    def verdict(self, block: BlockId) -> StoredVerdict | None:
        """The verdict on a block that was amplified; None for any other."""
        with self._lock:
            row = self._db.execute(
                "SELECT deliver, tag_index, tag_key FROM verdict"
                " WHERE relay = ? AND acquisition = ? AND number = ?",
                _at(block),
            ).fetchone()
        if row is None:
            return None
        return StoredVerdict(None if row[0] is None else bool(row[0]), row[1], bytes(row[2]))

    def keys(self, *, confirmed: bool = True) -> list[StoredKey]:
        """Keys that may be used, in the order of their blocks; or those that may not yet.

        Without those that were handed over: see :meth:`forget_key`.
        """
        with self._lock:
            found = self._db.execute(
                "SELECT key_id, acquisition, number, relay, confirmed, length, record, stored_ns,"
                " packed, to_pool FROM key WHERE confirmed = ? AND (length = 0 OR packed != x'')"
                " ORDER BY acquisition, number, relay",
                (int(confirmed),),
            ).fetchall()
        return [
            StoredKey(
                r[0],
                BlockId(r[1], r[2], r[3]),
                bool(r[4]),
                r[5],
                json.loads(r[6]),
                r[7],
                bytes(r[8]),
                bytes(r[9]),
            )
            for r in found
        ]

    def forget_key(self, key_id: str) -> None:
        """Somebody else keeps this key from now on: wipe its bits. What is known of it stays.

        Bits that are still on their way to the key pool stay, too.
        """
        with self._lock:
            with self._write() as db:
                db.execute(
                    "UPDATE key SET packed = x'' WHERE key_id = ? AND confirmed = 1", (key_id,)
                )
            # The log of before has them, until it is written back and cut.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def pool_parts(self) -> list[tuple[BlockId, str, bytes]]:
        """Of keys in use: block, name, and what of it the key pool does not have yet."""
        with self._lock:
            found = self._db.execute(
                "SELECT acquisition, number, relay, key_id, to_pool FROM key"
                " WHERE confirmed = 1 AND to_pool != x'' ORDER BY acquisition, number, relay"
            ).fetchall()
        return [(BlockId(r[0], r[1], r[2]), r[3], bytes(r[4])) for r in found]

    def forget_pool_part(self, key_id: str) -> None:
        """The key pool has it."""
        with self._write() as db:
            db.execute("UPDATE key SET to_pool = x'' WHERE key_id = ?", (key_id,))

    def key_totals(self) -> dict[str, int]:
        """Number of keys that may be used, and of their bits; those handed over count as well."""
        with self._lock:
            number, bits = self._db.execute("SELECT number, bits FROM key_tally").fetchone()
        return {"number": number, "bits": bits}

    # -------------------------------------------------------------------------------- relay

    def quarantine(self, relay_id: str, cause: Cause, detail: str = "") -> None:
        """Believe this relay nothing more; the first cause stays."""
        with self._write() as db:
            db.execute(
                "INSERT OR IGNORE INTO relay VALUES (?, ?, ?, ?)",
                (relay_id, str(cause), detail, time.time_ns()),
            )

    def release(self, relay_id: str) -> bool:
        """Believe it again, as an operator says; whether it was in quarantine."""
        with self._write() as db:
            return db.execute("DELETE FROM relay WHERE relay_id = ?", (relay_id,)).rowcount > 0

    def quarantined(self, relay_id: str) -> tuple[str, str, int] | None:
        """Cause, detail and time (UTC ns) of its quarantine."""
        with self._lock:
            row = self._db.execute(
                "SELECT cause, detail, since_ns FROM relay WHERE relay_id = ?", (relay_id,)
            ).fetchone()
        return None if row is None else (str(row[0]), str(row[1]), int(row[2]))
