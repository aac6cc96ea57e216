"""Two endpoints whose senders change their ladders as they are told, block after block."""

import asyncio
import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from synthetic_blocks import LADDER, cell_probabilities
from two_endpoints import EXECUTOR, Crash, Network, Party

from bellrelay.control.ladder_changes import LadderChanges
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.agreement import agreement_of
from bellrelay.endpoint.announcement_rules import BlockBegun, CollectedBlock
from bellrelay.endpoint.block import BlockAborted, BlockId, Cause
from bellrelay.endpoint.block_parameters import ladder_name
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.checked_source import CheckedSource
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.endpoint.ladder_schedule import LadderSchedule
from bellrelay.endpoint.parameter_plan import ParameterPlan
from bellrelay.endpoint.parameter_talk import ParameterTalk
from bellrelay.endpoint.pipeline import PipelineSettings
from bellrelay.endpoint.sender_plugin import NoSender
from bellrelay.endpoint.slot_ranges import no_ranges
from bellrelay.endpoint.source_log import Choices, HeldLadder, SourceLogError, basis_of

__all__ = ["Light", "TrialParty", "play_trial"]

SLOTS = int(60_000 / cell_probabilities(LADDER)[1])


class Sender(NoSender):
    """Hardware: it lives on when its endpoint dies, and keeps records of what it sent.

    by : ladder of each block that was sent. wrong : a ladder that it sends whatever it is told; its
    records say so.
    """

    intensities = probabilities = None

    def __init__(self, ladder):
        self.base = ladder
        self.told = []
        self.by = []
        self.setting = {}
        self.wrong = None
        self.start_ns, self.slot_period_ps, self.acquisition = 0, 0.0, 1

    def set_ladders(self, _relay_id, _acquisition, ladders):
        now = len(self.by) * SLOTS
        kept = [t for t in self.told if t.first_slot < now]
        self.told = [*kept, *ladders]

    def ladder(self, index):
        if self.wrong is not None:
            return self.wrong
        told = [t for t in self.told if t.first_slot <= index * SLOTS]
        return told[-1].ladder if told else self.base

    # As a source log.

    @property
    def kept(self):
        return 0, len(self.by) * SLOTS

    def ladders(self, first, end):
        return [
            HeldLadder(i * SLOTS, self.by[i].intensities, self.by[i].probabilities)
            for i in range(first // SLOTS, -(-end // SLOTS))
        ]

    def choices(self, slots):
        index = int(slots[0]) // SLOTS if len(slots) else 0
        all_slots, setting, bit = self.setting[index]
        at = np.searchsorted(all_slots, slots)
        return Choices(basis_of(setting[at]), setting[at], bit[at])

    def removed(self, _first, _end):
        return no_ranges()

    def sent(self, first, end):
        return end - first

    def forget(self, before_slot):
        pass

    def close(self):
        pass


class Light:
    """Blocks, one after the other, of what both senders send."""

    def __init__(self, base, seed=1):
        self.senders = [Sender(base.alice), Sender(base.bob)]
        self.random = np.random.default_rng(seed)
        self.blocks = []

    def send(self):
        """The next block."""
        index = len(self.blocks)
        ladders = [s.ladder(index) for s in self.senders]
        cells, rate = cell_probabilities_of(*ladders)
        first = index * SLOTS
        n = self.random.poisson(rate * SLOTS)
        slots = np.unique(self.random.integers(first, first + SLOTS, n).astype(np.uint64))
        cell = self.random.choice(cells.size, slots.size, p=cells.ravel())
        a, b, bit_a, bit_b, outcome = np.unravel_index(cell, cells.shape)
        for sender, ladder, setting, bit in (
            (self.senders[0], ladders[0], a, bit_a),
            (self.senders[1], ladders[1], b, bit_b),
        ):
            sender.setting[index] = (slots, setting.astype(np.uint8), bit.astype(np.uint8))
            sender.by.append(ladder)
        block = CollectedBlock(BlockId(1, index), slots, (outcome + 1).astype(np.uint8), index + 1)
        self.blocks.append(block)


def cell_probabilities_of(alice, bob):
    """Of two ladders: the cells of one weighed anew are those of the other only if intensities
    agree, as they do here."""
    if alice == bob:
        return cell_probabilities(alice)
    cells, rate = cell_probabilities(alice)
    assert (alice.intensities == bob.intensities).all()
    weights = (bob.probabilities / alice.probabilities)[None, :, None, None, None]
    again = cells * rate * weights
    return again / again.sum(), float(again.sum())


def trial_config(role, folder, base):
    me, peer = (("alice", "bob"), ("bob", "alice"))[role is Role.BOB]
    way = "listen" if role is Role.ALICE else "connect"
    ladder = {name: dict(vars(getattr(base, name))) for name in ("alice", "bob")}
    return check_endpoint_config(
        {
            "endpoint_id": me,
            "peer_id": peer,
            "role": role.value,
            "relay": {"id": "charles", "unix_socket": "announcements"},
            "peer": {
                way: "127.0.0.1:1",
                "name": peer,
                "tls": {"certificate": "c", "key": "k", "ca": "a"},
            },
            "source": {"plugin": "simulation"},
            "block": {"slots": SLOTS},
            "security": {"secrecy": 0.005},
            "reconcile": {"method": "cascade"},
            "store": {"directory": str(folder)},
            "key_pool": {"file": str(folder / "pool")},
            "intensity_monitor": {"input": "none"},
            "changes": {
                "directory": str(folder / "versions"),
                "lead_blocks": 2,
                "min_blocks": 3,
                "key_rate_tolerance": 0.1,
                "qber_tolerance": 0.02,
                "false_decision": 0.1,
            },
            **ladder,
        }
    )


@dataclass
class TrialParty(Party):
    """An endpoint with a plan of parameters and the companion that changes them."""

    light: Light = None
    base: object = None
    deaths: list = field(default_factory=list)

    def start(self):
        self.config = trial_config(self.role, self.folder, self.base)
        plan = ParameterPlan(
            self.folder / "parameters.json", self.agreement.parameters, self.agreement.digest
        )
        sender = self.light.senders[self.role is Role.BOB]
        self.schedule = LadderSchedule(plan, self.role, SLOTS, sender, self._coming)
        self.talk = ParameterTalk(self.role, plan, self._coming, 2, self.schedule.objection)
        self.talk.changed = self.schedule.tell
        self.changes = LadderChanges(self.config, every_s=0.05)
        self.daemon = SimpleNamespace(parameters=self.talk)
        self.source = CheckedSource(sender, 1, None, None)

        def admit(block, source):
            ladder = plan.parameters("charles", block).ladder(self.role)
            try:
                source.require_ladder(block.first(SLOTS), block.end(SLOTS), ladder)
            except SourceLogError as error:
                raise BlockAborted(Cause.SOURCE_RECORD, str(error)) from None
            return 0.0

        super().start(parameters=self.talk, admit=admit, checkpoint=self._checkpoint)

    @property
    def plan(self):
        return self.talk.plan

    @property
    def versions(self):
        return self.changes.versions

    def _coming(self):
        return {"charles": BlockId(1, len(self.light.blocks))}

    def _checkpoint(self, moment):
        if self.deaths and self.deaths[0] == moment:
            del self.deaths[0]
            raise Crash

    async def _live(self):
        self.daemon.store, self.daemon.pipeline = self.store, self.pipeline
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pipeline.run())
                group.create_task(self.channel.run())
                group.create_task(self._feed())
                group.create_task(self.changes.run(self.daemon))
                group.create_task(self._tell())
        finally:
            self.store.close()
            self.pool.close()

    async def _tell(self):
        while True:
            self.schedule.tell()
            await asyncio.sleep(0.05)

    async def _feed(self):
        done = 0
        while True:
            while done < len(self.light.blocks):
                block = self.light.blocks[done]
                await self.pipeline.begun(BlockBegun(block.block, 0))
                await self.pipeline.collected(block)
                done += 1
            await asyncio.sleep(0.01)


