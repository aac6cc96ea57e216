"""The Hong-Ou-Mandel scan: closed forms, its error bars, and the step on a simulated link."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import i0
from simulated_bench import (
    ArmDelay,
    Devices,
    Polarisation,
    SimulatedBench,
    bright_link,
    relay_config,
)

from bellrelay.control.calibration_step import StepFailed
from bellrelay.control.hom_scan import (
    HomVerdict,
    LightOfBin,
    analyse_scan,
    draw_scan,
    most_visibility,
    scan_delays,
)
from bellrelay.control.lab_devices import DeviceSilent
from bellrelay.control.port_pairs import port_pairs
from bellrelay.control.step_hom import HomOptions, HomStep
from bellrelay.control.step_polarisation import PolarisationOptions, PolarisationStep

DELAYS = scan_delays(0.0, 1000.0, 21)


def dip(visibility: float, centre: float, width: float) -> np.ndarray:
    return 1.0 - visibility * np.exp(-0.5 * ((DELAYS - centre) / width) ** 2)


def coincidence(u: float, v: float, overlap: float) -> float:
    """Both of two threshold detectors click, of phase-randomised pulses: a closed form (Bessel)."""
    half, swing = (u + v) / 2.0, math.sqrt(u * v * overlap)
    return 1.0 - 2.0 * math.exp(-half) * float(i0(swing)) + math.exp(-2.0 * half)


@pytest.mark.parametrize(("u", "v"), [(1e-3, 1e-3), (2e-3, 1e-3), (1e-3, 3e-4)])
def test_the_limit_is_that_of_threshold_detectors_at_few_photons(u: float, v: float) -> None:
    exact = 1.0 - coincidence(u, v, 1.0) / coincidence(u, v, 0.0)
    limit = most_visibility(LightOfBin.constant(u), LightOfBin.constant(v))
    assert limit == pytest.approx(exact, rel=2e-3)
    assert limit <= 0.5


def test_light_that_changes_has_a_lower_limit() -> None:
    x, p = np.array([0.4, 0.3, 0.05, 0.0]), np.array([0.45, 0.1, 0.3, 0.15])
    light = LightOfBin.of_ladder(x, p)
    # By hand: a bin has s half of the time, half of mu or nu always.
    mean = 0.45 * 0.5 * 0.4 + 0.1 * 0.15 + 0.3 * 0.025
    square = 0.45 * 0.5 * 0.16 + 0.1 * 0.15**2 + 0.3 * 0.025**2
    assert (light.mean, light.square) == pytest.approx((mean, square))
    assert most_visibility(light, light) == pytest.approx(1.0 / (1.0 + square / mean**2))
    with pytest.raises(ValueError, match="sends nothing"):
        most_visibility(light, LightOfBin.constant(0.0))


def test_error_bars_of_a_scan_are_what_they_say() -> None:
    rng = np.random.default_rng(7)
    pulls = []
    for _ in range(60):
        counts = rng.poisson(2000.0 * dip(0.46, 35.0, 140.0))
        scan = analyse_scan(DELAYS, counts, 2000.0, most=0.5)
        assert scan.fit is not None
        f = scan.fit
        pulls.append(
            [
                (f.visibility - 0.46) / f.sigma_visibility,
                (f.centre_ps - 35.0) / f.sigma_centre_ps,
                (f.width_ps - 140.0) / f.sigma_width_ps,
            ]
        )
    spread, mean = np.std(pulls, axis=0), np.mean(pulls, axis=0)
    assert (np.abs(mean) < 0.45).all(), mean
    assert ((spread > 0.7) & (spread < 1.35)).all(), spread


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [
        (dip(0.48, 20.0, 140.0), HomVerdict.GOOD),
        (dip(0.30, 20.0, 140.0), HomVerdict.WEAK),
        (dip(0.0, 0.0, 140.0), HomVerdict.UNSEEN),
        (dip(0.8, 20.0, 140.0), HomVerdict.IMPOSSIBLE),
        (np.where(np.arange(21) % 2, 1.0, 0.6), HomVerdict.MISFIT),
    ],
)
def test_what_a_scan_is_called(expected: np.ndarray, verdict: HomVerdict, tmp_path: Path) -> None:
    counts = np.random.default_rng(3).poisson(3000.0 * expected)
    scan = analyse_scan(DELAYS, counts, 3000.0)
    # What has no dip's shape may also be found to have none at all.
    assert scan.verdict is verdict or (
        verdict is HomVerdict.MISFIT and scan.verdict is HomVerdict.UNSEEN
    )
    draw_scan(tmp_path / "scan.png", scan)
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")
    assert str(scan.verdict) in scan.line()


def test_what_few_pairs_cannot_tell_is_not_called_good() -> None:
    rng = np.random.default_rng(5)
    counts = [rng.poisson(30.0 * dip(0.49, 0.0, 140.0)) for _ in range(20)]
    called = {analyse_scan(DELAYS, each, 30.0).verdict for each in counts}
    assert HomVerdict.GOOD not in called
    assert HomVerdict.OPEN in called


def test_a_scan_takes_seven_points() -> None:
    with pytest.raises(ValueError, match="seven points"):
        scan_delays(0.0, 100.0, 6)


# ------------------------------------------------------------------------------------- the step


def bench(line: ArmDelay, **changes: object) -> SimulatedBench:
    return SimulatedBench(bright_link(**changes), Devices(delay_a=line), relay_config())


def options(**changes: object) -> HomOptions:
    given = {"device": "delay-a", "seconds": 0.008, "points": 11, "span_ps": 900.0}
    return HomOptions.model_validate({**given, **changes})


def test_the_step_finds_the_dip_and_leaves_the_line_at_its_centre() -> None:
    line = ArmDelay(100.0)
    link = bright_link()
    there = SimulatedBench(link, Devices(delay_a=line), relay_config())
    result = HomStep().run(there, options())  # type: ignore[arg-type]
    fit = result.figures["fit"]
    assert result.ok, result.text
    # Light of 0.04 photons in a bin: threshold detectors see the limit to a few per cent.
    exact = 1.0 - coincidence(0.02, 0.02, 1.0) / coincidence(0.02, 0.02, 0.0)
    assert abs(fit["visibility"] - exact) < 4.0 * fit["sigma_visibility"] + 0.01
    assert abs(fit["centre_ps"]) < 4.0 * fit["sigma_centre_ps"]
    assert abs(fit["width_ps"] - math.sqrt(2.0) * link.pulse_sigma_ps) < 4 * fit["sigma_width_ps"]
    assert fit["sigma_centre_ps"] < 15.0
    assert line.at_ps == pytest.approx(fit["centre_ps"])
    (change,) = result.devices
    assert (change.before, change.after) == ((100.0,), (line.at_ps,))


def test_a_dip_that_is_not_good_moves_nothing() -> None:
    line = ArmDelay(60.0)
    chosen = options(seconds=0.02)
    result = HomStep().run(bench(line, mode_overlap=0.5), chosen)  # type: ignore[arg-type]
    assert not result.ok
    assert result.figures["verdict"] == "visibility too low"
    assert abs(result.figures["overlap"] - 0.5) < 4.0 * result.figures["sigma_overlap"]
    assert line.at_ps == 60.0
    assert result.devices == ()


def test_whatever_breaks_the_line_goes_back() -> None:
    line = ArmDelay(60.0)
    line.breaks_at = 5
    with pytest.raises(DeviceSilent) as ended:
        HomStep().run(bench(line), options())  # type: ignore[arg-type]
    assert line.at_ps == 60.0
    assert not hasattr(ended.value, "__notes__")
    line = ArmDelay(60.0)
    line.breaks_at, line.stuck = 5, True
    with pytest.raises(DeviceSilent) as ended:
        HomStep().run(bench(line), options())  # type: ignore[arg-type]
    assert "could not be put back" in ended.value.__notes__[0]
    line = ArmDelay(60.0)
    there = bench(line)
    there.cancelled = lambda: len(line.told) > 3
    with pytest.raises(InterruptedError):
        HomStep().run(there, options())  # type: ignore[arg-type]
    assert line.at_ps == 60.0


def test_no_light_and_no_room_are_told() -> None:
    line = ArmDelay()
    dark = bright_link()
    dark = bench(line, arm_a=type(dark.arm_a)(eta=0.0), arm_b=type(dark.arm_b)(eta=0.0))
    with pytest.raises(StepFailed, match="no light"):
        HomStep().run(dark, options())  # type: ignore[arg-type]
    line.range_ps = (0.0, 50.0)  # type: ignore[misc]
    line.at_ps = 0.0
    with pytest.raises(StepFailed, match="too little of a scan"):
        HomStep().run(bench(line), options())  # type: ignore[arg-type]


def test_pairs_apart_are_as_many_as_chance_has() -> None:
    line = ArmDelay()
    pairs = port_pairs(bench(line).tags(0.01), relay_config(), 1000)
    c, d = pairs.clicks
    # Two bins per slot, each with half of the clicks.
    assert pairs.apart == pytest.approx(c * d / pairs.slots / 2, rel=0.05)
    assert pairs.ratio == pytest.approx(0.5, abs=5 * pairs.sigma_ratio)


def test_polarisation_is_turned_to_where_the_pulses_overlap_and_never_to_worse() -> None:
    controller = Polarisation(aligned=(0.5, -0.3), at=(0.0, 0.0))
    there = SimulatedBench(bright_link(), Devices(pol=controller), relay_config())
    given = {"device": "pol", "step": 0.3, "rounds": 3, "seconds": 0.03}
    chosen = PolarisationOptions.model_validate(given)
    result = PolarisationStep().run(there, chosen)  # type: ignore[arg-type]
    assert result.figures["kept"]
    assert controller.overlap > 0.95
    assert result.devices[0].before == (0.0, 0.0)
    # Aligned already: whatever it finds, it is not kept unless it is better.
    controller.at = controller.aligned
    result = PolarisationStep().run(there, chosen)  # type: ignore[arg-type]
    assert controller.overlap > 0.97
