"""The companion that tracks an endpoint's sender: what it asks of daemon, store and disk."""

import asyncio
import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tracking_events import (
    CENTRES_PS,
    PERIOD_PS,
    SCHEDULE,
    WIDTH_PS,
    EventLink,
    PartySource,
)

from bellrelay.control import endpoint_tracking
from bellrelay.control.endpoint_tracking import EndpointTracking
from bellrelay.control.sender_positions import SenderPositions
from bellrelay.control.source_tracking import SenderPosition
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.config import TrackingSettings, TrackingSlotsSettings
from bellrelay.endpoint.sender_plugin import SenderCannot
from bellrelay.wire.messages import Event
from bellrelay_sim.choices import Party


class Sender:
    def __init__(self, link):
        self.link = link
        self.told = []
        self.error = None

    def set_delay_ps(self, delay_ps):
        if self.error is not None:
            raise self.error
        self.told.append(delay_ps)
        self.link.sender_ps[1] = delay_ps


def config_of(folder, **changes):
    tracking = {
        "slot_period_ps": PERIOD_PS,
        "centres_ps": CENTRES_PS,
        "width_ps": WIDTH_PS,
        "window_s": 1.0,
        "steer": True,
        "slew_ps_per_s": 1e6,
        "settle_s": 2.0,
        **changes,
    }
    return SimpleNamespace(
        tracking=TrackingSettings(**tracking),
        tracking_slots=TrackingSlotsSettings(every=SCHEDULE.every, length=SCHEDULE.length),
        relay=SimpleNamespace(id="charles"),
        secondaries=(),
        store=SimpleNamespace(directory=folder),
    )


@contextlib.asynccontextmanager
async def running(folder, link, monkeypatch, **changes):
    """(companion, daemon): running beside a daemon that has what it needs of one."""
    monkeypatch.setattr(
        endpoint_tracking, "load_source", lambda _config: lambda a: PartySource(Party.BOB, a)
    )
    store = BlockStore(folder, "bob")
    companion = EndpointTracking(config_of(folder, **changes))
    work, taken = companion._work, []

    def take_events(take):
        def counted(relay_id, event):
            daemon.came += 1
            take(relay_id, event)

        daemon.take = counted

    def worked(events):
        taken.extend(events)
        work(events)
        daemon.worked = len(taken)

    companion._work = worked
    relays = SimpleNamespace(active="charles", take_events=take_events)
    daemon = SimpleNamespace(
        store=store, sender=Sender(link), relays=relays, take=None, came=0, worked=0
    )
    task = asyncio.ensure_future(companion.run(daemon))
    try:
        while daemon.take is None:
            await asyncio.sleep(0.001)
            assert not task.done()
        yield companion, daemon
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        store.close()


async def second(companion, daemon, link, relay_id="charles"):
    """Four events, each worked off before the next comes."""
    for _ in range(4):
        daemon.take(relay_id, link.event())
        await worked_off(companion, daemon)


async def worked_off(companion, daemon):
    async with asyncio.timeout(20.0):
        while daemon.worked + companion.status()["overrun"] < daemon.came:
            await asyncio.sleep(0.001)


def test_a_sender_is_steered_told_of_and_found_again_by_the_next_process(tmp_path, monkeypatch):
    link = EventLink(fibre_ps=[0.0, 400.0])

    async def main():
        async with running(tmp_path, link, monkeypatch) as (companion, daemon):
            assert companion.status()["state"] == "waiting"
            list(companion.metrics(companion.status()))
            for _ in range(25):
                await second(companion, daemon, link)
            status = companion.status()
            json.dumps(status)
            assert status["state"] == "locked"
            assert status["locked"] is True
            assert status["alarm"] is None
            assert abs(link.late_ps()[1]) < 60.0
            assert status["commanded_ps"] == daemon.sender.told[-1]
            metrics = {m.name: m for m in companion.metrics(status)}
            light = metrics["bellrelay_endpoint_tracking_light_clicks_per_slot"]
            assert light.samples[0].value == status["light"]["value"]
            # Another relay's events are none of ours, and no harm.
            daemon.take("another", link.event())
            told = await companion.resynchronise("a test")
            assert "measured anew" in told
        stood = link.sender_ps[1]
        link.sender_ps[1] = 0.0  # switched off, and on again
        async with running(tmp_path, link, monkeypatch) as (companion, daemon):
            await second(companion, daemon, link)
            assert daemon.sender.told[0] == pytest.approx(stood, abs=3.0)
        assert SenderPositions(tmp_path / "sender_delay.json").at("another") == SenderPosition()

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, SenderCannot("no delay line")])
def test_who_does_not_steer_observes(tmp_path, monkeypatch, error):
    link = EventLink(fibre_ps=[0.0, 150.0])

    async def main():
        steer = error is not None
        async with running(tmp_path, link, monkeypatch, steer=steer) as (companion, daemon):
            daemon.sender.error = error
            for _ in range(6):
                await second(companion, daemon, link)
            status = companion.status()
            assert status["state"] == "observing"
            assert status["locked"] is None
            assert status["delay_ps"]["value"] == pytest.approx(150.0, abs=60.0)
            assert status["commanded_ps"] == 0.0
            assert "delay line" in status["not_steering"] or not steer
            assert not daemon.sender.told
            list(companion.metrics(status))

    asyncio.run(main())