def play_trial(folder, base, story, *, deaths=(), pool_bytes=1 << 16):
    """Both live while a story goes on: a coroutine called with light, Alice and Bob.

    deaths : ("alice" or "bob", moment of its pipeline) in their order. Returns light, Alice, Bob.
    """

    async def main():
        network = Network()
        light = Light(base)
        secret = os.urandom(pool_bytes)
        parties = []
        for role, connect in ((Role.ALICE, network.connect), (Role.BOB, network.accept)):
            place = folder / role.value
            KeyPool.create(place / "pool", secret)
            party = TrialParty(
                role,
                place,
                agreement_of(trial_config(role, place, base)),
                None,
                connect,
                PipelineSettings(patience_s=60.0, settle_s=0.1),
                [],
                light=light,
                base=base,
                deaths=[moment for who, moment in deaths if who == role.value],
            )
            parties.append(party)
        for party in parties:
            party.start()
        shining = asyncio.ensure_future(_shine(light, *parties))
        telling = asyncio.ensure_future(story(light, *parties))
        try:
            async with asyncio.timeout(60):
                await asyncio.wait({shining, telling}, return_when=asyncio.FIRST_COMPLETED)
                await telling
                shining.cancel()
                await asyncio.gather(shining, return_exceptions=True)
                await _until_ended(light, *parties)
        finally:
            for task in (shining, telling):
                task.cancel()
            await asyncio.gather(shining, telling, return_exceptions=True)
            for party in parties:
                await party.stop()
            await network.close()
        return light, *parties

    return asyncio.run(main())


async def _shine(light, *parties):
    """A block when the ones before have ended, but for a few; who died is started again."""
    while True:
        for party in parties:
            if party.crashed:
                await party.stop()
                party.start()
        if all(_open(party, light) < 3 for party in parties):
            await asyncio.get_running_loop().run_in_executor(EXECUTOR, light.send)
        await asyncio.sleep(0.01)


def _open(party, light):
    if party.task is None or party.task.done():
        return 99
    return len(light.blocks) - sum(party.store.counts().get(s, 0) for s in ("stored", "aborted"))


async def _until_ended(light, *parties):
    while any(_open(party, light) for party in parties):
        await asyncio.sleep(0.02)


def blocks_by_ladder(party):
    """By name of Alice's ladder: states of the blocks that were sent by it, from the disk."""
    store = BlockStore(party.folder, party.name)
    try:
        rows = store.blocks()
    finally:
        store.close()
    out = {}
    for row in rows:
        name = ladder_name(party.light.senders[0].by[row.block.index])
        out.setdefault(name, []).append(row)
    return out
