"""`bellrelay board update` on a twin that comes back with the identity of what was flashed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from pattern_board import BOARD, Clicks, NoPhotons, PatternBoard

import bellrelay_sim.twin as twin_module
from bellrelay.cli import board_update
from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.wire.registers import PROTOCOL_VERSION
from bellrelay_boards.board import Programmer
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.twin_port import TwinPort

OLD, NEW = "000000aa", "000000bb"
HOT, DEAD, BLIND = "000000c0", "000000c1", "000000c2"


class Bench:
    """A twin whose board is what a file says, and a programmer that writes that file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.on_board = folder / "on-board"
        self.on_board.write_text(OLD)
        self.port = folder / "port"
        monkeypatch.setattr(twin_module, "Stimulus", NoPhotons)
        self._closing = threading.Event()
        self._serving = threading.Thread(target=self._serve)
        self._serving.start()
        self.config = folder / "relay.yaml"
        detectors = [{"name": f"D{i}", "port": "ccdd"[i]} for i in range(4)]
        values = {
            "relay_id": "charlie",
            "port": str(self.port),
            "slot_period_ps": 80_000,
            "windows": {"early": [10_000, 20_000], "late": [50_000, 60_000]},
            "detectors": detectors,
            "log": {"directory": str(folder / "log")},
            "firmware": {"directory": str(folder / "firmware"), "watch_s": 1.5},
        }
        self.config.write_text(yaml.safe_dump(values))
        programs = folder / "programs"
        programs.mkdir()
        script = programs / "program"
        script.write_text(f'#!/bin/sh\ncp "$1" {folder}/.new && mv {folder}/.new {self.on_board}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        programmer = Programmer(("program", "{bitstream}"), "https://example.org")
        monkeypatch.setattr(board_update, "_programmer", lambda _board: programmer)
        monkeypatch.setattr(board_update, "candidate_ports", list)

    def _serve(self) -> None:
        """A twin, and another one as soon as something else was flashed."""
        while not self._closing.is_set():
            has = self.on_board.read_text()
            if has == DEAD:
                time.sleep(0.02)
                continue
            twin = twin_module.Twin(
                SimulatedLink(), 1000, lambda has=has: self._board(has), TwinPort(self.port),
                tell=lambda _event: None,
            )  # fmt: skip
            thread = threading.Thread(target=twin.run)
            thread.start()
            while not self._closing.is_set() and self.on_board.read_text() == has:
                time.sleep(0.02)
            twin.stop_requested = True
            thread.join()
            twin.close()

    @staticmethod
    def _board(revision: str) -> EventBoard:
        board = PatternBoard(BOARD, git_revision=int(revision, 16))
        board.temperature_mdegc = 120_000 if revision == HOT else 31_000
        if revision == BLIND:
            board.spoil = _blind  # type: ignore[method-assign]
        return board

    def image(self, revision: str, content: str | None = None, **changes: Any) -> Path:
        """A build's folder whose bitstream makes the board say ``content``."""
        folder = self.folder / f"build-{revision}-{content}"
        folder.mkdir()
        (folder / "top.bit").write_text(content or revision)
        record = {
            "passed": True,
            "board": BOARD.board,
            "geometry": asdict(BOARD),
            "config_hash": f"{BOARD.config_hash:08x}",
            "git_revision": revision,
            "gateware_version": "0.1.0",
            "protocol_version": PROTOCOL_VERSION,
            "bitstream_sha256": hashlib.sha256((content or revision).encode()).hexdigest(),
            "lines": [],
            **changes,
        }
        (folder / "build.json").write_text(json.dumps(record))
        return folder

    def update(self, *words: object) -> int:
        while not self.port.exists():
            time.sleep(0.01)
        with pytest.raises(SystemExit) as ended:
            main(["board", "update", "--config", str(self.config), *map(str, words)])
        return int(ended.value.code or 0)

    def close(self) -> None:
        self._closing.set()
        self._serving.join()


def _blind(clicks: Clicks) -> Clicks:
    t, channel = clicks
    return t[channel != 2], channel[channel != 2]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def test_a_good_image_passes_its_gate_and_stays(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    code = bench.update(bench.image(NEW), "--previous", bench.image(OLD), "--json")
    shown = capsys.readouterr()
    verdict = json.loads(shown.out)
    assert code == 0, shown.err
    assert verdict["verdict"] == "installed"
    assert bench.on_board.read_text() == NEW
    checks = {check["name"]: check["passed"] for check in verdict["checks"]}
    assert all(checks.values())
    assert {"self-test, tags", "acquisition", "heartbeats", "nothing lost", "temperature"} <= set(
        checks
    )
    assert "flashing" in shown.err
    # And back, because somebody wants it.
    assert bench.update("--back") == 0
    assert bench.on_board.read_text() == OLD
    assert bench.update("--history") == 0
    assert "update 2  returned" in capsys.readouterr().out
    assert bench.update("--resume") == ExitCode.CHECK_FAILED


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (HOT, "temperature: 120.0 to 120.0 degrees (allowed -20 to 85)"),
        (BLIND, "self-test, tags: channel 2"),
        ("000000dd", "git_revision is 000000dd, the image's is "),
    ],
)
def test_an_image_that_is_not_well_is_replaced_by_the_one_before(
    bench: Bench, content: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    says = NEW if content == "000000dd" else content
    words = (bench.image(says, content), "--previous", bench.image(OLD), "--wait-s", 4)
    assert bench.update(*words) == ExitCode.CHECK_FAILED
    out = capsys.readouterr().out
    assert f"returned to {hashlib.sha256(OLD.encode()).hexdigest()[:16]}" in out
    assert why in out
    assert bench.on_board.read_text() == OLD


def test_a_board_that_does_not_come_back_gets_the_image_before(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (bench.image(DEAD), "--previous", bench.image(OLD), "--wait-s", "4")
    assert bench.update(*words) == ExitCode.CHECK_FAILED
    assert "no board has answered within 4 s" in capsys.readouterr().out
    assert bench.on_board.read_text() == OLD


def test_a_programmer_that_fails_both_ways_leaves_word_of_what_to_do(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench.folder / "programs/program").write_text("#!/bin/sh\necho no cable >&2\nexit 3\n")
    words = (bench.image(NEW), "--previous", bench.image(OLD))
    assert bench.update(*words) == ExitCode.BOARD_DOWN
    out = capsys.readouterr().out
    assert "program ended with exit code 3: no cable" in out
    assert "bellrelay board update --resume" in out
    assert bench.update(bench.image("000000cc")) == ExitCode.CHECK_FAILED
    assert "update 1 is open" in capsys.readouterr().err


def test_what_cannot_be_begun_is_said_before_the_board_is_touched(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = bench.image(OLD), bench.image(NEW)
    small = {**asdict(BOARD), "n_detectors": 2}
    assert bench.update(bench.image("000000cd", protocol_version=9)) == ExitCode.CHECK_FAILED
    assert "protocol version 9" in capsys.readouterr().err
    from bellrelay.wire.geometry import BoardGeometry

    two = BoardGeometry(**small)
    unfit = bench.image("000000ce", geometry=small, config_hash=f"{two.config_hash:08x}")
    assert bench.update(unfit) == ExitCode.CONFIGURATION
    assert "detectors: '4 entries'; allowed: 2 on this board" in capsys.readouterr().err
    assert bench.update(new, "--resume") == ExitCode.USAGE
    assert bench.update("--back", "--no-return") == ExitCode.USAGE
    assert bench.update("--resume") == ExitCode.CHECK_FAILED
    monkeypatch.setattr(board_update, "candidate_ports", lambda: [(Path("a"), ""), (Path("b"), "")])
    assert bench.update(new, "--previous", old) == ExitCode.CHECK_FAILED
    assert "several boards are plugged in (a, b)" in capsys.readouterr().err
    values = yaml.safe_load(bench.config.read_text())
    del values["firmware"]
    bench.config.write_text(yaml.safe_dump(values))
    assert bench.update(new) == ExitCode.CONFIGURATION
    assert bench.on_board.read_text() == OLD
