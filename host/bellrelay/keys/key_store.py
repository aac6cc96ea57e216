"""The key store of one KME: blocks of key in, keys with names out, the same on both sides.

Every method is one transaction, durable when it returns, and may be called from any thread. Those
that take sequences are meant for all requests that wait: one commit costs about the same for one
request as for hundreds. What is handed out is put on record before the commit; see :class:`.Audit`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, func, insert, select

from . import (
    bridge_schema,  # noqa: F401  its tables lie in the same database
    incident,
    schema,
    store_ageing,
    store_blocks,
    store_deliver,
    store_reserve,
)
from .audit_record import Audit
from .database import Database, Transaction
from .incident import Scope, Selector, Suspension
from .key_requests import (
    DeliveredKey,
    FetchRefused,
    FetchRequest,
    KeyCounts,
    KeyInfo,
    PeerAnswer,
    Refusal,
    Reservation,
    ReserveRequest,
    Shortage,
)
from .key_states import Held, KeyState, UnitState
from .known_keks import KekUse, kek_use, know_keks, require_configured, sealed_under
from .pairs import Pairs
from .provenance import FinishedKey, Provenance
from .sealing import Keyring
from .store_ageing import Expired
from .store_deliver import Handover
from .store_errors import StoreError
from .stored_keys import StoreContext, chunks, load_keys
from .wiping import wipe

__all__ = ["KeyStore", "StoreSettings"]

T = TypeVar("T")
_MIN_UNIT_BITS = 64
_MAX_UNIT_BITS = 65536


@dataclass(frozen=True)
class StoreSettings:
    """How a store works.

    unit_bits : size of a unit, the same at both KMEs; it cannot be changed once there are blocks.
    max_age_s : units older than that are not given out, and expire. margin_s : so much before that
    they are not given out any more, as the peer's clock may be ahead. fetch_within_s : keys that
    somebody has not fetched by then expire. newest_first : which units are given out first.
    keep_s : how long keys that ended are remembered.
    """

    unit_bits: int = 256
    max_age_s: float | None = None
    margin_s: float = 60.0
    fetch_within_s: float = 86400.0
    newest_first: bool = False
    keep_s: float = 30 * 86400.0

    def __post_init__(self) -> None:
        if self.unit_bits % 8 or not _MIN_UNIT_BITS <= self.unit_bits <= _MAX_UNIT_BITS:
            raise ValueError(f"a unit has {_MIN_UNIT_BITS} to {_MAX_UNIT_BITS} bits, whole bytes")


class KeyStore:
    """The store of one KME.

    Parameters
    ----------
    url
        Path of an SQLite file, or a URL of SQLAlchemy's (``postgresql://...``).
    kme_id
        Whose store it is.
    pairs
        Who shares key with whom; the same at the peer. Where they differ from those that the store
        was used with before, free units change their owners on opening.
    keyring
        KEKs.
    audit
        Keeps what happens on record.
    clock
        UTC, ns.

    Raises
    ------
    StoreError
        The store cannot be used so: StoreUnavailable if the database does not answer.
    SealerError
        The pairs have changed, and the KEK cannot be used.
    """

    def __init__(
        self,
        url: str,
        kme_id: str,
        pairs: Pairs,
        keyring: Keyring,
        audit: Audit,
        settings: StoreSettings | None = None,
        clock: Callable[[], int] = time.time_ns,
        patience_s: float = 30.0,
    ) -> None:
        self.settings = settings or StoreSettings()
        self.pairs = pairs
        self.side = pairs.side_of_kme(kme_id)
        self.kme_id = kme_id
        self._clock = clock
        self._context = StoreContext(kme_id, self.side, pairs, keyring, self.settings.unit_bits)
        self._database = Database(url, audit, clock, patience_s)
        try:
            self._database.create_tables()
            self._write(self._claim)
            self._require_keks()
            self._reassign()
        except BaseException:
            self._database.close()
            raise

    def _claim(self, transaction: Transaction) -> None:
        connection = transaction.connection
        found = {row.name: row.value for row in connection.execute(select(schema.about))}
        for name, value in schema.about_store(self.kme_id, self.settings.unit_bits).items():
            if name not in found:
                connection.execute(insert(schema.about).values(name=name, value=value))
            elif found[name] != value:
                raise StoreError(
                    f"{self._database.name}: made with {name} {found[name]}, not {value}"
                )

    def _require_keks(self) -> None:
        """Every KEK under which something is sealed is there, and is what it was."""
        require_configured(self.keks(), self._context.keyring, self._database.name)
        self._write(lambda t: know_keks(t, self._context.keyring))

    def _reassign(self) -> None:
        digest = self.pairs.digest
        for block_id in self._read(lambda db: store_blocks.stale_blocks(db, digest)):
            self._write(
                lambda t, block_id=block_id: store_blocks.reassign_block(  # type: ignore[misc]
                    t, self._context, block_id
                )
            )

    def close(self) -> None:
        """Give the database back."""
        self._database.close()

    def _read(self, body: Callable[[Connection], T]) -> T:
        return self._database.read(body)

    def _write(
        self,
        body: Callable[[Transaction], T],
        discard: Callable[[T], None] = lambda _result: None,
    ) -> T:
        return self._database.write(body, discard)

    # ------------------------------------------------------------------------------ blocks

    def add_block(self, finished: FinishedKey) -> bool:
        """Take a confirmed key over; False if it is known already, which is no error.

        Its units are not given out before :meth:`peer_has`. ``packed`` is wiped if that can be.

        Raises
        ------
        ValueError
            Fewer bytes than the length says.
        SealerUnavailable, StoreUnavailable, AuditError
            It was not taken over.
        """
        if len(finished.packed) * 8 < finished.provenance.length_bits:
            raise ValueError("a block that is shorter than its length")
        added = False
        if not self._read(lambda db: store_blocks.known_blocks(db, [finished.key_id])):
            units = store_blocks.seal_units(self._context, finished)
            added = self._write(lambda t: store_blocks.add_block(t, self._context, finished, units))
        if isinstance(finished.packed, bytearray):
            wipe(finished.packed)
        return added

    def known_blocks(self, block_ids: Iterable[str]) -> set[str]:
        """Those of them that were ever added: the endpoint may forget them."""
        names = list(block_ids)
        return self._read(lambda db: store_blocks.known_blocks(db, names))

    def usable_blocks(self, block_ids: Iterable[str]) -> set[str]:
        """Those of them of which the peer may reserve keys: what to answer to its question."""
        names = list(block_ids)
        return self._read(lambda db: store_blocks.usable_blocks(db, names))

    def blocks_not_at_peer(self, limit: int = 1000) -> list[str]:
        """Blocks that the peer has not said that it has: what to ask it about."""
        return self._read(lambda db: store_blocks.blocks_not_at_peer(db, limit))

    def peer_has(self, block_ids: Iterable[str]) -> int:
        """The peer says that these are usable there: so they are here. How many are new."""
        names = list(block_ids)
        return self._write(lambda t: store_blocks.peer_has(t, names))

    # ------------------------------------------------------------------------------ handing out

    def reserve(self, requests: Sequence[ReserveRequest]) -> list[list[Reservation] | Shortage]:
        """Set keys aside, for every request all that it asks for or a shortage.

        Raises
        ------
        ValueError
            A request that no shop would take: a pair, master or slave that may not, a size that is
            no multiple of 8.
        """
        for request in requests:
            self._check(request)
        return self._write(
            lambda t: store_reserve.reserve(
                t,
                self._context,
                requests,
                self._not_made_before(t.now_ns),
                self.settings.newest_first,
            )
        )

    def _check(self, request: ReserveRequest) -> None:
        pair = self.pairs.named(request.pair)
        if pair is None or request.master != pair.sae(self.side):
            raise ValueError("not a pair of this master's")
        if pair.sae(1 - self.side) not in request.slaves:
            raise ValueError("the pair's slave is not among the slaves")
        if len(set(request.slaves)) < len(request.slaves):
            raise ValueError("a slave is named twice")
        for slave in request.slaves:
            if not self.pairs.may_reach(request.master, slave):
                raise ValueError("a slave that this master may not reach")
        if request.count < 1 or request.size_bits < 8 or request.size_bits % 8:
            raise ValueError("a size that is no multiple of 8, or nothing at all")

    def _not_made_before(self, now_ns: int) -> int:
        if self.settings.max_age_s is None:
            return 0
        return now_ns - int(max(0.0, self.settings.max_age_s - self.settings.margin_s) * 1e9)

    def adopt(self, reservations: Sequence[Reservation]) -> list[PeerAnswer]:
        """Set aside what the peer has reserved: ADOPTED, NOT_HERE or GONE. Idempotent."""
        return self._write(lambda t: store_reserve.adopt(t, self._context, reservations))

    def deliver(
        self, key_ids: Sequence[str], handover: Handover | None = None
    ) -> list[DeliveredKey | Refusal]:
        """Keys reserved here, to their masters; each is given once."""
        return self._write(
            lambda t: store_deliver.deliver(t, self._context, key_ids, handover),
            store_deliver.discard_keys,
        )

    def fetch(
        self, requests: Sequence[FetchRequest], handover: Handover | None = None
    ) -> list[list[DeliveredKey] | FetchRefused]:
        """Keys to slaves, once to each; every request gets all of its keys, or none."""
        return self._write(
            lambda t: store_deliver.fetch(t, self._context, requests, handover),
            store_deliver.discard_keys,
        )

    def owed_to(
        self, sae: str, limit: int = 1000, older_than_s: float = 10.0
    ) -> list[FetchRequest]:
        """What a slave here could fetch, each key in a request of its own, the oldest first.

        older_than_s : keys that were set aside by then; what is younger may still be withdrawn.
        """
        before = self._clock() - int(older_than_s * 1e9) + 1
        return self._read(lambda db: store_deliver.owed(db, self._context, sae, before, limit))

    def undelivered(self, older_than_s: float = 0.0, limit: int = 1000) -> list[Reservation]:
        """Keys reserved here that nobody has, for :meth:`begin_release`."""
        before = self._clock() - int(older_than_s * 1e9) + 1
        return self._read(lambda db: store_reserve.undelivered(db, self._context, before, limit))

    def begin_release(self, key_ids: Sequence[str]) -> list[Reservation]:
        """From now on these are not delivered. Those of which that is true: withdraw them."""
        return self._write(lambda t: store_reserve.begin_release(t, self._context, key_ids))

    def withdraw(self, reservations: Sequence[Reservation]) -> list[PeerAnswer]:
        """The peer gives up its reservations: RELEASED, CONSUMED, NOT_HERE or GONE. Idempotent."""
        return self._write(lambda t: store_reserve.withdraw(t, self._context, reservations))

    def release(self, answers: Mapping[str, PeerAnswer]) -> dict[str, KeyState | None]:
        """Do what the peer said to the withdrawal, by key_id. State of each; None: free again."""
        return self._write(lambda t: store_reserve.release(t, self._context, answers))

    # ------------------------------------------------------------------------------ looking

    def counts(self) -> dict[tuple[str, int], KeyCounts]:
        """Units by pair and side."""

        def body(connection: Connection) -> dict[tuple[str, int], KeyCounts]:
            c = schema.unit.c
            rows = connection.execute(
                select(
                    c.pair,
                    c.side,
                    c.state,
                    c.held,
                    func.count().label("n"),
                    func.min(c.made_ns).label("oldest"),
                    func.max(c.made_ns).label("newest"),
                )
                .where(c.state.in_([int(UnitState.FREE), int(UnitState.RESERVED)]))
                .group_by(c.pair, c.side, c.state, c.held)
            )
            numbers: dict[tuple[str, int], dict[str, int]] = {
                (pair.name, side): {} for pair in self.pairs for side in (0, 1)
            }
            for row in rows:
                kind = _kind(row.state, row.held)
                of_pair = numbers.setdefault((row.pair, row.side), {})
                of_pair[kind] = of_pair.get(kind, 0) + row.n
                if kind == "free":
                    # Rows of one kind may differ in marks that keep nobody from them.
                    of_pair["oldest_ns"] = min(of_pair.get("oldest_ns", row.oldest), row.oldest)
                    of_pair["newest_ns"] = max(of_pair.get("newest_ns", row.newest), row.newest)
            return {place: KeyCounts(**kinds) for place, kinds in numbers.items()}

        return self._read(body)

    def free_units(self, pair: str) -> int:
        """Units of a pair that this KME can give out now."""
        c = schema.unit.c
        oldest = self._not_made_before(self._clock())
        query = select(func.count()).where(
            c.pair == pair,
            c.side == self.side,
            c.state == int(UnitState.FREE),
            c.held == 0,
            c.made_ns >= oldest,
        )
        return int(self._read(lambda db: db.execute(query).scalar_one()))

    def key(self, key_id: str) -> KeyInfo | None:
        """What is known of a key."""
        found = self._read(lambda db: load_keys(db, [key_id]))
        return found[key_id].info() if key_id in found else None

    def keys(
        self,
        selector: Selector | None = None,
        states: Iterable[KeyState] = (),
        pair: str | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> list[KeyInfo]:
        """Keys in the order of their names, those that come after ``after``."""

        def body(connection: Connection) -> list[KeyInfo]:
            k, u, b = schema.key.c, schema.unit.c, schema.block.c
            query = select(k.key_id).where(k.key_id > after).order_by(k.key_id).limit(limit)
            wanted = [int(state) for state in states]
            if wanted:
                query = query.where(k.state.in_(wanted))
            if pair is not None:
                query = query.where(k.pair == pair)
            if selector is not None:
                meant = select(b.block_id).where(selector.where())
                query = query.where(k.key_id.in_(select(u.key_id).where(u.block_id.in_(meant))))
            names = [row.key_id for row in connection.execute(query)]
            found = load_keys(connection, names)
            return [found[name].info() for name in names]

        return self._read(body)

    def provenance(self, key_id: str) -> list[Provenance]:
        """How the blocks of a key came about; empty for one that is not known."""

        def body(connection: Connection) -> list[Provenance]:
            keys = load_keys(connection, [key_id])
            names = dict.fromkeys(block for key in keys.values() for block, _ in key.refs)
            found = store_blocks.provenance_of(connection, names)
            return [found[name] for name in names]

        return self._read(body)

    def blocks_of(self, key_ids: Iterable[str]) -> list[tuple[Provenance, int]]:
        """Blocks that these keys were cut from, and how many units of each."""
        names = list(key_ids)

        def body(connection: Connection) -> list[tuple[Provenance, int]]:
            c, units = schema.unit.c, dict[str, int]()
            for piece in chunks(names):
                query = select(c.block_id, func.count()).where(c.key_id.in_(piece))
                for block_id, number in connection.execute(query.group_by(c.block_id)):
                    units[block_id] = units.get(block_id, 0) + int(number)
            found = store_blocks.provenance_of(connection, units)
            return [(found[name], number) for name, number in units.items()]

        return self._read(body)

    def block(self, block_id: str) -> Provenance | None:
        """How a block came about."""
        found = self._read(lambda db: store_blocks.provenance_of(db, [block_id]))
        return found.get(block_id)

    def blocks(
        self, selector: Selector | None = None, after: str = "", limit: int = 1000
    ) -> list[Provenance]:
        """Blocks in the order of their names, those that come after ``after``."""
        c = schema.block.c
        query = select(c.block_id).where(c.block_id > after).order_by(c.block_id).limit(limit)
        if selector is not None:
            query = query.where(selector.where())

        def body(connection: Connection) -> list[Provenance]:
            names = [row.block_id for row in connection.execute(query)]
            found = store_blocks.provenance_of(connection, names)
            return [found[name] for name in names]

        return self._read(body)

    # ------------------------------------------------------------------------------ incidents

    def suspend(self, selector: Selector, reason: str, actor: str) -> Suspension:
        """Hold back every key of a relay or a time, and what of it comes in from now on."""
        return self._write(lambda t: incident.suspend(t, selector, reason, actor))

    def resume(self, suspension_id: str, actor: str, reason: str = "") -> Suspension:
        """The key is good after all. UnknownSuspension."""
        return self._write(lambda t: incident.resume(t, suspension_id, actor, reason))

    def revoke(self, suspension_id: str, actor: str, reason: str = "") -> Suspension:
        """The key is bad: what is not out yet is wiped. UnknownSuspension."""
        return self._write(lambda t: incident.revoke(t, suspension_id, actor, reason))

    def revoke_keys(self, key_ids: Iterable[str], actor: str, reason: str = "") -> list[str]:
        """Wipe single keys that are not out yet. Those of which that is true."""
        names = list(key_ids)
        return self._write(lambda t: incident.revoke_keys(t, names, actor, reason))

    def suspensions(self, *, only_standing: bool = True) -> list[Suspension]:
        """Suspensions, the latest last."""
        return self._read(lambda db: incident.suspensions(db, only_standing=only_standing))

    def scope(self, selector: Selector) -> Scope:
        """What a suspension would cover."""
        return self._read(lambda db: incident.scope_of(db, selector))

    # ------------------------------------------------------------------------------ ageing

    def expire(self, limit: int = 10000) -> Expired:
        """Wipe what is too old, in one batch; call it until it says that there was nothing."""

        def body(transaction: Transaction) -> Expired:
            now = transaction.now_ns
            age = self.settings.max_age_s
            return store_ageing.expire(
                transaction,
                self._context,
                None if age is None else now - int(age * 1e9),
                now - int(self.settings.fetch_within_s * 1e9),
                limit,
            )

        return self._write(body)

    def purge(self, limit: int = 10000) -> int:
        """Forget keys that ended long ago, in one batch. How many."""
        keep_ns = int(self.settings.keep_s * 1e9)
        return self._write(lambda t: store_ageing.purge(t, t.now_ns - keep_ns, limit))

    def reseal(self, limit: int = 500) -> int:
        """Seal a batch of units under the current KEK; how many. Zero: the old ones may go.

        May be interrupted at any time and taken up again; keys are handed out meanwhile.
        """
        keyring = self._context.keyring
        units = self._read(
            lambda db: store_ageing.units_under_other_keks(db, keyring.kek_id, limit)
        )
        if not units:
            return 0
        changes = store_ageing.resealed(self._context, units)
        return self._write(lambda t: store_ageing.put_resealed(t, self._context, changes))

    @property
    def kek_id(self) -> str:
        """Of the KEK that seals now."""
        return self._context.keyring.kek_id

    def kek_use(self) -> KekUse:
        """How long and how often the KEK was used that seals now."""
        return self._read(lambda db: kek_use(db, self.kek_id))

    def keks(self) -> dict[str, int]:
        """KEKs under which something is sealed, and how many units are."""
        return self._read(sealed_under)


def _kind(state: int, held: int) -> str:
    if state == UnitState.RESERVED:
        return "reserved"
    if held & Held.SUSPENDED:
        return "suspended"
    return "waiting" if held & Held.NOT_AT_PEER else "free"
