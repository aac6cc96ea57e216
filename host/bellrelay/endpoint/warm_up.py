"""Before the first block: what computes is loaded, and compiled where no cache has it yet.

The block that comes first would wait for it, and its peer with it: half a second of processor time
with compiled loops on disk, and where they are not (a new version, files that nobody may write), a
quarter of a minute. A made-up block goes through counts, bounds, correction, verification and
amplification; nothing of it is kept, and nothing in it is secret.
"""

from __future__ import annotations

import time
from itertools import product

import numpy as np

from bellrelay.distill.amplify import draw_seed_packed, toeplitz_hash_packed
from bellrelay.distill.reconcile.engine import Role, exchange
from bellrelay.distill.tally import tally
from bellrelay.distill.verify import new_verification_key, verification_tag
from bellrelay.wire.outcomes import Outcome

from .agreement import Agreement

__all__ = ["warm_up"]

_BITS = 30_000
"""Of sifted key: longer blocks take the same loops."""
_ERRORS = (1.0, 3.0)
"""Of those expected: where there are more of them, correction asks other questions."""


def warm_up(agreement: Agreement, error_rate: float) -> float:
    """Carry a made-up block through all that computes; seconds that it took.

    Parameters
    ----------
    error_rate
        That the first block is expected to have in Z.
    """
    begun = time.monotonic()
    rng = np.random.default_rng(1)
    settings = [
        rng.choice(4, 2 * _BITS, p=ladder.probabilities).astype(np.uint8)
        for ladder in (agreement.alice, agreement.bob)
    ]
    sent = rng.integers(0, 2, 2 * _BITS, np.uint8)
    outcome = rng.choice([o.value for o in Outcome], 2 * _BITS).astype(np.uint8)
    agreement.estimate(tally(outcome, settings[0], sent, settings[1], sent, 100 * _BITS))
    alice = sent[:_BITS]
    # Every way of correction that a block may take, by the bits that it may have.
    methods = {method.name: method for method in map(agreement.method, (1, agreement.block_slots))}
    for share, method in product(_ERRORS, methods.values()):
        flips = (rng.random(_BITS) < share * error_rate).astype(np.uint8)
        exchange(
            method.engine(Role.ALICE, alice, bytes(32), error_rate),
            method.engine(Role.BOB, alice ^ flips, bytes(32), error_rate),
        )
    verification_tag(alice, new_verification_key())
    length = _BITS // 2
    toeplitz_hash_packed(np.packbits(alice), _BITS, draw_seed_packed(_BITS, length), length)
    return time.monotonic() - begun
