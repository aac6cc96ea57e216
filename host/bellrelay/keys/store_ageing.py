"""What time does to keys: they expire, they are sealed anew, and what is over is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, null, select, update
from sqlalchemy.engine import Row

from . import schema
from .audit_record import AuditEvent
from .cutting import unit_aad
from .database import Transaction
from .key_states import KeyState, UnitState
from .sealing import SealBroken
from .stored_keys import StoreContext, count_seals, end_keys
from .wiping import wipe

__all__ = ["Expired", "expire", "purge", "put_resealed", "resealed", "units_under_other_keks"]

_LIVING = [int(KeyState.RESERVED), int(KeyState.DELIVERED)]


@dataclass(frozen=True)
class Expired:
    """How many units and keys have expired in one step."""

    units: int = 0
    keys: int = 0


def expire(
    transaction: Transaction,
    context: StoreContext,
    made_before_ns: int | None,
    reserved_before_ns: int | None,
    limit: int,
) -> Expired:
    """Wipe units made, and keys reserved, before a time; at most ``limit`` of each."""
    connection = transaction.connection
    units, keys = 0, 0
    u, k = schema.unit.c, schema.key.c
    if made_before_ns is not None:
        old = (
            select(schema.block.c.block_id)
            .where(
                schema.block.c.made_ns < made_before_ns,
                ~schema.block.c.purged,
                exists().where(
                    u.block_id == schema.block.c.block_id, u.state == int(UnitState.FREE)
                ),
            )
            .order_by(schema.block.c.made_ns)
            .limit(max(1, limit // 1000))
        )
        for row in connection.execute(old).all():
            done = connection.execute(
                update(schema.unit)
                .where(u.block_id == row.block_id, u.state == int(UnitState.FREE))
                .values(state=int(UnitState.EXPIRED), sealed=null(), kek_id=null())
            )
            units += done.rowcount
            transaction.events.append(
                AuditEvent(
                    "units-expired",
                    f"kme:{context.kme_id}",
                    f"block:{row.block_id}",
                    details={"units": done.rowcount},
                )
            )
    if reserved_before_ns is not None:
        rows = connection.execute(
            select(k.key_id)
            .where(k.state.in_(_LIVING), k.reserved_ns < reserved_before_ns)
            .limit(limit)
        ).all()
        end_keys(transaction, [row.key_id for row in rows], KeyState.EXPIRED)
        keys = len(rows)
        transaction.events += [
            AuditEvent("key-expired", f"kme:{context.kme_id}", f"key:{row.key_id}") for row in rows
        ]
    return Expired(units, keys)


def purge(transaction: Transaction, ended_before_ns: int, limit: int) -> int:
    """Forget keys that ended before a time, and units of blocks of which nothing lives.

    The block's own row stays: it is never added again. How many rows of keys went.
    """
    connection = transaction.connection
    b, u, k = schema.block.c, schema.unit.c, schema.key.c
    rows = connection.execute(
        select(k.key_id)
        .where(k.state >= int(KeyState.CONSUMED), k.changed_ns < ended_before_ns)
        .limit(limit)
    ).all()
    names = [row.key_id for row in rows]
    connection.execute(delete(schema.recipient).where(schema.recipient.c.key_id.in_(names)))
    connection.execute(delete(schema.key).where(k.key_id.in_(names)))
    over = (
        select(b.block_id)
        .where(
            b.added_ns < ended_before_ns,
            ~b.purged,
            ~exists().where(u.block_id == b.block_id, u.state < int(UnitState.CONSUMED)),
            ~exists().where(u.block_id == b.block_id, u.key_id == k.key_id),
        )
        .limit(max(1, limit // 1000))
    )
    for block in connection.execute(over).all():
        connection.execute(delete(schema.unit).where(u.block_id == block.block_id))
        connection.execute(
            update(schema.block).where(b.block_id == block.block_id).values(purged=True)
        )
    return len(names)


def units_under_other_keks(connection: Connection, kek_id: str, limit: int) -> list[Row[Any]]:
    """Units that are sealed under another KEK than this."""
    c = schema.unit.c
    return list(
        connection.execute(
            select(schema.unit).where(c.kek_id.is_not(None), c.kek_id != kek_id).limit(limit)
        )
    )


def resealed(context: StoreContext, units: list[Row[Any]]) -> list[dict[str, Any]]:
    """The same units under the KEK of today; without those whose seal is broken."""
    changes = []
    for unit in units:
        aad = unit_aad((unit.block_id, unit.number), unit.pair, unit.side, context.unit_bits)
        try:
            plain = context.keyring.unseal(bytes(unit.sealed), aad)
        except SealBroken:
            changes.append({**_place(unit), "the_blob": None, "the_kek": None})
            continue
        try:
            blob = context.keyring.seal(plain, aad)
        finally:
            wipe(plain)
        changes.append({**_place(unit), "the_blob": blob, "the_kek": context.keyring.kek_id})
    return changes


def _place(unit: Row[Any]) -> dict[str, Any]:
    return {"the_block": unit.block_id, "the_number": unit.number, "the_old": bytes(unit.sealed)}


def put_resealed(
    transaction: Transaction, context: StoreContext, changes: list[dict[str, Any]]
) -> int:
    """Put them down, where nothing has happened to the unit meanwhile. How many were changed."""
    good = [change for change in changes if change["the_blob"] is not None]
    broken = [change for change in changes if change["the_blob"] is None]
    changed = 0
    c = schema.unit.c
    if good:
        statement = (
            update(schema.unit)
            .where(
                c.block_id == bindparam("the_block"),
                c.number == bindparam("the_number"),
                c.sealed == bindparam("the_old"),
            )
            .values(sealed=bindparam("the_blob"), kek_id=bindparam("the_kek"))
        )
        transaction.connection.execute(statement, good)
        changed = len(good)
        count_seals(transaction, context.keyring.kek_id, len(good))
    for change in broken:
        _break(transaction, context, change)
    if changed:
        transaction.events.append(
            AuditEvent(
                "keys-resealed",
                f"kme:{context.kme_id}",
                f"kek:{context.keyring.kek_id}",
                details={"units": changed},
            )
        )
    return changed + len(broken)


def _break(transaction: Transaction, context: StoreContext, change: dict[str, Any]) -> None:
    """A unit whose seal is broken is revoked, and the key that it is part of."""
    c = schema.unit.c
    row = transaction.connection.execute(
        select(c.key_id).where(
            c.block_id == change["the_block"],
            c.number == change["the_number"],
            c.sealed == change["the_old"],
        )
    ).first()
    if row is None:
        return
    if row.key_id is not None:
        end_keys(transaction, [row.key_id], KeyState.REVOKED)
    else:
        transaction.connection.execute(
            update(schema.unit)
            .where(c.block_id == change["the_block"], c.number == change["the_number"])
            .values(state=int(UnitState.REVOKED), sealed=null(), kek_id=null())
        )
    transaction.events.append(
        AuditEvent(
            "unit-damaged",
            f"kme:{context.kme_id}",
            f"block:{change['the_block']}",
            "failure",
            {"unit": change["the_number"]},
        )
    )
