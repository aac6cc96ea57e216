"""The daemon against a board on a pseudo-terminal that is damaged, unplugged, reset, or lies."""

import asyncio
import json
import random
import socket
import time

import aiohttp
import numpy as np
import pytest
from pretend_board import GEOMETRY, PretendBoard

from bellrelay.relay.announcement_client import AnnouncementClient, SubscriptionRefused
from bellrelay.relay.announcement_log import LogReader
from bellrelay.relay.config import ConfigError, check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.relay.link import PortBusy, PortMissing
from bellrelay.relay.register_values import register_values
from bellrelay.wire.access import BoardVersionMismatch, ForeignBoard
from bellrelay.wire.frames import FrameType
from bellrelay.wire.messages import Announced, Event, From, Subscribe
from bellrelay.wire.payloads import Histogram, Tags


@pytest.fixture
def board(tmp_path):
    made = []

    def make(**options):
        made.append(PretendBoard(tmp_path / "port", **options))
        return made[-1]

    yield make
    for b in made:
        b.close()


def logged(tmp_path):
    """Announcements by acquisition, and events, of the log of a daemon that has ended."""
    announced, events = {}, []
    numbers = []
    for r in LogReader(tmp_path / "log", 0):
        numbers += range(r.sequence, r.end)
        if isinstance(r, Announced):
            pairs = zip(r.slot.tolist(), r.outcome.tolist(), strict=True)
            announced.setdefault(r.acquisition, []).extend(pairs)
        else:
            events.append(r)
    assert numbers == list(range(len(numbers)))
    return announced, events


def of_kind(events, kind):
    return [e for e in events if e.kind == kind]


def run(config, body):
    async def main():
        daemon = RelayDaemon(config)
        await daemon.start()
        try:
            return await body(daemon)
        finally:
            await daemon.stop()

    return asyncio.run(main())


