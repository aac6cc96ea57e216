"""Blocks of key come in: cut, sealed and owned; what the peer has; and owners that change."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from . import schema
from .audit_record import AuditEvent
from .cutting import cut, unit_aad
from .database import Transaction
from .incident import Verdict, matches, standing
from .key_states import Held, UnitState
from .provenance import FinishedKey, Provenance
from .stored_keys import StoreContext, chunks, count_seals, free_units
from .wiping import wipe, wiped_after

__all__ = [
    "add_block",
    "blocks_not_at_peer",
    "known_blocks",
    "peer_has",
    "peer_lacks",
    "provenance_of",
    "reassign_block",
    "seal_units",
    "stale_blocks",
    "usable_blocks",
]


def seal_units(context: StoreContext, finished: FinishedKey) -> list[dict[str, Any]]:
    """Rows of a block's units. SealerUnavailable."""
    facts = finished.provenance
    rows = []
    with wiped_after(bytearray(finished.packed)) as block:
        for index, plain in enumerate(cut(block, facts.length_bits, context.unit_bits)):
            pair, side = context.pairs.owner(facts.block_id, index)
            aad = unit_aad((facts.block_id, index), pair, side, context.unit_bits)
            try:
                sealed = context.keyring.seal(plain, aad)
            finally:
                wipe(plain)
            rows.append(
                {
                    "block_id": facts.block_id,
                    "number": index,
                    "pair": pair,
                    "side": side,
                    "state": int(UnitState.FREE),
                    "made_ns": facts.made_ns,
                    "serial": 0,
                    "kek_id": context.keyring.kek_id,
                    "sealed": sealed,
                }
            )
    return rows


def add_block(
    transaction: Transaction,
    context: StoreContext,
    finished: FinishedKey,
    units: list[dict[str, Any]],
) -> bool:
    """Put a block and its units down; False if it is known already.

    What an incident has suspended or revoked meets its fate on arrival.
    """
    facts = finished.provenance
    connection = transaction.connection
    if known_blocks(connection, [facts.block_id]):
        return False
    fates = {
        verdict
        for suspension, verdict in standing(connection)
        if matches(suspension, facts.relay, facts.begun_ns, facts.made_ns)
    }
    revoked, suspended = Verdict.REVOKED in fates, Verdict.PENDING in fates
    connection.execute(
        insert(schema.block).values(
            block_id=facts.block_id,
            relay=facts.relay,
            acquisition=facts.acquisition,
            number=facts.block,
            begun_ns=facts.begun_ns,
            made_ns=facts.made_ns,
            added_ns=transaction.now_ns,
            length_bits=facts.length_bits,
            units=len(units),
            pairs_digest=context.pairs.digest,
            record=json.dumps(dict(facts.record)),
            at_peer=False,
            suspended=suspended,
            purged=False,
        )
    )
    held = Held.NOT_AT_PEER | (Held.SUSPENDED if suspended else Held(0))
    rows = [{**row, "held": int(held)} for row in units]
    if revoked:
        gone = {"state": int(UnitState.REVOKED), "kek_id": None, "sealed": None}
        rows = [{**row, **gone} for row in rows]
    if rows:
        connection.execute(insert(schema.unit), rows)
        count_seals(transaction, context.keyring.kek_id, len(rows))
    transaction.events.append(
        AuditEvent(
            "block-added",
            "system",
            f"block:{facts.block_id}",
            details={
                "relay": facts.relay,
                "acquisition": facts.acquisition,
                "block": facts.block,
                "length_bits": facts.length_bits,
                "units": len(units),
                "fate": "revoked" if revoked else "suspended" if suspended else "free",
            },
        )
    )
    return True


def known_blocks(connection: Connection, block_ids: Iterable[str]) -> set[str]:
    """Those of them that were ever added."""
    found: set[str] = set()
    for piece in chunks(block_ids):
        rows = connection.execute(
            select(schema.block.c.block_id).where(schema.block.c.block_id.in_(piece))
        )
        found |= {row.block_id for row in rows}
    return found


