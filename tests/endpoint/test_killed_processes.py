"""Two real processes over TLS, killed by SIGKILL at moments that matter, and started again."""

import asyncio
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from lying_relays import Eavesdropper, photon_run, records_of
from synthetic_blocks import LADDER

from bellrelay.cli.run_certificates import make_certificates
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.messages import Announced, Subscribe, Welcome

HERE = Path(__file__).parent
BLOCKS = 3
LONGEST_S = 400.0
DEATHS = {
    "alice": ["after sending sift tag", "after amplified", "before sending verdict verdict"],
    "bob": ["after amplified", "before stored"],
}


class Relay(threading.Thread):
    """Serves records on a socket of this machine, as the relay's daemon does."""

    def __init__(self, path, records):
        super().__init__(daemon=True)
        self._path, self._records = path, records
        self._loop = asyncio.new_event_loop()

    def run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_unix_server(self._serve, self._path))
        self._loop.run_forever()

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()

    async def _serve(self, reader, writer):
        asked = await reader.read(1 << 12)
        begin = Subscribe.parse(asked[-20:-4]).number
        frames = [(FrameType.WELCOME, 0, Welcome("charles", 0, begin).encode())]
        for record in self._records:
            if record.end > begin:
                announced = isinstance(record, Announced)
                kind = FrameType.ANNOUNCED if announced else FrameType.EVENT
                record = record.from_sequence(begin) if announced else record
                frames.append((kind, record.acquisition, record.encode()))
        for number, (kind, acquisition, payload) in enumerate(frames):
            writer.write(encode_frame(kind, number, acquisition, payload))
            await writer.drain()
        await reader.read()
        writer.close()


def _records(block):
    """In pieces of which each fits a frame."""
    pieces = 1
    while True:
        parts = np.array_split(block.slot, pieces)
        if all(int(part[-1]) - int(part[0]) < 1 << 28 for part in parts):
            return records_of(block, pieces)
        pieces *= 2


def _prepare(folder, run):
    make_certificates(folder, ("alice", "bob"))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    secret = np.random.default_rng().bytes(1 << 14)
    ladder = {name: getattr(LADDER, name) for name in ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu")}
    for role, peer in (("alice", "bob"), ("bob", "alice")):
        KeyPool.create(folder / f"{role}.pool", secret)
        source = getattr(run, role)
        np.savez(
            folder / f"{role}.npz",
            slots=source.slots,
            setting=source.setting,
            bit=source.bit,
            end=source.end,
        )
        tls = {"certificate": f"{role}.crt", "key": f"{role}.key", "ca": "ca.crt"}
        values = {
            "endpoint_id": role,
            "peer_id": peer,
            "role": role,
            "relay": {"id": "charles", "unix_socket": str(folder / "relay")},
            "peer": {
                "listen" if role == "alice" else "connect": f"127.0.0.1:{port}",
                "name": peer,
                "tls": {key: str(folder / name) for key, name in tls.items()},
            },
            "source": {"plugin": "simulation"},
            "alice": {**ladder, "deviation": 0.0, "vacuum_limit": 0.0},
            "bob": {**ladder, "deviation": 0.0, "vacuum_limit": 0.0},
            "block": {"slots": -(-run.block_slots // BLOCKS), "max_in_flight": 1, "settle_s": 0.1},
            "security": {"secrecy": 0.01},
            "reconcile": {"method": "cascade"},
            "store": {"directory": str(folder / f"{role}.blocks")},
            "key_pool": {"file": str(folder / f"{role}.pool"), "reserve_bits": 0},
            "intensity_monitor": {"input": "none"},
            "health": {"listen": "127.0.0.1:0"},
        }
        (folder / f"{role}.yaml").write_text(yaml.safe_dump(values))


def _start(folder, role, moment):
    words = [folder / f"{role}.yaml", folder / f"{role}.npz", folder / f"{role}.drawn", moment]
    with (folder / f"{role}.log").open("ab") as log:
        program = [sys.executable, str(HERE / "endpoint_process.py"), *map(str, words)]
        return subprocess.Popen(program, stderr=log, stdout=log)


def _ended(folder, role):
    path = folder / f"{role}.blocks" / "blocks.sqlite"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute("SELECT count(*) FROM block WHERE state >= 6").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # it is being made


@pytest.mark.timeout(600)
def test_processes_killed_at_any_moment_end_alike_and_spend_nothing_twice(tmp_path):
    run, _ = photon_run(Eavesdropper(pairs=1.0, multi=1.0), announced=40_000 * BLOCKS)
    _prepare(tmp_path, run)
    relay = Relay(tmp_path / "relay", _records(run.blocks[0]))
    relay.start()
    moments = {role: [*deaths, "-"] for role, deaths in DEATHS.items()}
    processes = {role: _start(tmp_path, role, moments[role].pop(0)) for role in DEATHS}
    killed = []
    begun = time.monotonic()
    try:
        while min(_ended(tmp_path, role) for role in DEATHS) < BLOCKS:
            assert time.monotonic() - begun < LONGEST_S
            time.sleep(0.1)
            for role, process in processes.items():
                if process.poll() is not None:
                    log = (tmp_path / f"{role}.log").read_text()
                    assert process.returncode == -9, log[-2000:]
                    killed.append(role)
                    processes[role] = _start(tmp_path, role, moments[role].pop(0))
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()
        relay.stop()
    assert killed.count("alice") >= 2
    assert killed.count("bob") >= 1
    found = {}
    for role in DEATHS:
        store = BlockStore(tmp_path / f"{role}.blocks", role)
        found[role] = (
            [(row.block, row.state) for row in store.blocks()],
            [(key.key_id, key.packed) for key in store.keys(confirmed=True)],
        )
        assert not store.keys(confirmed=False)
        store.close()
        drawn = sorted(
            tuple(map(int, line.split()))
            for line in (tmp_path / f"{role}.drawn").read_text().splitlines()
        )
        assert all(a + n <= b for (a, n), (b, _) in pairwise(drawn))
        assert len(drawn) >= 4
    assert found["alice"] == found["bob"]
    # Of the deaths above, some cost a block, and some cost none.
    assert found["alice"][1]
