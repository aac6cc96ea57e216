"""What a relay would publish of tracking slots: clicks drawn slot by slot, of fibres that drift."""

import math
from dataclasses import dataclass, field

import numpy as np

from bellrelay.endpoint.source_log import Choices
from bellrelay.endpoint.tracking_source import TrackingSource
from bellrelay.wire.messages import Event
from bellrelay.wire.tracking import TrackingClicks, TrackingSlots
from bellrelay_sim.choices import Party, SourceLog
from bellrelay_sim.source import four_intensity

PERIOD_PS = 10_000
CENTRES_PS = (2500.0, 7500.0)
WIDTH_PS = math.hypot(100.0, 60.0)
SOURCE = four_intensity()
SCHEDULE = TrackingSlots(250_000, 100)
SLOTS_PER_S = 10**12 // PERIOD_PS
EVENT_SLOTS = SLOTS_PER_S // 4


class PartySource:
    """A source log of one party, of any acquisition; notes what it was asked for."""

    start_ns = 0
    slot_period_ps = 0.0
    probabilities = np.array([s.probability for s in SOURCE.settings])

    def __init__(self, party, acquisition=1):
        self._log = SourceLog(SOURCE, 7, party)
        self.acquisition = acquisition
        self.intensities = SOURCE.intensities
        self.kept = (0, 1 << 62)
        self.asked = 0

    def choices(self, slots):
        chosen = self._log.choices_at(slots)
        assert SCHEDULE.inside(slots).all()
        self.asked += len(slots)
        return Choices(chosen.basis, chosen.intensity, chosen.bit)

    def removed(self, first, end):
        return np.empty((0, 2), np.uint64)

    def close(self):
        pass


def tracking_source(party):
    return TrackingSource(SCHEDULE, lambda a: PartySource(party, a), lambda _a: True)


@dataclass
class EventLink:
    """Delays in ps of both arms: of the fibre, which drifts, and what the sender was told.

    eta : of each arm, source to click.
    """

    fibre_ps: list = field(default_factory=lambda: [0.0, 0.0])
    drift_ps_per_s: tuple = (0.0, 0.0)
    eta: list = field(default_factory=lambda: [0.1, 0.1])
    dark_per_slot: float = 1e-5
    seed: int = 1
    slot: int = 0
    acquisition: int = 1
    sender_ps: list = field(default_factory=lambda: [0.0, 0.0])

    def __post_init__(self):
        self._random = np.random.default_rng(self.seed)
        self._logs = [SourceLog(SOURCE, 7, party) for party in Party]

    @property
    def now_s(self):
        return self.slot * PERIOD_PS * 1e-12

    def late_ps(self):
        return [f + s for f, s in zip(self.fibre_ps, self.sender_ps, strict=True)]

    def _pass(self, slots):
        self.slot += slots
        for arm, drift in enumerate(self.drift_ps_per_s):
            self.fibre_ps[arm] += drift * slots / SLOTS_PER_S

    def clicks(self, slots=EVENT_SLOTS):
        """All that the relay would say of the next so many slots."""
        first = self.slot
        self._pass(slots)
        tracking = SCHEDULE.within(first, self.slot, 1 << 30)
        late = self.late_ps()
        parts = []
        for log, eta, delay in zip(self._logs, self.eta, late, strict=True):
            mean = eta * SOURCE.intensities[log.choices_at(tracking).intensity]
            slot = np.repeat(tracking, self._random.poisson(mean))
            centre = np.array(CENTRES_PS)[self._random.integers(0, 2, slot.size)]
            parts.append((slot, centre + delay + self._random.normal(0.0, WIDTH_PS, slot.size)))
        dark = np.repeat(tracking, self._random.poisson(self.dark_per_slot, tracking.size))
        parts.append((dark, self._random.uniform(0, PERIOD_PS, dark.size)))
        slot, place = (np.concatenate(x) for x in zip(*parts, strict=True))
        order = np.argsort(slot, kind="stable")
        return TrackingClicks(
            first,
            self.slot,
            slot[order],
            (place[order] % PERIOD_PS).astype(np.int32),
            np.zeros(slot.size, np.uint8),
        )

    def event(self, slots=EVENT_SLOTS):
        return Event(0, self.acquisition, self.clicks(slots).values())

    def heartbeat(self, seconds=0.0):
        self._pass(round(seconds * SLOTS_PER_S))
        return Event(0, self.acquisition, {"kind": "heartbeat", "cut_slot": self.slot})
