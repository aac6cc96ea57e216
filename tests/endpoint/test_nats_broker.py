"""Announcements through a real NATS server, configured as deploy/nats says."""

import asyncio
import contextlib

import pytest
from nats_servers import (
    RELAY,
    Network,
    Relay,
    built_in_lists,
    certificates,
    following,
    one_server,
    until,
)

from bellrelay.endpoint.announcement_rules import BlockBegun
from bellrelay.endpoint.block import BlockId, Cause
from bellrelay.relay.announcement_stream import SubscriptionRefused
from bellrelay.relay.nats_batch import EXPECTED_LAST, MESSAGE_ID, encode_batch, subject_of
from bellrelay.relay.nats_client import NatsAnnouncements
from bellrelay.relay.nats_permissions import ADMINISTRATOR
from bellrelay.service.nats_connection import BrokerUnavailable, broker_context
from bellrelay.wire.messages import Event, From, Subscribe

pytestmark = pytest.mark.needs_server


@pytest.fixture(scope="module")
def server(requires_program, tmp_path_factory):
    """A server that goes on from test to test; (server, network)."""
    program = requires_program("nats-server", "apt-get install nats-server")
    folder = tmp_path_factory.mktemp("nats")
    tls = certificates(folder / "tls")
    one, port = one_server(program, folder, tls)
    yield one, Network([port], tls)
    one.stop()


@pytest.fixture
def network(server):
    """With an empty stream of the relay."""
    _, network = server
    asyncio.run(network.fresh_stream())
    return network


@pytest.fixture
def relay(tmp_path):
    relay = Relay(tmp_path)
    yield relay
    relay.close()


def test_blocks_are_those_of_the_relays_own_stream(tmp_path, network, relay):
    async def main():
        async with network.publishing(relay.log) as publisher:
            relay.announce(30, publisher)
            async with (
                following(network.subscriber()) as (_, alice),
                following(network.subscriber("bob-1")) as (_, bob),
            ):
                relay.announce(20, publisher)
                await until(lambda: len(alice.blocks) == len(bob.blocks) == 50)
            expected = await built_in_lists(tmp_path, relay.log, 50)
            assert alice.lists == bob.lists == expected
            assert not alice.breaches
            status = publisher.status()
            assert status["published"] == status["acknowledged"] > 5
            assert (status["pending"], status["connected"]) == (0, True)

    asyncio.run(main())