async def until(condition, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


def test_announcements_are_logged_and_served_and_the_board_configured(
    tmp_path, relay_values, board
):
    b = board()
    config = check_config(relay_values)

    async def body(daemon):
        client = await AnnouncementClient.tcp(
            "127.0.0.1", daemon.fan_out.port, Subscribe(From.SEQUENCE, 0)
        )
        got = []
        async with client:
            async for record in client.records():
                if isinstance(record, Announced):
                    got += zip(record.slot.tolist(), record.outcome.tolist(), strict=True)
                if len(got) >= 100:
                    break
        assert client.welcome.relay_id == "charlie"
        assert client.missing == 0
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{daemon.health.port}"
            async with http.get(url + "/health") as answer:
                assert answer.status == 200
                health = json.loads(await answer.text())
            async with http.get(url + "/metrics") as answer:
                metrics = await answer.text()
        assert health["state"] == "running"
        assert health["board"]["name"] == "pretend"
        assert health["acquisition"] == 1
        assert "bellrelay_relay_up 1.0" in metrics
        assert 'bellrelay_announcements_received_total{outcome="psi_minus"}' in metrics
        return got

    got = run(config, body)
    assert got == b.sent[1][: len(got)]
    announced, events = logged(tmp_path)
    # The board stops cleanly: everything that it ever announced is in the log.
    assert announced == b.sent
    assert [e.kind for e in events] == ["start", "heartbeat", "stop"]
    stop = events[-1].values
    assert stop["final"] is True
    assert stop["received"]["psi_minus"] + stop["received"]["psi_plus"] == len(b.sent[1])
    assert stop["link_lost"] == {"psi_minus": 0, "psi_plus": 0, "tags": 0, "frames": 0}
    for name, values in register_values(config, GEOMETRY).items():
        at = b.map.address(name)
        assert [b.words[at + i] for i in range(len(values))] == [v & 0xFFFFFFFF for v in values]


def test_a_board_that_has_not_started_yet_says_nothing_of_the_new_acquisition(
    tmp_path, relay_values, board
):
    """Its heartbeats tell how far the acquisition before came: no slot of this one is closed."""
    b = board(beat_s=0.005)
    b.beats_before_start = 3
    enough = 800

    async def body(daemon):
        account = daemon.session.account
        await until(lambda: account.heartbeat and account.psi_minus > enough)

    run(check_config(relay_values), body)
    enough = 10
    run(check_config(relay_values), body)
    _, events = logged(tmp_path)
    cuts = [e.values["cut_slot"] for e in events if e.kind == "heartbeat" and e.acquisition == 2]
    assert cuts
    assert max(cuts) <= b.sent[2][-1][0] + 1 < b.sent[1][-1][0]


def test_damage_on_the_link_costs_no_wrong_event_and_is_accounted_exactly(
    tmp_path, relay_values, board
):
    b = board(beat_s=0.004, per_beat=7)
    rng = random.Random(3)

    def damage(data):
        data = bytearray(data)
        draw = rng.random()
        at = rng.randrange(len(data))
        if draw < 0.1:
            data[at] ^= 1 << rng.randrange(8)
        elif draw < 0.15:
            del data[at : at + rng.randrange(1, 40)]
        elif draw < 0.2:
            data[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif draw < 0.23:
            del data[at:]
        elif draw < 0.25:
            data.clear()
        elif draw < 0.26:
            time.sleep(0.05)
        return bytes(data)

    async def body(daemon):
        b.damage = damage
        await until(lambda: len(b.sent.get(1, ())) > 3500, 60)
        b.damage = bytes
        assert daemon.session.phase.value == "running"
        assert daemon.session.decoder.counts.missing > 20

    run(check_config(relay_values), body)
    announced, events = logged(tmp_path)
    sent = b.sent[1]
    assert set(announced[1]) < set(sent)
    assert announced[1] == sorted(announced[1])
    gaps = of_kind(events, "gap")
    lost = {n: sum(e.values[n] for e in gaps) for n in ("psi_minus", "psi_plus", "frames")}
    assert lost["psi_minus"] + lost["psi_plus"] == len(sent) - len(announced[1]) > 0
    for name, outcome in (("psi_minus", 1), ("psi_plus", 2)):
        total = sum(o == outcome for _, o in sent) - sum(o == outcome for _, o in announced[1])
        assert lost[name] == total
    (stop,) = of_kind(events, "stop")
    assert stop.values["final"] is True
    assert stop.values["link_lost"]["frames"] == lost["frames"]
    assert of_kind(events, "quarantine") == []


def test_an_unplugged_board_resumes_and_the_gap_is_exact(tmp_path, relay_values, board):
    b = board()

    async def body(daemon):
        await until(lambda: daemon.session.account.psi_minus > 20)
        b.unplug()
        await until(lambda: daemon.status()["state"] == "lost")
        # The board does not know, and goes on.
        for _ in range(10):
            b.beat()
        b.plug()
        await until(lambda: daemon.status()["state"] == "running")
        n = daemon.session.account.psi_minus
        await until(lambda: daemon.session.account.psi_minus > n + 20)
        assert daemon.session.account.acquisition == 1

    run(check_config(relay_values), body)
    announced, events = logged(tmp_path)
    (gap,) = of_kind(events, "gap")
    assert gap.values["reason"] == "port lost"
    assert gap.values["end_utc_ns"] > gap.values["begin_utc_ns"]
    lost = gap.values["psi_minus"] + gap.values["psi_plus"]
    assert lost == len(b.sent[1]) - len(announced[1]) >= 50
    assert gap.values["frames"] >= 20
    assert set(announced[1]) < set(b.sent[1])


def test_a_board_that_was_reset_gets_a_new_acquisition(tmp_path, relay_values, board):
    b = board()

    async def body(daemon):
        await until(lambda: daemon.session.account and daemon.session.account.psi_minus > 20)
        b.unplug()
        b.reset()
        b.plug()
        await until(
            lambda: daemon.session.account is not None and daemon.session.account.acquisition == 2
        )
        await until(lambda: daemon.session.account.psi_minus > 20)

    run(check_config(relay_values), body)
    announced, events = logged(tmp_path)
    assert sorted(announced) == [1, 2]
    assert announced[2] == b.sent[2]
    assert announced[1] == b.sent[1][: len(announced[1])]
    (gap,) = of_kind(events, "gap")
    assert gap.acquisition == 1
    assert gap.values["psi_minus"] is None
    assert [(e.kind, e.acquisition) for e in events if e.kind in ("start", "stop")] == [
        ("start", 1),
        ("stop", 1),
        ("start", 2),
        ("stop", 2),
    ]


def test_a_reset_with_the_port_open_is_noticed(tmp_path, relay_values, board):
    b = board()

    async def body(daemon):
        await until(lambda: daemon.session.account and daemon.session.account.psi_minus > 20)
        b.reset()
        await until(
            lambda: daemon.session.account is not None and daemon.session.account.acquisition == 2
        )

    run(check_config(relay_values), body)
    _, events = logged(tmp_path)
    assert of_kind(events, "gap")[0].values["reason"] == "board reset"


def test_a_board_that_falls_silent_is_opened_anew(tmp_path, relay_values, board):
    b = board()

    async def body(daemon):
        await until(lambda: daemon.session.account and daemon.session.account.psi_minus > 20)
        b.silent = True
        await until(lambda: daemon.status()["link"]["times_lost"] >= 1)
        b.silent = False
        await until(lambda: daemon.status()["state"] == "running")
        n = daemon.session.account.psi_minus
        await until(lambda: daemon.session.account.psi_minus > n)

    run(check_config(relay_values), body)
    announced, events = logged(tmp_path)
    gap = of_kind(events, "gap")[0]
    assert gap.values["reason"] == "board silent"
    lost = sum(e.values["psi_minus"] + e.values["psi_plus"] for e in of_kind(events, "gap"))
    assert lost == len(b.sent[1]) - len(announced[1]) > 0


def test_a_board_that_goes_back_is_quarantined(tmp_path, relay_values, board):
    b = board()

    async def body(daemon):
        await until(lambda: daemon.session.account and daemon.session.account.psi_minus > 20)
        before = len(b.sent[1])
        b.announce_hook = lambda slots: np.arange(len(slots), dtype=np.uint64)
        await until(lambda: daemon.status()["state"] == "quarantined")
        assert "announced after" in daemon.status()["reason"]
        await until(lambda: b.state.name == "IDLE")
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{daemon.health.port}/health"
            async with http.get(url) as answer:
                assert answer.status == 503
        # The log is still served.
        client = await AnnouncementClient.tcp(
            "127.0.0.1", daemon.fan_out.port, Subscribe(From.SLOT, 0, 1)
        )
        async with client:
            async for record in client.records():
                if isinstance(record, Event) and record.kind == "quarantine":
                    break
        return before

    before = run(check_config(relay_values), body)
    announced, events = logged(tmp_path)
    assert len(announced[1]) >= before
    assert announced[1] == b.sent[1][: len(announced[1])]
    assert len(of_kind(events, "quarantine")) == 1


def test_a_board_that_counts_less_than_it_sent_is_quarantined(tmp_path, relay_values, board):
    b = board()

    async def body(daemon):
        await until(lambda: daemon.session.account and daemon.session.account.psi_minus > 20)
        b.totals["announced_psi_plus"] -= 1
        await until(lambda: daemon.status()["state"] == "quarantined")

    run(check_config(relay_values), body)


@pytest.mark.parametrize("payload", [b"", bytes(16) + b"\xff\xff\xff\xff", bytes(20)])
def test_a_good_crc_around_nonsense_is_no_event(tmp_path, relay_values, board, payload):
    b = board(per_beat=0)

    async def body(daemon):
        await until(lambda: daemon.session.account and daemon.session.account.heartbeat)
        b.out(b.send(FrameType.ANNOUNCEMENTS, payload))
        await until(lambda: daemon.status()["state"] == "quarantined")

    run(check_config(relay_values), body)
    assert logged(tmp_path)[0] == {}


def test_a_slow_consumer_holds_nobody_up(tmp_path, relay_values, board):
    b = board(beat_s=0.003, per_beat=1000)
    relay_values["fan_out"]["unix_socket"] = str(tmp_path / "socket")
    enough = 400_000

    async def body(daemon):
        begin = Subscribe(From.SEQUENCE, 0)
        slow = await AnnouncementClient.unix(tmp_path / "socket", begin)
        fast = await AnnouncementClient.tcp("127.0.0.1", daemon.fan_out.port, begin)
        async with slow, fast:
            async for record in fast.records():
                if record.end > enough:
                    break
            assert min(c.sequence for c in daemon.fan_out.consumers) < enough // 2
            assert daemon.session.account.lost_frames == 0
            # What it did not take is still there for it.
            async for record in slow.records():
                if record.end > enough:
                    break
            assert slow.missing == fast.missing == 0

    run(check_config(relay_values), body)
    assert logged(tmp_path)[0] == b.sent


def test_subscriptions_that_cannot_be_served_are_refused(tmp_path, relay_values, board):
    board()

    async def body(daemon):
        for wish in (Subscribe(From.SEQUENCE, 1 << 40),):
            with pytest.raises(SubscriptionRefused, match="ends at"):
                await AnnouncementClient.tcp("127.0.0.1", daemon.fan_out.port, wish)
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.fan_out.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 300)
        assert b"no subscription" in await reader.read()
        writer.close()
        assert daemon.status()["state"] == "running"

    run(check_config(relay_values), body)


def test_a_daemon_that_comes_after_a_crash_says_exactly_what_was_missed(
    tmp_path, relay_values, board
):
    b = board()
    config = check_config(relay_values)

    async def body(daemon):
        await until(lambda: daemon.session.account and daemon.session.account.psi_minus > 20)
        # As if killed: nothing more is logged, and the board is told nothing.
        daemon.session.account = None

    run(config, body)
    for _ in range(5):
        b.beat()

    async def body2(daemon):
        assert daemon.session.account.acquisition == 2
        await until(lambda: daemon.session.account.psi_minus > 5)

    run(config, body2)
    announced, events = logged(tmp_path)
    (gap,) = of_kind(events, "gap")
    assert gap.values["reason"] == "daemon restarted"
    lost = gap.values["psi_minus"] + gap.values["psi_plus"]
    assert lost == len(b.sent[1]) - len(announced[1]) >= 25
    assert announced[2] == b.sent[2]


def test_ports_that_cannot_be_used(tmp_path, relay_values, board):
    async def never(_daemon):
        raise AssertionError

    config = check_config(relay_values)
    with pytest.raises(PortMissing, match="no such port"):
        run(config, never)
    (tmp_path / "port").write_text("a file")
    with pytest.raises(PortMissing, match="no serial port"):
        run(config, never)
    (tmp_path / "port").unlink()
    b = board()

    async def twice(_daemon):
        other = dict(relay_values, log={"directory": str(tmp_path / "other")})
        daemon = RelayDaemon(check_config(other))
        with pytest.raises(PortBusy, match="another program"):
            await daemon.start()

    run(config, twice)
    b.silent = True
    with pytest.raises(ForeignBoard, match="no relay answers; the port brings nothing"):
        run(config, never)


def test_boards_that_are_foreign_or_of_another_version(relay_values, board):
    async def never(_daemon):
        raise AssertionError

    b = board()
    config = check_config(relay_values)
    b.words[1] = 9
    with pytest.raises(BoardVersionMismatch, match="version 9"):
        run(config, never)
    b.words[0] = int.from_bytes(b"MODM", "little")
    with pytest.raises(ForeignBoard, match="MODM"):
        run(config, never)
    b.words.update(b.constants)
    b.damage = lambda data: b"login: " * 50
    with pytest.raises(ForeignBoard, match="bytes, but no frames"):
        run(config, never)


def test_what_cannot_be_listened_on_is_said_by_key(tmp_path, relay_values, board):
    b = board()

    async def never(_daemon):
        raise AssertionError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        relay_values["health"]["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"configuration: health: .*in use"):
            run(check_config(relay_values), never)
    assert b.state.name == "IDLE"
    relay_values["health"] = {}
    tls = dict.fromkeys(("certificate", "key", "clients_ca"), str(tmp_path / "none.pem"))
    relay_values["fan_out"] = {"listen": "127.0.0.1:0", "tls": tls}
    with pytest.raises(ConfigError, match=r"configuration: fan_out: .*No such file"):
        run(check_config(relay_values), never)


def test_raw_tags_are_counted_spooled_and_checked(tmp_path, relay_values, board):
    b = board(per_beat=0)
    relay_values["raw_tags"] = {"stream": True, "directory": str(tmp_path / "tags")}
    words = np.arange(100, dtype=np.uint64) | np.uint64(1 << 56)
    checked = []

    async def main():
        daemon = RelayDaemon(check_config(relay_values), cross_check=checked.append)
        await daemon.start()
        await until(lambda: daemon.session.account.heartbeat)
        for i in range(10):
            b.totals["clicks_1"] += 100
            frame = b.send(FrameType.TAGS, Tags(1 << 30, words).encode())
            if i != 4:
                b.out(frame)
        account = daemon.session.account
        await until(lambda: account.lost_tags == 100)
        assert account.tags == [0, 900, 0]
        await daemon.stop()

    asyncio.run(main())
    (file,) = (tmp_path / "tags").glob("*.u64")
    assert np.fromfile(file, "<u8").tolist() == words.tolist() * 9
    assert len(checked) == 9
    (gap,) = of_kind(logged(tmp_path)[1], "gap")
    assert (gap.values["tags"], gap.values["frames"]) == (100, 1)


def test_another_configuration_begins_another_acquisition(tmp_path, relay_values, board):
    b = board()
    chunk = Histogram(0, 0, 0, 0, 1, np.ones(4, np.uint32)).encode()
    b.left_when_idle = [(FrameType.HISTOGRAM, chunk)] * 3
    config = check_config(relay_values)

    async def body(daemon):
        await until(lambda: daemon.status()["received"]["psi_minus"] > 10)
        for step in range(1, 5):
            early = (config.windows.early[0] + step, config.windows.early[1])
            values = {**relay_values, "windows": {**relay_values["windows"], "early": list(early)}}
            await asyncio.to_thread(daemon.reconfigure, check_config(values))
            assert daemon.config.windows.early == early
            assert b.words[b.map.address("early_start")] == early[0]
            assert b.acquisition == 1 + step
            await until(lambda: daemon.status()["received"]["psi_minus"] > 10)
            assert daemon.status()["state"] == "running"

    run(config, body)
    announced, events = logged(tmp_path)
    assert announced == b.sent
    assert [e.acquisition for e in of_kind(events, "start")] == [1, 2, 3, 4, 5]
    assert all(e.values["final"] for e in of_kind(events, "stop"))
    assert not of_kind(events, "quarantine")


def test_a_configuration_that_the_board_cannot_take_changes_nothing(tmp_path, relay_values, board):
    b = board()
    config = check_config(relay_values)

    async def body(daemon):
        await until(lambda: daemon.status()["received"]["psi_minus"] > 10)
        one = relay_values["detectors"][0]
        values = {**relay_values, "detectors": [one] * 1 + relay_values["detectors"][1:]}
        values["detectors"] = [{**d, "deskew_ps": 2_000_000_000} for d in values["detectors"]]
        with pytest.raises(ConfigError, match="deskew_ps"):
            await asyncio.to_thread(daemon.reconfigure, check_config(values))
        assert daemon.config == config
        assert daemon.status()["acquisition"] == b.acquisition == 1
        assert daemon.status()["state"] == "running"

    run(config, body)
    assert not of_kind(logged(tmp_path)[1], "quarantine")
