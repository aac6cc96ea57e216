"""What may differ from block to block: both ladders, and how far they may be off.

Nothing else may. Epsilons and rules hold for a link, not for a trial of better intensities; the
number of slots of a block makes its place in the acquisition, so that blocks of two sizes beside
each other would overlap or leave slots out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.reconcile.engine import Role

__all__ = ["BlockParameters", "ladder_name"]


@dataclass(frozen=True)
class BlockParameters:
    """A set of parameters; the same on both sides, or its digest is another.

    alice, bob : declared. alice_limit, bob_limit : most deviation with which a block is bounded.
    digest : 32 bytes, of all of it.
    """

    alice: Ladder
    bob: Ladder
    alice_limit: float = 0.0
    bob_limit: float = 0.0
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, limit, ladder in (
            ("alice_limit", self.alice_limit, self.alice),
            ("bob_limit", self.bob_limit, self.bob),
        ):
            if limit < ladder.deviation:
                continue  # What is declared counts then.
            try:
                replace(ladder, deviation=limit)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        text = json.dumps(self.values(), sort_keys=True).encode()
        object.__setattr__(self, "digest", hashlib.sha256(text).digest())

    def ladder(self, role: Role) -> Ladder:
        """Of one party."""
        return self.alice if role is Role.ALICE else self.bob

    def values(self) -> dict[str, Any]:
        """Plain values; inverse of :meth:`parse`."""
        return {
            "alice": asdict(self.alice),
            "bob": asdict(self.bob),
            "alice_limit": self.alice_limit,
            "bob_limit": self.bob_limit,
        }

    @classmethod
    def parse(cls, values: object) -> BlockParameters:
        """From plain values.

        Raises
        ------
        ValueError
            Other keys, no numbers, or a ladder that contradicts itself.
        """
        if not isinstance(values, Mapping) or set(values) != _KEYS:
            raise ValueError(f"parameters: exactly {', '.join(sorted(_KEYS))}")
        alice, bob = (_ladder(values[name], name) for name in ("alice", "bob"))
        limits = (_number(values[name], name) for name in ("alice_limit", "bob_limit"))
        return cls(alice, bob, *limits)


_KEYS = {"alice", "bob", "alice_limit", "bob_limit"}
_LADDER_KEYS = {f.name for f in fields(Ladder)}


def _ladder(values: object, name: str) -> Ladder:
    if not isinstance(values, Mapping) or set(values) != _LADDER_KEYS:
        raise ValueError(f"{name}: exactly {', '.join(sorted(_LADDER_KEYS))}")
    numbers = {key: _number(value, f"{name}.{key}") for key, value in values.items()}
    try:
        return Ladder(**numbers)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: {value!r} is no number")
    return float(value)


def ladder_name(ladder: Ladder) -> str:
    """Short name of what a sender sends: eight hexadecimal digits."""
    sent = [*ladder.intensities.tolist(), *ladder.probabilities.tolist()]
    return hashlib.sha256(json.dumps(sent).encode()).hexdigest()[:8]
