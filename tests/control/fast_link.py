"""A link in steps of a second: histograms drawn as Poisson numbers, not click by click.

What the loops read of a real link are arrival times in the slot and sync tags. Their distributions
are known, so an hour costs seconds. The click-by-click simulation is held against it in
test_source_delay.py.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from bellrelay.control.pulse_shape import PulseShape
from bellrelay.control.slot_servo import PPM_PS_PER_S, trim_rate
from bellrelay.control.source_delay import SentClicks

PERIOD_PS = 10_000
BIN_PS = 16
CENTRES_PS = (2500, 7500)
CLOCK_PS = 5000
PULSE_PS = 100.0
WIDTH_PS = math.hypot(PULSE_PS, 60.0)
INTENSITIES = np.array([0.4, 0.3, 0.05, 0.0])
PROBABILITIES = np.array([0.45, 0.1, 0.3, 0.15])
_SHAPE = PulseShape(625, BIN_PS, PERIOD_PS)


def light_at(late_ps):
    """Share of a slot's light in every bin, both pulses of equal height."""
    return 0.5 * sum(_SHAPE.at(c + late_ps, WIDTH_PS)[0] for c in CENTRES_PS)


@dataclass
class FastLink:
    """Phase of the relay's clock, fibres, senders.

    clock_ps, clock_rate: how late light of no delay lies in the slot, and its growth without trim.
    wander_ps: random walk of the relay's clock in a second. walk_ps: of each fibre.
    """

    offset_ppm: float = 0.0
    drift_ps_per_s: tuple[float, float] = (0.0, 0.0)
    wander_ps: float = 1.0
    walk_ps: float = 0.3
    eta: float = 0.1
    window_slots: int = 400_000
    sync_jitter_ps: float = 20.0
    seed: int = 1
    trim: int = 0
    clock_ps: float = 0.0
    fibre_ps: list = field(default_factory=lambda: [0.0, 0.0])
    sender_ps: list = field(default_factory=lambda: [0.0, 0.0])
    now_s: float = 0.0

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)

    def late_ps(self):
        """How late the light of Alice and of Bob lies in the slot."""
        return tuple(
            f + s + self.clock_ps for f, s in zip(self.fibre_ps, self.sender_ps, strict=True)
        )

    def pass_time(self, seconds):
        rate = self.offset_ppm * PPM_PS_PER_S + trim_rate(self.trim, CLOCK_PS)
        root = math.sqrt(seconds)
        self.clock_ps += rate * seconds + self.rng.normal(0.0, self.wander_ps * root)
        for i in (0, 1):
            self.fibre_ps[i] += self.drift_ps_per_s[i] * seconds
            self.fibre_ps[i] += self.rng.normal(0.0, self.walk_ps * root)
        self.now_s += seconds

    def sync_phase_ps(self):
        """What one heartbeat's sync tag says of the clock, slots counted."""
        return self.clock_ps + self.rng.normal(0.0, self.sync_jitter_ps)

    def histogram(self, seconds=1.0, dark_per_bin=20.0):
        """All detectors' clicks, as many bins as a board has."""
        slots = seconds * 1e12 / PERIOD_PS
        mean = float(PROBABILITIES @ INTENSITIES) * self.eta
        late = self.late_ps()
        expected = slots * mean * sum(light_at(x) for x in late) + dark_per_bin
        return np.concatenate((self.rng.poisson(expected), np.zeros(399, np.int64)))

    def tracking_clicks(self, who):
        """One tracking window as the endpoint `who` (0 Alice, 1 Bob) tabulates it."""
        slots = self.rng.multinomial(self.window_slots, PROBABILITIES)
        late = self.late_ps()
        mean = float(PROBABILITIES @ INTENSITIES)
        own, other = light_at(late[who]), light_at(late[1 - who])
        expected = self.eta * slots[:, None] * (INTENSITIES[:, None] * own + mean * other)
        return SentClicks(self.rng.poisson(expected), slots, BIN_PS, PERIOD_PS)
