"""How long the key of a block may be.

Leftover hash lemma (M. Tomamichel, C. Schaffner, A. Smith, R. Renner, IEEE Trans. Inf. Theory 57,
5524 (2011)) on the whole block whose entropy was bounded:

    length = private bits - discarded - disclosed by error correction - disclosed by verification
             - 2 log2(1 / (2 epsilon_amplification))
"""

from __future__ import annotations

import math

from .estimate import Estimate
from .security import LengthRule

__all__ = ["available_bits", "secret_length"]


def available_bits(
    estimate: Estimate, leak_ec: int, discarded: int = 0, verification_bits: int | None = None
) -> float:
    """What `secret_length` rounds: bits that may be put out, or minus those that are missing.

    Raises ValueError as it does.
    """
    if leak_ec < 0 or discarded < 0 or discarded > estimate.sifted:
        raise ValueError("disclosed and discarded bits must lie between 0 and what there is")
    ledger = estimate.ledger
    if verification_bits is None:
        verification_bits = math.ceil(-math.log2(ledger.correctness))
    if verification_bits < 0:
        raise ValueError(f"verification_bits must not be negative, got {verification_bits}")
    hashed = 2.0 * math.log2(1.0 / (2.0 * ledger.amplification))
    return estimate.private_bits - discarded - leak_ec - verification_bits - hashed


def secret_length(
    estimate: Estimate, leak_ec: int, discarded: int = 0, verification_bits: int | None = None
) -> int:
    """Bits that privacy amplification over the whole block may put out; 0 is no key.

    With the variable rule as many as the data allow; with the fixed one what was agreed, if the
    data allow that, and otherwise none.

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
    available = available_bits(estimate, leak_ec, discarded, verification_bits)
    if estimate.aborted is not None or not available > 0.0:
        return 0
    if estimate.security.length_rule is LengthRule.FIXED:
        fixed = estimate.security.fixed_length_bits or 0
        return fixed if available >= fixed else 0
    return math.floor(available)
