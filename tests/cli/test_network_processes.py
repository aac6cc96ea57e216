"""`bellrelay network --processes`: real relays, endpoints and KMEs, beside the model of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from verb_calls import app_of

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.network import register
from bellrelay.cli.network_processes import what_is_behind
from bellrelay.cli.network_processes_model import bits_per_s, modelled, network_of
from bellrelay.cli.network_processes_report import print_processes
from bellrelay.cli.network_processes_start import SHAPE, windows_elsewhere
from bellrelay.cli.network_processes_watch import Look, Stretch
from bellrelay.control.capacity.rates_file import load_rates


def run(*words: object) -> dict[str, Any]:
    """The whole verb, as a program."""
    command = [sys.executable, "-m", "bellrelay", "network", "--processes", "--json"]
    done = subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == ExitCode.OK, done.stderr + done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def sound(told: Mapping[str, Any], relays: int, pairs: int) -> Mapping[str, Any]:
    """The last size of a network: nothing here depends on how fast the machine is."""
    step: Mapping[str, Any] = told["steps"][-1]
    assert told["check_passed"]
    assert told["keys_equal"]
    assert told["simulation"] is True
    assert (step["relays"], step["pairs"]) == (relays, pairs)
    assert step["processes"] == 2 * relays + 4 * pairs
    # As many announcements as the model says of the light that there was.
    pace = step["pace"]["mean"]
    announced = step["announcements_per_s"]
    assert announced["seen"] == pytest.approx(pace * announced["model"], rel=0.2)
    assert len(step["key_bits_per_s"]["each"]) == pairs
    assert step["keys"]["fetched"] > 0
    assert step["keys"]["unequal"] == 0
    for kind in ("twin", "relay", "endpoint", "kme"):
        assert 0.0 < step["cores"]["each"][kind]["mean"] < 1.5
        assert 20.0 < step["memory_mb"]["each"][kind]["least"] < 2000.0
    assert told["rates"]["machine"]["processor"]
    return step


@pytest.mark.timeout(300)
@pytest.mark.soak
def test_two_relays_with_a_pair_each(tmp_path: Path) -> None:
    plot = tmp_path / "processes.png"
    told = run("--relays", 2, "--seconds", 5, "--plot", plot)
    step = sound(told, 2, 2)
    assert set(step["announcements_per_s"]["each"]) == {"r0", "r1"}
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not told["until_full"]
    print_processes(told)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_pairs_that_share_a_relay_have_keys_of_their_own() -> None:
    told = run("--relays", 1, "--pairs", 2, "--seconds", 16)
    step = sound(told, 1, 2)
    model = bits_per_s(2)
    for bits in step["key_bits_per_s"]["each"].values():
        assert 0.3 * model < bits < 2.0 * model


def test_windows_of_a_shared_relay_are_each_slot_one_pairs() -> None:
    pairs, block = 3, 3 * SHAPE.block_slots
    slots = np.arange(0, 5 * block, SHAPE.block_slots // 4)
    sent = np.zeros(slots.size, int)
    for window in range(pairs):
        removed = np.array(windows_elsewhere(pairs, window))
        assert (removed[1:, 0] > removed[:-1, 1]).all()
        at = np.searchsorted(removed[:, 0], slots, side="right")
        away = (at > 0) & (slots < removed[np.maximum(at, 1) - 1, 1])
        sent += ~away
        # A window in every block, of as many slots as if the relay were its own.
        assert (~away)[slots < block].sum() == 4
    assert (sent == 1).all()
    assert windows_elsewhere(1, 0) == []


def test_the_model_is_of_the_same_network() -> None:
    rates = load_rates()
    two = modelled([1, 1], rates, 20.0, 1)
    shared = modelled([2, 2], rates, 20.0, 1)
    assert set(shared.bits_per_s) == {"r0w0", "r0w1", "r1w0", "r1w1"}
    # Light is all used, and divided.
    assert two.bits_per_s["r0w0"] == pytest.approx(bits_per_s(1))
    assert shared.bits_per_s["r0w0"] == pytest.approx(bits_per_s(1) / 2)
    assert two.announced["r0"] == pytest.approx(shared.announced["r0"])
    block_s = SHAPE.block_slots * SHAPE.slot_period_ps * 1e-12
    assert two.blocks["r0w0"] == pytest.approx(1 / block_s)
    assert shared.blocks["r0w0"] == pytest.approx(0.5 / block_s)
    network = network_of([1, 1], 1.0)
    assert [p.relays for p in network.pairs] == [("r0",), ("r1",)]
    assert network.finite.pulses == SHAPE.block_slots


class _Network:
    """Two relays with a pair each, of which only names are asked."""

    relays = tuple(type("R", (), {"name": name}) for name in ("r0", "r1"))


def stretch(**changed: Any) -> Stretch:
    """Ten seconds in which all is well, but for what is changed of the end."""
    zero = {"r0": 0, "r1": 0}
    dark = {"r0": (0.0, 0.0), "r1": (0.0, 0.5)}
    before = Look(0.0, 0, 0.0, {}, {}, dark, zero, zero, {"p": 1, "q": 0})
    end: dict[str, Any] = {
        "simulated": {"r0": (10.0, 10.0), "r1": (9.4, 9.9)},
        "logged": {"r0": 1000, "r1": 1000},
        "behind": {"r0": 20, "r1": 0},
        "unended": {"p": 2, "q": 1},
    }
    available = changed.pop("available", 1 << 33)
    end |= changed
    after = Look(10.0, 10**10, 8.0, {}, {}, **end)
    return Stretch(before, after, {}, {}, available)


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({}, None),
        ({"simulated": {"r0": (10.0, 10.0), "r1": (9.0, 9.9)}}, "light"),
        ({"behind": {"r0": 0, "r1": 150}}, "announcements"),
        ({"unended": {"p": 3, "q": 0}}, "blocks"),
        ({"available": 1 << 28}, "memory"),
    ],
)
def test_what_a_machine_does_not_keep_up_with(changed: dict[str, Any], first: str | None) -> None:
    told = what_is_behind(_Network(), stretch(**changed))  # type: ignore[arg-type]
    assert [text.partition(":")[0] for text in told] == ([] if first is None else [first])


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--pairs", "2"], "--pairs"),
        (["--relays", "2", "--pairs", "3"], "--pairs"),
        (["--relays", "1000"], "--relays"),
        (["--endpoints", "4"], "--endpoints"),
        (["--lose", "r0"], "--lose"),
    ],
)
def test_what_does_not_go_together_is_said(words: list[str], option: str) -> None:
    ran = CliRunner().invoke(app_of(register), ["network", "--processes", *words])
    assert ran.exit_code == ExitCode.USAGE
    assert option in ran.output
