"""Keys as they lie in the tables: loading them whole, opening them, and ending them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, null, select, update
from sqlalchemy.engine import Row

from . import schema
from .cutting import UnitRef, join, unit_aad
from .database import Transaction
from .key_requests import KeyInfo, Reservation
from .key_states import Held, KeyState, UnitState
from .pairs import Pairs
from .sealing import Keyring
from .wiping import wipe

__all__ = [
    "StoreContext",
    "StoredKey",
    "chunks",
    "count_seals",
    "end_keys",
    "free_units",
    "load_keys",
    "set_key_states",
    "unseal_key",
]

_CHUNK = 500
T = TypeVar("T")


@dataclass(frozen=True)
class StoreContext:
    """What every step needs to know. side : of this KME."""

    kme_id: str
    side: int
    pairs: Pairs
    keyring: Keyring
    unit_bits: int


@dataclass
class StoredKey:
    """A key with its recipients and units; rows of the tables, in their order."""

    row: Row[Any]
    recipients: list[Row[Any]] = field(default_factory=list)
    units: list[Row[Any]] = field(default_factory=list, repr=False)

    @property
    def state(self) -> KeyState:
        """Its state."""
        return KeyState(self.row.state)

    @property
    def suspended(self) -> bool:
        """Whether a mark on any of its units keeps it from being delivered."""
        return any(unit.held & Held.SUSPENDED for unit in self.units)

    @property
    def refs(self) -> tuple[UnitRef, ...]:
        """Its units' names."""
        return tuple((unit.block_id, unit.number) for unit in self.units)

    @property
    def master(self) -> str:
        """Who asked for it."""
        return str(self.recipients[0].sae)

    @property
    def slaves(self) -> tuple[str, ...]:
        """Who else may have it."""
        return tuple(recipient.sae for recipient in self.recipients[1:])

    def reservation(self) -> Reservation:
        """As the peer must know it."""
        row = self.row
        return Reservation(
            row.key_id,
            row.pair,
            row.side,
            self.master,
            self.slaves,
            row.size_bits,
            row.serial,
            self.refs,
        )

    def info(self) -> KeyInfo:
        """As people may know it."""
        row = self.row
        return KeyInfo(
            row.key_id,
            row.pair,
            row.side,
            row.size_bits,
            self.state,
            self.suspended,
            self.master,
            self.slaves,
            row.reserved_ns,
            row.changed_ns,
            self.refs,
            {r.sae: r.taken_ns for r in self.recipients if r.taken_ns is not None},
        )


def chunks(values: Iterable[T], size: int = _CHUNK) -> Iterator[list[T]]:
    """Lists of at most ``size`` values: a statement has no room for any number of them."""
    iterator = iter(values)
    while piece := list(islice(iterator, size)):
        yield piece


def load_keys(connection: Connection, key_ids: Iterable[str]) -> dict[str, StoredKey]:
    """Those of the keys that are known."""
    keys: dict[str, StoredKey] = {}
    for piece in chunks(dict.fromkeys(key_ids)):
        found = connection.execute(select(schema.key).where(schema.key.c.key_id.in_(piece)))
        keys |= {row.key_id: StoredKey(row) for row in found}
        recipients = select(schema.recipient).where(schema.recipient.c.key_id.in_(piece))
        for row in connection.execute(recipients.order_by(schema.recipient.c.place)):
            keys[row.key_id].recipients.append(row)
        units = select(schema.unit).where(schema.unit.c.key_id.in_(piece))
        for row in connection.execute(units.order_by(schema.unit.c.place)):
            if row.key_id in keys:
                keys[row.key_id].units.append(row)
    return keys


def unseal_key(context: StoreContext, key: StoredKey) -> bytearray:
    """Its bytes, for the caller to wipe. SealBroken, SealerUnavailable."""
    plain: list[bytearray] = []
    try:
        for unit in key.units:
            aad = unit_aad((unit.block_id, unit.number), unit.pair, unit.side, context.unit_bits)
            plain.append(context.keyring.unseal(bytes(unit.sealed or b""), aad))
        return join(plain, key.row.size_bits)
    finally:
        wipe(*plain)


def set_key_states(transaction: Transaction, states: Sequence[tuple[str, KeyState]]) -> None:
    """Put keys into states that keep their bytes."""
    if states:
        transaction.connection.execute(
            update(schema.key)
            .where(schema.key.c.key_id == bindparam("the_key"))
            .values(state=bindparam("the_state"), changed_ns=transaction.now_ns),
            [{"the_key": key_id, "the_state": int(state)} for key_id, state in states],
        )


def end_keys(transaction: Transaction, key_ids: Iterable[str], state: KeyState) -> None:
    """Put keys into a final state and wipe their units' sealed bytes."""
    unit_state = {
        KeyState.CONSUMED: UnitState.CONSUMED,
        KeyState.REVOKED: UnitState.REVOKED,
        KeyState.EXPIRED: UnitState.EXPIRED,
    }[state]
    for piece in chunks(key_ids):
        transaction.connection.execute(
            update(schema.key)
            .where(schema.key.c.key_id.in_(piece))
            .values(state=int(state), closing=False, changed_ns=transaction.now_ns)
        )
        transaction.connection.execute(
            update(schema.unit)
            .where(schema.unit.c.key_id.in_(piece))
            .values(state=int(unit_state), sealed=null(), kek_id=null())
        )


def free_units(transaction: Transaction, context: StoreContext, units: Sequence[Row[Any]]) -> None:
    """Give units back to whom they belong, which the pairs may say otherwise by now."""
    changes = []
    sealed = 0
    for unit in units:
        ref = (unit.block_id, unit.number)
        pair, side = context.pairs.owner(*ref)
        kek_id, blob = unit.kek_id, unit.sealed
        if (pair, side) != (unit.pair, unit.side):
            plain = context.keyring.unseal(
                bytes(blob), unit_aad(ref, unit.pair, unit.side, context.unit_bits)
            )
            try:
                blob = context.keyring.seal(plain, unit_aad(ref, pair, side, context.unit_bits))
            finally:
                wipe(plain)
            kek_id = context.keyring.kek_id
            sealed += 1
        changes.append(
            {
                "the_block": unit.block_id,
                "the_number": unit.number,
                "the_pair": pair,
                "the_side": side,
                "the_kek": kek_id,
                "the_blob": blob,
            }
        )
    if changes:
        c = schema.unit.c
        transaction.connection.execute(
            update(schema.unit)
            .where(c.block_id == bindparam("the_block"), c.number == bindparam("the_number"))
            .values(
                state=int(UnitState.FREE),
                key_id=null(),
                place=null(),
                pair=bindparam("the_pair"),
                side=bindparam("the_side"),
                kek_id=bindparam("the_kek"),
                sealed=bindparam("the_blob"),
            ),
            changes,
        )
    count_seals(transaction, context.keyring.kek_id, sealed)


def count_seals(transaction: Transaction, kek_id: str, number: int) -> None:
    """Remember that so many more blobs were made under a KEK."""
    if not number:
        return
    transaction.connection.execute(
        update(schema.kek)
        .where(schema.kek.c.kek_id == kek_id)
        .values(sealed=schema.kek.c.sealed + number)
    )
