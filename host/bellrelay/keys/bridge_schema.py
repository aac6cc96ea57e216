"""Tables of the bridges, in the database of the key store: one transaction covers both.

A key that a bridge takes leaves the store and enters the backlog in the same commit. So it is in
exactly one of the two at any time, whoever is killed.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text

from .schema import metadata

__all__ = ["bridge_entry", "bridge_turn"]

bridge_entry = Table(
    "bridge_entry",
    metadata,
    Column("bridge", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("state", Integer, nullable=False),
    Column("size_bits", Integer, nullable=False),
    Column("pair", Text, nullable=False),
    Column("master", Text, nullable=False),
    # JSON: how the blocks came about that it is made of, for incidents and for the manager.
    Column("blocks", Text, nullable=False),
    Column("sealed", LargeBinary),
    Column("kek_id", Text),
    Column("taken_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ns", BigInteger, nullable=False),
    Column("fault", Text, nullable=False),
    Column("remote_id", Text),
    Index("bridge_entry_next", "bridge", "state", "next_ns"),
)

# Who pushes for a bridge at present, so that two processes do not push the same key at once.
bridge_turn = Table(
    "bridge_turn",
    metadata,
    Column("bridge", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ns", BigInteger, nullable=False),
    Column("fault", Text, nullable=False),
)
