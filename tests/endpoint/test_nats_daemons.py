"""The daemons, with a broker between them that dies and comes back: nothing is lost or doubled.

A relay whose board only pretends, and both endpoints, each as `bellrelay` starts it, with a broker
in its YAML. What they have of the relay afterwards is held against what its board sent.
"""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from nats_servers import Network, certificates, one_server, until

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

from pretend_board import PretendBoard

from bellrelay.cli.run_certificates import tls_files
from bellrelay.cli.run_endpoints import ROLES, prepare_endpoints
from bellrelay.cli.run_processes import free_port
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.endpoint.daemon import EndpointDaemon
from bellrelay.relay.announcement_log import LogReader
from bellrelay.relay.config import ConfigError, check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.wire.messages import Announced
from bellrelay_sim.link import SimulatedLink

RELAY = "charlie-1"
BLOCK_SLOTS = 5_000
LONG_S = 240.0
pytestmark = pytest.mark.needs_server


class System:
    """Files of everything in a folder, and the daemons once they are started."""

    def __init__(self, folder, program):
        self.folder = folder
        self.tls = certificates(folder / "tls")
        self.server, self.port = one_server(program, folder, self.tls)
        self.network = Network([self.port], self.tls)
        self.board = PretendBoard(folder / "port")
        (folder / "link.yaml").write_text("{}\n")
        link = SimulatedLink()
        more = {
            role: {
                "relay": {"id": RELAY, "nats": self.broker(f"{role}-1", consumer=f"{role}-1")},
                "block": {"slots": BLOCK_SLOTS, "settle_s": 0.1},
                "health": {"listen": "127.0.0.1:0"},
            }
            for role in ROLES
        }
        prepare_endpoints(
            folder, link, folder / "link.yaml", 1, BLOCK_SLOTS, free_port(), 0.02, more
        )

    def broker(self, user, **more):
        """`nats:` of this user."""
        files = tls_files(self.tls, f"{user}.example.net")
        return {"servers": [f"localhost:{self.port}"], "tls": files, **more}

    def relay_config(self):
        detectors = [{"name": f"D{n}", "port": port} for n, port in enumerate("cd")]
        return check_config(
            {
                "relay_id": RELAY,
                "port": str(self.folder / "port"),
                "slot_period_ps": 10_000,
                "windows": {"early": [2000, 3000], "late": [7000, 8000]},
                "detectors": [{**d, "dead_time_ps": 20_000} for d in detectors],
                "log": {"directory": str(self.folder / "log")},
                "fan_out": {"unix_socket": str(self.folder / "fan")},
                "health": {"listen": "127.0.0.1:0"},
                "nats": self.broker(RELAY),
            }
        )

    async def start(self):
        self.relay = RelayDaemon(self.relay_config())
        await self.relay.start()
        self.endpoints = {}
        for role in ROLES:
            config = load_endpoint_config(self.folder / f"{role}.yaml")
            self.endpoints[role] = EndpointDaemon(config)
            await self.endpoints[role].start()

    async def stop(self):
        await self.relay.stop()
        for daemon in self.endpoints.values():
            await daemon.stop()

    async def announce(self, blocks):
        """So many blocks, more or less; then only heartbeats."""
        end = self.board.slot + blocks * BLOCK_SLOTS
        self.board.per_beat = 5
        await until(lambda: self.board.slot >= end, LONG_S)
        self.board.per_beat = 0

    @property
    def complete(self):
        """Blocks that the board has left behind."""
        return self.board.slot // BLOCK_SLOTS

    def close(self):
        self.board.close()
        self.server.stop()

    def says(self, who):
        return self.endpoints[who].status() if who in ROLES else self.relay.status()

    def ended(self):
        """Blocks that have ended on both sides."""
        return min(
            sum(row.state.final for row in daemon.store.blocks())
            for daemon in self.endpoints.values()
        )

    def logged(self):
        """(slots, outcomes) of the relay's log."""
        records = [r for r in LogReader(self.folder / "log", 0) if isinstance(r, Announced)]
        return (
            np.concatenate([r.slot for r in records]),
            np.concatenate([r.outcome for r in records]),
        )

    def rows(self, role):
        store = BlockStore(self.folder / f"{role}.blocks", role)
        try:
            return list(store.blocks())
        finally:
            store.close()


