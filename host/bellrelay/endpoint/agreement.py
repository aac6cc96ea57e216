"""What Alice and Bob have alike before any data: ladders, epsilons, rules, sizes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.estimate import Estimate, estimate
from bellrelay.distill.key_length import secret_length
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.reconcile.engine import Reconciler, Role
from bellrelay.distill.security import Security
from bellrelay.distill.tally import Tally
from bellrelay.distill.verify import TAG_BITS
from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.tracking import TrackingSlots

from .block import BlockId
from .block_ladders import used_ladder
from .block_parameters import BlockParameters
from .config import EndpointConfig
from .correction import Engine
from .timetable import windows_of

__all__ = ["Agreement", "ReconcileMethod", "agreement_of"]

_LDPC_FROM_BITS = 10_000_000
"""Below, `auto` takes Cascade: it discloses and computes less, and blocks in work beside it hide
how often it speaks."""


@dataclass(frozen=True)
class ReconcileMethod:
    """A way to correct errors.

    code : its number in messages. reveals : whether what Bob says tells in which bits the two
    differ, so that Alice's empty pulses make no key; where it does not, all that he says counts as
    disclosed. See `bellrelay.distill.reconcile.engine`. heavy : the side whose steps are worth to
    be carried to other machines, or None; that side waits for the other's opening.
    """

    name: str
    code: int
    engine: Engine
    reveals: bool
    heavy: Role | None


def _cascade(role: Role, bits: NDArray[np.uint8], seed: bytes, error_rate: float) -> Reconciler:
    from bellrelay.distill.reconcile.cascade import Cascade

    return Cascade(role, bits, seed, error_rate)


def _ldpc(role: Role, bits: NDArray[np.uint8], seed: bytes, error_rate: float) -> Reconciler:
    from bellrelay.distill.reconcile.ldpc import Ldpc

    return Ldpc(role, bits, seed, error_rate)


# Cascade's steps are many and small. Of LDPC, Bob's are the work, a second for 5 million bits;
# Alice's syndromes of them take 12 ms, about what it takes to carry the bits.
_CASCADE = ReconcileMethod("cascade", 1, _cascade, reveals=True, heavy=None)
_LDPC = ReconcileMethod("ldpc", 2, _ldpc, reveals=False, heavy=Role.BOB)


@dataclass(frozen=True)
class Agreement:
    """Both endpoints' parameters; the same on both sides, or they do not speak with each other.

    relay_id : of the primary relay. secondary_ids : of those after it, in their order.
    block_slots : slots of a block. alice, bob : declared. reconcile : ``auto``, ``ldpc`` or
    ``cascade``. refill_share : of every key, what goes into the pool. alice_limit, bob_limit : most
    deviation with which a block is still bounded, where it was measured; what is declared if that
    is more. tracking_slots : make no key. timetable : digest of
    the windows in which a shared relay serves both. digest : 32 bytes, of all of it.
    """

    alice_id: str
    bob_id: str
    relay_id: str
    block_slots: int
    alice: Ladder
    bob: Ladder
    security: Security
    reconcile: str = "auto"
    refill_share: float = 0.1
    alice_limit: float = 0.0
    bob_limit: float = 0.0
    tracking_slots: TrackingSlots = field(default_factory=TrackingSlots)
    secondary_ids: tuple[str, ...] = ()
    timetable: str = ""
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        values = {
            name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
            for name in self.__dataclass_fields__
            if name != "digest"
            for value in (getattr(self, name),)
        }
        text = json.dumps(values, sort_keys=True).encode()
        object.__setattr__(self, "digest", hashlib.sha256(text).digest())

    @property
    def relays(self) -> tuple[str, ...]:
        """Ids of all relays, by the number that a block names its relay by."""
        return self.relay_id, *self.secondary_ids

    def relay_of(self, block: BlockId) -> str:
        """Id of the relay that announced a block."""
        return self.relays[block.relay]

    @property
    def parameters(self) -> BlockParameters:
        """What of it may be another in another block."""
        return BlockParameters(self.alice, self.bob, self.alice_limit, self.bob_limit)

    def of_block(self, alice: BlockParameters, bob: BlockParameters) -> Agreement:
        """That of a block in which Alice sent by one set of parameters, and Bob by another."""
        if alice == bob == self.parameters:
            return self
        return replace(
            self,
            alice=alice.alice,
            alice_limit=alice.alice_limit,
            bob=bob.bob,
            bob_limit=bob.bob_limit,
        )

    def ladder(self, role: Role) -> Ladder:
        """As it is declared."""
        return self.alice if role is Role.ALICE else self.bob

    def used_ladder(self, role: Role, said: int) -> Ladder:
        """That of a block; see :func:`~.block_ladders.used_ladder`."""
        limit = self.alice_limit if role is Role.ALICE else self.bob_limit
        return used_ladder(self.ladder(role), said, limit)

    def estimate(
        self,
        tallies: Mapping[Outcome, Tally],
        alice: Ladder | None = None,
        bob: Ladder | None = None,
    ) -> Estimate:
        """Bounds of a block from its counts, for the way in which it will be corrected.

        alice, bob : ladders of the block; None: as they are declared.
        """
        bits = sum(t.n_z for t in tallies.values())
        security = replace(self.security, credit_empty=not self.method(bits).reveals)
        return estimate(tallies, alice or self.alice, bob or self.bob, security)

    def secret_length(self, bounds: Estimate, leak_ec: int, discarded: int) -> int:
        """Bits of key after ``leak_ec`` bits of error correction and the hash of verification."""
        return secret_length(bounds, leak_ec, discarded, verification_bits=TAG_BITS)

    def method(self, bits: int) -> ReconcileMethod:
        """How a sifted key of this length is corrected."""
        if self.reconcile == "auto":
            return _LDPC if bits >= _LDPC_FROM_BITS else _CASCADE
        return {m.name: m for m in (_CASCADE, _LDPC)}[self.reconcile]

    def pool_bits(self, length: int) -> int:
        """Of a key of this length, the bits that go into the pool: whole bytes each way."""
        return int(length * self.refill_share) // 16 * 16

    def told(self, bounds: Estimate, alice: Ladder, bob: Ladder) -> dict[str, Any]:
        """A block's bounds, and the ladders that they were made with: plain JSON values."""
        ledger = bounds.ledger
        return {
            "ladders": {"alice": asdict(alice), "bob": asdict(bob)},
            "deviation_declared": {"alice": self.alice.deviation, "bob": self.bob.deviation},
            "method": bounds.method,
            "concentration": bounds.concentration,
            "length_rule": str(bounds.security.length_rule),
            "outcomes": str(bounds.security.outcomes),
            "empty_pulses_credited": bounds.security.credit_empty,
            "n11_lower": bounds.n11_lower,
            "phase_error_upper": bounds.phase_error_upper,
            "private_bits": bounds.private_bits,
            "bounds": [
                {
                    "outcomes": [o.name.lower() for o in b.outcomes],
                    "sifted": b.sifted,
                    "n11_lower": b.n11_lower,
                    "phase_error_upper": b.phase_error_upper,
                    "vacuum_lower": b.vacuum_lower,
                    "private_bits": b.private_bits,
                    "tangent": b.tangent,
                }
                for b in bounds.bounds
            ],
            "epsilons": {
                **asdict(ledger),
                "secrecy": ledger.secrecy,
                "total": ledger.total,
            },
        }


def agreement_of(config: EndpointConfig) -> Agreement:
    """What an endpoint's configuration has to be alike in with its peer's.

    ConfigError: its timetable cannot be used.
    """
    alice, bob = config.endpoint_id, config.peer_id
    if config.role == "bob":
        alice, bob = bob, alice
    security = config.security
    windows = windows_of(config)
    return Agreement(
        alice,
        bob,
        config.relay.id,
        config.block.slots,
        config.alice.ladder(),
        config.bob.ladder(),
        Security(**security.model_dump()),
        config.reconcile.method,
        config.key_pool.refill_share,
        config.alice.most_deviation,
        config.bob.most_deviation,
        config.tracking_slots.schedule(),
        tuple(relay.id for relay in config.secondaries),
        "" if windows is None else windows.digest,
    )
