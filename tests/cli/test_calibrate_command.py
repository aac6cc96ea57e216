"""`bellrelay calibrate hom` on a twin: on the board alone, through the daemon, by its schedule."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.relay.announcement_log import LogReader
from bellrelay.wire.messages import Event

APART_PS = 60.0
CONSTANT = {"settings": [{"name": "x", "intensity": 0.4, "probability": 1, "z_probability": 0}]}
# Few slots a second, so that a machine that is busy simulates them in time.
LINK = {
    "slot_period_ps": 1_000_000,
    "alice": CONSTANT,
    "bob": CONSTANT,
    "arm_a": {"eta": 0.5},
    "arm_b": {"eta": 0.5, "delay_ps": APART_PS},
    "detectors": 2,
    "mode_overlap": 1.0,
}
SCAN = {"device": "delay-a", "seconds": 0.05, "points": 9, "span_ps": 900, "least_overlap": 0.7}


class Place:
    """A twin in real time, and a relay's YAML with a delay line in Alice's arm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "link.yaml").write_text(yaml.safe_dump(LINK))
        self.values: dict[str, Any] = {
            "relay_id": "charlie",
            "port": str(folder / "port"),
            "slot_period_ps": 1_000_000,
            "windows": {"early": [2000, 3000], "late": [7000, 8000]},
            "detectors": [
                {"name": "D0", "port": "c", "deskew_ps": 820},
                {"name": "D1", "port": "d", "deskew_ps": 2190},
            ],
            "log": {"directory": str(folder / "log")},
            "health": {"listen": "127.0.0.1:0"},
            "lab": {
                "delay-a": {
                    "plugin": "simulation", "kind": "delay-line", "sender": "alice",
                    "conditions": str(folder / "conditions"),
                }
            },
            "calibration": {"directory": str(folder / "calibration"), "steps": {"hom": SCAN}},
        }  # fmt: skip
        self.yaml = folder / "relay.yaml"
        self.write()
        self.twin = subprocess.Popen(
            [
                sys.executable, "-m", "bellrelay_sim.twin", "--config", folder / "link.yaml",
                "--port-link", folder / "port", "--conditions", folder / "conditions",
                "--slots", "1e12", "--realtime",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 60
        while not (folder / "port").exists():
            assert time.monotonic() < end
            time.sleep(0.05)

    def write(self) -> None:
        self.yaml.write_text(yaml.safe_dump(self.values))

    def calibrate(self, *words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["calibrate", "--config", str(self.yaml), *words])
        return int(ended.value.code or 0)

    def close(self) -> None:
        self.twin.send_signal(signal.SIGTERM)
        self.twin.wait(10)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def test_a_scan_on_the_board_alone_leaves_a_record_and_can_be_undone(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.calibrate("hom", "--json") == 0, capsys.readouterr()
    shown = capsys.readouterr()
    (ran,) = json.loads(shown.out)
    assert ran["ok"]
    assert ran["record"] == 1
    assert shown.err.count("pairs, ratio") == 9
    assert place.calibrate("--show", "1", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    fit = record["figures"]["fit"]
    assert abs(fit["centre_ps"] - APART_PS) < 4.0 * fit["sigma_centre_ps"]
    assert Path(record["picture"]).read_bytes().startswith(b"\x89PNG")
    assert record["board"]["acquisition"] == 1
    # A device is turned back, and the records say so.
    assert place.calibrate("--undo", "1") == 0
    assert "calibration 1 (hom) is undone" in capsys.readouterr().out
    assert place.calibrate("--records") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert place.calibrate("--list") == 0
    assert "disturbs key generation; last well: 20" in capsys.readouterr().out
    assert place.calibrate("hom", "--set", "points=3") == ExitCode.CONFIGURATION
    assert "calibration.steps.hom.points" in capsys.readouterr().err
    assert place.calibrate("nothing") == ExitCode.CONFIGURATION
    assert place.calibrate("hom", "--list") == ExitCode.USAGE
    assert place.calibrate("--list", "--dry-run") == ExitCode.USAGE
    assert place.calibrate("hom", "--set", "points") == ExitCode.USAGE
    assert place.calibrate("--show", "9") == ExitCode.STORAGE
    assert place.calibrate("--undo", "2", "--json") == 0  # it turns the device again


def test_the_daemon_calibrates_at_its_start_and_when_it_is_asked(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.values["calibration"]["at_start"] = ["hom"]
    place.values["calibration"]["every"] = [{"steps": ["hom"], "hours": 24}]
    place.write()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "bellrelay", "relay", "--config", place.yaml, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert daemon.stdout is not None
        health = json.loads(daemon.stdout.readline())["health_port"]

        def status(path: str = "health") -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/{path}", timeout=5) as answer:
                return bytes(answer.read())

        end = time.monotonic() + 60
        while not (told := json.loads(status())["calibration"])["ended"]:
            assert time.monotonic() < end, told
            time.sleep(0.1)
        assert told["ended"]["hom"]["ok"], told
        assert told["overdue"] == []
        assert b"bellrelay_relay_calibration_overdue 0.0" in status("metrics")
        assert place.calibrate("hom", "--json", "--set", "points=8") == 0
        (ran,) = json.loads(capsys.readouterr().out)
        assert ran["record"] == 2
        # Done by the daemon, which holds the port and still acquires.
        after = json.loads(status())
        assert after["state"] == "running"
        assert after["acquisition"] == 1
        assert place.calibrate("--undo", "7") == ExitCode.CHECK_FAILED
        assert "there is no record 7" in capsys.readouterr().err
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    kinds = _events(place.folder / "log")
    assert kinds.count("begun") == kinds.count("ended") == 2


def _events(log: Path) -> list[str]:
    return [
        str(record.values["what"])
        for record in LogReader(log, 0)
        if isinstance(record, Event) and record.kind == "calibration"
    ]