@pytest.fixture
def system(requires_program, tmp_path):
    program = requires_program("nats-server", "apt-get install nats-server")
    system = System(tmp_path, program)
    yield system
    system.close()


async def page(daemon, path):
    url = f"http://127.0.0.1:{daemon.health.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.text()


def test_a_broker_that_dies_costs_the_daemons_time_and_nothing_else(system):
    async def main():
        await system.network.fresh_stream()
        await system.start()
        try:
            await system.announce(3)
            await until(lambda: system.ended() >= system.complete, LONG_S)
            health = json.loads(await page(system.relay, "/health"))
            assert (health["nats"]["stream"], health["nats"]["connected"]) == (RELAY, True)
            assert "bellrelay_relay_broker_connected 1.0" in await page(system.relay, "/metrics")
            # In mid-stream.
            stream = asyncio.ensure_future(system.announce(4))
            await until(lambda: system.complete >= 4, LONG_S)
            system.server.kill()
            await until(lambda: not system.says("relay")["nats"]["connected"], LONG_S)
            for role in ROLES:
                at = partial(system.says, role)
                await until(lambda at=at: not at()["relay"]["connected"], LONG_S)
                assert at()["state"] == "waiting"
                assert at()["relay"]["reason"]
            await stream
            # The board, the log and the relay's own stream go on.
            await system.announce(2)
            assert system.says("relay")["state"] == "running"
            assert system.says("relay")["nats"]["pending"] > 0
            assert system.ended() < system.complete
            system.server.start()
            await system.announce(2)
            await until(lambda: system.says("relay")["nats"]["pending"] == 0, LONG_S)
            await until(lambda: system.ended() >= system.complete, LONG_S)
            assert system.says("relay")["nats"]["reconnects"] >= 1
            # It ends as an operator ends it: the broker has the last word of the acquisition.
            await system.relay.stop()
            end = system.relay.nats.sequence
            for role in ROLES:
                at = partial(system.says, role)
                await until(lambda at=at: at()["relay"]["sequence"] == end, LONG_S)
            return {role: system.says(role) for role in ROLES}
        finally:
            await system.stop()

    said = asyncio.run(main())
    slot, outcome = system.logged()
    assert system.board.sent[1] == list(zip(slot.tolist(), outcome.tolist(), strict=True))
    assert (np.diff(slot.astype(np.int64)) > 0).all()
    lists = np.bincount((slot // BLOCK_SLOTS).astype(int)).tolist()
    rows = {role: system.rows(role) for role in ROLES}
    for role in ROLES:
        assert not said[role]["quarantined"]
        assert said[role]["relay"]["reconnects"] >= 1
        numbers = [row.block.index for row in rows[role]]
        assert numbers == list(range(len(numbers)))
        # As many announcements as the relay made, block by block; and the same ones on both sides.
        whole = [row for row in rows[role] if "announced" in row.record]
        assert [row.record["announced"] for row in whole] == lists[: len(whole)]
        assert len(whole) >= 8
    digests = [{r.block.index: r.digest for r in rows[role] if r.digest} for role in ROLES]
    assert digests[0] == digests[1]


def test_a_relay_whose_certificate_is_not_there_says_which_key_is_wrong(system):
    Path(system.broker(RELAY)["tls"]["certificate"]).unlink()

    async def main():
        daemon = RelayDaemon(system.relay_config())
        with pytest.raises(ConfigError, match=r"nats: .*files that can be read"):
            await daemon.start()

    asyncio.run(main())
