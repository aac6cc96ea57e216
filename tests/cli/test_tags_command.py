"""`bellrelay tags`: what it prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.cli.tags import register

CONFIG = """
sync: {channel: 0, slots_per_pulse: 1000}
slot_period_ps: 12500
windows: {early: [2500, 3500], late: [5000, 6000]}
detectors:
  - {name: D1, channel: 1, port: c, deskew_ps: 0, dead_time_ps: 2000}
  - {name: D2, channel: 2, port: c, deskew_ps: 1370, dead_time_ps: 2000}
  - {name: D3, channel: 3, port: d, deskew_ps: 0, dead_time_ps: 2000}
  - {name: D4, channel: 4, port: d, deskew_ps: -200, dead_time_ps: 2000}
"""
SYNC = 1_000_000
SKEW = (0, 1370, 0, -200)

# slot, position, detector (1 to 4); by hand:
CLICKS = [
    (0, 2500, 1), (0, 5999, 3),  # psi-minus, first and last picosecond of the windows
    (2, 3000, 1), (2, 5000, 1),  # psi-plus, one detector, exactly the dead time apart
    (4, 3000, 3), (4, 5500, 4),  # psi-plus, two detectors
    (6, 3000, 1), (6, 3000, 3),  # same bin
    (8, 3499, 2),  # single
    (9, 3500, 2),  # outside: windows are half open
    (10, 3000, 1), (10, 3100, 3), (10, 5100, 4),  # more than two
    (12, 3000, 1), (12, 4999, 1),  # the second one 1 ps within the dead time: single
    (999, 3000, 2), (1000, 3000, 2),  # the last slot of the frame, and past it
]  # fmt: skip


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def tags() -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    rows = [(SYNC + s * 12_500 + p + SKEW[d - 1], d) for s, p, d in CLICKS]
    rows += [(SYNC, 0), (SYNC - 1, 1), (SYNC + 77, 9)]
    rows.sort()
    return (
        np.array([t for t, _ in rows], dtype=np.int64),
        np.array([c for _, c in rows], dtype=np.uint8),
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    t, channel = tags()
    np.savez(tmp_path / "tags.npz", t=t, channel=channel)
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return tmp_path / "tags.npz"


def call(app: typer.Typer, *words: object) -> Any:
    ran = CliRunner().invoke(app, ["tags", *map(str, words), "--json"], catch_exceptions=False)
    assert ran.exit_code == ExitCode.OK, ran.output
    return json.loads(ran.stdout)


@pytest.mark.parametrize("block", [1, 2, 7, 1000])
def test_bsm(app: typer.Typer, recording: Path, block: int) -> None:
    config = recording.parent / "relay.yaml"
    found = call(app, "bsm", recording, "--config", config, "--block", block)
    assert found["counts"] == {
        "D1": {"clicks": 8, "dead_time": 1, "before_sync": 1, "past_frame": 0, "outside": 0,
               "early": 5, "late": 1},
        "D2": {"clicks": 4, "dead_time": 0, "before_sync": 0, "past_frame": 1, "outside": 1,
               "early": 2, "late": 0},
        "D3": {"clicks": 4, "dead_time": 0, "before_sync": 0, "past_frame": 0, "outside": 0,
               "early": 3, "late": 1},
        "D4": {"clicks": 2, "dead_time": 0, "before_sync": 0, "past_frame": 0, "outside": 0,
               "early": 0, "late": 2},
    }  # fmt: skip
    assert found["masks"] == {
        "1": 1, "2": 2, "5": 1, "17": 1, "65": 1, "132": 1, str(1 | 4 | 128): 1
    }  # fmt: skip
    classes = {
        "psi_minus": 1,
        "psi_plus_same_detector": 1,
        "psi_plus_two_detectors": 1,
        "single": 3,
        "same_bin": 1,
        "multi": 1,
        "more_than_two": 1,
        "multi_click": 0,
    }
    assert {name: found[name] for name in classes} == classes
    assert found["live"]["slots_not_live"] == 0
    assert (found["sync_tags"], found["ignored_tags"]) == (1, 1)


def test_slots_in_which_a_detector_is_dead_are_reported_beside(
    app: typer.Typer, recording: Path
) -> None:
    """Dead for 25 ns after slot 0, to 2500 ps in slot 2 exactly: live. One ps more: not live."""
    config = recording.parent / "relay.yaml"
    lived = {}
    for dead_time in (25_000, 25_001):
        config.write_text(
            "sync: {clock: true}\nslot_period_ps: 12500\n"
            "windows: {early: [2500, 3500], late: [5000, 6000]}\n"
            "detectors:\n"
            f"  - {{name: A, channel: 1, port: c, dead_time_ps: {dead_time}}}\n"
            "  - {name: B, channel: 2, port: d}\n"
            "  - {name: C, channel: 3, port: c}\n"
        )
        t = np.array([2500, 27_600, 30_000])
        np.savez(recording, t=t, channel=np.array([1, 2, 3], dtype=np.uint8))
        found = call(app, "bsm", recording, "--config", config)
        assert found["psi_minus"] == 1
        assert "before_start" in found["counts"]["A"]
        lived[dead_time] = (found["live"]["slots_not_live"], found["live"]["psi_minus"])
    assert lived == {25_000: (0, 1), 25_001: (1, 0)}


def test_histogram_is_floor_binned(app: typer.Typer, recording: Path, tmp_path: Path) -> None:
    config = recording.parent / "relay.yaml"
    plot = tmp_path / "arrival.png"
    found = call(app, "histogram", recording, "--config", config, "--bin-ps", 500, "--plot", plot)
    assert len(found["histogram"]["D1"]) == 25
    expected = np.zeros(25, dtype=int)
    for position in (2500, 3000, 5000, 3000, 3000, 3000):
        expected[position // 500] += 1
    assert found["histogram"]["D1"] == expected.tolist()
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_coincidences(app: typer.Typer, recording: Path) -> None:
    """With and without settings, the window's edge included, pairs in both orders."""
    t = np.array([0, 100, 201, 1000, 1100, 1100])
    channel = np.array([1, 2, 1, 2, 1, 0], dtype=np.uint8)
    np.savez(recording, t=t, channel=channel)
    found = call(app, "coincidences", recording, "--window-ps", 100, "--block", 2)
    assert found["pairs"] == {"0-1": 1, "0-2": 1, "1-2": 2}
    config = recording.parent / "relay.yaml"
    found = call(app, "coincidences", recording, "--window-ps", 1269, "--config", config)
    # D2 moves to -1270 and -370: pairs with D1 at 0, 201, 1100.
    assert found["pairs"]["D1-D2"] == 2
    found = call(app, "coincidences", recording, "--window-ps", 1270, "--config", config)
    assert found["pairs"]["D1-D2"] == 3


