import math

import numpy as np
import pytest

from bellrelay.physics import dark_count_probability, delayed_overlap, gaussian_fraction


def test_dark_counts_in_a_window() -> None:
    assert dark_count_probability(100.0, 1000.0) == pytest.approx(1e-7, rel=1e-6)
    assert dark_count_probability(1e9, 1000.0) == pytest.approx(1.0 - math.exp(-1.0))
    with pytest.raises(ValueError, match="negative"):
        dark_count_probability(-1.0, 10.0)


def test_part_of_a_pulse_in_a_window() -> None:
    assert gaussian_fraction(-100.0, 100.0, 0.0, 100.0) == pytest.approx(0.682689492)
    assert gaussian_fraction(0.0, 10.0, 10.0, 0.0) == 0.0  # half open
    assert gaussian_fraction(10.0, 20.0, 10.0, 0.0) == 1.0
    with pytest.raises(ValueError, match="end before"):
        gaussian_fraction(5.0, 4.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="sigma_ps"):
        gaussian_fraction(0.0, 4.0, 0.0, -1.0)


def test_overlap_falls_with_delay_as_the_pulses_do() -> None:
    sigma, delay = 100.0, 130.0
    t = np.linspace(-2000.0, 2000.0, 40001)
    first = np.exp(-(t**2) / (4 * sigma**2))
    second = np.exp(-((t - delay) ** 2) / (4 * sigma**2))
    overlap = (first @ second) ** 2 / (first @ first) / (second @ second)
    assert delayed_overlap(0.98, delay, sigma) == pytest.approx(0.98 * overlap, rel=1e-6)
    assert delayed_overlap(0.98, 0.0, 0.0) == 0.98
    assert delayed_overlap(0.98, 1.0, 0.0) == 0.0
