"""Setting keys aside: at the KME whose units they are, at its peer, and back again.

The order, each step committed before the next: *reserve* here, *adopt* at the peer, *deliver* here.
Who dies in between leaves a reservation that was never delivered; it goes back by *begin release*
here, *withdraw* at the peer, *release* here. From begin release on the key is not delivered any
more, so that what the peer gives up cannot have reached anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.engine import Row

from . import schema
from .audit_record import AuditEvent
from .cutting import UnitRef, key_id_of, units_needed
from .database import Transaction
from .key_requests import PeerAnswer, Reservation, ReserveRequest, Shortage
from .key_states import Held, KeyState, UnitState
from .store_blocks import known_blocks, peer_lacks
from .stored_keys import StoreContext, StoredKey, chunks, end_keys, free_units, load_keys

__all__ = ["adopt", "begin_release", "release", "reserve", "undelivered", "withdraw"]


def reserve(
    transaction: Transaction,
    context: StoreContext,
    requests: Sequence[ReserveRequest],
    not_made_before_ns: int,
    newest_first: bool,
) -> list[list[Reservation] | Shortage]:
    """Set keys aside for every request that can be met in full, in the order of requests."""
    serial = _next_serial(transaction)
    groups: dict[tuple[str, int], list[int]] = {}
    for place, request in enumerate(requests):
        oldest = not_made_before_ns
        if request.max_age_s is not None:
            oldest = max(oldest, transaction.now_ns - int(request.max_age_s * 1e9))
        groups.setdefault((request.pair, oldest), []).append(place)
    answers: dict[int, list[Reservation] | Shortage] = {}
    for (pair, oldest), places in groups.items():
        wanted = sum(_units(context, requests[place]) for place in places)
        units = _free(transaction.connection, pair, context.side, oldest, newest_first, wanted)
        given: list[Reservation] = []
        at = 0
        for place in places:
            request = requests[place]
            if _units(context, request) > len(units) - at:
                answers[place] = Shortage(pair, len(units) - at)
                continue
            made = _reservations(
                context, request, units[at : at + _units(context, request)], serial
            )
            at += _units(context, request)
            answers[place] = made
            given += made
        _put_down(transaction, context, given)
    return [answers[place] for place in range(len(requests))]


def _next_serial(transaction: Transaction) -> int:
    """Higher than any before, also those of which a store from a backup does not know any more."""
    connection = transaction.connection
    last = connection.execute(select(schema.writer.c.serial)).scalar_one()
    serial = max(int(last) + 1, transaction.now_ns)
    connection.execute(update(schema.writer).values(serial=serial))
    return serial


def _units(context: StoreContext, request: ReserveRequest) -> int:
    return request.count * units_needed(request.size_bits, context.unit_bits)


def _free(
    connection: Connection, pair: str, side: int, oldest_ns: int, newest_first: bool, wanted: int
) -> list[UnitRef]:
    c = schema.unit.c
    order = c.made_ns.desc() if newest_first else c.made_ns
    rows = connection.execute(
        select(c.block_id, c.number)
        .where(
            c.pair == pair,
            c.side == side,
            c.state == int(UnitState.FREE),
            c.held == 0,
            c.made_ns >= oldest_ns,
        )
        .order_by(order, c.block_id, c.number)
        .limit(wanted)
    )
    return [(row.block_id, row.number) for row in rows]


def _reservations(
    context: StoreContext, request: ReserveRequest, units: Sequence[UnitRef], serial: int
) -> list[Reservation]:
    each = units_needed(request.size_bits, context.unit_bits)
    return [
        Reservation(
            key_id_of(part, request.size_bits, context.unit_bits),
            request.pair,
            context.side,
            request.master,
            request.slaves,
            request.size_bits,
            serial,
            tuple(part),
        )
        for part in (units[i : i + each] for i in range(0, len(units), each))
    ]


def _put_down(
    transaction: Transaction, context: StoreContext, reservations: Sequence[Reservation]
) -> None:
    if not reservations:
        return
    connection = transaction.connection
    now = transaction.now_ns
    connection.execute(
        insert(schema.key),
        [
            {
                "key_id": r.key_id,
                "pair": r.pair,
                "side": r.side,
                "size_bits": r.size_bits,
                "state": int(KeyState.RESERVED),
                "closing": False,
                "serial": r.serial,
                "reserved_ns": now,
                "changed_ns": now,
            }
            for r in reservations
        ],
    )
    connection.execute(
        insert(schema.recipient),
        [
            {
                "key_id": r.key_id,
                "sae": sae,
                "place": place,
                "here": context.pairs.side_of(sae) == context.side,
            }
            for r in reservations
            for place, sae in enumerate((r.master, *r.slaves))
        ],
    )
    c = schema.unit.c
    connection.execute(
        update(schema.unit)
        .where(c.block_id == bindparam("the_block"), c.number == bindparam("the_number"))
        .values(
            state=int(UnitState.RESERVED),
            key_id=bindparam("the_key"),
            place=bindparam("the_place"),
            serial=bindparam("the_serial"),
        ),
        [
            {
                "the_block": block_id,
                "the_number": number,
                "the_key": r.key_id,
                "the_place": place,
                "the_serial": r.serial,
            }
            for r in reservations
            for place, (block_id, number) in enumerate(r.units)
        ],
    )
    own = reservations[0].side == context.side
    transaction.events += [
        AuditEvent(
            "key-reserved" if own else "key-adopted",
            f"sae:{r.master}" if own else f"kme:{context.pairs.kme_ids[r.side]}",
            f"key:{r.key_id}",
            details={"pair": r.pair, "size_bits": r.size_bits, "slaves": " ".join(r.slaves)},
        )
        for r in reservations
    ]


# ------------------------------------------------------------------------------------- at the peer


def adopt(
    transaction: Transaction, context: StoreContext, reservations: Sequence[Reservation]
) -> list[PeerAnswer]:
    """Set aside what the other KME has reserved: ADOPTED, NOT_HERE or GONE, each on its own.

    Said again, it is the same.
    """
    state = _PeerState(transaction, context, reservations)
    answers = []
    adopted: list[Reservation] = []
    claimed: set[UnitRef] = set()
    for reservation in reservations:
        answer = state.verdict(reservation)
        if answer is None:
            if claimed.isdisjoint(reservation.units):
                claimed.update(reservation.units)
                adopted.append(reservation)
                answer = PeerAnswer.ADOPTED
            else:
                answer = PeerAnswer.GONE
        answers.append(answer)
    _put_down(transaction, context, adopted)
    return answers


def withdraw(
    transaction: Transaction, context: StoreContext, reservations: Sequence[Reservation]
) -> list[PeerAnswer]:
    """The other KME gives up what it reserved: RELEASED, CONSUMED, NOT_HERE or GONE.

    Said again, it is the same. An ADOPT of the same or an earlier serial that comes late is refused
    from now on.
    """
    state = _PeerState(transaction, context, reservations)
    answers = []
    given_up: set[str] = set()
    released: list[Reservation] = []
    for reservation in reservations:
        key = state.keys.get(reservation.key_id)
        if key is not None and key.reservation() == reservation and state.legal(reservation):
            if key.state is KeyState.RESERVED:
                given_up.add(reservation.key_id)
                released.append(reservation)
                answers.append(PeerAnswer.RELEASED)
            elif key.state in (KeyState.DELIVERED, KeyState.CONSUMED):
                answers.append(PeerAnswer.CONSUMED)
            else:
                answers.append(PeerAnswer.GONE)
            continue
        answer = state.verdict(reservation, withdrawn=True)
        if answer is None:
            released.append(reservation)
            answer = PeerAnswer.RELEASED
        answers.append(answer)
    state.give_up(given_up)
    c = schema.unit.c
    fences = [
        {"the_block": block_id, "the_number": number, "the_serial": r.serial}
        for r in released
        for block_id, number in r.units
    ]
    if fences:
        transaction.connection.execute(
            update(schema.unit)
            .where(
                c.block_id == bindparam("the_block"),
                c.number == bindparam("the_number"),
                c.serial < bindparam("the_serial"),
            )
            .values(serial=bindparam("the_serial")),
            fences,
        )
    return answers


class _PeerState:
    """What this KME's tables say of reservations of the other's."""

    def __init__(
        self, transaction: Transaction, context: StoreContext, reservations: Sequence[Reservation]
    ) -> None:
        self._transaction = transaction
        self._context = context
        connection = transaction.connection
        refs = {unit for r in reservations for unit in r.units}
        self._units = _load_units(connection, refs)
        self._blocks = known_blocks(connection, {block_id for block_id, _ in refs})
        self.keys = load_keys(connection, {r.key_id for r in reservations})

    def verdict(self, reservation: Reservation, *, withdrawn: bool = False) -> PeerAnswer | None:
        """The answer, or None: every unit is free here, or can be made so."""
        if not self.legal(reservation):
            return PeerAnswer.GONE
        key = self.keys.get(reservation.key_id)
        if not withdrawn and key is not None and key.reservation() == reservation:
            alive = key.state in (KeyState.RESERVED, KeyState.DELIVERED, KeyState.CONSUMED)
            return PeerAnswer.ADOPTED if alive else PeerAnswer.GONE
        for ref in reservation.units:
            if ref[0] not in self._blocks:
                return PeerAnswer.NOT_HERE
            unit = self._units.get(ref)
            if unit is None or not self._obtainable(reservation, unit, withdrawn):
                return PeerAnswer.GONE
        suspended = any(self._units[ref].held & Held.SUSPENDED for ref in reservation.units)
        return PeerAnswer.NOT_HERE if suspended and not withdrawn else None

    def legal(self, r: Reservation) -> bool:
        """Whether the other KME may reserve so: the rules that keep tenants apart."""
        context = self._context
        pair = context.pairs.named(r.pair)
        if pair is None or r.side == context.side or r.master != pair.sae(r.side):
            return False
        if pair.sae(context.side) not in r.slaves or len(set(r.slaves)) < len(r.slaves):
            return False
        if not all(context.pairs.may_reach(r.master, slave) for slave in r.slaves):
            return False
        if r.size_bits % 8 or not r.units or len(set(r.units)) < len(r.units):
            return False
        if len(r.units) != units_needed(r.size_bits, context.unit_bits):
            return False
        try:
            return key_id_of(r.units, r.size_bits, context.unit_bits) == r.key_id
        except ValueError:
            return False

    def _obtainable(self, reservation: Reservation, unit: Row[Any], withdrawn: bool) -> bool:
        """Whether it is free, and this is the latest word of it.

        A unit that another reservation holds stays with that, as its owner releases nothing before
        we have heard of it: an owner that does not know its own reservation is one from a backup,
        and its master may have that key.
        """
        if (unit.pair, unit.side) != (reservation.pair, reservation.side):
            return False
        if unit.serial > reservation.serial or (
            unit.serial == reservation.serial and not withdrawn
        ):
            return False
        return bool(unit.state == UnitState.FREE)

    def give_up(self, key_ids: Iterable[str]) -> None:
        """Adopted keys that nobody has: their units are free again."""
        _forget(self._transaction, self._context, [self.keys[key_id] for key_id in key_ids])


def _load_units(connection: Connection, refs: Iterable[UnitRef]) -> dict[UnitRef, Row[Any]]:
    found = {}
    c = schema.unit.c
    for piece in chunks(sorted(refs), 200):
        where = or_(*(and_(c.block_id == block, c.number == number) for block, number in piece))
        for row in connection.execute(select(schema.unit).where(where)):
            found[row.block_id, row.number] = row
    return found


def _forget(transaction: Transaction, context: StoreContext, keys: Sequence[StoredKey]) -> None:
    """Delete keys that nobody has; their units are free again."""
    free_units(transaction, context, [unit for key in keys for unit in key.units])
    for piece in chunks(key.row.key_id for key in keys):
        transaction.connection.execute(
            delete(schema.recipient).where(schema.recipient.c.key_id.in_(piece))
        )
        transaction.connection.execute(delete(schema.key).where(schema.key.c.key_id.in_(piece)))
    transaction.events += [
        AuditEvent("key-released", f"kme:{context.kme_id}", f"key:{key.row.key_id}") for key in keys
    ]


# ------------------------------------------------------------------------------------- back again


def undelivered(
    connection: Connection, context: StoreContext, reserved_before_ns: int, limit: int
) -> list[Reservation]:
    """Keys reserved here before a time that their master does not have, the oldest first."""
    c = schema.key.c
    rows = connection.execute(
        select(c.key_id)
        .where(
            c.side == context.side,
            c.state == int(KeyState.RESERVED),
            c.reserved_ns < reserved_before_ns,
        )
        .order_by(c.reserved_ns, c.key_id)
        .limit(limit)
    ).all()
    keys = load_keys(connection, [row.key_id for row in rows])
    return [keys[row.key_id].reservation() for row in rows]


def begin_release(
    transaction: Transaction, context: StoreContext, key_ids: Sequence[str]
) -> list[Reservation]:
    """From now on these are not delivered; those of them of which that is true, for the peer."""
    keys = load_keys(transaction.connection, key_ids)
    open_keys = [
        key
        for key in keys.values()
        if key.state is KeyState.RESERVED and key.row.side == context.side
    ]
    for piece in chunks(key.row.key_id for key in open_keys):
        transaction.connection.execute(
            update(schema.key).where(schema.key.c.key_id.in_(piece)).values(closing=True)
        )
    return [key.reservation() for key in open_keys]


def release(
    transaction: Transaction, context: StoreContext, answers: Mapping[str, PeerAnswer]
) -> dict[str, KeyState | None]:
    """What the peer said to the withdrawal, done here, too: None where units are free again.

    Only keys whose release was begun are touched.
    """
    keys = load_keys(transaction.connection, answers)
    outcome: dict[str, KeyState | None] = {}
    back: list[StoredKey] = []
    ends: dict[KeyState, list[str]] = {KeyState.CONSUMED: [], KeyState.REVOKED: []}
    lacking: set[str] = set()
    for key_id, answer in answers.items():
        key = keys.get(key_id)
        if key is None or not key.row.closing or key.state is not KeyState.RESERVED:
            continue
        if answer is PeerAnswer.CONSUMED:
            ends[KeyState.CONSUMED].append(key_id)
            outcome[key_id] = KeyState.CONSUMED
        elif answer is PeerAnswer.GONE:
            ends[KeyState.REVOKED].append(key_id)
            outcome[key_id] = KeyState.REVOKED
        elif answer in (PeerAnswer.RELEASED, PeerAnswer.NOT_HERE):
            back.append(key)
            outcome[key_id] = None
            if answer is PeerAnswer.NOT_HERE:
                lacking.update(block_id for block_id, _ in key.refs)
        else:
            raise ValueError("a withdrawal is not answered with ADOPTED")
    _forget(transaction, context, back)
    for state, key_ids in ends.items():
        end_keys(transaction, key_ids, state)
        transaction.events += [
            AuditEvent(f"key-{state.word}", f"kme:{context.kme_id}", f"key:{key_id}")
            for key_id in key_ids
        ]
    peer_lacks(transaction, lacking)
    return outcome
