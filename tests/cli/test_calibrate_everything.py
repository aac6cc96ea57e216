"""`bellrelay calibrate --all` on a twin: what was set wrong comes right, and can be taken back."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bellrelay.cli.calibrate_work import Work
from bellrelay.cli.main import main
from bellrelay.cli.run_system import relay_yaml
from bellrelay.control.calibration_bench import Bench
from bellrelay_sim.link_config import link_and_geometry

CABLES_PS = (820, 2190)
DEAD_PS = (100_000, 150_000)
TRAPS = (0.05, 0.08)
DARK_HZ = (500.0, 4000.0)
LINK = {
    # Few slots a second, so that a machine that is busy simulates them in time.
    "slot_period_ps": 100_000,
    "early_centre_ps": 25_000,
    "late_centre_ps": 75_000,
    "early_window_ps": [23_800, 26_200],
    "late_window_ps": [73_800, 76_200],
    "pulse_sigma_ps": 300.0,
    "arm_a": {"eta": 0.1},
    "arm_b": {"eta": 0.1},
    "detectors": [
        {
            "name": f"D{at}",
            "port": "cd"[at],
            "cable_delay_ps": CABLES_PS[at],
            "dead_time_ps": DEAD_PS[at],
            "jitter_ps": 150.0,
            "dark_rate_hz": DARK_HZ[at],
            "afterpulse_probability": TRAPS[at],
        }
        for at in (0, 1)
    ],
}
WRONG = {
    "windows": {"early": [24_600, 25_400], "late": [74_600, 75_400]},
    "phase_ps": 900,
    "deskew_ps": (820, 1_190),
    "dead_time_ps": (260_000, 40_000),
}
STEPS = {
    "tdc": {"seconds": 0.05},
    "deskew": {"seconds": 0.3},
    "phase": {"seconds": 0.3},
    "dead-time": {"seconds": 1.5},
    "windows": {"seconds": 0.5},
    "dark": {"seconds": 1.0, "most_hz": 20_000},
}


class Place:
    """A twin in real time, and a relay's YAML in which nearly everything is wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "link.yaml").write_text(yaml.safe_dump(LINK))
        link, _ = link_and_geometry(LINK)
        values: dict[str, Any] = relay_yaml(link, folder, 1)
        values["histogram"] = {"period_s": 0.1, "bin_ps": 128}
        values["health"] = {"listen": "127.0.0.1:0"}
        values["windows"], values["phase_ps"] = WRONG["windows"], WRONG["phase_ps"]
        for at, detector in enumerate(values["detectors"]):
            detector["deskew_ps"] = WRONG["deskew_ps"][at]  # type: ignore[index]
            detector["dead_time_ps"] = WRONG["dead_time_ps"][at]  # type: ignore[index]
        values["calibration"] = {
            "directory": str(folder / "calibration"), "trial_minutes": 0, "steps": STEPS,
        }  # fmt: skip
        self.yaml = folder / "relay.yaml"
        self.yaml.write_text(yaml.safe_dump(values))
        self.twin = subprocess.Popen(
            [
                sys.executable, "-m", "bellrelay_sim.twin", "--config", folder / "link.yaml",
                "--port-link", folder / "port", "--slots", "1e12", "--realtime",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 60
        while not (folder / "port").exists():
            assert time.monotonic() < end
            time.sleep(0.05)

    def calibrate(self, *words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["calibrate", "--config", str(self.yaml), *words])
        return int(ended.value.code or 0)

    def announced_per_slot(self) -> float:
        """Of a second on the board, as it is set now."""
        work = Work(self.yaml)
        config = work._settings.config
        with work._board():
            session = work._runner.session
            assert session is not None
            bench = Bench(config, session, work._tap, work._runner.lab)
            counted = bench.counted(1.0)
        pairs = sum(counted.counters[f"class_{code}"] for code in (1, 2, 3))
        return pairs / counted.counters["slots"]

    def tunable(self) -> dict[str, Any]:
        return Work(self.yaml)._settings.tunable()

    def close(self) -> None:
        self.twin.send_signal(signal.SIGTERM)
        self.twin.wait(20)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def test_everything_that_was_wrong_comes_right_and_can_be_taken_back(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    start, little = place.tunable(), place.announced_per_slot()
    assert place.calibrate("--all", "--json") == 0, capsys.readouterr()
    ran = json.loads(capsys.readouterr().out)
    assert [one["ok"] for one in ran] == [True] * 7
    now = place.tunable()
    # Delays within 20 ps, dead times within 200 ps, windows about the pulses within 100 ps.
    phase, detectors = now["phase_ps"], now["detectors"]
    assert detectors[1]["deskew_ps"] - detectors[0]["deskew_ps"] == pytest.approx(
        CABLES_PS[1] - CABLES_PS[0], abs=20
    )
    centre = 25_000 + CABLES_PS[0] + phase - detectors[0]["deskew_ps"]
    assert centre == pytest.approx(25_000, abs=20)
    for name, belongs in (("early", 25_000), ("late", 75_000)):
        window = now["windows"][name]
        assert sum(window) / 2 == pytest.approx(belongs, abs=100)
        # Pulse and jitter are 335 ps wide.
        assert 2 * 670 < window[1] - window[0] < 2 * 2_300
    for at, truth in enumerate(DEAD_PS):
        assert detectors[at]["dead_time_ps"] == pytest.approx(truth, abs=200)
    # Twice as many announcements at least: half of each pulse was outside.
    assert place.announced_per_slot() > 2.0 * little
    records = {}
    assert place.calibrate("--records", "--json") == 0
    for row in json.loads(capsys.readouterr().out):
        assert place.calibrate("--show", str(row["number"]), "--json") == 0
        records[row["step"]] = json.loads(capsys.readouterr().out)
        assert row["simulated"]
    for step, record in records.items():
        assert record["board"]["simulated"], step
        if step != "gate-scan":
            assert Path(record["picture"]).read_bytes().startswith(b"\x89PNG"), step
    assert records["phase"]["before"]["phase_ps"] == WRONG["phase_ps"]
    assert records["phase"]["after"]["phase_ps"] == phase
    for at, one in enumerate(records["dead-time"]["figures"]["detectors"]):
        truth = TRAPS[at]
        assert abs(one["trap"] - truth) < 4.0 * one["sigma_trap"] + 0.05 * truth, one
    for at, one in enumerate(records["dark"]["figures"]["detectors"]):
        assert one["low_hz"] * 0.8 < DARK_HZ[at] < one["high_hz"] * 1.2, one
    # Step by step back to where it began.
    for _ in range(4):
        assert place.calibrate("--undo", "last") == 0
    assert place.tunable() == start
    assert place.calibrate("--undo", "last") != 0
    assert "no record changed anything" in capsys.readouterr().err
    assert place.calibrate("--undo", "first") != 0


def test_who_is_killed_between_steps_leaves_records_and_settings_that_go_on(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "bellrelay", "calibrate", "--config", place.yaml]
    killed = subprocess.Popen(
        [*command, "deskew", "phase", "dead-time"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = place.folder / "calibration" / "records"
    end = time.monotonic() + 90
    while not (folder / "000001-deskew").exists():
        assert time.monotonic() < end
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait(20)
    assert place.calibrate("--records", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["step"] == "deskew"
    assert rows[0]["version"] is not None
    assert place.tunable()["detectors"][1]["deskew_ps"] == pytest.approx(2_190, abs=20)
    # The board was left acquiring, and the next run takes it over.
    assert place.calibrate("phase") == 0
    assert abs(place.tunable()["phase_ps"]) <= 20


def test_a_running_daemon_measures_and_acquires_anew_with_what_has_changed(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "bellrelay", "relay", "--config", place.yaml, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert daemon.stdout is not None
        health = json.loads(daemon.stdout.readline())["health_port"]

        def status() -> dict[str, Any]:
            url = f"http://127.0.0.1:{health}/health"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return dict(json.load(answer))

        end = time.monotonic() + 60
        while status()["state"] != "running":
            assert time.monotonic() < end
            time.sleep(0.1)
        before = status()["acquisition"]
        assert place.calibrate("deskew", "dead-time", "--json") == 0, capsys.readouterr()
        ran = json.loads(capsys.readouterr().out)
        assert [one["ok"] for one in ran] == [True, True]
        # One acquisition for each change, and the daemon goes on.
        end = time.monotonic() + 60
        while status()["state"] != "running":
            assert time.monotonic() < end
            time.sleep(0.1)
        assert status()["acquisition"] == before + 2
        found = place.tunable()["detectors"]
        assert found[1]["deskew_ps"] == pytest.approx(2_190, abs=20)
        assert found[0]["dead_time_ps"] == pytest.approx(DEAD_PS[0], abs=200)
        assert place.calibrate("--undo", "last") == 0
        dead = [one["dead_time_ps"] for one in place.tunable()["detectors"]]
        assert dead == list(WRONG["dead_time_ps"])  # type: ignore[call-overload]
        assert np.array_equal(status()["acquisition"], before + 3)
    finally:
        daemon.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(20)
    assert daemon.returncode == 0