def usable_blocks(connection: Connection, block_ids: Iterable[str]) -> set[str]:
    """Those of them from which the peer may reserve: known, not suspended."""
    found: set[str] = set()
    for piece in chunks(block_ids):
        rows = connection.execute(
            select(schema.block.c.block_id).where(
                schema.block.c.block_id.in_(piece), ~schema.block.c.suspended
            )
        )
        found |= {row.block_id for row in rows}
    return found


def blocks_not_at_peer(connection: Connection, limit: int) -> list[str]:
    """Blocks that the peer has not said that it has, the oldest first."""
    c = schema.block.c
    rows = connection.execute(
        select(c.block_id).where(~c.at_peer, ~c.purged).order_by(c.made_ns, c.block_id).limit(limit)
    )
    return [row.block_id for row in rows]


def peer_has(transaction: Transaction, block_ids: Iterable[str]) -> int:
    """The peer has these blocks: their units may be given out. How many were new."""
    return _at_peer(transaction, block_ids, at_peer=True)


def peer_lacks(transaction: Transaction, block_ids: Iterable[str]) -> int:
    """The peer does not have these blocks, or has suspended them: until it says otherwise."""
    return _at_peer(transaction, block_ids, at_peer=False)


def _at_peer(transaction: Transaction, block_ids: Iterable[str], *, at_peer: bool) -> int:
    changed = 0
    b, u = schema.block.c, schema.unit.c
    bit = int(Held.NOT_AT_PEER)
    for piece in chunks(block_ids, 100):
        found = transaction.connection.execute(
            select(b.block_id).where(b.block_id.in_(piece), b.at_peer.is_(not at_peer))
        ).all()
        names = [row.block_id for row in found]
        if not names:
            continue
        changed += len(names)
        transaction.connection.execute(
            update(schema.block).where(b.block_id.in_(names)).values(at_peer=at_peer)
        )
        held = u.held.op("&")(~bit & 0xFF) if at_peer else u.held.op("|")(bit)
        transaction.connection.execute(
            update(schema.unit).where(u.block_id.in_(names)).values(held=held)
        )
    return changed


def stale_blocks(connection: Connection, digest: str) -> list[str]:
    """Blocks whose units were given to their owners by other pairs than these."""
    c = schema.block.c
    rows = connection.execute(select(c.block_id).where(c.pairs_digest != digest, ~c.purged))
    return [row.block_id for row in rows]


def reassign_block(transaction: Transaction, context: StoreContext, block_id: str) -> None:
    """Give a block's free units to whom they belong by the pairs of today.

    Both KMEs come to the same owners, as these follow from the pairs alone.
    """
    connection = transaction.connection
    c = schema.unit.c
    units = connection.execute(
        select(schema.unit).where(c.block_id == block_id, c.state == int(UnitState.FREE))
    ).all()
    free_units(transaction, context, units)
    connection.execute(
        update(schema.block)
        .where(schema.block.c.block_id == block_id)
        .values(pairs_digest=context.pairs.digest)
    )
    transaction.events.append(
        AuditEvent("block-reassigned", "system", f"block:{block_id}", details={"units": len(units)})
    )


def provenance_of(connection: Connection, block_ids: Iterable[str]) -> dict[str, Provenance]:
    """How blocks came about, by their names."""
    found: dict[str, Provenance] = {}
    for piece in chunks(block_ids):
        rows = connection.execute(select(schema.block).where(schema.block.c.block_id.in_(piece)))
        found |= {row.block_id: _provenance(row) for row in rows}
    return found


def _provenance(row: Row[Any]) -> Provenance:
    return Provenance(
        row.block_id,
        row.relay,
        row.acquisition,
        row.number,
        row.begun_ns,
        row.made_ns,
        row.length_bits,
        json.loads(row.record),
    )
