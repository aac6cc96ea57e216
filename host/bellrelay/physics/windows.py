"""What a time window does: how much of a pulse it keeps, how many dark counts it lets in."""

from __future__ import annotations

import math

PS_PER_S = 1e12


def dark_count_probability(rate_hz: float, width_ps: float) -> float:
    """Probability of at least one dark count in a window: 1 - exp(-rate width).

    rate_hz: dark counts per second of one detector, >= 0; width_ps: window width in ps, >= 0.
    Raises ValueError if either is negative.
    """
    if rate_hz < 0.0 or width_ps < 0.0:
        raise ValueError(f"rate and width must not be negative, got {rate_hz} Hz, {width_ps} ps")
    return -math.expm1(-rate_hz * width_ps / PS_PER_S)


def gaussian_fraction(start_ps: float, end_ps: float, centre_ps: float, sigma_ps: float) -> float:
    """Part of a Gaussian pulse that falls into [start, end); times and sigma in ps.

    sigma is that of the arrival times: pulse and jitter added in quadrature. With sigma 0 the part
    is 1 or 0. Raises ValueError if sigma is negative or the window ends before it starts.
    """
    if sigma_ps < 0.0:
        raise ValueError(f"sigma_ps must not be negative, got {sigma_ps}")
    if end_ps < start_ps:
        raise ValueError(f"window must not end before it starts, got [{start_ps}, {end_ps})")
    if sigma_ps == 0.0:
        return 1.0 if start_ps <= centre_ps < end_ps else 0.0
    scale = sigma_ps * math.sqrt(2.0)
    return 0.5 * (math.erf((end_ps - centre_ps) / scale) - math.erf((start_ps - centre_ps) / scale))


def delayed_overlap(mode_overlap: float, delay_ps: float, sigma_ps: float) -> float:
    """Mode overlap M of two Gaussian pulses that arrive `delay_ps` apart.

    sigma_ps is the standard deviation of the pulse intensity in time. Amplitude envelopes of
    intensities N(0, sigma) and N(delay, sigma) overlap by exp(-delay^2 / (8 sigma^2)); M is its
    square times the overlap at zero delay. With sigma 0 any delay parts them.
    """
    if delay_ps == 0.0:
        return mode_overlap
    if sigma_ps <= 0.0:
        return 0.0
    return mode_overlap * math.exp(-(delay_ps**2) / (4.0 * sigma_ps**2))
