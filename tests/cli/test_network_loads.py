"""`bellrelay network burst`, `backlog`, `cold-start`: real processes, small, and what is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner
from verb_calls import app_of, json_of

from bellrelay.cli import load_backlog, load_burst, load_cold_start
from bellrelay.cli.exits import ExitCode
from bellrelay.cli.measured_pair import Distilled, Plan
from bellrelay.cli.network import register
from bellrelay.control.capacity.rates_file import load_rates


@pytest.fixture
def app() -> typer.Typer:
    return app_of(register)


@pytest.mark.soak
def test_a_burst_of_requests_and_of_announcements(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--clients", "12", "--keys", "2", "--announcements", "1e5", "--consumers", "3")
    told = json_of(app, "network", "burst", *words)
    keys, announced = told["keys"], told["announcements"]
    # Every key that was asked for came, on both sides.
    assert keys["keys"] == 24
    assert keys["get_key_ms"]["p50"] <= keys["get_key_ms"]["most"] <= 1e3 * keys["seconds"]
    assert keys["keys_per_s"] == pytest.approx(24 / keys["seconds"])
    kme = load_rates().kme
    one = sum(r.seconds(1.0) for r in (kme.get, kme.adopt, kme.fetch))
    assert keys["model_s"] == pytest.approx(24 * one / 2)
    # All that was announced was followed by all, and not before it was there.
    assert announced["announcements"] == announced["batches"] * 16384 == 98304
    assert announced["consumers"] == 3
    assert announced["followed_s"] > 0.0
    assert announced["relay_cpu_s"] > 0.0
    assert announced["consumers_memory_mb"] > 20.0
    assert not list(tmp_path.iterdir())
    load_burst.print_burst(told)


def distilled(announced: int, blocks: int, rtt_s: float, in_flight: int) -> Distilled:
    """As measured: each block takes half a second, and memory grows with them."""
    plan = Plan(Path(), 10**6, blocks, rtt_s, in_flight, (1, 2))
    records = tuple({"length": 1000} for _ in range(blocks))
    cpu_s = {"alice": 0.2 * blocks, "bob": 0.4 * blocks}
    memory = {"alice": 1100.0 + blocks, "bob": 90.0}
    return Distilled(plan, cpu_s, 0.5 * blocks, records, 1.0, memory, 2**20 * blocks)


def test_of_a_long_backlog_some_blocks_are_run_and_all_are_as_many_times_as_long(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backlog, "distilled", distilled)
    words = ("--hours", "2", "--block-s", "60", "--announced", "2e5", "--most-blocks", "40")
    told = json_of(app, "network", "backlog", *words)
    assert (told["blocks"], told["blocks_run"], told["in_flight"]) == (120, 40, 16)
    assert told["drain_s"] == pytest.approx(60.0)
    assert told["blocks_per_s"] == pytest.approx(2.0)
    assert told["times_as_fast"] == pytest.approx(120.0)
    assert told["log_mb"] == pytest.approx(120.0)
    assert told["block_cpu_s"]["seen"] == pytest.approx(0.3)
    assert told["block_cpu_s"]["model"] == pytest.approx(load_rates().blocks.seconds(2e5))
    # Without the records of what was sent, that lie in memory here.
    records = {n: n * 2e5 * 10 / 2**20 for n in (40, 10)}
    expected = {"all": 1140.0 - records[40], "a_quarter": 1110.0 - records[10]}
    assert told["memory_mb"] == pytest.approx(expected)
    assert told["key_bits"] == pytest.approx(120_000)
    load_backlog.print_backlog(told)


def test_real_endpoints_catch_up(app: typer.Typer) -> None:
    words = ("--hours", "0.001", "--block-s", "3.6", "--announced", "3e5", "--rtt-ms", "0")
    told = json_of(app, "network", "backlog", *words)
    assert told["blocks"] == told["blocks_run"] == 1
    assert told["key_bits"] > 1_000
    assert told["drain_s"] > 0.0
    assert told["memory_mb"]["a_quarter"] is None
    assert told["memory_mb"]["all"] > 50.0


def test_a_backlog_that_gives_no_key_is_told_in_one_line(app: typer.Typer) -> None:
    words = ["network", "backlog", "--announced", "10"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == ExitCode.USAGE


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_first_key_comes_sooner_where_loops_are_on_disk_or_warmed_up(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = json_of(app, "network", "cold-start")
    cases = {(e["compiled"], e["warm_up"]): e for e in told["endpoints"]}
    assert set(cases) == {(c, w) for c in (True, False) for w in (True, False)}
    for each in cases.values():
        assert 0.0 < each["running_s"] < each["key_s"]
    # What a cache brings is more than any noise.
    assert cases[True, True]["key_s"] < cases[False, True]["key_s"]
    assert cases[True, False]["key_s"] < cases[False, False]["key_s"]
    assert 0.0 < told["kme"]["running_s"] <= told["kme"]["key_s"] < 60.0
    load_cold_start.print_cold_start(told)
