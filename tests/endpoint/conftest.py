"""Lets these tests import what they share; and spares them bounds that they know."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def bounds_once(monkeypatch):
    """Tests of the same block over and over: bounds of the same counts are computed once."""
    from bellrelay.endpoint.agreement import Agreement

    estimate = Agreement.estimate

    def remembered(agreement, tallies, *ladders):
        counts = repr(sorted((o, t.pulses, t.n.tolist(), t.m.tolist()) for o, t in tallies.items()))
        key = (agreement.digest, counts, ladders)
        if key not in _bounds:
            _bounds[key] = estimate(agreement, tallies, *ladders)
        return _bounds[key]

    monkeypatch.setattr(Agreement, "estimate", remembered)


_bounds = {}