@pytest.mark.parametrize("suffix", ["npz", "parquet", "ptu", "u64"])
def test_convert_keeps_every_tag(
    app: typer.Typer, recording: Path, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"converted.{suffix}"
    assert call(app, "convert", recording, target)["tags"] == len(CLICKS) + 3
    found = call(app, "info", target)
    one = call(app, "info", recording)
    for key in ("tags", "channels", "first_ps", "last_ps", "steps_back"):
        assert found[key] == one[key]
    assert found["format"] == suffix
    config = recording.parent / "relay.yaml"
    both = [call(app, "bsm", path, "--config", config) for path in (recording, target)]
    assert both[0]["masks"] == both[1]["masks"]
    assert both[0]["counts"] == both[1]["counts"]


def test_tables_for_people(app: typer.Typer, recording: Path) -> None:
    config = str(recording.parent / "relay.yaml")
    for words in (
        ["info", str(recording)],
        ["bsm", str(recording), "--config", config],
        ["histogram", str(recording), "--config", config],
        ["coincidences", str(recording), "--window-ps", "100"],
        ["convert", str(recording), str(recording.with_suffix(".ptu"))],
    ):
        ran = CliRunner().invoke(app, ["tags", *words], catch_exceptions=False)
        assert ran.exit_code == ExitCode.OK
        assert ran.stdout.strip()


@pytest.mark.parametrize("verb", ["info", "convert", "histogram", "coincidences", "bsm"])
def test_help_has_an_example(app: typer.Typer, verb: str) -> None:
    ran = CliRunner().invoke(app, ["tags", verb, "--help"])
    assert f"Example: bellrelay tags {verb}" in ran.stdout


def test_tags_out_of_order_are_counted_and_told(
    app: typer.Typer, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t = np.array([5_000_000, 4_000_000, 3_999_999])
    np.savez(recording, t=t, channel=np.ones(3, dtype=np.uint8))
    config = recording.parent / "relay.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["tags", "bsm", str(recording), "--config", str(config), "--json"])
    assert ended.value.code == ExitCode.OK
    printed = capsys.readouterr()
    assert json.loads(printed.out)["out_of_order_tags"] == 1
    assert "1 tags lie more than 1000000 ps behind" in printed.err


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        main(["tags", *map(str, words)])
    return ended.value.code, capsys.readouterr().err


def test_a_bad_file_is_one_line(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording.write_bytes(b"nothing of the kind")
    code, line = failure(capsys, "info", recording)
    assert code == ExitCode.TAG_FILE
    assert line.count("\n") == 1
    assert str(recording) in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dead_time_ps: 2000}\n  - {name: D2", "dead_time_ps: -5}\n  - {name: D2",
         ["detectors.0.dead_time_ps", "-5", "greater than or equal to 0"]),
        ("slot_period_ps: 12500", "slot_period_ps: fast", ["slot_period_ps", "'fast'", "integer"]),
        ("late: [5000, 6000]", "late: [5000, 12501]", ["windows.late", "12501", "12500"]),
        ("late: [5000, 6000]", "late: [3499, 6000]", ["windows.late", "3499", "apart"]),
        ("{channel: 0, slots_per_pulse: 1000}", "{clock: true, channel: 0}", ["sync", "either"]),
        ("{channel: 0, slots_per_pulse: 1000}", "{channel: 0}", ["slots_per_pulse", "missing"]),
        ("channel: 2", "channel: 1", ["detectors.1.channel", "1", "once"]),
        ("port: d, deskew_ps: 0", "port: e, deskew_ps: 0", ["ports", "at most two"]),
        ("windows", "windws", ["windws", "no known key"]),
        ("slot_period_ps: 12500\n", "", ["slot_period_ps is missing"]),
        ("sync: {", "sync: [{", ["relay.yaml"]),
        ("deskew_ps: 1370, dead_time_ps: 2000", "dead_time: sometimes",
         ["detectors.1.dead_time", "'sometimes'", "extending"]),
    ],
)  # fmt: skip
def test_settings_say_what_is_wrong(
    recording: Path,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    said: list[str],
) -> None:
    config = recording.parent / "relay.yaml"
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new))
    code, line = failure(capsys, "bsm", recording, "--config", config)
    assert code == ExitCode.CONFIGURATION
    assert line.count("\n") == 1
    for word in ["relay.yaml", *said]:
        assert word in line


def test_a_target_that_cannot_be_written(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = failure(capsys, "convert", recording, recording.parent / "none" / "a.u64")
    assert code == ExitCode.STORAGE
    assert line.count("\n") == 1
    assert "a.u64" in line
