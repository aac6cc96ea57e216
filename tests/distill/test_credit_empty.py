"""Bits of Alice's empty pulses are worth something unless it is told where the two differ."""

import numpy as np
import pytest

from bellrelay.distill.estimate import estimate
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.security import Method, Security
from bellrelay.distill.tally import Tally
from bellrelay.wire.outcomes import Outcome

LADDER = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
# Alice's vacuum clicks with Bob's signal: a relay with much stray light.
N = [[90_000, 9_000, 5_000, 5_000], [9_000, 4_000, 2_000, 900], [5_000, 2_000, 800, 150],
     [30_000, 900, 150, 40]]  # fmt: skip
M = [[0, 0, 0, 0], [0, 900, 500, 0], [0, 500, 150, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("method", Method)
def test_without_the_credit_there_is_less_or_the_same(method):
    counts = {Outcome.PSI_MINUS: Tally(10**9, 10 * np.array(N), 10 * np.array(M))}
    bits = [
        estimate(counts, LADDER, LADDER, Security(method=method, credit_empty=credit))
        for credit in (True, False)
    ]
    assert bits[1].private_bits <= bits[0].private_bits + 1e-3
    assert bits[1].vacuum_lower == bits[0].vacuum_lower > 0.0
    if bits[0].private_bits > 0.0:
        assert bits[1].private_bits < bits[0].private_bits - 1000