def test_a_sender_that_fails_is_an_alarm_and_tried_again(tmp_path, monkeypatch):
    link = EventLink(fibre_ps=[0.0, 300.0])

    async def main():
        async with running(tmp_path, link, monkeypatch) as (companion, daemon):
            daemon.sender.error = OSError("its socket is gone")
            for _ in range(6):
                await second(companion, daemon, link)
            status = companion.status()
            assert "socket is gone" in status["alarm"]
            assert status["failures"] > 0
            assert status["commanded_ps"] == 0.0
            daemon.sender.error = None
            for _ in range(25):
                await second(companion, daemon, link)
            assert companion.status()["alarm"] is None
            assert abs(link.late_ps()[1]) < 60.0

    asyncio.run(main())


def test_events_that_come_too_fast_are_passed_over_and_nothing_waits(tmp_path, monkeypatch):
    link = EventLink()
    event = Event(0, 1, {"kind": "tracking", "slot": "A" * 1000})

    async def main():
        async with running(tmp_path, link, monkeypatch) as (companion, daemon):
            for _ in range(1000):
                daemon.take("charles", event)
            daemon.take("charles", Event(0, 1, {"kind": "unheard of"}))
            assert companion.status()["overrun"] == 1000 - 256
            async with asyncio.timeout(20.0):
                while companion.status().get("counts", {}).get("malformed") != 256:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_relay_that_says_nothing_any_more_is_told(tmp_path, monkeypatch):
    """The loop's time is the relay's: by itself it would say for ever that it holds."""
    link = EventLink()

    async def main():
        async with running(tmp_path, link, monkeypatch) as (companion, daemon):
            for _ in range(6):
                await second(companion, daemon, link)
            assert companion.status()["state"] == "locked"
            companion._heard -= 11.0
            status = companion.status()
            assert status["state"] == "silent"
            assert status["locked"] is False
            list(companion.metrics(status))

    asyncio.run(main())


def test_another_relay_has_another_delay_and_only_the_active_ones_events_count(
    tmp_path, monkeypatch
):
    link = EventLink(fibre_ps=[0.0, 400.0])

    async def main():
        async with running(tmp_path, link, monkeypatch) as (companion, daemon):
            for _ in range(20):
                await second(companion, daemon, link)
            stood = daemon.sender.told[-1]
            assert stood == pytest.approx(-400.0, abs=60.0)
            daemon.relays.active = "carol"
            await second(companion, daemon, link)
            assert companion.status()["relay_id"] == "carol"
            assert companion.status()["measured"] == 0
            daemon.take("carol", replace(link.event(), acquisition=5))
            await worked_off(companion, daemon)
            # Nothing is known of the delay there: as it is by itself.
            assert daemon.sender.told[-1] == 0.0
            daemon.relays.active = "charles"
            daemon.take("charles", link.event())
            await worked_off(companion, daemon)
            assert daemon.sender.told[-1] == pytest.approx(stood, abs=30.0)
            assert companion.status()["relay_id"] == "charles"

    asyncio.run(main())


def test_a_relay_that_waited_in_the_dark_is_gone_to_with_its_clock_as_it_has_told(
    tmp_path, monkeypatch
):
    link = EventLink(fibre_ps=[0.0, 400.0])

    async def main():
        async with running(tmp_path, link, monkeypatch) as (companion, daemon):
            await second(companion, daemon, link)
            told = list(daemon.sender.told)
            clock = {"kind": "slot-clock", "before": "waiting", "state": "acquiring"}
            daemon.take("carol", Event(0, 5, clock))
            await worked_off(companion, daemon)
            # The sender stays with the relay that it sends to.
            assert daemon.sender.told == told
            assert companion.status()["relay_id"] == "charles"
            daemon.relays.active = "carol"
            for _ in range(3):
                event = replace(link.event(), acquisition=5)
                daemon.take("carol", event)
                await worked_off(companion, daemon)
            assert companion.status()["counts"]["unlocked"] == 3
            assert companion.status()["measured"] == 0
            daemon.take("carol", Event(0, 5, {**clock, "before": "acquiring", "state": "locked"}))
            daemon.take("carol", replace(link.event(), acquisition=5))
            await worked_off(companion, daemon)
            assert companion.status()["counts"]["taken"] == 1

    asyncio.run(main())


def test_positions_that_cannot_be_read_are_said(tmp_path):
    path = tmp_path / "sender_delay.json"
    path.write_text('{"charles": {"delay_ps": "far"}}')
    with pytest.raises(OSError, match="no list of delays"):
        SenderPositions(path)
