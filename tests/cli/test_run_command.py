"""`bellrelay run` as a person and as a program start it: real twin, real daemon, real checks."""

import json
import subprocess
import sys

import pytest

CONTRACT = {
    "simulation",
    "slots",
    "live_fraction",
    "announced",
    "psi_minus",
    "psi_plus",
    "bell_success_ratio",
    "events_lost",
    "error_rate",
    "detectors",
    "wall_seconds",
}


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "bellrelay", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.parametrize("detectors", [2, 4])
def test_event_board_to_report(tmp_path, detectors):
    link = tmp_path / "link.yaml"
    link.write_text(f"detectors: {detectors}\n")
    plot = tmp_path / "arrivals.png"
    result = run(
        *("--config", str(link), "--slots", "3e6", "--no-compare", "--json", "--plot", str(plot))
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report.keys() >= CONTRACT
    assert report["simulation"] is True
    assert report["events_lost"] == 0
    assert 3e6 <= report["slots"] < 3.5e6
    assert report["announced"] == report["psi_minus"] + report["psi_plus"] > 50
    assert report["error_rate"]["Z"] < 0.05
    assert 0.1 < report["error_rate"]["X"] < 0.6
    assert 0.5 < report["live_fraction"] < 1
    assert len(report["detectors"]) == detectors
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_gateware_board_to_report(tmp_path):
    """Verilated gateware behind the port, the daemon at the other end."""
    result = run(
        *("--board", "gateware", "--slots", "3e4", "--json", "--plot", str(tmp_path / "p.png"))
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["board"] == "gateware"
    assert report["events_lost"] == 0
    assert report["slots"] >= 3e4
    assert sum(d["clicks"] for d in report["detectors"].values()) > 500


def test_a_wrong_link_is_a_configuration_error(tmp_path):
    link = tmp_path / "link.yaml"
    link.write_text("mode_overlap: 2\n")
    result = run("--config", str(link))
    assert result.returncode == 3
    assert "mode_overlap" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_options_that_cannot_be_are_usage_errors():
    assert run("--board", "paper").returncode == 2
    assert run("--slots", "0").returncode == 2
