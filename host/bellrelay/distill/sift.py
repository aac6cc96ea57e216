"""Sifting: which announced slots two endpoints keep, and when Bob flips his bit.

Bits: 0 is early or H in the Z basis, + in the X basis. Rules of Lo, Curty and Qi,
PRL 108, 130503 (2012), Table I, for both outcomes; time-bin and polarisation encoding share them,
because a pattern table has already turned clicks into an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay import physics
from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.payloads import are_outcomes

__all__ = ["BASIS_X", "BASIS_Z", "Sifted", "bob_flips", "sift"]

BASIS_Z = 0
BASIS_X = 1

# By outcome and basis; the rule itself stands with the gains that it enters.
_FLIPS = np.zeros((max(Outcome) + 1, 2), np.uint8)
for _outcome in Outcome:
    for _index, _basis in ((BASIS_Z, physics.Basis.Z), (BASIS_X, physics.Basis.X)):
        _FLIPS[_outcome, _index] = physics.bob_flips(_outcome is Outcome.PSI_MINUS, _basis)


@dataclass(frozen=True)
class Sifted:
    """Announced slots in which both parties used one basis; every array has the shape (m,).

    index: int64, position in the arrays that were given. basis: uint8. alice, bob: uint8, bits,
    Bob's flipped where the rule says so: they are equal unless there was an error.
    """

    index: NDArray[np.int64]
    basis: NDArray[np.uint8]
    alice: NDArray[np.uint8]
    bob: NDArray[np.uint8]

    def errors(self, basis: int) -> tuple[int, int]:
        """(number of errors, number of bits) in a basis."""
        chosen = self.basis == basis
        return int(np.count_nonzero(self.alice[chosen] != self.bob[chosen])), int(
            np.count_nonzero(chosen)
        )


def bob_flips(outcome: NDArray[np.uint8], basis: NDArray[np.uint8] | int) -> NDArray[np.uint8]:
    """Whether Bob flips his bit: always in Z; in X after psi-minus only.

    Parameters
    ----------
    outcome
        (n,) uint8, :class:`~bellrelay.wire.outcomes.Outcome`.
    basis
        0 Z, 1 X, of both parties: (n,) uint8, or one for all slots.

    Returns
    -------
    (n,) uint8, 0 or 1.
    """
    if isinstance(basis, int):
        return _FLIPS[:, basis].take(outcome)
    flips: NDArray[np.uint8] = _FLIPS[outcome, basis]
    return flips


def sift(
    outcome: NDArray[np.uint8],
    basis_a: NDArray[np.uint8],
    bit_a: NDArray[np.uint8],
    basis_b: NDArray[np.uint8],
    bit_b: NDArray[np.uint8],
) -> Sifted:
    """Keep the slots in which both parties used the same basis, and flip Bob's bits.

    Parameters
    ----------
    outcome
        (n,) uint8, announced outcome of n slots.
    basis_a, bit_a, basis_b, bit_b
        (n,) uint8, what Alice and Bob sent in these slots.

    Raises
    ------
    ValueError
        Lengths differ, or an outcome, basis or bit is none that exists.
    """
    arrays = {
        "basis_a": basis_a,
        "bit_a": bit_a,
        "basis_b": basis_b,
        "bit_b": bit_b,
    }
    for name, array in arrays.items():
        if array.shape != outcome.shape:
            raise ValueError(f"{name} has shape {array.shape}, outcome {outcome.shape}")
        if array.size and int(array.max()) > 1:
            raise ValueError(f"{name} holds something other than 0 and 1")
    if not are_outcomes(outcome):
        raise ValueError("outcome holds something other than psi-minus and psi-plus")
    index = np.flatnonzero(basis_a == basis_b).astype(np.int64)
    basis = basis_a[index]
    flipped = bit_b[index] ^ bob_flips(outcome[index], basis)
    return Sifted(index, basis, bit_a[index], flipped)
