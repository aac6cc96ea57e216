"""Incident mode: key of a relay or of a time is held back in one step, until there is a verdict.

A suspension is a mark beside the state: nothing is lost by it. It covers what is in the store and
what comes in while it stands. *Resume* takes the mark off again; *revoke* wipes what it covers, and
what of the same relay and time comes in later.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, insert, null, select, true, update
from sqlalchemy.engine import Row

from . import schema
from .audit_record import AuditEvent
from .database import Transaction
from .key_states import Held, KeyState, UnitState
from .stored_keys import chunks, end_keys

__all__ = [
    "Scope",
    "Selector",
    "Suspension",
    "UnknownSuspension",
    "Verdict",
    "matches",
    "resume",
    "revoke",
    "revoke_keys",
    "scope_of",
    "standing",
    "suspend",
    "suspensions",
]


class UnknownSuspension(LookupError):
    """There is none of this name that still stands."""

    def __str__(self) -> str:
        return str(self.args[0])


class Verdict(StrEnum):
    """What became of a suspension."""

    PENDING = "pending"
    RELEASED = "released"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Selector:
    """Blocks of a relay, or of a time, or both; at least one is set.

    since_ns, until_ns : UTC, half open; a block is meant if any part of the time from the beginning
    of its collection until its key was made lies within.
    """

    relay: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None

    def __post_init__(self) -> None:
        if self.relay is None and self.since_ns is None and self.until_ns is None:
            raise ValueError("a relay or a time is needed: everything at once is not meant")
        if None not in (self.since_ns, self.until_ns) and self.since_ns >= self.until_ns:  # type: ignore[operator]
            raise ValueError("a time that ends before it begins")

    def where(self) -> ColumnElement[bool]:
        """Condition on ``block``."""
        c = schema.block.c
        parts: list[ColumnElement[bool]] = [true()]
        if self.relay is not None:
            parts.append(c.relay == self.relay)
        if self.since_ns is not None:
            parts.append(c.made_ns >= self.since_ns)
        if self.until_ns is not None:
            parts.append(c.begun_ns < self.until_ns)
        return and_(*parts)


def matches(selector: Selector, relay: str, begun_ns: int, made_ns: int) -> bool:
    """Whether a block is meant; the same as :meth:`Selector.where`."""
    return (
        selector.relay in (None, relay)
        and (selector.since_ns is None or made_ns >= selector.since_ns)
        and (selector.until_ns is None or begun_ns < selector.until_ns)
    )


@dataclass(frozen=True)
class Scope:
    """What a selector covers. Units: free ones. Keys: reserved or delivered in part, in flight;
    keys_out: of which everybody here has had theirs, so that nothing here can hold them back.
    """

    blocks: int
    units: int
    keys_in_flight: int
    keys_out: int


@dataclass(frozen=True)
class Suspension:
    """A suspension, standing or ended. scope : what it covers now, where that was asked for."""

    suspension_id: str
    selector: Selector
    reason: str
    actor: str
    begun_ns: int
    ended_ns: int | None
    verdict: Verdict
    scope: Scope | None = None


def scope_of(connection: Connection, selector: Selector) -> Scope:
    """Count what a selector covers."""
    b, u, k = schema.block.c, schema.unit.c, schema.key.c
    meant = select(b.block_id).where(selector.where())
    blocks = connection.execute(select(func.count()).select_from(meant.subquery())).scalar_one()
    units = connection.execute(
        select(func.count()).where(u.block_id.in_(meant), u.state == int(UnitState.FREE))
    ).scalar_one()
    keys = select(u.key_id).where(u.block_id.in_(meant), u.key_id.is_not(None))
    rows = connection.execute(
        select(k.state, func.count().label("n")).where(k.key_id.in_(keys)).group_by(k.state)
    )
    states = {row.state: row.n for row in rows}
    in_flight = states.get(KeyState.RESERVED, 0) + states.get(KeyState.DELIVERED, 0)
    return Scope(blocks, units, in_flight, states.get(KeyState.CONSUMED, 0))


def suspend(transaction: Transaction, selector: Selector, reason: str, actor: str) -> Suspension:
    """Hold back what a selector covers, and what of it comes in from now on."""
    suspension_id = str(uuid.uuid4())
    transaction.connection.execute(
        insert(schema.suspension).values(
            suspension_id=suspension_id,
            relay=selector.relay,
            since_ns=selector.since_ns,
            until_ns=selector.until_ns,
            reason=reason,
            actor=actor,
            begun_ns=transaction.now_ns,
        )
    )
    _mark(transaction, selector.where())
    scope = scope_of(transaction.connection, selector)
    _record(transaction, "keys-suspended", actor, suspension_id, selector, scope, reason)
    return Suspension(
        suspension_id, selector, reason, actor, transaction.now_ns, None, Verdict.PENDING, scope
    )


def resume(transaction: Transaction, suspension_id: str, actor: str, reason: str) -> Suspension:
    """The verdict is that the key is good. What another suspension covers stays held back."""
    standing_one = _standing(transaction, suspension_id)
    _end(transaction, suspension_id, Verdict.RELEASED, standing_one.selector)
    _unmark(transaction, standing_one.selector)
    scope = scope_of(transaction.connection, standing_one.selector)
    selector = standing_one.selector
    _record(transaction, "keys-resumed", actor, suspension_id, selector, scope, reason)
    return replace(standing_one, ended_ns=transaction.now_ns, verdict=Verdict.RELEASED, scope=scope)


def revoke(transaction: Transaction, suspension_id: str, actor: str, reason: str) -> Suspension:
    """The verdict is that the key is bad: it is wiped, and what comes in late of it, too.

    A suspension without an end ends now: what is made from now on is not meant.
    """
    found = _standing(transaction, suspension_id)
    selector = found.selector
    if selector.until_ns is None:
        selector = replace(selector, until_ns=max(transaction.now_ns, (selector.since_ns or 0) + 1))
    scope = scope_of(transaction.connection, selector)
    _end(transaction, suspension_id, Verdict.REVOKED, selector)
    # What was made after that end is free again.
    _unmark(transaction, found.selector)
    b, u, k = schema.block.c, schema.unit.c, schema.key.c
    meant = select(b.block_id).where(selector.where())
    in_flight = transaction.connection.execute(
        select(k.key_id).where(
            k.key_id.in_(select(u.key_id).where(u.block_id.in_(meant), u.key_id.is_not(None))),
            k.state.in_([int(KeyState.RESERVED), int(KeyState.DELIVERED)]),
        )
    ).all()
    end_keys(transaction, [row.key_id for row in in_flight], KeyState.REVOKED)
    transaction.connection.execute(
        update(schema.unit)
        .where(u.block_id.in_(meant), u.state == int(UnitState.FREE))
        .values(state=int(UnitState.REVOKED), sealed=null(), kek_id=null())
    )
    _record(transaction, "keys-revoked", actor, suspension_id, selector, scope, reason)
    return replace(
        found,
        selector=selector,
        ended_ns=transaction.now_ns,
        verdict=Verdict.REVOKED,
        scope=scope,
    )


def revoke_keys(
    transaction: Transaction, key_ids: Iterable[str], actor: str, reason: str
) -> list[str]:
    """Wipe single keys that are not out yet; those of which that is true."""
    k = schema.key.c
    revoked: list[str] = []
    for piece in chunks(dict.fromkeys(key_ids)):
        rows = transaction.connection.execute(
            select(k.key_id).where(
                k.key_id.in_(piece),
                k.state.in_([int(KeyState.RESERVED), int(KeyState.DELIVERED)]),
            )
        )
        revoked += [row.key_id for row in rows]
    end_keys(transaction, revoked, KeyState.REVOKED)
    transaction.events += [
        AuditEvent("key-revoked", actor, f"key:{key_id}", details={"reason": reason})
        for key_id in revoked
    ]
    return revoked


def suspensions(connection: Connection, *, only_standing: bool) -> list[Suspension]:
    """All of them, the latest last."""
    c = schema.suspension.c
    query = select(schema.suspension).order_by(c.begun_ns, c.suspension_id)
    if only_standing:
        query = query.where(c.ended_ns.is_(None))
    return [_suspension(row) for row in connection.execute(query)]


def standing(connection: Connection) -> list[tuple[Selector, Verdict]]:
    """What still decides about blocks that come in."""
    found = [(s.selector, s.verdict) for s in suspensions(connection, only_standing=False)]
    return [pair for pair in found if pair[1] is not Verdict.RELEASED]


def _suspension(row: Row[Any]) -> Suspension:
    return Suspension(
        row.suspension_id,
        Selector(row.relay, row.since_ns, row.until_ns),
        row.reason,
        row.actor,
        row.begun_ns,
        row.ended_ns,
        Verdict(row.verdict) if row.verdict else Verdict.PENDING,
    )


def _standing(transaction: Transaction, suspension_id: str) -> Suspension:
    c = schema.suspension.c
    row = transaction.connection.execute(
        select(schema.suspension).where(c.suspension_id == suspension_id, c.ended_ns.is_(None))
    ).first()
    if row is None:
        raise UnknownSuspension(f"no suspension {suspension_id} stands")
    return _suspension(row)


def _end(
    transaction: Transaction, suspension_id: str, verdict: Verdict, selector: Selector
) -> None:
    transaction.connection.execute(
        update(schema.suspension)
        .where(schema.suspension.c.suspension_id == suspension_id)
        .values(ended_ns=transaction.now_ns, verdict=str(verdict), until_ns=selector.until_ns)
    )


def _mark(transaction: Transaction, where: ColumnElement[bool]) -> None:
    b, u = schema.block.c, schema.unit.c
    meant = select(b.block_id).where(where)
    transaction.connection.execute(
        update(schema.unit)
        .where(u.block_id.in_(meant))
        .values(held=u.held.op("|")(int(Held.SUSPENDED)))
    )
    transaction.connection.execute(update(schema.block).where(where).values(suspended=True))


def _unmark(transaction: Transaction, selector: Selector) -> None:
    """Take the mark off what it covers, and put it on again where another suspension stands."""
    b, u = schema.block.c, schema.unit.c
    meant = select(b.block_id).where(selector.where())
    keep = ~int(Held.SUSPENDED) & 0xFF
    transaction.connection.execute(
        update(schema.unit).where(u.block_id.in_(meant)).values(held=u.held.op("&")(keep))
    )
    transaction.connection.execute(
        update(schema.block).where(selector.where()).values(suspended=False)
    )
    for other in suspensions(transaction.connection, only_standing=True):
        _mark(transaction, other.selector.where())


def _record(
    transaction: Transaction,
    action: str,
    actor: str,
    suspension_id: str,
    selector: Selector,
    scope: Scope,
    reason: str,
) -> None:
    details: dict[str, str | int | float] = {
        "reason": reason,
        "blocks": scope.blocks,
        "units": scope.units,
        "keys_in_flight": scope.keys_in_flight,
        "keys_out": scope.keys_out,
    }
    if selector.relay is not None:
        details["relay"] = selector.relay
    if selector.since_ns is not None:
        details["since_ns"] = selector.since_ns
    if selector.until_ns is not None:
        details["until_ns"] = selector.until_ns
    transaction.events.append(
        AuditEvent(action, actor, f"suspension:{suspension_id}", details=details)
    )
