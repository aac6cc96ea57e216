"""Two twins, two relays, Alice and Bob, all processes of their own: light goes where it is moved.

Detection, repair and what a watch does are the gamedays'; here no watch runs, and what moves light
is an operator, a relay that is killed, and endpoints that start anew.
"""

import json
import sqlite3
import time
from contextlib import closing

import pytest
import yaml

from bellrelay.cli.gameday_files import SHAPES, write_files
from bellrelay.cli.gameday_system import running_system
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.endpoint.block import BlockState, Cause
from bellrelay.endpoint.block_store import BlockStore

FIRST, SECOND = "charles", "diana"
_FAIL_OVER_S = 10.0


def until(condition, seconds):
    """Until it is met; seconds that it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, condition
        time.sleep(0.1)
    return time.monotonic() - begin


def rows(folder, role):
    store = BlockStore(folder / f"{role}.blocks", role)
    try:
        return store.blocks()
    finally:
        store.close()


def stored(folder, relay):
    """Numbers of this relay's blocks with key on both sides."""
    found = [
        {
            r.block.index
            for r in rows(folder, role)
            if r.state is BlockState.STORED and r.record["relay_id"] == relay
        }
        for role in ROLES
    ]
    return found[0] & found[1]


def both_at(system, relay):
    """Whether both send to this relay, and hear it."""
    for role in ROLES:
        status = system.status(role)
        if not status or status["state"] != "running":
            return False
        if not status["relays"]["active"] == status["relays"]["light"] == relay:
            return False
    return True


def without_watch(files, **changes):
    """Endpoints whose light is moved by nobody else."""
    for role in ROLES:
        path = files.yaml_of(role)
        values = yaml.safe_load(path.read_text())
        del values["watch"]
        path.write_text(yaml.safe_dump({**values, **changes}))


def lit_times(folder, role):
    """Relay and UTC ns from and to, when light was directed there; not what was before any."""
    path = folder / f"{role}.blocks" / "directions.json"
    times = json.loads(path.read_text())["times"] if path.exists() else []
    return [(relay, begin, end) for relay, begin, end in times if begin]


def confirmed_keys(folder, role):
    """Keys of an endpoint by their ids."""
    with closing(sqlite3.connect(folder / f"{role}.blocks" / "blocks.sqlite")) as db:
        return dict(db.execute("SELECT key_id, packed FROM key WHERE confirmed = 1").fetchall())


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_light_moves_as_operators_and_deaths_want_it_and_no_finished_block_is_lost(tmp_path):
    files = write_files(tmp_path, SHAPES["event", "bright"], kmes=False)
    without_watch(files)
    with running_system(files) as system:
        until(lambda: both_at(system, FIRST), 60.0)
        until(lambda: stored(tmp_path, FIRST), 60.0)
        config = str(files.yaml_of("bob"))
        # Bob's operator may ask as well as Alice's.
        answer = json.loads(
            system.run("endpoint", "--config", config, "--move-to", SECOND, "--json")
        )
        assert answer["moved"]
        assert answer["relay"] == SECOND
        assert both_at(system, SECOND)
        until(lambda: stored(tmp_path, SECOND), 60.0)
        # The relay that light was moved to dies: the first is gone back to.
        system.kill(SECOND)
        assert until(lambda: both_at(system, FIRST), 30.0) < _FAIL_OVER_S
        before = max(stored(tmp_path, FIRST))
        until(lambda: max(stored(tmp_path, FIRST)) > before, 60.0)
        # Endpoints that start anew agree again on what lies on their disks.
        for role in ROLES:
            system.stop(role)
        for role in ROLES:
            system.start(role)
        until(lambda: both_at(system, FIRST), 60.0)
        before = max(stored(tmp_path, FIRST))
        until(lambda: max(stored(tmp_path, FIRST)) > before, 60.0)
    same, dark = {}, 0
    for role in ROLES:
        for row in rows(tmp_path, role):
            if row.cause == Cause.UNLIT:
                dark += 1
                # No tag, no promise: it has cost nothing.
                assert not row.digest
            if row.state.final:
                same.setdefault(str(row.block), []).append(row.state)
    assert dark > 4
    assert all(len(set(ends)) == 1 for ends in same.values())
    keys = [confirmed_keys(tmp_path, role) for role in ROLES]
    both = keys[0].keys() & keys[1].keys()
    assert len(both) >= 3
    assert all(keys[0][k] == keys[1][k] for k in both)
    # What ended together ended alike; only the last may be on one side when all were stopped.
    assert len(keys[0].keys() ^ keys[1].keys()) <= 1


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_by_a_timetable_light_is_at_each_relay_in_its_windows_and_key_comes_of_both(tmp_path):
    """Blocks of 2 s, frames of 24 s; each relay has 10 s of them, half a second of it to settle."""
    frame_s, windows = 24.0, {FIRST: (0.0, 10.0), SECOND: (12.0, 22.0)}
    table = {
        "frame_s": frame_s,
        "windows": [
            {"relay": relay, "a": "alice", "b": "bob", "from_s": a, "begin_s": a + 0.5, "end_s": b}
            for relay, (a, b) in windows.items()
        ],
    }
    (tmp_path / "timetable.yaml").write_text(yaml.safe_dump(table))
    shape = SHAPES["event", "bright"]
    files = write_files(tmp_path, shape, kmes=False)
    without_watch(files, timetable={"file": str(tmp_path / "timetable.yaml")})
    with running_system(files):
        # Light has come to each by a move, and back from there.
        until(lambda: all(len(lit_times(tmp_path, role)) >= 3 for role in ROLES), 240.0)
        until(lambda: all(len(stored(tmp_path, relay)) >= 4 for relay in windows), 240.0)
    for role in ROLES:
        times = lit_times(tmp_path, role)
        assert {relay for relay, _, _ in times} == set(windows)
        for relay, begin, end in times:
            a, b = windows[relay]
            at = begin * 1e-9 % frame_s
            # Never before its window; out of it as soon as somebody looks.
            assert a <= at < b
            assert end is None or at + (end - begin) * 1e-9 < b + 1.5
    for role in ROLES:
        pulses = [r.record["pulses"] for r in rows(tmp_path, role) if "pulses" in r.record]
        assert all(n <= shape.block_slots for n in pulses)
        # A block that a window cuts is worked with what lies in the window.
        assert any(n < 0.8 * shape.block_slots for n in pulses)
    keys = [confirmed_keys(tmp_path, role) for role in ROLES]
    both = keys[0].keys() & keys[1].keys()
    assert len(both) >= 2
    assert all(keys[0][k] == keys[1][k] for k in both)
