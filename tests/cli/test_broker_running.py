"""The whole system with a NATS broker between relays and endpoints, every party a process.

What announcements go through is all that differs from a gameday's system. The broker is killed in
mid-stream, stays away for some blocks, and comes back.
"""

import sqlite3
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest
import yaml

from bellrelay.cli.gameday_delivery import deliver_everything
from bellrelay.cli.gameday_files import RELAYS, SHAPES, TRACKING_SLOTS, write_files
from bellrelay.cli.gameday_system import running_system
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import free_port
from bellrelay.endpoint.block import BlockState, Cause
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.relay.announcement_log import LogReader
from bellrelay.wire.messages import Announced
from bellrelay.wire.tracking import TrackingSlots

LONG_S = 120.0
LOST_TO_THE_BROKER = {
    Cause.MISSING_RECORDS,
    Cause.NOT_INCREASING,
    Cause.DUPLICATE_SLOT,
    Cause.NOT_COLLECTED,
    Cause.QUARANTINED,
    Cause.LISTS_DIFFER,
}


class Broker:
    """A server on loopback, without TLS: who may do what is tested elsewhere."""

    def __init__(self, program, folder):
        folder.mkdir()
        self._program, self._folder = program, folder
        self.port = free_port()
        text = f'listen: "127.0.0.1:{self.port}"\njetstream: {{store_dir: "{folder}/store"}}\n'
        (folder / "nats.conf").write_text(text)
        self.start()

    def start(self):
        words = [self._program, "--config", self._folder / "nats.conf"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)

    def kill(self):
        self._process.kill()
        self._process.wait()

    @property
    def settings(self):
        return {"servers": [f"127.0.0.1:{self.port}"], "plain": True}


@pytest.fixture
def broker(requires_program, tmp_path):
    broker = Broker(requires_program("nats-server", "apt-get install nats-server"), tmp_path / "n")
    yield broker
    broker.kill()


def until(condition):
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def change(path, edit):
    values = yaml.safe_load(path.read_text())
    edit(values)
    path.write_text(yaml.safe_dump(values))


def by_broker(files, broker):
    """Changes the files: relays publish, endpoints follow by it; nobody is left for silence."""
    for relay in RELAYS:
        change(files.yaml_of(relay), lambda v: v.update(nats=broker.settings))

    def follow(values):
        for relay in (values["relay"], *values["secondaries"]):
            del relay["unix_socket"]
            relay["nats"] = broker.settings
        values["relay_choice"]["silence_s"] = 3600.0
        del values["watch"]

    for role in ROLES:
        change(files.yaml_of(role), follow)


def rows(folder, role):
    store = BlockStore(folder / f"{role}.blocks", role)
    try:
        return store.blocks()
    finally:
        store.close()


def stored(folder):
    """Blocks of the first relay with key on both sides."""
    found = [
        {
            row.block.index
            for row in rows(folder, role)
            if row.state is BlockState.STORED and row.record["relay_id"] == RELAYS[0]
        }
        for role in ROLES
    ]
    return found[0] & found[1]


def keys(folder, role):
    with closing(sqlite3.connect(folder / f"{role}.blocks" / "blocks.sqlite")) as db:
        return dict(db.execute("SELECT key_id, packed FROM key WHERE confirmed = 1").fetchall())


@pytest.mark.soak
@pytest.mark.needs_server
@pytest.mark.timeout(500)
def test_keys_are_made_and_none_is_lost_or_comes_twice_while_the_broker_dies(tmp_path, broker):
    folder = tmp_path / "system"
    folder.mkdir()
    files = write_files(folder, SHAPES["event", "bright"], kmes=True)
    by_broker(files, broker)
    slots = files.shape.block_slots
    with running_system(files) as system:

        def relay_is(**wanted):
            told = (system.status(RELAYS[0]) or {}).get("nats") or {}
            return wanted.items() <= told.items()

        for relay in RELAYS:
            system.run("nats", "stream", "--config", str(files.yaml_of(relay)))
        until(lambda: stored(folder))
        broker.kill()
        until(lambda: relay_is(connected=False))
        before = system.status(RELAYS[0])["log"]["durable"]
        # Some blocks long.
        cut = system.status(RELAYS[0])["cut_slot"]
        until(lambda: system.status(RELAYS[0])["cut_slot"] > cut + 3 * slots)
        assert system.status(RELAYS[0])["log"]["durable"] > before
        first = max(stored(folder))
        broker.start()
        until(lambda: relay_is(connected=True, pending=0))
        # What was announced meanwhile makes key like the rest, and so does what comes then.
        until(lambda: max(stored(folder)) > first + 5)
        said = deliver_everything(files, 1)
        assert said["keys"] > 0
        assert said["equal"]
        assert said["once"]
        for role in ROLES:
            assert not system.status(role)["quarantined"]
    nothing_is_lost_or_doubled(folder, slots)


def nothing_is_lost_or_doubled(folder, slots):
    """Each block has the announcements of the relay's log, all of them and once, and both keys."""
    announced = [
        r.slot for r in LogReader(folder / RELAYS[0] / "log", 0) if isinstance(r, Announced)
    ]
    slot = np.concatenate(announced)
    assert (np.diff(slot.astype(np.int64)) > 0).all()
    # Tracking slots make no key, and are counted apart.
    slot = slot[~TrackingSlots(**TRACKING_SLOTS).inside(slot)]
    lists = np.bincount((slot // np.uint64(slots)).astype(np.int64))
    ends = {}
    for role in ROLES:
        mine = [row for row in rows(folder, role) if row.block.relay == 0]
        assert [row.block.index for row in mine] == list(range(len(mine)))
        for row in mine:
            # A block may be lost to a slow machine; none is to what the broker did.
            assert row.cause not in LOST_TO_THE_BROKER
            if "announced" in row.record:
                assert row.record["announced"] == lists[row.block.index]
        ends[role] = {row.block.index: row.state for row in mine if row.state.final}
    both = ends["alice"].keys() & ends["bob"].keys()
    assert all(ends["alice"][index] == ends["bob"][index] for index in both)
    alice, bob = (keys(folder, role) for role in ROLES)
    assert all(alice[name] == bob[name] for name in alice.keys() & bob.keys())
    # Only the last may be on one side, when all were stopped.
    assert len(alice.keys() ^ bob.keys()) <= 1
