"""Ratios of decoy intensities: truth is confirmed, errors are found, few counts decide nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bellrelay.control import step_decoy
from bellrelay.control.calibration_step import StepFailed
from bellrelay.control.decoy_check import DecoyVerdict, check_clicks, check_readings
from bellrelay.control.step_decoy import DecoyOptions, DecoyStep, checks_of
from bellrelay.distill.ladder import Ladder
from bellrelay.endpoint.config import IntensityMonitorSettings
from bellrelay.endpoint.intensity_monitor import IntensityMonitor
from bellrelay.endpoint.source_log import Reading

DECLARED = np.array([0.4, 0.3, 0.05, 0.0])
SHARE = np.array([0.45, 0.1, 0.3, 0.15])


def clicks(
    rng: np.random.Generator, slots: float, factor: tuple[float, ...] = (1, 1, 1, 1)
) -> tuple[np.ndarray, np.ndarray]:
    n = slots * SHARE
    # Clicks per photon, and those of everybody else.
    return n, rng.poisson(n * (0.05 * DECLARED * np.array(factor) + 0.01))


def test_error_bars_of_the_ratios_are_what_they_say() -> None:
    rng = np.random.default_rng(1)
    pulls = []
    for _ in range(400):
        check = check_clicks(*clicks(rng, 4e6), DECLARED, 0.01)
        pulls.append([(r.measured - r.declared) / r.sigma for r in check.ratios])
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.2
    assert np.std(pulls, axis=0) == pytest.approx(1.0, abs=0.12)


def test_what_is_as_declared_is_confirmed_and_what_is_not_is_found() -> None:
    rng = np.random.default_rng(2)
    good = check_clicks(*clicks(rng, 4e9), DECLARED, 0.01)
    assert good.verdict is DecoyVerdict.CONFIRMED
    bad = check_clicks(*clicks(rng, 4e9, (1, 1.06, 1, 1)), DECLARED, 0.01)
    assert [r.verdict for r in bad.ratios] == [DecoyVerdict.DEVIATES, DecoyVerdict.CONFIRMED]
    assert bad.verdict is DecoyVerdict.DEVIATES
    assert bad.ratios[0].off == pytest.approx(0.06, abs=0.002)
    # A factor of all settings is a loss like another.
    assert check_clicks(*clicks(rng, 4e9, (0.9, 0.9, 0.9, 1)), DECLARED, 0.01).verdict is (
        DecoyVerdict.CONFIRMED
    )
    assert check_clicks(*clicks(rng, 1e5), DECLARED, 0.01).verdict is DecoyVerdict.OPEN


def test_a_good_sender_is_hardly_ever_called_bad() -> None:
    rng = np.random.default_rng(3)
    verdicts = [
        check_clicks(*clicks(rng, 10 ** rng.uniform(5, 9)), DECLARED, 0.01).verdict
        for _ in range(2000)
    ]
    assert verdicts.count(DecoyVerdict.DEVIATES) == 0


@pytest.mark.parametrize("slots", [5e5, 3e6, 1e9])
def test_bright_light_of_which_detectors_hide_some_is_not_called_bad(slots: float) -> None:
    """Signals, all in one time bin, click twice in a detector more often than the others do."""
    rng = np.random.default_rng(5)

    def check(mu: float) -> DecoyVerdict:
        x = DECLARED * [1, mu, 1, 1]
        bins = np.array([1, 2, 2, 2])
        # Two detectors see half of it each, in one bin or in two, and the other sender's light.
        dark = np.exp(-(0.9 * x / bins / 2 + 0.05))
        empty = np.exp(-0.05)
        rate = 2 * (bins * (1 - dark) + (2 - bins) * (1 - empty))
        n = slots * SHARE
        return check_clicks(n, rng.poisson(n * rate), DECLARED, 0.01).verdict

    assert {check(1.0) for _ in range(300)} == {DecoyVerdict.OPEN}
    if slots > 1e6:
        assert check(1.15) is check(0.85) is DecoyVerdict.DEVIATES


def test_by_the_power_monitor() -> None:
    rng = np.random.default_rng(4)
    readings = np.full(4, 200)

    def check(factor: list[float], noise: float = 1e-3) -> Any:
        means = DECLARED * factor * rng.normal(1.0, noise / np.sqrt(readings))
        return check_readings(readings, means, [noise**2] * 3 + [0.0], DECLARED, 0.01)

    assert check([1, 1, 1, 1]).verdict is DecoyVerdict.CONFIRMED
    # The monitor's own calibration drops out.
    assert check([1.2, 1.2, 1.2, 1]).verdict is DecoyVerdict.CONFIRMED
    assert check([1, 1, 1.05, 1]).verdict is DecoyVerdict.DEVIATES
    assert check([1, 1, 1, 1], noise=0.2).verdict is DecoyVerdict.OPEN
    assert check([1, 1, 1, 1]).vacuum == (0.0, 0.0)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="each of the four settings"):
        check_clicks([1, 1, 1], [1, 1, 1], DECLARED, 0.01)
    with pytest.raises(ValueError, match="each of the four settings"):
        check_clicks([1, 0, 1, 1], [1, 0, 1, 1], DECLARED, 0.01)
    with pytest.raises(ValueError, match="no light"):
        check_clicks([100] * 4, [3, 3, 3, 3], DECLARED, 0.01)
    with pytest.raises(ValueError, match="dead time"):
        check_clicks([100] * 4, [100, 80, 30, 20], DECLARED, 0.01)
    with pytest.raises(ValueError, match="scatter is not known"):
        check_readings([9] * 4, DECLARED, [1e-6, np.nan, 1e-6, 0.0], DECLARED, 0.01)
    with pytest.raises(ValueError, match="two readings"):
        check_readings([1] * 4, DECLARED, [0.0] * 4, DECLARED, 0.01)


# ------------------------------------------------------------------------------------- the step


def status(role: str, factor: tuple[float, ...] = (1, 1, 1, 1), slots: float = 4e9) -> dict:
    n, k = clicks(np.random.default_rng(8), slots, factor)
    return {
        "role": role,
        "intensities": [
            {"readings": 100, "sum": 100 * x * f, "declared": x, "relative_variance": 1e-6}
            for x, f in zip(DECLARED.tolist(), factor, strict=True)
        ],
        "tracking": {
            "by_setting": {"sent": DECLARED.tolist(), "slots": n.tolist(), "clicks": k.tolist()}
        },
    }


def run(monkeypatch: pytest.MonkeyPatch, statuses: dict[str, dict]) -> Any:
    monkeypatch.setattr(step_decoy, "ask_endpoint", lambda url: statuses[url])
    told: list[str] = []
    bench = SimpleNamespace(tell=told.append)
    urls = {url.removeprefix("http://"): url for url in statuses}
    options = DecoyOptions.model_validate({**urls, "seconds": 0.0})
    return DecoyStep().run(bench, options)  # type: ignore[arg-type]


def test_the_step_says_who_deviates_and_by_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = run(monkeypatch, {"http://alice": status("alice"), "http://bob": status("bob")})
    assert good.ok
    assert good.text == "confirmed for alice, bob"
    assert {c["way"] for c in good.figures["bob"]} == {"power monitor", "clicks in tracking slots"}
    good.draw(tmp_path / "decoy.png")
    assert (tmp_path / "decoy.png").stat().st_size > 1000
    bad = run(
        monkeypatch,
        {"http://alice": status("alice"), "http://bob": status("bob", (1, 1, 1.08, 1))},
    )
    assert not bad.ok
    assert bad.text.startswith("bob deviates by power monitor: mu/s 0.7500")
    assert "nu/s 0.1350" in bad.text


def test_only_what_came_meanwhile_counts() -> None:
    """A day of good light must not hide what is wrong now."""
    before = status("alice", slots=4e10)
    wrong = status("alice", (1, 1.06, 1, 1))
    later = {
        **before,
        "intensities": [
            {**a, "readings": a["readings"] + b["readings"], "sum": a["sum"] + b["sum"]}
            for a, b in zip(before["intensities"], wrong["intensities"], strict=True)
        ],
        "tracking": {
            "by_setting": {
                "sent": DECLARED.tolist(),
                **{
                    key: (
                        np.array(before["tracking"]["by_setting"][key])
                        + np.array(wrong["tracking"]["by_setting"][key])
                    ).tolist()
                    for key in ("slots", "clicks")
                },
            }
        },
    }
    checks = checks_of(later, "alice", 0.01, before)
    assert [c.verdict for c in checks] == [DecoyVerdict.DEVIATES] * 2
    assert checks[0].ratios[0].off == pytest.approx(0.06)
    # All of it: the ratio is nearer to what is declared.
    assert abs(checks_of(later, "alice", 0.01)[1].ratios[0].off) < 0.01
    # A new acquisition began: its counts are all newer.
    assert checks_of(wrong, "alice", 0.01, before)[-1].ratios[0].off > 0.05


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, DecoyVerdict.CONFIRMED), (1.05, DecoyVerdict.DEVIATES)]
)
def test_what_an_endpoint_s_monitor_tells_is_understood(
    factor: float, verdict: DecoyVerdict
) -> None:
    ladder = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, 0.01)
    monitor = IntensityMonitor(IntensityMonitorSettings(input="source"), ladder, 0.01)
    rng = np.random.default_rng(6)
    second = 1_000_000_000
    now = 10**18

    def told() -> dict[str, Any]:
        return {"role": "alice", "intensities": monitor.totals()}

    def pass_s(seconds: int, mu: float) -> None:
        nonlocal now
        true = DECLARED * [1.0, mu, 1.0, 1.0]
        readings = [
            Reading(now + n * second, k, float(true[k] * rng.normal(1.0, 1e-3)))
            for n in range(seconds)
            for k in range(4)
        ]
        now += seconds * second
        monitor.update(readings, now)

    pass_s(200, 1.0)
    before = told()
    pass_s(60, factor)
    (check,) = checks_of(told(), "alice", 0.01, before)
    assert check.verdict is verdict
    assert check.ratios[0].off == pytest.approx(factor - 1.0, abs=0.002)


def test_the_step_needs_something_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StepFailed, match="asked for alice is bob"):
        run(monkeypatch, {"http://alice": status("bob")})
    nothing = {"role": "alice", "intensities": [], "tracking": None}
    with pytest.raises(StepFailed, match="nothing measured yet"):
        run(monkeypatch, {"http://alice": nothing})
    few = {**status("alice", slots=1e5), "intensities": []}
    assert [c.verdict for c in checks_of(few, "alice", 0.01)] == [DecoyVerdict.OPEN]
    assert run(monkeypatch, {"http://alice": few}).text.startswith("not decided for alice")
    with pytest.raises(ValidationError, match="alice, bob or both"):
        DecoyOptions.model_validate({})
