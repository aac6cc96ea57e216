"""Announcements through three NATS servers, of which any one may die."""

import asyncio
import contextlib

import pytest
from nats_servers import (
    Network,
    Relay,
    built_in_lists,
    certificates,
    following,
    three_servers,
    until,
)

from bellrelay.service.nats_connection import BrokerUnavailable

pytestmark = pytest.mark.needs_server


@pytest.fixture
def cluster(requires_program, tmp_path):
    """(servers, network)."""
    program = requires_program("nats-server", "apt-get install nats-server")
    tls = certificates(tmp_path / "tls")
    servers, ports = three_servers(program, tmp_path, tls)
    yield servers, Network(ports, tls)
    for server in servers:
        server.stop()


async def leader_of(network):
    """Number of the server that leads the stream, once all three have all of it."""
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(BrokerUnavailable):
                cluster = (await network.stream_info()).cluster
                others = cluster.replicas or []
                whole = len(others) == 2 and all(r.current and not r.offline for r in others)
                if cluster.leader and whole:
                    return int(cluster.leader.removeprefix("nats-")) - 1
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("deaths", [1, pytest.param(4, marks=pytest.mark.soak)])
def test_the_leader_dies_in_mid_stream_and_no_announcement_is_lost_or_comes_twice(
    tmp_path, cluster, deaths
):
    servers, network = cluster
    relay = Relay(tmp_path)

    async def main():
        await network.fresh_stream(replicas=3)
        async with (
            network.publishing(relay.log) as publisher,
            following(network.subscriber()) as (_, alice),
            following(network.subscriber("bob-1")) as (_, bob),
        ):
            said = 0

            async def go_on(blocks):
                nonlocal said
                for _ in range(blocks):
                    relay.announce(1, publisher)
                    said += 1
                    await asyncio.sleep(0.01)

            def all_there():
                return len(alice.blocks) == len(bob.blocks) == said

            await go_on(30)
            await until(all_there)
            for _ in range(deaths):
                # Every time it is another one that leads.
                at = await leader_of(network)
                stream = asyncio.ensure_future(go_on(60))
                await asyncio.sleep(0.2)
                servers[at].kill()
                await stream
                await until(all_there)
                servers[at].start()
            expected = await built_in_lists(tmp_path, relay.log, said)
            assert alice.lists == bob.lists == expected
            assert not alice.breaches + bob.breaches
        # And who comes later finds all of it.
        async with following(network.subscriber()) as (_, late):
            await until(lambda: len(late.blocks) == said)
            assert late.lists == expected

    try:
        asyncio.run(main())
    finally:
        relay.close()
