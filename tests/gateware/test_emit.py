"""The relay as Verilog, from the command line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.emit import main

SMALL = BoardGeometry(
    n_detectors=2,
    tick_clocks=2048,
    code_bits=2,
    capture_depth=8,
    announce_depth=8,
    announce_depth_short=8,
    link_words=16,
    hist_bins=16,
    hist_chunk=16,
    align_depth=16,
)


def test_json_and_options_make_the_same_text(tmp_path: Path) -> None:
    (tmp_path / "geometry.json").write_text(json.dumps(asdict(SMALL)))
    options = [
        text
        for name, value in asdict(SMALL).items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    assert main(["--json", str(tmp_path / "geometry.json"), "--output", str(tmp_path / "a.v")]) == 0
    assert main([*options, "--output", str(tmp_path / "b.v")]) == 0
    text = (tmp_path / "a.v").read_text()
    assert text == (tmp_path / "b.v").read_text()
    ports = text.split("module relay(")[1].split(")")[0]
    assert "link_in_payload" in ports
    assert "hits" in ports


def test_serial_line_and_taps_instead(tmp_path: Path) -> None:
    (tmp_path / "geometry.json").write_text(json.dumps(asdict(SMALL)))
    options = ["--json", str(tmp_path / "geometry.json"), "--front-end", "taps"]
    out = tmp_path / "top.v"
    uart = ["--uart", "200000000", "3000000", "--name", "top"]
    assert main([*options, *uart, "--output", str(out)]) == 0
    ports = out.read_text().split("module top(")[1].split(")")[0]
    assert {"rx", "tx", "taps"} <= set(ports.split(", "))
    assert "link_in" not in ports


def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--n-detectors", "3"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "n_detectors is 3; allowed: 2 or 4" in error
