"""Where key comes from: relay, block, bounds, epsilons, times. Nothing of the key itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FinishedKey", "Provenance"]


@dataclass(frozen=True)
class Provenance:
    """How a block of key came about.

    relay : whose announcements. acquisition, block : of the relay, and number within it.
    begun_ns, made_ns : when its collection began and when the key was made, UTC. record : all that
    the endpoint wrote down of it, JSON: pulses, ladders, bounds, epsilons, bits disclosed.
    """

    block_id: str
    relay: str
    acquisition: int
    block: int
    begun_ns: int
    made_ns: int
    length_bits: int
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epsilon(self) -> float | None:
        """The key's total failure probability (secrecy and correctness), if it is on record."""
        value = self.record.get("epsilons", {}).get("total")
        return float(value) if isinstance(value, int | float) else None

    @property
    def phase_error_upper(self) -> float | None:
        """Bound on the phase error, if it is on record."""
        value = self.record.get("phase_error_upper")
        return float(value) if isinstance(value, int | float) else None

    def as_json(self) -> dict[str, Any]:
        """Plain values, for people and programs."""
        return {
            "block_id": self.block_id,
            "relay": self.relay,
            "acquisition": self.acquisition,
            "block": self.block,
            "begun_ns": self.begun_ns,
            "made_ns": self.made_ns,
            "length_bits": self.length_bits,
            "epsilon": self.epsilon,
            "phase_error_upper": self.phase_error_upper,
            "record": json.loads(json.dumps(dict(self.record))),
        }


@dataclass(frozen=True)
class FinishedKey:
    """A confirmed key of an endpoint, on its way into the store.

    packed : bits in big-endian order, as many as the provenance says. It is wiped by
    :meth:`KeyStore.add_block` when it was taken over, if it is a ``bytearray``.
    """

    provenance: Provenance
    packed: bytearray | bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """Name of the block, a UUID, the same on both sides."""
        return self.provenance.block_id
