"""Relays whose announcements go on while tests run, and endpoints that follow several of them.

A relay announces what a block's list says if any sender's light was directed at it in the block,
and a few dark counts otherwise. Senders are hardware: they stay as they were when endpoints die.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace

import numpy as np
from synthetic_blocks import LADDER, synthetic_run
from two_endpoints import EXECUTOR, QUICK, Network, Party

from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.agreement import Agreement
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.config import RelayChoiceSettings
from bellrelay.endpoint.daemon import resume_position
from bellrelay.endpoint.directions import Directions
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.endpoint.peer_channel import PeerChannel
from bellrelay.endpoint.peer_session import PeerSession
from bellrelay.endpoint.pipeline import Pipeline, PipelineSettings
from bellrelay.endpoint.pool_account import PoolAccount
from bellrelay.endpoint.relays import Relays
from bellrelay.wire.messages import Announced, Event, Welcome
from bellrelay.wire.outcomes import Outcome

BEAT_S = 0.05
CHOICE = RelayChoiceSettings.model_construct(silence_s=0.5, return_after_s=1000.0, drain_s=5.0)


class HandSender:
    """A sender with a switch. faults : exceptions that the next requests raise."""

    def __init__(self):
        self.at, self.halted = None, False
        self.asked, self.faults = [], []

    def direct(self, relay_id):
        if self.faults:
            raise self.faults.pop(0)
        self.asked.append(relay_id)
        self.at = relay_id

    def halt(self, why=""):
        self.halted = True

    def resume(self, why=""):
        self.halted = False


class LiveRelay:
    """Announces the blocks of a run one after the other, each in ``block_s``.

    A run's last block is not passed: the relay then stands still, alive. boasts : it announces
    all of a block's list without light, too.
    """

    def __init__(self, relay_id, run, senders, block_s):
        self.relay_id, self.run, self.block_s = relay_id, run, block_s
        self._senders = senders
        self.records = []
        self.dead = self.silent = self.boasts = False
        self._clients = set()
        self._put(Event, 1, {"kind": "start", "start_utc_ns": time.time_ns()})
        self.announced = []

    def _put(self, kind, *values):
        sequence = self.records[-1].end if self.records else 0
        self.records.append(kind(sequence, *values))

    def _beat(self, slot):
        self._put(Event, 1, {"kind": "heartbeat", "cut_slot": slot, "utc_ns": time.time_ns()})

    async def live(self):
        """Until it is cancelled."""
        for block in self.run.blocks:
            end = time.monotonic() + self.block_s
            lit = False
            while time.monotonic() < end:
                lit |= all(s.at == self.relay_id and not s.halted for s in self._senders)
                await asyncio.sleep(BEAT_S)
                if not (self.dead or self.silent):
                    self._beat(block.block.first(self.run.block_slots))
            while self.dead or self.silent:
                await asyncio.sleep(BEAT_S)
            some = slice(None) if lit or self.boasts else slice(0, 3)
            self._put(Announced, 1, block.slot[some], block.outcome[some])
            self._beat(block.block.end(self.run.block_slots))
            if lit:
                self.announced.append(time.monotonic())
        while True:
            await asyncio.sleep(BEAT_S)
            if not (self.dead or self.silent):
                self._beat(self.run.blocks[-1].block.end(self.run.block_slots))

    def lie(self):
        """Announce a slot that comes before all others."""
        self._put(Announced, 1, np.zeros(1, np.uint64), np.full(1, Outcome.PSI_PLUS, np.uint8))

    async def connect(self, subscribe):
        """A subscription, as :class:`AnnouncementClient`."""
        if self.dead:
            raise ConnectionRefusedError("nobody listens")
        return _Client(self, subscribe.number)


class _Client:
    missing = 0
    behind = None

    def __init__(self, relay, sequence):
        self._relay, self._sequence = relay, sequence
        self.welcome = Welcome(relay.relay_id, 0, sequence)

    async def records(self):
        at = next(
            (i for i, r in enumerate(self._relay.records) if r.end > self._sequence),
            len(self._relay.records),
        )
        while not self._relay.dead:
            while at < len(self._relay.records):
                record = self._relay.records[at]
                at += 1
                later = isinstance(record, Announced) and record.sequence < self._sequence
                yield record.from_sequence(self._sequence) if later else record
            await asyncio.sleep(0.01)
        raise ConnectionResetError("the relay died")

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@dataclass
class RelayParty(Party):
    """An endpoint with several relays. sources : by number of the relay."""

    relays: list = field(default_factory=list)
    sources: list = field(default_factory=list)
    sender: HandSender = field(default_factory=HandSender)
    choice: RelayChoiceSettings = CHOICE
    windows: object = None

    def start(self, **changes):
        self.starts += 1
        self.store = BlockStore(self.folder, self.name, self.agreement.relays)
        self.pool = KeyPool(self.folder / "pool", self.role, reserve=self.reserve)
        account = PoolAccount(self.pool, self.store)
        followers = [
            AnnouncementFollower(
                relay.connect,
                relay.relay_id,
                relay.run.block_slots,
                resume_position(self.store, number),
                number,
            )
            for number, relay in enumerate(self.relays)
        ]
        directions = Directions(self.folder / "directions.json", self.agreement.relays)
        self.directed = directions
        self.chosen = Relays(
            self.role,
            followers,
            directions,
            self.sender,
            self.store,
            self.choice,
            self.windows,
            self.settings.checkpoint,
        )
        settings = replace(
            self.settings,
            afford=account.afford,
            ended=account.ended,
            stored=account.stored,
            shared=account.shared,
            relays=self.chosen,
            lit=self.chosen.lit,
            **changes,
        )
        self.pipeline = Pipeline(
            self.role,
            self.agreement,
            self.store,
            self.pool,
            lambda block: self.sources[block.relay],
            EXECUTOR,
            settings,
        )
        number = 0 if self.role is Role.ALICE else 1
        session = PeerSession(number, self.agreement.digest)
        self.channel = PeerChannel(session, self.connect, self.pipeline)
        self.pipeline.attach(self.channel)
        self.chosen.attach(self.pipeline.say_of_relays)
        self.task = asyncio.ensure_future(self._live())

    async def _feed(self):
        await self.chosen.run(self.pipeline)


@dataclass
class Link:
    """What a test plays with."""

    alice: RelayParty
    bob: RelayParty
    relays: list
    network: Network

    @property
    def parties(self):
        return self.alice, self.bob

    async def until(self, condition, seconds=20.0):
        """Until it holds; who has crashed is started again. Seconds that it took."""
        begin = time.monotonic()
        while not condition():
            assert time.monotonic() - begin < seconds, self.told()
            for party in self.parties:
                if party.crashed:
                    await party.stop()
                    party.start()
                elif party.task is not None and party.task.done():
                    party.task.result()
            await asyncio.sleep(0.005)
        return time.monotonic() - begin

    async def until_both(self, relay_id, seconds=20.0):
        """Until both send to this relay, and know it."""
        return await self.until(
            lambda: (
                all(
                    p.chosen.active == p.sender.at == relay_id == p.chosen.status()["light"]
                    for p in self.parties
                )
                and self.alice.chosen.status()["peer_has_moved"]
            ),
            seconds,
        )

    async def until_heard(self, number, blocks):
        """Until so many blocks of a relay that had light are complete on both sides."""
        relay = self.relays[number]
        await self.until(lambda: len(relay.announced) >= blocks)
        end = relay.records[-1].end
        await self.until(
            lambda: all((p.chosen.followers[number].position[0] or 0) >= end for p in self.parties)
        )

    async def until_stored(self, *blocks, seconds=60.0):
        """Until both have stored these."""
        return await self.until(
            lambda: all(set(blocks) <= _stored(p) for p in self.parties), seconds
        )

    def told(self):
        return [
            (p.name, p.chosen.status(), {str(r.block): r.state.word for r in p.store.blocks()})
            for p in self.parties
            if not p.task.done()
        ]


def _stored(party):
    if party.task.done():
        return set()
    return {str(r.block) for r in party.store.blocks() if r.state.word == "stored"}


def play_relays(
    folder, script, *, blocks=(3, 3), block_s=0.4, choice=CHOICE, tamper=None, **options
):
    """Two relays, two endpoints, and ``script(link)``; returns what the script returns."""

    async def main():
        runs = [synthetic_run(announced=60_000, blocks=n, seed=7 + k) for k, n in enumerate(blocks)]
        slots = {r.block_slots for r in runs}
        assert len(slots) == 1
        senders = [HandSender(), HandSender()]
        names = [f"charlie-{n}" for n in range(len(runs))]
        relays = [
            LiveRelay(name, run, senders, block_s) for name, run in zip(names, runs, strict=True)
        ]
        network = Network(tamper)
        agreement = Agreement(
            "alice",
            "bob",
            names[0],
            slots.pop(),
            LADDER,
            LADDER,
            QUICK,
            reconcile="cascade",
            secondary_ids=tuple(names[1:]),
        )
        secret = np.random.default_rng().bytes(1 << 15)
        parties = []
        for role, connect in ((Role.ALICE, network.connect), (Role.BOB, network.accept)):
            path = folder / role.value
            KeyPool.create(path / "pool", secret)
            party = RelayParty(
                role,
                path,
                agreement,
                None,
                connect,
                PipelineSettings(patience_s=60.0, settle_s=0.1),
                [],
                relays=relays,
                sources=[getattr(run, role.value) for run in runs],
                sender=senders[len(parties)],
                choice=choice,
                **options,
            )
            parties.append(party)
        link = Link(*parties, relays, network)
        tasks = [asyncio.ensure_future(relay.live()) for relay in relays]
        try:
            return await script(link)
        finally:
            for party in parties:
                await party.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await network.close()

    return asyncio.run(main())
