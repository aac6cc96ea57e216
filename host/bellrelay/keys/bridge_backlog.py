"""Keys that a bridge took and the manager does not have yet: sealed, durable, in order.

They are taken in the transaction that marks them as delivered, so that no crash loses one. What
incident mode holds back is not pushed, and what it revokes is wiped here, or called back from the
manager.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection, delete, func, insert, null, select, update
from sqlalchemy.engine import Row

from .audit_record import AuditEvent
from .bridge_schema import bridge_entry, bridge_turn
from .bridge_targets import BridgeKey
from .database import Database, Transaction
from .incident import Selector, Verdict, matches, standing
from .key_requests import DeliveredKey
from .provenance import Provenance
from .sealing import Keyring
from .store_blocks import provenance_of
from .stored_keys import chunks, load_keys
from .wiping import wipe

__all__ = ["BridgeBacklog", "BridgeCounts", "EntryState", "Turn", "Waiting"]

_TURN_NS = 60 * 10**9


class EntryState(IntEnum):
    """What became of a key that a bridge took."""

    WAITING = 0
    PUSHED = 1
    """The manager has it; nothing of it is left here."""
    REVOKED = 2
    """Wiped before the manager had it."""
    RECALLED = 3
    """The manager had it, and was made to give it out no more."""


@dataclass(frozen=True)
class Waiting:
    """An entry whose turn it is. sealed : see :meth:`BridgeBacklog.opened`."""

    key_id: str
    size_bits: int
    master: str
    blocks: Sequence[Mapping[str, Any]]
    attempts: int
    remote_id: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True)
class BridgeCounts:
    """Keys of a bridge. held : waiting, and held back by a suspension. fault : the last one.

    next_ns : before that nothing is tried, after a failure.
    """

    waiting: int = 0
    held: int = 0
    pushed: int = 0
    revoked: int = 0
    recalled: int = 0
    fault: str = ""
    next_ns: int = 0


@dataclass(frozen=True)
class Turn:
    """The right to push for a bridge, until it is given back or runs out."""

    bridge: str
    holder: str


class BridgeBacklog:
    """The backlogs of all bridges of a KME; any thread may use it.

    Parameters
    ----------
    database
        That of the key store, in a connection of its own.
    keyring
        KEKs, those of the store.
    clock
        UTC, ns.
    """

    def __init__(
        self, database: Database, keyring: Keyring, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        database.create_tables()

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    # -------------------------------------------------------------------------------- taking

    def take(self, bridge: str, transaction: Transaction, keys: Sequence[DeliveredKey]) -> None:
        """Put keys into the backlog, within the transaction that delivers them to the bridge."""
        if not keys:
            return
        connection = transaction.connection
        blocks = _blocks_of(connection, [key.key_id for key in keys])
        connection.execute(
            insert(bridge_entry),
            [
                {
                    "bridge": bridge,
                    "key_id": key.key_id,
                    "state": int(EntryState.WAITING),
                    "size_bits": key.size_bits,
                    "pair": key.pair,
                    "master": key.master,
                    "blocks": json.dumps(blocks[key.key_id]),
                    "sealed": self._keyring.seal(key.key, _aad(bridge, key.key_id)),
                    "kek_id": self._keyring.kek_id,
                    "taken_ns": transaction.now_ns,
                    "changed_ns": transaction.now_ns,
                    "attempts": 0,
                    "next_ns": 0,
                    "fault": "",
                }
                for key in keys
            ],
        )

    def opened(self, bridge: str, entry: Waiting) -> BridgeKey:
        """A key in clear, for the caller to wipe. SealBroken, SealerUnavailable."""
        plain = self._keyring.unseal(entry.sealed, _aad(bridge, entry.key_id))
        return BridgeKey(entry.key_id, entry.size_bits, entry.master, entry.blocks, plain)

    # --------------------------------------------------------------------------------- turns

    def take_turn(self, bridge: str, *, even_if_early: bool = False) -> Turn | None:
        """The right to push; None while another process has it, or it is too early again."""
        turn = Turn(bridge, uuid.uuid4().hex)

        def body(transaction: Transaction) -> Turn | None:
            connection, now = transaction.connection, transaction.now_ns
            c = bridge_turn.c
            row = connection.execute(select(bridge_turn).where(c.bridge == bridge)).first()
            if row is None:
                connection.execute(
                    insert(bridge_turn).values(
                        bridge=bridge,
                        holder=turn.holder,
                        until_ns=now + _TURN_NS,
                        attempts=0,
                        next_ns=0,
                        fault="",
                    )
                )
                return turn
            if row.until_ns > now or (row.next_ns > now and not even_if_early):
                return None
            connection.execute(
                update(bridge_turn)
                .where(c.bridge == bridge)
                .values(holder=turn.holder, until_ns=now + _TURN_NS)
            )
            return turn

        return self._database.write(body, _nothing)

    def give_back(
        self, turn: Turn, fault: str = "", wait_s: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """The turn is over; after a fault, the next one waits: twice as long with each."""

        def body(transaction: Transaction) -> None:
            c = bridge_turn.c
            mine = (c.bridge == turn.bridge) & (c.holder == turn.holder)
            row = transaction.connection.execute(select(bridge_turn).where(mine)).first()
            if row is None:
                return
            attempts = row.attempts + 1 if fault else 0
            pause_ns = _pause_ns(attempts, wait_s) if fault else 0
            transaction.connection.execute(
                update(bridge_turn)
                .where(mine)
                .values(
                    until_ns=0,
                    attempts=attempts,
                    next_ns=transaction.now_ns + pause_ns if fault else 0,
                    fault=fault,
                )
            )
            if fault and fault != row.fault:
                transaction.events.append(
                    AuditEvent(
                        "bridge-unavailable",
                        f"bridge:{turn.bridge}",
                        f"bridge:{turn.bridge}",
                        "failure",
                        {"error.message": fault[:500]},
                    )
                )

        self._database.write(body, _nothing)

    # ------------------------------------------------------------------------------- pushing

    def idle(self, bridge: str) -> bool:
        """Whether there is nothing to push or call back now; reads only."""

        def body(connection: Connection) -> bool:
            e, now = bridge_entry.c, self._clock()
            states = [int(EntryState.WAITING)]
            if any(verdict is Verdict.REVOKED for _, verdict in standing(connection)):
                states.append(int(EntryState.PUSHED))
            query = select(e.key_id).where(
                e.bridge == bridge, e.state.in_(states), e.next_ns <= now
            )
            return connection.execute(query.limit(1)).first() is None

        return self._database.read(body)

    def waiting(self, turn: Turn, limit: int) -> list[Waiting]:
        """Entries to push now, the oldest first; what was revoked meanwhile is wiped instead.

        The turn is prolonged. Empty as well if it was lost.
        """

        def body(transaction: Transaction) -> list[Waiting]:
            connection, now = transaction.connection, transaction.now_ns
            if not _prolong(connection, turn, now):
                return []
            verdicts = standing(connection)
            e = bridge_entry.c
            due = (e.bridge == turn.bridge, e.state == int(EntryState.WAITING), e.next_ns <= now)
            found: list[Waiting] = []
            revoked: list[str] = []
            at: tuple[int, str] = (-1, "")
            # Those that are held back must not hide those behind them.
            while len(found) < limit:
                rows = connection.execute(
                    select(bridge_entry)
                    .where(*due, _after(at))
                    .order_by(e.taken_ns, e.key_id)
                    .limit(limit)
                ).all()
                for row in rows:
                    verdict = _verdict(verdicts, json.loads(row.blocks))
                    if verdict is None and len(found) < limit:
                        found.append(_waiting(row))
                    elif verdict is Verdict.REVOKED:
                        revoked.append(row.key_id)
                if len(rows) < limit:
                    break
                at = (rows[-1].taken_ns, rows[-1].key_id)
            _end(transaction, turn.bridge, revoked, EntryState.REVOKED, "bridge-key-revoked")
            return found

        return self._database.write(body, _nothing)

    def pushed(self, turn: Turn, remote_ids: Mapping[str, str], target: str) -> bool:
        """The manager has these keys, by key_id; nothing of them stays here.

        The turn is prolonged; False: it was lost, and another process is at it.
        """

        def body(transaction: Transaction) -> bool:
            e = bridge_entry.c
            for key_id, remote_id in remote_ids.items():
                done = transaction.connection.execute(
                    update(bridge_entry)
                    .where(
                        e.bridge == turn.bridge,
                        e.key_id == key_id,
                        e.state == int(EntryState.WAITING),
                    )
                    .values(
                        state=int(EntryState.PUSHED),
                        sealed=null(),
                        kek_id=null(),
                        remote_id=remote_id,
                        fault="",
                        changed_ns=transaction.now_ns,
                    )
                )
                if done.rowcount:
                    transaction.events.append(
                        AuditEvent(
                            "key-pushed",
                            f"bridge:{turn.bridge}",
                            f"key:{key_id}",
                            details={"target": target, "remote_id": remote_id},
                        )
                    )
            return _prolong(transaction.connection, turn, transaction.now_ns)

        return self._database.write(body, _nothing)

    def refused(self, turn: Turn, entry: Waiting, why: str, wait_s: tuple[float, float]) -> None:
        """The manager does not take this one: it is tried again later, the others before it."""

        def body(transaction: Transaction) -> None:
            e = bridge_entry.c
            attempts = entry.attempts + 1
            transaction.connection.execute(
                update(bridge_entry)
                .where(e.bridge == turn.bridge, e.key_id == entry.key_id)
                .values(
                    attempts=attempts,
                    next_ns=transaction.now_ns + _pause_ns(attempts, wait_s),
                    fault=why[:500],
                    changed_ns=transaction.now_ns,
                )
            )
            transaction.events.append(
                AuditEvent(
                    "key-push-refused",
                    f"bridge:{turn.bridge}",
                    f"key:{entry.key_id}",
                    "failure",
                    {"error.message": why[:500], "attempts": attempts},
                )
            )

        self._database.write(body, _nothing)

    # ------------------------------------------------------------------------------ incidents

    def to_recall(self, turn: Turn, limit: int) -> list[Waiting]:
        """Keys that the manager has and that a verdict has revoked since."""

        def body(connection: Connection) -> list[Waiting]:
            bad = [pair for pair in standing(connection) if pair[1] is Verdict.REVOKED]
            if not bad:
                return []
            e = bridge_entry.c
            rows = connection.execute(
                select(bridge_entry)
                .where(e.bridge == turn.bridge, e.state == int(EntryState.PUSHED))
                .where(e.next_ns <= self._clock())
                .order_by(e.taken_ns)
            )
            found = [_waiting(row) for row in rows if _verdict(bad, json.loads(row.blocks))]
            return found[:limit]

        return self._database.read(body)

    def recalled(self, turn: Turn, entry: Waiting) -> None:
        """The manager gives it out no more."""
        self._database.write(
            lambda t: _end(
                t, turn.bridge, [entry.key_id], EntryState.RECALLED, "bridge-key-recalled"
            ),
            _nothing,
        )

    # -------------------------------------------------------------------------------- looking

    def n_waiting(self, bridge: str) -> int:
        """How many keys wait."""
        e = bridge_entry.c
        query = select(func.count()).where(e.bridge == bridge, e.state == int(EntryState.WAITING))
        return int(self._database.read(lambda db: db.execute(query).scalar_one()))

    def counts(self, bridge: str) -> BridgeCounts:
        """How a bridge stands."""

        def body(connection: Connection) -> BridgeCounts:
            e = bridge_entry.c
            query = select(e.state, func.count().label("n")).where(e.bridge == bridge)
            rows = connection.execute(query.group_by(e.state))
            numbers = {row.state: row.n for row in rows}
            verdicts = standing(connection)
            held = 0
            if verdicts:
                rows = connection.execute(
                    select(e.blocks).where(e.bridge == bridge, e.state == int(EntryState.WAITING))
                )
                held = sum(_verdict(verdicts, json.loads(row.blocks)) is not None for row in rows)
            turn = connection.execute(
                select(bridge_turn).where(bridge_turn.c.bridge == bridge)
            ).first()
            return BridgeCounts(
                numbers.get(EntryState.WAITING, 0),
                held,
                numbers.get(EntryState.PUSHED, 0),
                numbers.get(EntryState.REVOKED, 0),
                numbers.get(EntryState.RECALLED, 0),
                turn.fault if turn else "",
                turn.next_ns if turn else 0,
            )

        return self._database.read(body)

    # ----------------------------------------------------------------------------------- KEKs

    def reseal(self, limit: int = 500) -> int:
        """Seal a batch of entries under the current KEK; how many. Zero: the old ones may go."""

        def body(transaction: Transaction) -> int:
            e = bridge_entry.c
            kek_id = self._keyring.kek_id
            rows = transaction.connection.execute(
                select(bridge_entry).where(e.kek_id.is_not(None), e.kek_id != kek_id).limit(limit)
            ).all()
            for row in rows:
                aad = _aad(row.bridge, row.key_id)
                plain = self._keyring.unseal(bytes(row.sealed), aad)
                try:
                    sealed = self._keyring.seal(plain, aad)
                finally:
                    wipe(plain)
                transaction.connection.execute(
                    update(bridge_entry)
                    .where(e.bridge == row.bridge, e.key_id == row.key_id)
                    .values(sealed=sealed, kek_id=kek_id)
                )
            if rows:
                transaction.events.append(
                    AuditEvent(
                        "bridge-resealed", "system", f"kek:{kek_id}", details={"keys": len(rows)}
                    )
                )
            return len(rows)

        if set(self.keks()) <= {self._keyring.kek_id}:
            return 0
        return self._database.write(body, _nothing)

    def keks(self) -> dict[str, int]:
        """KEKs under which entries are sealed, and how many are."""
        c = bridge_entry.c
        query = select(c.kek_id, func.count().label("n")).where(c.kek_id.is_not(None))
        return self._database.read(
            lambda db: {row.kek_id: row.n for row in db.execute(query.group_by(c.kek_id))}
        )

    def purge(self, ended_before_ns: int, limit: int = 10_000) -> int:
        """Forget entries that ended long ago: from then on they cannot be recalled."""

        def body(transaction: Transaction) -> int:
            e = bridge_entry.c
            rows = transaction.connection.execute(
                select(e.bridge, e.key_id)
                .where(e.state != int(EntryState.WAITING), e.changed_ns < ended_before_ns)
                .limit(limit)
            ).all()
            for row in rows:
                transaction.connection.execute(
                    delete(bridge_entry).where(e.bridge == row.bridge, e.key_id == row.key_id)
                )
            return len(rows)

        query = select(bridge_entry.c.key_id).where(
            bridge_entry.c.state != int(EntryState.WAITING),
            bridge_entry.c.changed_ns < ended_before_ns,
        )
        if self._database.read(lambda db: db.execute(query.limit(1)).first()) is None:
            return 0
        return self._database.write(body, _nothing)


def _aad(bridge: str, key_id: str) -> bytes:
    return b"\0".join((b"bellrelay bridge 1", bridge.encode(), key_id.encode()))


def _nothing(_result: object) -> None:
    pass


def _pause_ns(attempts: int, wait_s: tuple[float, float]) -> int:
    first, longest = wait_s
    return int(min(first * 2.0 ** min(attempts - 1, 40), longest) * 1e9)


def _prolong(connection: Connection, turn: Turn, now: int) -> bool:
    c = bridge_turn.c
    done = connection.execute(
        update(bridge_turn)
        .where(c.bridge == turn.bridge, c.holder == turn.holder)
        .values(until_ns=now + _TURN_NS)
    )
    return done.rowcount > 0


def _after(at: tuple[int, str]) -> Any:
    e = bridge_entry.c
    return (e.taken_ns > at[0]) | ((e.taken_ns == at[0]) & (e.key_id > at[1]))


def _waiting(row: Row[Any]) -> Waiting:
    return Waiting(
        row.key_id,
        row.size_bits,
        row.master,
        json.loads(row.blocks),
        row.attempts,
        row.remote_id or "",
        bytes(row.sealed or b""),
    )


def _verdict(
    verdicts: Sequence[tuple[Selector, Verdict]], blocks: Sequence[Mapping[str, Any]]
) -> Verdict | None:
    """The worst that is said about any block that a key is made of; None: it may go."""
    said = {
        verdict
        for selector, verdict in verdicts
        for block in blocks
        if matches(selector, block["relay"], block["begun_ns"], block["made_ns"])
    }
    if Verdict.REVOKED in said:
        return Verdict.REVOKED
    return Verdict.PENDING if said else None


def _end(
    transaction: Transaction,
    bridge: str,
    key_ids: Sequence[str],
    state: EntryState,
    action: str,
) -> None:
    e = bridge_entry.c
    for piece in chunks(key_ids):
        transaction.connection.execute(
            update(bridge_entry)
            .where(e.bridge == bridge, e.key_id.in_(piece))
            .values(state=int(state), sealed=null(), kek_id=null(), changed_ns=transaction.now_ns)
        )
    transaction.events += [
        AuditEvent(action, f"bridge:{bridge}", f"key:{key_id}") for key_id in key_ids
    ]


def _blocks_of(connection: Connection, key_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    keys = load_keys(connection, key_ids)
    names = {block for key in keys.values() for block, _ in key.refs}
    found = provenance_of(connection, names)
    return {
        key_id: [_block(found[name]) for name in dict.fromkeys(block for block, _ in key.refs)]
        for key_id, key in keys.items()
    }


def _block(provenance: Provenance) -> dict[str, Any]:
    return {
        "block_id": provenance.block_id,
        "relay": provenance.relay,
        "begun_ns": provenance.begun_ns,
        "made_ns": provenance.made_ns,
        "epsilon": provenance.epsilon,
    }
