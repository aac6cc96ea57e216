"""Tables of the key store, for SQLite and PostgreSQL alike.

Names and numbers are in clear; key is in ``unit.sealed`` alone, sealed under a KEK (see
:mod:`.sealing`), and NULL once nobody here is owed it any more.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

__all__ = [
    "SCHEMA_VERSION",
    "about",
    "about_store",
    "block",
    "kek",
    "key",
    "metadata",
    "operation",
    "recipient",
    "suspension",
    "unit",
    "writer",
]

SCHEMA_VERSION = 1

metadata = MetaData()

about = Table(
    "about", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)
"""``kme_id``, ``schema``, ``unit_bits``: see :func:`about_store`."""

writer = Table(
    "writer",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("serial", BigInteger, nullable=False),
)
"""One row, locked by whoever writes. serial : of the last reservation."""

operation = Table(
    "operation",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("done_ns", BigInteger, nullable=False, index=True),
)
"""What was committed lately: asked when a connection broke during COMMIT."""

block = Table(
    "block",
    metadata,
    Column("block_id", Text, primary_key=True),
    Column("relay", Text, nullable=False),
    Column("acquisition", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("begun_ns", BigInteger, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("added_ns", BigInteger, nullable=False),
    Column("length_bits", BigInteger, nullable=False),
    Column("units", Integer, nullable=False),
    Column("pairs_digest", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("at_peer", Boolean, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("purged", Boolean, nullable=False),
    Index("block_by_relay", "relay", "made_ns"),
    Index("block_at_peer", "at_peer"),
)
"""pairs_digest : by which pairs its units were given to their owners. purged : none are left."""

unit = Table(
    "unit",
    metadata,
    Column("block_id", Text, ForeignKey("block.block_id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("pair", Text, nullable=False),
    Column("side", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("held", SmallInteger, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("key_id", Text),
    Column("place", Integer),
    Column("kek_id", Text),
    Column("sealed", LargeBinary),
    PrimaryKeyConstraint("block_id", "number"),
    Index("unit_to_give", "pair", "side", "state", "held", "made_ns", "block_id", "number"),
    Index("unit_of_key", "key_id"),
    Index("unit_of_kek", "kek_id"),
    sqlite_with_rowid=False,
)
"""state, held : UnitState, Held. serial : highest that was heard of. place : in its key."""

key = Table(
    "key",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("pair", Text, nullable=False),
    Column("side", SmallInteger, nullable=False),
    Column("size_bits", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("closing", Boolean, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("reserved_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Index("key_by_state", "state", "side", "reserved_ns"),
    sqlite_with_rowid=False,
)
"""closing : its release was begun, it is not delivered any more."""

recipient = Table(
    "recipient",
    metadata,
    Column("key_id", Text, ForeignKey("key.key_id", ondelete="CASCADE"), nullable=False),
    Column("sae", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("here", Boolean, nullable=False),
    Column("taken_ns", BigInteger),
    PrimaryKeyConstraint("key_id", "sae"),
    Index("recipient_owed", "sae", "taken_ns"),
    sqlite_with_rowid=False,
)
"""place : 0 the master, from 1 on the slaves. here : at this KME, so owed the key by it."""

suspension = Table(
    "suspension",
    metadata,
    Column("suspension_id", Text, primary_key=True),
    Column("relay", Text),
    Column("since_ns", BigInteger),
    Column("until_ns", BigInteger),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("begun_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("verdict", Text),
)

kek = Table(
    "kek",
    metadata,
    Column("kek_id", Text, primary_key=True),
    Column("first_ns", BigInteger, nullable=False),
    Column("sealed", BigInteger, nullable=False),
    Column("known", LargeBinary, nullable=False),
)
"""sealed : how many blobs were made under it. known : one of a known text, that tells whether a KEK
is still the one that it was, before its blobs count as broken."""


def about_store(kme_id: str, unit_bits: int) -> dict[str, str]:
    """Rows of ``about`` in a store of this version: one with others is not used."""
    return {"kme_id": kme_id, "schema": str(SCHEMA_VERSION), "unit_bits": str(unit_bits)}
