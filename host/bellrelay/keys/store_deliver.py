"""Handing keys out: to the master that reserved them, and once to each slave.

Bytes are unsealed inside the transaction that marks them as taken, and wiped from the store in the
same one where nobody here is owed them any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, and_, bindparam, exists, or_, select, update

from . import schema
from .audit_record import AuditEvent
from .database import Transaction
from .key_requests import DeliveredKey, FetchRefused, FetchRequest, Refusal
from .key_states import Held, KeyState
from .sealing import SealBroken
from .stored_keys import (
    StoreContext,
    StoredKey,
    end_keys,
    load_keys,
    set_key_states,
    unseal_key,
)

__all__ = ["Handover", "deliver", "discard_keys", "fetch", "owed"]


def discard_keys(results: Sequence[object]) -> None:
    """Wipe what was unsealed for nobody."""
    for result in results:
        if isinstance(result, DeliveredKey):
            result.wipe()
        elif isinstance(result, list):
            discard_keys(result)


Handover = Callable[[Transaction, Sequence[DeliveredKey]], None]
"""Does something with keys inside the transaction that hands them out: the keys are handed out if
and only if it is done. If it raises, nothing happens; it may be called again."""


def deliver(
    transaction: Transaction,
    context: StoreContext,
    key_ids: Sequence[str],
    handover: Handover | None = None,
) -> list[DeliveredKey | Refusal]:
    """Keys reserved here, to their masters, once."""
    taking = _Taking(transaction, context, key_ids)
    results: list[DeliveredKey | Refusal] = []
    try:
        for key_id in key_ids:
            key = taking.keys.get(key_id)
            refusal = _undeliverable(context, taking, key)
            if key is None or refusal is not None:
                results.append(refusal or Refusal.NOT_FOUND)
                continue
            results.append(taking.take(key, key.master))
        taking.put_down()
        if handover is not None:
            handover(transaction, [r for r in results if isinstance(r, DeliveredKey)])
    except BaseException:
        discard_keys(results)
        raise
    return results


def _undeliverable(context: StoreContext, taking: _Taking, key: StoredKey | None) -> Refusal | None:
    if key is None or key.row.side != context.side or taking.state(key) is not KeyState.RESERVED:
        return Refusal.NOT_FOUND
    if key.row.closing or (key.row.key_id, key.master) in taking.taken:
        return Refusal.NOT_FOUND
    return Refusal.SUSPENDED if key.suspended else None


def fetch(
    transaction: Transaction,
    context: StoreContext,
    requests: Sequence[FetchRequest],
    handover: Handover | None = None,
) -> list[list[DeliveredKey] | FetchRefused]:
    """Keys to slaves, once to each; every request gets all that it asks for, or nothing."""
    taking = _Taking(transaction, context, [k for r in requests for k in r.key_ids])
    results: list[list[DeliveredKey] | FetchRefused] = []
    try:
        for request in requests:
            results.append(_fetch_one(context, taking, request))
        taking.put_down()
        if handover is not None:
            handover(transaction, [k for got in results if isinstance(got, list) for k in got])
    except BaseException:
        discard_keys(results)
        raise
    return results


def owed(
    connection: Connection, context: StoreContext, sae: str, reserved_before_ns: int, limit: int
) -> list[FetchRequest]:
    """Keys that a slave here can fetch, each in a request of its own, the oldest first."""
    k, r, u = schema.key.c, schema.recipient.c, schema.unit.c
    fetchable = or_(
        k.state == int(KeyState.DELIVERED),
        and_(k.state == int(KeyState.RESERVED), k.side != context.side),
    )
    suspended = exists().where(u.key_id == k.key_id, u.held.op("&")(int(Held.SUSPENDED)) != 0)
    rows = connection.execute(
        select(k.key_id)
        .join(schema.recipient, r.key_id == k.key_id)
        .where(
            r.sae == sae,
            r.place > 0,
            r.here,
            r.taken_ns.is_(None),
            fetchable,
            ~suspended,
            k.reserved_ns < reserved_before_ns,
        )
        .order_by(k.reserved_ns, k.key_id)
        .limit(limit)
    ).all()
    keys = load_keys(connection, [row.key_id for row in rows])
    return [FetchRequest(sae, keys[row.key_id].master, (row.key_id,)) for row in rows]


def _fetch_one(
    context: StoreContext, taking: _Taking, request: FetchRequest
) -> list[DeliveredKey] | FetchRefused:
    refusals = {}
    for key_id in request.key_ids:
        refusal = _unfetchable(context, taking, request, key_id)
        if refusal is not None:
            refusals[key_id] = refusal
    if len(set(request.key_ids)) < len(request.key_ids):
        repeated = {k for k in request.key_ids if request.key_ids.count(k) > 1}
        refusals |= dict.fromkeys(repeated, Refusal.NOT_FOUND)
    if refusals:
        return FetchRefused(refusals)
    got: list[DeliveredKey] = []
    try:
        for key_id in request.key_ids:
            result = taking.open(taking.keys[key_id])
            if isinstance(result, Refusal):
                discard_keys(got)
                return FetchRefused({key_id: result})
            got.append(result)
    except BaseException:
        discard_keys(got)
        raise
    for key_id in request.key_ids:
        taking.mark(taking.keys[key_id], request.slave)
    return got


def _unfetchable(
    context: StoreContext, taking: _Taking, request: FetchRequest, key_id: str
) -> Refusal | None:
    key = taking.keys.get(key_id)
    # A key of another master is as unknown, so that nobody learns whether it exists.
    if key is None or key.master != request.master:
        return Refusal.NOT_FOUND
    if request.slave not in key.slaves:
        return Refusal.NOT_NAMED
    if taking.state(key).final:
        return Refusal.NOT_FOUND
    if key.row.side == context.side and taking.state(key) is KeyState.RESERVED:
        # Its master does not have it yet, and perhaps never will.
        return Refusal.NOT_FOUND
    mine = next(r for r in key.recipients if r.sae == request.slave)
    if not mine.here or mine.taken_ns is not None or (key_id, request.slave) in taking.taken:
        return Refusal.NOT_FOUND
    return Refusal.SUSPENDED if key.suspended else None


class _Taking:
    """What is taken in this transaction, on top of what the tables say."""

    def __init__(
        self, transaction: Transaction, context: StoreContext, key_ids: Sequence[str]
    ) -> None:
        self._transaction = transaction
        self._context = context
        self.keys = load_keys(transaction.connection, key_ids)
        self.taken: set[tuple[str, str]] = set()
        self._states: dict[str, KeyState] = {}

    def state(self, key: StoredKey) -> KeyState:
        """As it is by now."""
        return self._states.get(key.row.key_id, key.state)

    def open(self, key: StoredKey) -> DeliveredKey | Refusal:
        """Its bytes; a key whose seal is broken is revoked."""
        row = key.row
        try:
            plain = unseal_key(self._context, key)
        except SealBroken:
            self._states[row.key_id] = KeyState.REVOKED
            self._transaction.events.append(
                AuditEvent(
                    "key-damaged",
                    f"kme:{self._context.kme_id}",
                    f"key:{row.key_id}",
                    "failure",
                    {"pair": row.pair},
                )
            )
            return Refusal.DAMAGED
        return DeliveredKey(row.key_id, row.pair, row.size_bits, key.master, plain)

    def mark(self, key: StoredKey, sae: str) -> None:
        """An SAE has it from now on."""
        row = key.row
        self.taken.add((row.key_id, sae))
        owed = any(
            r.here and r.taken_ns is None and (row.key_id, r.sae) not in self.taken
            for r in key.recipients
        )
        self._states[row.key_id] = KeyState.DELIVERED if owed else KeyState.CONSUMED
        self._transaction.events.append(
            AuditEvent(
                "key-delivered",
                f"sae:{sae}",
                f"key:{row.key_id}",
                details={
                    "pair": row.pair,
                    "size_bits": row.size_bits,
                    "role": "master" if sae == key.master else "slave",
                },
            )
        )

    def take(self, key: StoredKey, sae: str) -> DeliveredKey | Refusal:
        """Open and mark."""
        result = self.open(key)
        if isinstance(result, DeliveredKey):
            self.mark(key, sae)
        return result

    def put_down(self) -> None:
        """Write it all into the tables."""
        transaction = self._transaction
        if self.taken:
            c = schema.recipient.c
            transaction.connection.execute(
                update(schema.recipient)
                .where(c.key_id == bindparam("the_key"), c.sae == bindparam("the_sae"))
                .values(taken_ns=transaction.now_ns),
                [{"the_key": key_id, "the_sae": sae} for key_id, sae in self.taken],
            )
        living = [(k, s) for k, s in self._states.items() if not s.final]
        set_key_states(transaction, living)
        for state in (KeyState.CONSUMED, KeyState.REVOKED):
            end_keys(transaction, [k for k, s in self._states.items() if s is state], state)
