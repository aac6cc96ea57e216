"""Relays that lie, and blocks of which it is known how many photons every pulse had."""

import asyncio
import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
from synthetic_blocks import LADDER, ListedSource, SyntheticRun

from bellrelay.distill.sift import BASIS_X, BASIS_Z, bob_flips
from bellrelay.endpoint.announcement_rules import CollectedBlock
from bellrelay.endpoint.block import BlockId
from bellrelay.endpoint.source_log import Choices, basis_of
from bellrelay.physics.entropy import binary_entropy
from bellrelay.wire.messages import Announced, Event, Welcome
from bellrelay.wire.outcomes import Outcome

_MOST = 5
_PSI = np.array([Outcome.PSI_MINUS, Outcome.PSI_PLUS], np.uint8)


@dataclass(frozen=True)
class Truth:
    """Of the key bits of a block. pairs : from single photons of both. phase_errors : of them.
    vacuum : bits that Alice sent without a photon."""

    pairs: int
    phase_errors: int
    vacuum: int

    @property
    def private_bits(self):
        """Nobody can make more of them, whatever he knows of link and relay."""
        wrong = min(self.phase_errors / self.pairs, 0.5) if self.pairs else 0.5
        return self.pairs * (1.0 - float(binary_entropy(wrong)))


@dataclass(frozen=True)
class Eavesdropper:
    """Who counts the photons of every pulse without touching them, and announces as he likes.

    What is announced of pulses of n and m photons: ``pairs`` for one photon each, ``multi`` for
    one each at least and more in one of them, ``vacuum`` where Alice sent none and Bob did.
    errors : what X shows of single pairs; multi_errors : of the others with photons of both.
    """

    pairs: float = 0.1
    multi: float = 0.15
    vacuum: float = 0.0
    errors: float = 0.01
    multi_errors: float = 0.3

    def yields(self):
        """(n, m) probability of an announcement."""
        y = np.zeros((_MOST + 1, _MOST + 1))
        y[1:, 1:] = self.multi
        y[1, 1] = self.pairs
        y[0, 1:] = self.vacuum
        return y

    def error_rates(self):
        """(n, m) probability that bits disagree."""
        e = np.full((_MOST + 1, _MOST + 1), 0.5)
        e[1:, 1:] = self.multi_errors
        e[1, 1] = self.errors
        return e


def _poisson(mean):
    p = np.array([math.exp(-mean) * mean**n / math.factorial(n) for n in range(_MOST + 1)])
    p[-1] += 1.0 - p.sum()
    return p


def photon_run(eve, announced=60_000, seed=1):
    """A block of about so many announcements of this relay: (run, truth)."""
    rng = np.random.default_rng(seed)
    sent = np.array([_poisson(k) for k in LADDER.intensities]) * LADDER.probabilities[:, None]
    cells = np.einsum("an,bm,nm->abnm", sent, sent, eve.yields())
    rate = float(cells.sum())
    block_slots = int(announced / rate)
    slots = np.unique(rng.integers(0, block_slots, announced).astype(np.uint64))
    drawn = rng.choice(cells.size, slots.size, p=(cells / rate).ravel())
    a, b, n, m = np.unravel_index(drawn, cells.shape)
    key = (a == 0) & (b == 0)
    outcome = _PSI[rng.integers(0, 2, slots.size)]
    wrong = rng.random(slots.size) < eve.error_rates()[n, m]
    pair = (n == 1) & (m == 1)
    truth = Truth(
        int((key & pair).sum()),
        int((key & pair & (rng.random(slots.size) < eve.errors)).sum()),
        int((key & (n == 0)).sum()),
    )
    # Of key he knows the bits of all but pairs and vacuum: there are no errors there.
    wrong = np.where(key, (rng.random(slots.size) < 0.01) | ((n == 0) & wrong), wrong)
    basis = np.where(key, BASIS_Z, BASIS_X).astype(np.uint8)
    bit_a = rng.integers(0, 2, slots.size, dtype=np.uint8)
    bit_b = bit_a ^ wrong.astype(np.uint8) ^ bob_flips(outcome, basis)
    sources = [
        ListedSource(slots, setting.astype(np.uint8), bit, block_slots)
        for setting, bit in ((a, bit_a), (b, bit_b))
    ]
    block = CollectedBlock(BlockId(1, 0), slots, outcome, int(slots.size))
    return SyntheticRun(block_slots, [block], *sources), truth


@dataclass
class EverySlot(ListedSource):
    """A sender that is asked about slots in which nothing was detected.

    salt : one sender's choices are not another's.
    """

    salt: int = field(default_factory=itertools.count(1).__next__)

    def choices(self, slots):
        """Of the list where they are in it; otherwise drawn by the slot's number."""
        at = np.minimum(np.searchsorted(self.slots, slots), self.slots.size - 1)
        listed = self.slots[at] == slots
        # Mixed as by splitmix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014).
        drawn = (slots + np.uint64(self.salt * 0xD1B54A32D192ED03 % 2**64)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        drawn = (drawn ^ drawn >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        drawn = (drawn ^ drawn >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        drawn >>= np.uint64(20)
        share = (drawn >> np.uint64(1)).astype(np.float64) % 1e6 / 1e6
        setting = np.searchsorted(np.cumsum(LADDER.probabilities)[:3], share, side="right")
        setting = np.where(listed, self.setting[at], setting).astype(np.uint8)
        bit = np.where(listed, self.bit[at], drawn & np.uint64(1)).astype(np.uint8)
        return Choices(basis_of(setting), setting, bit)


def changed(block, slot=None, outcome=None):
    """The list of a block as the relay tells it."""
    return replace(
        block,
        slot=block.slot if slot is None else slot,
        outcome=block.outcome if outcome is None else outcome,
    )


def swapped(outcome):
    """The other Bell state."""
    return np.where(outcome == Outcome.PSI_MINUS, Outcome.PSI_PLUS, Outcome.PSI_MINUS).astype(
        np.uint8
    )


def records_of(block, pieces=4):
    """What a relay's log says of an acquisition of one block."""
    records = [Event(0, block.block.acquisition, {"kind": "start"})]
    for slot, outcome in zip(
        np.array_split(block.slot, pieces), np.array_split(block.outcome, pieces), strict=True
    ):
        records.append(Announced(records[-1].end, block.block.acquisition, slot, outcome))
    records.append(Event(records[-1].end, block.block.acquisition, {"kind": "stop"}))
    return records


class ScriptedRelay:
    """Serves records; hangs up after ``hang_up_after`` of them, and then serves again."""

    def __init__(self, records, relay_id="charles", hang_up_after=None):
        self._records = list(records)
        self._relay_id = relay_id
        self._hang_up_after = hang_up_after
        self.connections = 0

    async def connect(self, subscribe):
        """A subscription, as :class:`AnnouncementClient`."""
        self.connections += 1
        return _Client(self, subscribe.number)

    def serve(self, sequence):
        """From this sequence on."""
        for served, record in enumerate(r for r in self._records if r.end > sequence):
            if served == self._hang_up_after:
                raise ConnectionResetError("the relay died")
            later = isinstance(record, Announced) and record.sequence < sequence
            yield record.from_sequence(sequence) if later else record


class _Client:
    missing = 0
    behind = None

    def __init__(self, relay, sequence):
        self._relay, self._sequence = relay, sequence
        self.welcome = Welcome(relay._relay_id, 0, sequence)

    async def records(self):
        for record in self._relay.serve(self._sequence):
            yield record
        await _for_ever()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


async def _for_ever():
    await asyncio.Event().wait()
