"""How long the key of a block may be."""

from __future__ import annotations

import math

from .estimate import Estimate
from .security import LengthRule

__all__ = ["secret_length"]


def secret_length(
    estimate: Estimate, leak_ec: int, discarded: int = 0, verification_bits: int | None = None
) -> int:
    """Bits that privacy amplification over the whole block may put out; 0 is no key.

    Parameters
    ----------
    leak_ec
        Bits that error correction disclosed, counted from its transcript.
    discarded
        Sifted bits that were given up (frames that failed, samples that were disclosed). All are
        taken to have been private ones.
    verification_bits
        Bits of the tag that was disclosed, 0 where it was encrypted with one-time key. Default:
        as many as correctness needs.

    Raises
    ------
    ValueError
        A count is negative, or more bits were discarded than there were.
    """
    if leak_ec < 0 or discarded < 0 or discarded > estimate.sifted:
        raise ValueError("disclosed and discarded bits must lie between 0 and what there is")
    ledger = estimate.ledger
    if verification_bits is None:
        verification_bits = math.ceil(-math.log2(ledger.correctness))
    if verification_bits < 0:
        raise ValueError(f"verification_bits must not be negative, got {verification_bits}")
    if estimate.aborted is not None:
        return 0
    amplification = 2.0 * math.log2(1.0 / (2.0 * ledger.amplification))
    length = math.floor(
        estimate.private_bits - discarded - leak_ec - verification_bits - amplification
    )
    if estimate.security.length_rule is LengthRule.FIXED:
        fixed = estimate.security.fixed_length_bits or 0
        return fixed if length >= fixed else 0
    return max(0, length)
