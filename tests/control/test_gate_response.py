"""The plateau of a gated detector, and the step that scans for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_bench import relay_config

from bellrelay.control.calibration_bench import Counted
from bellrelay.control.calibration_step import StepFailed
from bellrelay.control.gate_response import gate_response
from bellrelay.control.step_gate_scan import GateScanOptions, GateScanStep
from bellrelay.relay.config import RelayConfig

PERIOD = 10_000
DELAYS = np.arange(40) * 250


def inside(light: float, delay: np.ndarray, width: float) -> np.ndarray:
    """Whether a gate that begins at the delay is open when the light comes."""
    return (light - delay) % PERIOD < width


@settings(max_examples=80)
@given(light=st.integers(0, PERIOD - 1), width=st.integers(1_000, 8_500), seed=st.integers(0, 100))
def test_the_gate_s_middle_comes_to_the_light(light: int, width: int, seed: int) -> None:
    mean = 50.0 + 2_000.0 * inside(light, DELAYS, width)
    counts = np.random.default_rng(seed).poisson(mean)
    found = gate_response(DELAYS, counts, PERIOD)
    assert found.gated
    wanted = (light - width / 2) % PERIOD
    away = (found.centre_ps - wanted + PERIOD / 2) % PERIOD - PERIOD / 2
    # Each edge lies somewhere between two points.
    assert abs(away) <= 250.0
    assert abs(away) <= 4.0 * found.sigma_centre_ps
    assert 0.0 <= found.centre_ps < PERIOD


@settings(max_examples=40)
@given(level=st.sampled_from([0.0, 30.0, 5_000.0]), seed=st.integers(0, 1000))
def test_a_detector_that_runs_freely_is_not_gated(level: float, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(level, len(DELAYS))
    assert not gate_response(DELAYS, counts, PERIOD).gated


def test_of_two_plateaus_the_one_that_is_wanted_is_taken() -> None:
    both = 100.0 + 2_500.0 * (
        1.0 * inside(2_500, DELAYS, 8_000) + 1.0 * inside(7_500, DELAYS, 8_000)
    )
    # A gate of 8 ns holds both pulses if it begins from 9.5 to 2.5 ns, or from 4.5 to 7.5 ns.
    for near, wanted in ((1_000.0, 1_000.0), (9_500.0, 1_000.0), (5_000.0, 6_000.0)):
        found = gate_response(DELAYS, both, PERIOD, near)
        assert abs(found.centre_ps - wanted) <= 250.0
        assert (found.level, found.floor) == pytest.approx((5_100.0, 2_600.0))


def test_scans_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="eight points"):
        gate_response(DELAYS[:7], DELAYS[:7], PERIOD)
    with pytest.raises(ValueError, match="longer than the slot"):
        gate_response(DELAYS * 2, DELAYS, PERIOD)


class GatedBench:
    """Detectors that fire in their gates alone; the second one runs freely."""

    def __init__(self, **changes: object) -> None:
        gate = {"gate_delay_ps": 4_000, "gate_width_ps": 8_000}
        self.config = relay_config(
            detectors=[
                {"name": "D0", "port": "c", **gate}, {"name": "D1", "port": "d", **gate}
            ],
            **changes,
        )  # fmt: skip
        self.tried: list[RelayConfig] = []
        self.in_force = self.config
        self.told: list[str] = []
        self._rng = np.random.default_rng(3)

    @contextlib.contextmanager
    def trying(self, config: RelayConfig) -> Iterator[None]:
        self.in_force = config
        self.tried.append(config)
        try:
            yield
        finally:
            self.in_force = self.config

    def counted(self, seconds: float) -> Counted:
        gate = self.in_force.detectors[0]
        share = np.mean(
            [inside(x, np.array(gate.gate_delay_ps), gate.gate_width_ps) for x in (2_500, 7_500)]
        )
        counters = {
            "clicks_0": int(self._rng.poisson(10_000.0 * seconds * (0.01 + share))),
            "clicks_1": int(self._rng.poisson(10_000.0 * seconds)),
        }
        return Counted(counters, np.zeros((3, 1024), np.uint64), 0, round(seconds * 1e12))

    def check_cancelled(self) -> None:
        if len(self.tried) == 100:
            raise InterruptedError("cancelled")

    def tell(self, line: str) -> None:
        self.told.append(line)


def test_the_step_centres_the_gate_and_leaves_free_detectors_alone(tmp_path: Path) -> None:
    bench = GatedBench()
    result = GateScanStep().run(bench, GateScanOptions(points=40))  # type: ignore[arg-type]
    assert result.ok
    assert "D1 runs freely" in result.text
    first, second = result.change["detectors"]
    # Both pulses, 5 ns apart, in the middle of a gate of 8 ns.
    assert abs((first["gate_delay_ps"] - 1_000 + 5_000) % PERIOD - 5_000) < 300
    assert second == {}
    assert bench.in_force is bench.config
    assert len(bench.told) == len(bench.tried) == 40
    assert result.draw is not None
    result.draw(tmp_path / "gate.png")
    assert (tmp_path / "gate.png").read_bytes().startswith(b"\x89PNG")


def test_a_narrow_gate_and_none_at_all() -> None:
    narrow = GateScanOptions(points=40, width_ps=1_000)
    with pytest.raises(StepFailed, match="cannot hold pulses 5000 ps apart"):
        GateScanStep().run(GatedBench(), narrow)  # type: ignore[arg-type]
    bench = GatedBench()
    bench.config = relay_config()
    result = GateScanStep().run(bench, GateScanOptions())  # type: ignore[arg-type]
    assert result.ok
    assert result.change == {}
    assert bench.tried == []


def test_a_scan_that_is_cancelled_leaves_the_board_as_it_was() -> None:
    bench = GatedBench()
    with pytest.raises(InterruptedError):
        GateScanStep().run(bench, GateScanOptions(points=120))  # type: ignore[arg-type]
    assert bench.in_force is bench.config
