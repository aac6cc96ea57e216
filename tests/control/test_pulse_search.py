"""Pulses found anywhere in the slot, and what deskew, phase and windows make of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from simulated_bench import relay_config

from bellrelay.control.calibration_bench import Counted
from bellrelay.control.calibration_step import StepFailed, StepResult
from bellrelay.control.pulse_positions import TooFewCounts
from bellrelay.control.pulse_search import find_pulses, nearest_turn
from bellrelay.control.relay_settings import overlaid
from bellrelay.control.slot_light import ArrivalOptions
from bellrelay.control.step_deskew import DeskewStep
from bellrelay.control.step_phase import PhaseOptions, PhaseStep, phase_change
from bellrelay.control.step_windows import WindowsOptions, WindowsStep
from bellrelay.relay.config import RelayConfig
from bellrelay.wire.geometry import BoardGeometry

PERIOD, BIN = 10_000, 16


def arrivals(
    rng: np.random.Generator, centres: Sequence[float], width: float, n: int, noise: int
) -> NDArray[np.int64]:
    pulses = rng.normal(rng.choice(np.asarray(centres, float), n), width)
    every = np.concatenate((pulses, rng.uniform(0, PERIOD, noise)))
    return np.floor(every).astype(np.int64) % PERIOD


def histogram(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(positions // BIN, minlength=1024)


@settings(max_examples=60, deadline=None)
@given(
    shift=st.integers(-2_400, 2_400),
    width=st.sampled_from([40.0, 117.0, 300.0]),
    near=st.sampled_from([(2_500.0, 7_500.0), (1_000.0, 6_000.0), (200.0, 5_200.0)]),
    seed=st.integers(0, 1000),
)
def test_both_pulses_are_found_wherever_they_lie(shift, width, near, seed) -> None:
    rng = np.random.default_rng(seed)
    true = [place + shift for place in near]
    found, shifts = find_pulses(
        histogram(arrivals(rng, true, width, 20_000, 2_000)),
        bin_ps=BIN, period_ps=PERIOD, near_ps=near,
    )  # fmt: skip
    sigma = found.positions.sigma_position_ps
    assert (np.abs(np.array(shifts) - shift) < 5.0 * sigma + 1.0).all(), shifts
    assert found.positions.width_ps == pytest.approx(width, rel=0.1, abs=5.0)


def test_one_pulse_and_none() -> None:
    rng = np.random.default_rng(1)
    light = histogram(arrivals(rng, [9_990.0], 100.0, 5_000, 100))
    _, (shift,) = find_pulses(light, bin_ps=BIN, period_ps=PERIOD, near_ps=(500.0,))
    assert shift == pytest.approx(-510.0, abs=8.0)
    even = histogram(rng.integers(0, PERIOD, 50_000))
    with pytest.raises(TooFewCounts):
        find_pulses(even, bin_ps=BIN, period_ps=PERIOD, near_ps=(2_500.0, 7_500.0))
    with pytest.raises(TooFewCounts, match="for 2 pulses"):
        find_pulses(even // 500, bin_ps=BIN, period_ps=PERIOD, near_ps=(2_500.0, 7_500.0))


@given(value=st.floats(-1e5, 1e5), period=st.floats(1.0, 1e5))
def test_the_nearest_turn_is_the_same_place(value: float, period: float) -> None:
    near = nearest_turn(value, period)
    assert -period / 2 <= near <= period / 2 + 1e-9
    turns = (value - near) / period
    assert turns == pytest.approx(round(turns), abs=1e-6)


# ------------------------------------------------------------------------------------ the steps


class LitBench:
    """Light at known places of detectors with known cables; the rest is the board's arithmetic."""

    geometry = BoardGeometry(n_detectors=2)

    def __init__(self, config: RelayConfig, cables: Sequence[int], late_ps: int = 0) -> None:
        self.config = config
        self._cables = cables
        self._late = late_ps
        self._rng = np.random.default_rng(11)
        self.counts = 40_000

    def counted(self, seconds: float) -> Counted:
        rows = []
        for detector, cable in zip(self.config.detectors, self._cables, strict=True):
            t = self._rng.normal(
                self._rng.choice([2_500.0, 7_500.0], self.counts) + self._late + cable, 117.0
            )
            t = np.concatenate((t, self._rng.uniform(0, PERIOD, self.counts // 20)))
            position = np.floor(t - detector.deskew_ps + self.config.phase_ps).astype(int)
            rows.append(histogram(position % PERIOD))
        return Counted({}, np.array(rows, np.uint64), 0, round(seconds * 1e12))

    def apply(self, result: StepResult) -> None:
        """As a version would."""
        values = self.config.model_dump(
            mode="json", include={"relay_id", "windows", "detectors", "phase_ps", "slot_period_ps"}
        )
        values |= {"port": "nowhere", "log": {"directory": "log"}}
        for window in ("early", "late"):
            values["windows"][window] = list(values["windows"][window])
        self.config = overlaid(values, result.change)


def bench(cables: Sequence[int] = (820, 2190), late: int = 0, **changes: Any) -> LitBench:
    return LitBench(relay_config(**changes), cables, late)


def run(step: Any, there: LitBench, options: Any) -> StepResult:
    return step.run(there, options)  # type: ignore[no-any-return]


@settings(max_examples=20, deadline=None)
@given(wrong=st.integers(-2_200, 2_200))
def test_deskew_brings_all_detectors_together(wrong: int) -> None:
    detectors = [
        {"name": "D0", "port": "c", "deskew_ps": 820},
        {"name": "D1", "port": "d", "deskew_ps": 2190 + wrong},
    ]
    there = bench(detectors=detectors)
    result = run(DeskewStep(), there, ArrivalOptions())
    assert result.ok
    there.apply(result)
    left = there.config.detectors[1].deskew_ps - 2190
    assert abs(left) <= max(5, 4.0 * result.figures["sigma_ps"][1] + 1.0)
    # A second run finds nothing.
    again = run(DeskewStep(), there, ArrivalOptions())
    assert again.change == {} or abs(left) > 3
    assert there.config.detectors[0].deskew_ps == 820


def test_deskew_of_too_little_light_changes_nothing(tmp_path: Path) -> None:
    there = bench()
    there.counts = 500
    with pytest.raises(StepFailed, match="asked for"):
        run(DeskewStep(), there, ArrivalOptions(error_ps=1.0))
    there.counts = 40_000
    result = run(DeskewStep(), there, ArrivalOptions())
    assert result.draw is not None
    result.draw(tmp_path / "deskew.png")
    assert (tmp_path / "deskew.png").read_bytes().startswith(b"\x89PNG")


def test_a_board_without_histogram_says_what_to_set() -> None:
    with pytest.raises(StepFailed, match=r"histogram\.period_s"):
        run(DeskewStep(), bench(histogram={"period_s": 0}), ArrivalOptions())
    with pytest.raises(StepFailed, match=r"histogram\.bin_ps"):
        run(DeskewStep(), bench(histogram={"bin_ps": 4}), ArrivalOptions())


@settings(max_examples=20, deadline=None)
@given(late=st.integers(-2_200, 2_200), phase=st.integers(0, 4_000))
def test_phase_brings_pulses_to_where_they_belong_and_slots_keep_their_numbers(
    late: int, phase: int
) -> None:
    there = bench(late=late - phase, phase_ps=phase)
    result = run(PhaseStep(), there, PhaseOptions())
    assert abs(result.figures["late_ps"] - late) < 5.0 * result.figures["sigma_ps"] + 1.0
    before = there.config
    there.apply(result)
    after = there.config
    # Phase less deskew: all that there is of it, and never by a slot.
    moved = [
        (b.phase_ps - b.detectors[k].deskew_ps) - (a.phase_ps - a.detectors[k].deskew_ps)
        for a, b in [(before, after)]
        for k in (0, 1)
    ]
    assert moved[0] == moved[1]
    assert abs(moved[0] + late) <= max(5.0, 5.0 * result.figures["sigma_ps"]) + 1
    assert 0 <= after.phase_ps < PERIOD


def test_a_phase_that_would_leave_the_slot_is_taken_by_the_delays() -> None:
    config = relay_config(phase_ps=100)
    change = phase_change(config, 350)
    assert change["phase_ps"] == 0
    assert [d["deskew_ps"] for d in change["detectors"]] == [820 + 250, 2190 + 250]
    assert phase_change(config, 60) == {"phase_ps": 40}
    late = phase_change(relay_config(phase_ps=9_900), -200)
    assert late["phase_ps"] == 9_999
    assert [d["deskew_ps"] for d in late["detectors"]] == [820 - 101, 2190 - 101]


def test_tracking_says_where_pulses_belong() -> None:
    tracking = {"centres_ps": [2_600, 7_600]}
    there = bench(tracking=tracking, histogram={"period_s": 1.0, "bin_ps": 16})
    result = run(PhaseStep(), there, PhaseOptions())
    assert result.figures["late_ps"] == pytest.approx(-100.0, abs=5.0)


@pytest.mark.parametrize("early", [[2_450, 2_550], [2_400, 3_900], [0, 5_000]])
def test_windows_come_to_enclose_the_pulses(early: list[int], tmp_path: Path) -> None:
    late = [5_000 + early[0], 5_000 + early[1]]
    there = bench(late=120, windows={"early": early, "late": late})
    result = run(WindowsStep(), there, WindowsOptions())
    there.apply(result)
    for window, centre in (
        (there.config.windows.early, 2_620.0),
        (there.config.windows.late, 7_620.0),
    ):
        assert window[0] + window[1] == pytest.approx(2 * centre, abs=150.0)
        # More than two widths of the pulse, and less than what is noise alone.
        assert 2.0 * 117.0 < (window[1] - window[0]) / 2 < 7.0 * 117.0
    assert result.figures["gain"] > 0.01
    assert result.draw is not None
    result.draw(tmp_path / "windows.png")
    # Now they are good, and stay.
    again = run(WindowsStep(), there, WindowsOptions())
    assert again.change == {}
    assert "left as they are" in again.text


def test_pulses_over_the_slot_s_end_are_the_phase_s() -> None:
    there = bench(late=2_480, windows={"early": [0, 900], "late": [4_000, 5_900]})
    with pytest.raises(StepFailed, match="phase"):
        run(WindowsStep(), there, WindowsOptions())


def test_windows_do_not_hide_a_deskew_that_is_wrong() -> None:
    there = bench()
    good = run(WindowsStep(), there, WindowsOptions()).figures["rate"]
    apart = bench(cables=(820, 2690))
    assert run(WindowsStep(), apart, WindowsOptions()).figures["rate"] < 0.99 * good
