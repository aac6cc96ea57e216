"""A sender's power monitor, reading by reading, to the fault: a step shows at once."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bellrelay.control.fault_baseline import UNKNOWN
from bellrelay.control.fault_from_status import endpoint_reading
from bellrelay.control.fault_observation import Observation
from bellrelay.control.fault_watch import Notice, Turn, Watch
from bellrelay.distill.ladder import Ladder
from bellrelay.endpoint.block_parameters import ladder_name
from bellrelay.endpoint.config import IntensityMonitorSettings
from bellrelay.endpoint.intensity_watch import IntensityWatch
from bellrelay.endpoint.source_log import Reading

LADDER = Ladder(s=0.4, mu=0.3, nu=0.05, o=0.0, p_s=0.4, p_mu=0.2, p_nu=0.3, vacuum_limit=1e-3)
S = 1_000_000_000


class Monitored:
    """A sender that is measured once a second."""

    def __init__(self, noise: float, seed: int) -> None:
        settings = IntensityMonitorSettings(input="source")
        self.intensities = IntensityWatch(settings, LADDER, 0.02)
        self.factors = {"": np.ones(4)}
        self._noise = noise
        self._rng = np.random.default_rng(seed)
        self._now = time.time_ns() - 2000 * S
        self.intensities.attach(self)  # type: ignore[arg-type]

    def readings(self) -> list[Reading]:
        out = []
        for name, factors in self.factors.items():
            seen = LADDER.intensities * factors * self._rng.normal(1.0, self._noise, 4)
            seen[3] += factors[3] - 1.0 + self._rng.normal(0.0, 1e-5)
            out += [Reading(self._now, k, float(v), ladder=name) for k, v in enumerate(seen)]
        return out

    def status(self) -> dict[str, Any]:
        self._now += S
        self.intensities.poll(self._now)
        return {
            "relay": {"connected": True},
            "peer": {"connected": True},
            "quarantined": False,
            "alarms": 0,
            "key_pool": {"bits": 10**6},
            "random_health": {"alarm": None},
            "intensities": self.intensities.monitor.totals(),
            "other_intensities": self.intensities.other_totals(),
        }


class Watched:
    def __init__(self, sender: Monitored) -> None:
        self.sender, self.watch, self.time_s = sender, Watch(UNKNOWN), 0.0
        self._before = sender.status()

    def run(self, seconds: int) -> list[Notice]:
        notices: list[Notice] = []
        for _ in range(seconds):
            now = self.sender.status()
            self.time_s += 1.0
            end = endpoint_reading(self._before, now, 1000)
            self._before = now
            notices += self.watch.observe([Observation(self.time_s, 1.0, endpoints=(end, None))])
        return notices


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("setting", "factor"), [(1, 1.15), (2, 0.8), (0, 1.1), (3, 1.02)], ids=["mu", "nu", "s", "o"]
)
def test_a_step_is_seen_within_seconds(setting: int, factor: float, seed: int) -> None:
    """Of a window of ten minutes, which a mean over it would take a minute to show."""
    sender = Monitored(noise=0.005, seed=seed)
    watched = Watched(sender)
    assert watched.run(300) == []
    sender.factors[""][setting] = factor
    raised = [n for n in watched.run(5) if n.turn is Turn.RAISED]
    assert [(n.fault, n.subject) for n in raised] == [("decoy-misconfigured", "alice")]


def test_noise_is_no_step() -> None:
    assert Watched(Monitored(noise=0.01, seed=5)).run(3000) == []


def test_a_ladder_on_trial_is_held_to_what_it_declares() -> None:
    """Mu 10 % brighter, as the candidate says: no fault. Brighter than that: one."""
    candidate = replace(LADDER, mu=0.33)
    sender = Monitored(noise=0.005, seed=6)
    sender.intensities.expect(candidate, 0.02)
    sender.factors[ladder_name(candidate)] = np.array([1.0, 1.1, 1.0, 1.0])
    watched = Watched(sender)
    assert watched.run(120) == []
    sender.factors[ladder_name(candidate)][1] = 1.3
    raised = [n for n in watched.run(6) if n.turn is Turn.RAISED]
    assert [n.fault for n in raised] == ["decoy-misconfigured"]
