"""`bellrelay network measure`: how measured times become rates, and the file that keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from verb_calls import app_of

from bellrelay.cli import (
    measured_announcements,
    measured_broker,
    measured_kmes,
    measured_standing,
    network_measure,
)
from bellrelay.cli.exits import ExitCode
from bellrelay.cli.measured_announcements import per_batch
from bellrelay.cli.network import register
from bellrelay.control.capacity.rates_file import load_rates


def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part, without measuring."""
    known = load_rates().model_dump()
    monkeypatch.setattr(
        measured_announcements,
        "announcement_rates",
        lambda: {k: {"batch_s": 1.23456e-4, "announcement_s": 2e-8} for k in known if k in PARTS},
    )
    for module, name, value in (
        (measured_broker, "broker_rates", {**known["broker"], "deliver_s": 7.0e-5}),
        (measured_kmes, "kme_rates", {**known["kme"], "commit_s": 0.5}),
        (measured_standing, "standing_rates", {"relay": 0.01, "endpoint": 0.02, "kme": 0.03}),
        (network_measure, "block_rates", {**known["blocks"], "messages": 9.0}),
    ):
        monkeypatch.setattr(module, name, lambda value=value: value)


PARTS = ("relay", "fan_out", "follow")


def call(*words: object) -> Any:
    return CliRunner().invoke(app_of(register), ["network", "measure", *map(str, words)])


def test_two_sizes_are_a_time_for_a_batch_and_one_for_each() -> None:
    found = per_batch(1.0 + 10 * 0.1, 1.0 + 100 * 0.1, 10, 100)
    assert found == pytest.approx({"batch_s": 1.0, "announcement_s": 0.1})
    # Noise makes no negative times.
    assert per_batch(2.0, 1.0, 10, 100) == {"batch_s": 2.0, "announcement_s": 0.0}


def test_what_is_written_is_read_with_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured(monkeypatch)
    out = tmp_path / "rates.yaml"
    ran = call("--out", out)
    assert ran.exit_code == ExitCode.OK, ran.output
    rates = load_rates(out)
    assert rates.relay.batch_s == 1.23e-4
    assert rates.blocks.messages == 9.0
    assert rates.standing.kme == 0.03
    assert rates.machine.cores >= 1
    assert rates.machine.utc.endswith("Z")
    assert rates.command == "bellrelay network measure"


def test_a_part_is_measured_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured(monkeypatch)
    out = tmp_path / "rates.yaml"
    out.write_text(network_measure.yaml_of(load_rates().model_dump()))
    assert call("--out", out, "--only", "kme").exit_code == ExitCode.OK
    rates, before = load_rates(out), load_rates()
    assert rates.kme.commit_s == 0.5
    assert rates.broker == before.broker


def test_a_part_that_there_is_not(tmp_path: Path) -> None:
    ran = call("--out", tmp_path / "rates.yaml", "--only", "light")
    assert ran.exit_code == ExitCode.USAGE
    assert "light" in ran.output
