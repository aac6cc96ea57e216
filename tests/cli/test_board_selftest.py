"""`bellrelay board selftest` against a twin that clicks as the pattern generator would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pattern_board import BOARD, DELAYS, Clicks, NoPhotons, PatternBoard

import bellrelay.cli.board_selftest as selftest_module
import bellrelay_sim.twin as twin_module
from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.wire.access import AccessError, RegisterClient
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.twin_port import TwinPort


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(twin_module, "Stimulus", NoPhotons)
    link = tmp_path / "board-port"
    twin = twin_module.Twin(
        SimulatedLink(), 1000, lambda: PatternBoard(BOARD), TwinPort(link), tell=lambda _event: None
    )
    thread = threading.Thread(target=twin.run)
    thread.start()
    yield link
    twin.stop_requested = True
    thread.join()
    twin.close()


def _run(capsys: pytest.CaptureFixture[str], port: Path, *words: str) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as ended:
        main(["board", "selftest", "--json", "--port", str(port), *words])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


def _failed(result: dict) -> set[str]:
    return {stage["stage"] for stage in result["stages"] if not stage["passed"]}


def test_a_sound_board_passes_every_stage_and_the_cable(port: Path, capsys) -> None:
    code, result = _run(capsys, port, "--loop-back")
    assert _failed(result) == set(), result["stages"]
    assert code == 0
    stages = {stage["stage"]: stage["detail"] for stage in result["stages"]}
    assert list(stages)[:9] == [
        "link", "registers", "tags", "front end", "dead time", "gate", "slots", "classifier",
        "slot clock",
    ]  # fmt: skip
    for channel, delay in enumerate(DELAYS):
        # A tag is the start of its code's bin: up to 19.5 ps early.
        text = stages[f"loop-back, channel {channel}"]
        assert text.split(" ps")[0] in {f"delay {delay - early}" for early in range(21)}


def test_a_channel_that_is_late_fails_where_it_shows(
    port: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(clicks: Clicks) -> Clicks:
        t, channel = clicks
        t = t + np.where(channel == 1, 25, 0)
        order = np.lexsort((channel, t))
        return t[order], channel[order]

    monkeypatch.setattr(PatternBoard, "spoil", staticmethod(late))
    code, result = _run(capsys, port)
    assert code == ExitCode.CHECK_FAILED
    assert _failed(result) == {"tags"}
    (tags,) = [s for s in result["stages"] if s["stage"] == "tags"]
    assert tags["detail"].startswith("channel 1: tag 0 at ")


def test_a_dead_channel_fails_everywhere_that_it_counts(
    port: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(clicks: Clicks) -> Clicks:
        t, channel = clicks
        return t[channel != 2], channel[channel != 2]

    monkeypatch.setattr(PatternBoard, "spoil", staticmethod(dead))
    code, result = _run(capsys, port)
    assert code == ExitCode.CHECK_FAILED
    assert _failed(result) == {"tags", "front end", "gate", "classifier", "announcements"}


def test_a_cable_that_is_not_there_is_seen(
    port: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatternBoard, "cable", False)
    code, result = _run(capsys, port, "--loop-back")
    assert code == ExitCode.CHECK_FAILED
    assert _failed(result) == {f"loop-back, channel {c}" for c in range(5)}


def test_what_ends_it_is_told_and_the_board_is_put_back(
    port: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(client: RegisterClient, *_: object) -> None:
        client.start()
        raise RuntimeError("broken off while the board runs")

    while not port.exists():
        time.sleep(0.01)
    with monkeypatch.context() as patch:
        patch.setattr(selftest_module, "_acquire", breaks_off)
        with pytest.raises(RuntimeError, match="broken off") as ended:
            selftest_module.run_selftest(port, 3_000_000, loop_back=False)
    assert not hasattr(ended.value, "__notes__")
    code, result = _run(capsys, port)
    assert (code, _failed(result)) == (0, set()), result["stages"]


def test_registers_that_cannot_be_put_back_are_told(
    port: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = RegisterClient.configure

    def refuses_the_last(client: RegisterClient, values: dict, **options: object) -> None:
        if values.get("pattern_source") == (0,):
            raise AccessError("no answer")
        configure(client, values, **options)

    monkeypatch.setattr(RegisterClient, "configure", refuses_the_last)
    code, result = _run(capsys, port)
    assert code == ExitCode.CHECK_FAILED
    assert _failed(result) == {"put back"}


def test_for_people_it_is_a_line_per_stage(port: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["board", "selftest", "--port", str(port)])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert all(line.startswith("pass  ") for line in lines)


def test_without_a_board_it_says_so(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bellrelay.cli.board_ports.candidate_ports", list)
    with pytest.raises(SystemExit) as ended:
        main(["board", "selftest"])
    assert ended.value.code == ExitCode.PORT_MISSING
    assert "no board found: say which port with --port" in capsys.readouterr().err
