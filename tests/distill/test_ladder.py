"""Ladders: what contradicts itself is refused, and intervals are what the bounds see."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bellrelay.distill.ladder import MU, NU, Ladder, O, S
from bellrelay.distill.sender import Kind, Sender

GOOD = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}


def test_a_ladder_says_what_is_sent() -> None:
    ladder = Ladder(**GOOD)
    assert ladder.p_o == pytest.approx(0.15)
    assert ladder.intensities.tolist() == [0.4, 0.3, 0.05, 0.0]
    assert ladder.probabilities.sum() == pytest.approx(1.0)
    sender = ladder.sender()
    assert sender.kinds == (Kind.Z, Kind.X, Kind.X, Kind.VACUUM)
    assert sender == Ladder(**GOOD).sender()
    assert sender != Ladder(**{**GOOD, "s": 0.41}).sender()
    assert hash(sender) == hash(Ladder(**GOOD).sender())


@pytest.mark.parametrize(
    "change",
    [
        {"s": 0.0},
        {"s": math.nan},
        {"s": 4.0},
        {"mu": 0.05},
        {"nu": 0.0},
        {"o": 0.06},
        {"o": -0.01},
        {"p_s": 0.0},
        {"p_s": 0.6},
        {"p_mu": 1.0},
        {"deviation": -0.01},
        {"deviation": 0.2},
        {"mu": 0.055, "deviation": 0.06},
        {"vacuum_limit": 0.05},
        {"vacuum_limit": -1.0},
    ],
)
def test_what_bounds_nothing_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Ladder(**{**GOOD, **change})


def test_intervals_hold_the_deviation_and_the_leak_of_the_vacuum() -> None:
    ladder = Ladder(**GOOD, deviation=0.01, vacuum_limit=1e-3)
    assert ladder.low[[S, MU, NU]] == pytest.approx([0.396, 0.297, 0.0495])
    assert ladder.high[[S, MU, NU]] == pytest.approx([0.404, 0.303, 0.0505])
    assert (ladder.low[O], ladder.high[O]) == (0.0, 1e-3)
    leaky = Ladder(**{**GOOD, "o": 0.002}, deviation=0.01)
    assert (leaky.low[O], leaky.high[O]) == pytest.approx((0.00198, 0.00202))


@pytest.mark.parametrize("photons", [0, 1, 2, 3])
def test_probabilities_of_photon_numbers_lie_between_their_limits(photons: int) -> None:
    """Also where the interval holds the intensity at which a photon number is likeliest."""
    ladder = Ladder(1.0, 0.9, 0.05, 0.0, 0.45, 0.1, 0.3, deviation=0.05)
    low, high = ladder.sender().number_probability(photons)
    for x in np.linspace(-1.0, 1.0, 41):
        mean = ladder.intensities * (1.0 + 0.05 * x)
        value = ladder.probabilities * np.exp(-mean) * mean**photons / math.factorial(photons)
        assert np.all(low <= value * (1 + 1e-12))
        assert np.all(value <= high * (1 + 1e-12))
    assert np.all(high >= low)


def test_a_sender_refuses_settings_that_nothing_tells_apart() -> None:
    x = np.array([0.3, 0.3, 0.0])
    with pytest.raises(ValueError, match="equally bright"):
        Sender((Kind.X, Kind.X, Kind.VACUUM), np.full(3, 1 / 3), x, x, x)
    with pytest.raises(ValueError, match="low <= declared"):
        Sender((Kind.Z, Kind.X, Kind.VACUUM), np.full(3, 1 / 3), x, x + 0.1, x + 0.2)
    with pytest.raises(ValueError, match="sum to 1"):
        Sender((Kind.Z, Kind.X, Kind.VACUUM), np.full(3, 0.3), x, x, x)
