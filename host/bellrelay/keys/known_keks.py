"""KEKs that the store has used: whether each is still the one that it was, and how worn it is.

A blob that does not open counts as broken, and its key is revoked. So before anything else a KEK
must open what it sealed when the store first met it: an HSM with another key of the same name must
not cost every key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from . import schema
from .audit_record import AuditEvent
from .database import Transaction
from .sealing import Keyring, SealBroken, Sealer
from .store_errors import StoreError

__all__ = [
    "KekUse",
    "kek_use",
    "know_keks",
    "require_configured",
    "require_known",
    "sealed_under",
]

_TEXT = b"bellrelay: this KEK is the one that it was"
_AAD = b"bellrelay kek 1"


@dataclass(frozen=True)
class KekUse:
    """Since when (UTC, ns) a KEK was used, and for how many blobs."""

    kek_id: str
    first_ns: int
    seals: int


def know_keks(transaction: Transaction, keyring: Keyring) -> None:
    """Meet the KEKs.

    Raises
    ------
    StoreError
        One is not what it was.
    SealerUnavailable
        One cannot be used.
    """
    connection = transaction.connection
    rows = {row.kek_id: row for row in connection.execute(select(schema.kek))}
    for sealer in keyring:
        row = rows.get(sealer.kek_id)
        if row is not None:
            require_known(sealer, bytes(row.known))
        elif sealer.kek_id == keyring.kek_id:
            connection.execute(
                insert(schema.kek).values(
                    kek_id=sealer.kek_id,
                    first_ns=transaction.now_ns,
                    sealed=1,
                    known=sealer.seal(_TEXT, _AAD),
                )
            )
            transaction.events.append(AuditEvent("kek-used", "system", f"kek:{sealer.kek_id}"))


def sealed_under(connection: Connection) -> dict[str, int]:
    """KEKs under which something is sealed, and how many units are."""
    c = schema.unit.c
    query = (
        select(c.kek_id, func.count().label("n")).where(c.kek_id.is_not(None)).group_by(c.kek_id)
    )
    return {row.kek_id: row.n for row in connection.execute(query)}


def require_configured(used: Iterable[str], keyring: Keyring, store: str) -> None:
    """Whether every KEK that key is sealed under is there. StoreError, naming the store."""
    missing = set(used) - keyring.kek_ids
    if missing:
        raise StoreError(
            f"{store}: key is sealed under {', '.join(sorted(missing))}, which is not configured"
        )


def require_known(sealer: Sealer, known: bytes) -> None:
    """Whether a KEK opens what it sealed when the store first met it.

    Raises
    ------
    StoreError
        It is not what it was.
    SealerUnavailable
        It cannot be used.
    """
    try:
        sealer.unseal(known, _AAD)
    except SealBroken:
        raise StoreError(f"{sealer.kek_id}: not the KEK that it was") from None


def kek_use(connection: Connection, kek_id: str) -> KekUse:
    """How worn a KEK is that the store has met."""
    c = schema.kek.c
    row = connection.execute(select(c.first_ns, c.sealed).where(c.kek_id == kek_id)).one()
    return KekUse(kek_id, row.first_ns, row.sealed)
