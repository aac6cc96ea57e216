"""The search on a device: it finds the lowest point, and never leaves the device worse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from bellrelay.control import step_phase_reference
from bellrelay.control.calibration_step import StepFailed
from bellrelay.control.endpoint_health import ask_endpoint, x_error
from bellrelay.control.lab_devices import DeviceSilent
from bellrelay.control.lab_search import Knob, Measured, align, knob_of
from bellrelay.control.step_phase_reference import PhaseReferenceOptions, PhaseReferenceStep


class Turned:
    """Some actuators, and something that is least where they should be."""

    def __init__(
        self,
        start: tuple[float, ...],
        truth: Callable[[tuple[float, ...]], float],
        sigma: float = 0.01,
        seed: int = 1,
    ) -> None:
        self.at = start
        self.truth = truth
        self.sigma = sigma
        self.random = np.random.default_rng(seed)
        self.written: list[tuple[float, ...]] = []
        self.fails_at = -1

    def write(self, settings: tuple[float, ...]) -> None:
        self.written.append(settings)
        if len(self.written) == self.fails_at:
            raise DeviceSilent(5, "lab.p: no answer")
        self.at = settings

    def measure(self) -> Measured:
        return Measured(self.truth(self.at) + self.random.normal(0.0, self.sigma), self.sigma)

    def knob(self, reach: float = 3.2) -> Knob:
        return Knob(((-reach, reach),) * len(self.at), lambda: self.at, self.write)


def phase_error(at: tuple[float, ...]) -> float:
    """Errors in X, of a phase that should be 0.9."""
    return 0.25 + 0.25 * (1.0 - math.cos(at[0] - 0.9))


@pytest.mark.parametrize("start", [-2.0, -0.5, 0.4, 0.9, 2.4, 3.0])
def test_a_phase_is_found_from_wherever_it_stands(start: float) -> None:
    device = Turned((start,), phase_error, sigma=0.004)
    search = align(device.knob(), device.measure, step=[1.0], rounds=5)
    assert phase_error(device.at) < phase_error((0.9,)) + 0.02
    assert search.left == device.at
    assert search.kept or abs(start - 0.9) < 0.5


def test_two_actuators_and_their_bounds() -> None:
    def bowl(at: tuple[float, ...]) -> float:
        return (at[0] - 0.7) ** 2 + 2.0 * (at[1] + 0.3) ** 2 + 0.3 * at[0] * at[1]

    device = Turned((0.0, 0.0), bowl, sigma=0.003)
    align(device.knob(), device.measure, step=[0.4, 0.4], rounds=5)
    assert bowl(device.at) < 0.02
    short = Turned((0.0, 0.0), bowl, sigma=0.003)
    align(short.knob(0.25), short.measure, step=[0.4, 0.4], rounds=3)
    assert all(abs(value) <= 0.25 for settings in short.written for value in settings)
    assert short.at[0] == pytest.approx(0.25)


def test_it_never_leaves_a_device_worse_than_chance_can_tell() -> None:
    worse = []
    for seed in range(150):
        # Aligned, and more noise than there is to gain.
        device = Turned((0.9,), phase_error, sigma=0.03, seed=seed)
        align(device.knob(), device.measure, step=[0.3], rounds=3)
        worse.append(phase_error(device.at) - phase_error((0.9,)))
    # Two standard errors of the difference: kept by luck now and then, and then not far off.
    assert np.mean(np.array(worse) > 0.0) < 0.06
    assert max(worse) < 0.05


def test_whatever_breaks_the_device_goes_back() -> None:
    for fails_at in range(1, 9):
        device = Turned((0.1,), phase_error)
        device.fails_at = fails_at
        with pytest.raises(DeviceSilent) as ended:
            align(device.knob(), device.measure, step=[0.5], rounds=2)
        assert device.at == (0.1,)
        assert not hasattr(ended.value, "__notes__")
    device = Turned((0.1,), phase_error)
    with pytest.raises(InterruptedError):
        align(device.knob(), device.measure, step=[0.5], cancelled=lambda: len(device.written) > 2)
    assert device.at == (0.1,)

    def stuck(settings: tuple[float, ...]) -> None:
        raise DeviceSilent(5, "lab.p: no answer")

    with pytest.raises(DeviceSilent) as ended:
        align(Knob(((0.0, 1.0),), lambda: (0.5,), stuck), device.measure, step=[0.1])
    assert "could not be put back to (0.5,)" in ended.value.__notes__[0]


def test_a_step_for_each_setting_is_needed() -> None:
    device = Turned((0.0, 0.0), lambda at: 0.0)
    for step in ([0.1], [0.1, 0.0]):
        with pytest.raises(ValueError, match="a step above 0 is needed for each of 2"):
            align(device.knob(), device.measure, step=step)
    assert device.written == []
    with pytest.raises(TypeError, match="has no settings to turn"):
        knob_of(object())


# ---------------------------------------------------------------------- by an endpoint's errors


class Blocks:
    """An endpoint's status; a block ends with each look. Errors are those of two blocks ago."""

    def __init__(self, error: Callable[[], float]) -> None:
        self._error = error
        self._sent: list[float] = []
        self.ends = True

    def __call__(self) -> dict[str, object]:
        if self.ends:
            self._sent.append(self._error())
        shown = self._sent[-3] if len(self._sent) > 2 else None
        last = None if shown is None else {"value": 1.0 - 2.0 * shown, "sigma": 0.01}
        return {"role": "alice", "visibility": {"measured": len(self._sent), "last": last}}


def test_errors_of_blocks_that_were_sent_before_a_turn_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bellrelay.control.endpoint_health._POLL_S", 0.0)
    now = [0.3]
    blocks = Blocks(lambda: now[0])
    for _ in range(4):
        blocks()
    now[0] = 0.26
    error, sigma = x_error(blocks, 2, 5.0, lambda: False)
    assert (error, sigma) == (pytest.approx(0.26), 0.005)
    blocks.ends = False
    with pytest.raises(StepFailed, match="0 blocks with outcomes in X have ended within"):
        x_error(blocks, 2, 0.05, lambda: False)
    with pytest.raises(InterruptedError):
        x_error(blocks, 2, 5.0, lambda: True)
    with pytest.raises(StepFailed, match="no status of an endpoint"):
        ask_endpoint("http://127.0.0.1:9/health")


def test_the_phase_step_turns_to_fewest_errors_in_x(monkeypatch: pytest.MonkeyPatch) -> None:
    class Phase:
        range_rad = (-3.0, 3.0)
        at = 0.0

        def phase_rad(self) -> float:
            return self.at

        def set_phase_rad(self, phase_rad: float) -> None:
            self.at = phase_rad

    device = Phase()

    class Bench:
        cancelled = staticmethod(lambda: False)
        told: list[str] = []
        tell = told.append

        class lab:
            device = staticmethod(lambda name, kind: device)

    monkeypatch.setattr("bellrelay.control.endpoint_health._POLL_S", 0.0)
    blocks = Blocks(lambda: phase_error((device.at,)))
    monkeypatch.setattr(step_phase_reference, "ask_endpoint", lambda url: blocks())
    options = PhaseReferenceOptions(device="phase", endpoint="http://alice/health")
    result = PhaseReferenceStep().run(Bench(), options)  # type: ignore[arg-type]
    assert result.ok
    assert device.at == pytest.approx(0.9, abs=0.15)
    assert result.devices[0].after == (device.at,)
