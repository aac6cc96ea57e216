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


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_light_moves_as_operators_and_deaths_want_it_and_no_finished_block_is_lost(tmp_path):
    files = write_files(tmp_path, SHAPES["event", "bright"], kmes=False)
    for role in ROLES:
        path = files.yaml_of(role)
        values = yaml.safe_load(path.read_text())
        del values["watch"]
        path.write_text(yaml.safe_dump(values))
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
    keys = []
    for role in ROLES:
        with closing(sqlite3.connect(tmp_path / f"{role}.blocks" / "blocks.sqlite")) as db:
            keys.append(
                dict(db.execute("SELECT key_id, packed FROM key WHERE confirmed = 1").fetchall())
            )
    both = keys[0].keys() & keys[1].keys()
    assert len(both) >= 3
    assert all(keys[0][k] == keys[1][k] for k in both)
    # What ended together ended alike; only the last may be on one side when all were stopped.
    assert len(keys[0].keys() ^ keys[1].keys()) <= 1