def test_it_is_read_from_any_sequence(network, relay):
    async def main():
        subscribe = network.subscriber()
        async with network.publishing(relay.log) as publisher:
            relay.announce(20, publisher)
            end = relay.log.durable_sequence
            await until(lambda: publisher.sequence == end)
            for sequence in (0, 1, end // 3, end // 2 + 1, end - 1):
                async with await subscribe(Subscribe(From.SEQUENCE, sequence)) as client:
                    assert client.welcome.relay_id == RELAY
                    records = client.records()
                    at = sequence
                    while at < end:
                        record = await anext(records)
                        assert record.sequence == at
                        at = record.end
                    assert (client.missing, client.sequence) == (0, end)
            for wish in (Subscribe(From.SEQUENCE, end), Subscribe(From.LIVE)):
                async with await subscribe(wish) as client:
                    relay.announce(1, publisher)
                    assert (await anext(client.records())).sequence == end
                    end = relay.log.durable_sequence
                    await until(lambda: publisher.sequence == relay.log.durable_sequence)
            with pytest.raises(SubscriptionRefused):
                await subscribe(Subscribe(From.SLOT, 0, 1))

    asyncio.run(main())


def test_another_process_of_an_endpoint_goes_on_where_a_block_began(network, relay):
    async def main():
        async with network.publishing(relay.log) as publisher:
            relay.announce(10, publisher)
            async with following(network.subscriber()) as (_, sink):
                await until(lambda: len(sink.blocks) == 10)
            begin = BlockBegun(BlockId(1, 4), sink.blocks[3].next_sequence)
            async with following(network.subscriber(), begin) as (_, again):
                await until(lambda: len(again.blocks) == 6)
            assert again.lists == sink.lists[4:]

    asyncio.run(main())


def test_what_is_sent_twice_is_stored_once(network):
    async def main():
        payload = encode_batch(RELAY, 0, 1, [Event(0, 1, {"kind": "start"})])
        headers = {MESSAGE_ID: "0-1-0-0", EXPECTED_LAST: "0"}
        async with network.connection(RELAY) as broker:
            js = broker.client.jetstream()
            acks = [
                await js.publish(subject_of(RELAY), payload, headers=dict(headers))
                for _ in range(2)
            ]
        assert [(a.seq, bool(a.duplicate)) for a in acks] == [(1, False), (1, True)]
        assert (await network.stream_info()).state.messages == 1

    asyncio.run(main())


def test_a_relay_that_has_forgotten_what_it_sent_sends_it_again_and_no_block_changes(
    tmp_path, network, relay
):
    async def main():
        async with following(network.subscriber()) as (_, sink):
            async with network.publishing(relay.log) as publisher:
                relay.announce(10, publisher)
                await until(lambda: len(sink.blocks) == 10)
                first = publisher.published
            (relay.log.directory / f"broker-{RELAY}.json").unlink()
            async with network.publishing(relay.log) as publisher:
                relay.announce(5, publisher)
                await until(lambda: len(sink.blocks) == 15)
                assert publisher.published > first
        async with following(network.subscriber("bob-1")) as (_, later):
            await until(lambda: len(later.blocks) == 15)
        assert sink.lists == later.lists == await built_in_lists(tmp_path, relay.log, 15)

    asyncio.run(main())


def test_a_relay_that_starts_again_goes_on_behind_what_it_had_acknowledged(network, relay):
    async def main():
        async with network.publishing(relay.log) as publisher:
            relay.announce(10, publisher)
            await until(lambda: publisher.sequence == relay.log.durable_sequence)
        relay.announce(1)
        async with network.publishing(relay.log) as publisher:
            await until(lambda: publisher.sequence == relay.log.durable_sequence)
            assert publisher.acknowledged <= 2

    asyncio.run(main())


def test_a_broker_that_dies_and_comes_back_loses_and_repeats_nothing(
    tmp_path, server, network, relay
):
    process, _ = server

    async def main():
        async with (
            following(network.subscriber()) as (follower, sink),
            network.publishing(relay.log) as publisher,
        ):
            relay.announce(10, publisher)
            await until(lambda: len(sink.blocks) == 10)
            process.kill()
            relay.announce(10, publisher)
            await until(lambda: not publisher.connected and not follower.connected)
            assert publisher.reason
            # The log goes on, as do consumers of the relay's own stream.
            assert len(await built_in_lists(tmp_path, relay.log, 20)) == 20
            process.start()
            await until(lambda: len(sink.blocks) == 20)
            assert publisher.reconnects >= 1
            assert follower.reconnects >= 1
        assert sink.lists == await built_in_lists(tmp_path, relay.log, 20)
        assert not sink.breaches

    asyncio.run(main())


def test_what_a_broker_acknowledged_and_lost_is_sent_again(tmp_path, server, network, relay):
    """A machine that loses power may lose what its server had not yet brought to disk."""
    import shutil

    process, _ = server
    store = process.folder / "store"

    async def main():
        async with network.publishing(relay.log) as publisher:
            relay.announce(10, publisher)
            await until(lambda: publisher.sequence == relay.log.durable_sequence)
            process.stop()
            shutil.copytree(store, tmp_path / "before")
            process.start()
            relay.announce(10, publisher)
            await until(lambda: publisher.sequence == relay.log.durable_sequence)
            async with following(network.subscriber()) as (_, early):
                await until(lambda: len(early.blocks) == 20)
                process.kill()
                shutil.rmtree(store)
                shutil.copytree(tmp_path / "before", store)
                process.start()
                relay.announce(10, publisher)
                await until(lambda: len(early.blocks) == 30)
        async with following(network.subscriber("bob-1")) as (_, late):
            await until(lambda: len(late.blocks) == 30)
        assert early.lists == late.lists == await built_in_lists(tmp_path, relay.log, 30)
        assert not early.breaches

    asyncio.run(main())


# ------------------------------------------------------------------------------- who may do what


async def may_not(broker, *subjects):
    """The broker refuses to take anything for each of these subjects."""
    for subject in subjects:
        broker.complaint = ""
        await broker.client.publish(subject, b"{}", reply=broker.client.new_inbox())
        await until(lambda: broker.complaint)
        assert "permissions violation for publish" in broker.complaint.lower(), subject


def test_a_relay_may_publish_its_own_announcements_and_nothing_else(network):
    async def main():
        async with network.connection("charlie-2") as broker:
            await may_not(broker, subject_of(RELAY))
        async with network.connection(RELAY) as broker:
            await may_not(
                broker,
                f"$JS.API.STREAM.INFO.{RELAY}",
                f"$JS.API.STREAM.DELETE.{RELAY}",
                f"$JS.API.STREAM.MSG.GET.{RELAY}",
                f"$JS.API.CONSUMER.CREATE.{RELAY}.{RELAY}",
                "bellrelay.announcements.charlie-2",
            )
        assert (await network.stream_info()).state.messages == 0

    asyncio.run(main())


def test_an_endpoint_may_read_its_relays_stream_and_nothing_else(network):
    async def main():
        async with network.connection("alice-1") as broker:
            await may_not(
                broker,
                subject_of(RELAY),
                f"$JS.API.STREAM.PURGE.{RELAY}",
                f"$JS.API.STREAM.MSG.DELETE.{RELAY}",
                f"$JS.API.STREAM.UPDATE.{RELAY}",
                f"$JS.API.CONSUMER.CREATE.{RELAY}.bob-1",
                f"$JS.API.CONSUMER.DELETE.{RELAY}.bob-1",
                f"$JS.API.CONSUMER.MSG.NEXT.{RELAY}.bob-1",
                "$JS.API.STREAM.INFO.charlie-2",
                "$JS.API.STREAM.MSG.GET.charlie-2",
            )
            broker.complaint = ""
            await broker.client.subscribe("_INBOX.bob-1.>")
            await until(lambda: broker.complaint)
            assert "permissions violation for subscription" in broker.complaint.lower()
            with broker.faults("test"):
                assert await broker.client.jsm().stream_info(RELAY)
        assert (await network.stream_info()).state.messages == 0

    asyncio.run(main())


def test_a_wrong_name_is_told_from_a_silent_broker(network):
    """What the broker forbids is what /health says."""

    async def main():
        settings = network.settings("alice-1")
        bob = NatsAnnouncements.subscribe(
            settings, broker_context(settings), RELAY, "bob-1", RELAY, Subscribe(From.LIVE)
        )
        with pytest.raises(BrokerUnavailable, match=r"(?i)permissions violation"):
            await bob

    asyncio.run(main())


@pytest.mark.parametrize(("user", "folder"), [("eve", "."), ("alice-1", "forged")])
def test_others_do_not_get_in(network, user, folder):
    """Who is in nobody's list, and who has Alice's name of another authority."""

    async def main():
        with pytest.raises(BrokerUnavailable):
            async with network.connection(user, tls=network.tls / folder):
                pass

    asyncio.run(main())


def test_a_broker_of_another_authority_and_one_without_tls_get_nothing(network):
    async def main():
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            async with network.connection("alice-1", tls=network.tls / "other"):
                pass

        async def plain(reader, writer):
            writer.write(b'INFO {"max_payload":1048576,"version":"2.9.10","headers":true}\r\n')
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    if line.startswith(b"PING"):
                        writer.write(b"PONG\r\n")
            writer.close()

        impostor = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = impostor.sockets[0].getsockname()[1]
        try:
            with pytest.raises(BrokerUnavailable, match="no TLS"):
                async with Network([port], network.tls).connection("alice-1"):
                    pass
        finally:
            impostor.close()

    asyncio.run(main())


# ------------------------------------------------------------------------------- gaps, foreigners


def test_records_that_the_broker_keeps_no_longer_are_given_up_as_those_of_a_relay(network, relay):
    async def main():
        async with network.publishing(relay.log) as publisher:
            relay.announce(20, publisher)
            await until(lambda: publisher.sequence == relay.log.durable_sequence)
            last = (await network.stream_info()).state.last_seq
            async with network.connection("nats-admin.charlie-1", ADMINISTRATOR) as broker:
                await broker.client.jsm().purge_stream(RELAY, seq=last)
            begin = BlockBegun(BlockId(1, 3), 300)
            async with following(network.subscriber(), begin) as (follower, sink):
                await until(lambda: "no longer kept" in follower.reason or follower.connected)
                await until(lambda: follower.connected)
                relay.announce(5, publisher)
                await until(lambda: len(sink.blocks) >= 3)
            assert not sink.breaches
            assert sink.blocks[0].block.index > 3

    asyncio.run(main())


def test_a_hole_in_the_relays_log_is_a_breach_here_as_there(network, relay):
    async def main():
        relay.announce(20)
        segment = next(relay.log.directory.glob("*.brlog"))
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 0xFF
        segment.write_bytes(data)
        async with (
            network.publishing(relay.log),
            following(network.subscriber()) as (_, sink),
        ):
            await until(lambda: sink.breaches)
        assert [b.cause for b in sink.breaches] == [Cause.MISSING_RECORDS]

    asyncio.run(main())


def test_messages_that_somebody_else_got_into_the_stream_are_passed_over(network, relay, tmp_path):
    """Who may ask a broker anything can have the answer sent to any subject of the account."""

    async def main():
        async with network.publishing(relay.log) as publisher:
            relay.announce(5, publisher)
            await until(lambda: publisher.sequence == relay.log.durable_sequence)
            before = (await network.stream_info()).state.last_seq
            async with network.connection("alice-1") as broker:
                for request in (
                    (f"$JS.API.STREAM.INFO.{RELAY}", b""),
                    (f"$JS.API.STREAM.MSG.GET.{RELAY}", b'{"seq": 1}'),
                ):
                    await broker.client.publish(*request, reply=subject_of(RELAY))
                await broker.client.flush()
            while (await network.stream_info()).state.last_seq < before + 2:
                await asyncio.sleep(0.02)
            relay.announce(5, publisher)
            async with following(network.subscriber()) as (_, sink):
                await until(lambda: len(sink.blocks) == 10)
            assert sink.lists == await built_in_lists(tmp_path, relay.log, 10)

    asyncio.run(main())


# ------------------------------------------------------------------------------- back-pressure


def test_a_slow_endpoint_is_handed_so_much_and_no_more(network, relay):
    async def main():
        subscribe = network.subscriber(max_pending=2)
        async with (
            network.publishing(relay.log) as publisher,
            following(subscribe) as (follower, sink),
        ):
            await until(lambda: follower.connected)
            sink.held.clear()
            relay.announce(60, publisher)
            await until(lambda: publisher.sequence == relay.log.durable_sequence)
            await until(lambda: follower.silent_s == 0.0)
            info = await network.consumer_info("alice-1")
            assert info.num_ack_pending <= 2
            assert info.num_pending > 2
            sink.held.set()
            await until(lambda: len(sink.blocks) == 60)
            await until(lambda: follower.behind == 0)

    asyncio.run(main())
