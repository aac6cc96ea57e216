"""Cascade on thousands of frames: frames that are wrong before verification, and leakage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bellrelay.distill.reconcile.cascade import Cascade
from bellrelay.distill.reconcile.cascade_frames import FRAME_BITS
from bellrelay.distill.reconcile.engine import Role, exchange


@pytest.mark.soak
@pytest.mark.parametrize(
    ("n", "frames", "rate", "expected", "worst_f"),
    [
        (FRAME_BITS, 2000, 0.02, 0.02, 1.06),
        (FRAME_BITS, 2000, 0.05, 0.05, 1.07),
        (FRAME_BITS, 1000, 0.02, 0.027, 1.06),
        (FRAME_BITS, 1000, 0.05, 0.036, 1.07),
        (10_000, 3000, 0.02, 0.02, 1.08),
        (10_000, 3000, 0.05, 0.05, 1.08),
    ],
)
def test_wrong_frames_are_rare_and_leakage_is_low(
    n: int, frames: int, rate: float, expected: float, worst_f: float
) -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    disclosed = needed = 0.0
    for _ in range(frames):
        a = rng.integers(0, 2, n, dtype=np.uint8)
        errors = (rng.random(n) < rate).astype(np.uint8)
        seed = rng.bytes(16)
        alice = Cascade(Role.ALICE, a, seed, expected)
        bob = Cascade(Role.BOB, a ^ errors, seed, expected)
        exchange(alice, bob)
        wrong += bool(bob.failed.any()) or not np.array_equal(bob.bits, a)
        disclosed += bob.disclosed_bits
        q = float(errors.mean())
        needed -= n * (q * math.log2(q) + (1 - q) * math.log2(1 - q))
    assert wrong <= 1e-3 * frames
    assert 1.0 < disclosed / needed < worst_f
