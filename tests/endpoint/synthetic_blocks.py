"""Blocks made from probabilities: announcements and choices that fit a link, without a photon."""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from bellrelay.distill.ladder import Ladder
from bellrelay.endpoint.announcement_rules import CollectedBlock
from bellrelay.endpoint.block import BlockId
from bellrelay.endpoint.slot_ranges import clipped, no_ranges, slots_in
from bellrelay.endpoint.source_log import Choices, SlotNotKept, basis_of
from bellrelay.physics import Basis
from bellrelay.physics.gains import outcome_probabilities
from bellrelay.wire.outcomes import Outcome
from bellrelay_sim.link import SimulatedLink

# Found by search: a key comes out of few announcements, so that tests are quick.
LADDER = Ladder(
    s=0.0169, mu=0.0193, nu=0.00081, o=0.0, p_s=0.0514, p_mu=0.0008, p_nu=0.3411, deviation=0.0
)


@lru_cache
def cell_probabilities(ladder: Ladder) -> tuple[np.ndarray, float]:
    """(4, 4, 2, 2, 2) probability, given an announcement, of settings, bits and outcome - 1; and
    the probability of an announcement."""
    link = replace(SimulatedLink(), mode_overlap=1.0, misalignment_z=0.01, misalignment_x=0.0)
    model = link.relay_model()
    cells = np.zeros((4, 4, 2, 2, 2))
    for a in range(4):
        for b in range(4):
            bases = [Basis.Z if setting == 0 else Basis.X for setting in (a, b)]
            plus, minus = outcome_probabilities(
                model, *bases, ladder.intensities[a], ladder.intensities[b]
            )
            weight = ladder.probabilities[a] * ladder.probabilities[b] / 4
            for outcome, p in ((Outcome.PSI_PLUS, plus), (Outcome.PSI_MINUS, minus)):
                flip = 0.01 if a == b == 0 else 0.0
                cells[a, b, :, :, outcome - 1] = weight * ((1 - flip) * p + flip * p[:, ::-1])
    total = float(cells.sum())
    return cells / total, total


@dataclass
class ListedSource:
    """What was sent in the slots of a list; the others nobody asks for."""

    slots: np.ndarray
    setting: np.ndarray
    bit: np.ndarray
    end: int
    acquisition: int = 1
    lost: np.ndarray | None = None
    forgotten: int = 0

    start_ns = 0
    intensities = LADDER.intensities
    probabilities = LADDER.probabilities

    @property
    def kept(self):
        return self.forgotten, self.end

    def choices(self, slots):
        if slots.size and int(slots[0]) < self.forgotten:
            raise SlotNotKept("forgotten")
        at = np.searchsorted(self.slots, slots)
        if (at >= self.slots.size).any() or (self.slots[at] != slots).any():
            raise SlotNotKept("not in the list")
        setting = self.setting[at]
        return Choices(basis_of(setting), setting, self.bit[at])

    def removed(self, first, end):
        return no_ranges() if self.lost is None else clipped(self.lost, first, end)

    def sent(self, first, end):
        return end - first - slots_in(self.removed(first, end))

    def forget(self, before_slot):
        self.forgotten = max(self.forgotten, before_slot)

    def close(self):
        pass


@dataclass
class SyntheticRun:
    """Lists of some blocks, and both parties' records of them."""

    block_slots: int
    blocks: list[CollectedBlock]
    alice: ListedSource
    bob: ListedSource


def synthetic_run(announced=60_000, blocks=1, seed=1, ladder=LADDER):
    """Blocks of about so many announcements each; a fresh copy of the sources."""
    run = _synthetic_run(announced, blocks, seed, ladder)
    return replace(run, blocks=list(run.blocks), alice=replace(run.alice), bob=replace(run.bob))


@lru_cache
def _synthetic_run(announced, blocks, seed, ladder):
    rng = np.random.default_rng(seed)
    cells, rate = cell_probabilities(ladder)
    block_slots = int(announced / rate)
    end = blocks * block_slots
    slots = np.unique(rng.integers(0, end, announced * blocks).astype(np.uint64))
    cell = rng.choice(cells.size, slots.size, p=cells.ravel())
    a, b, bit_a, bit_b, outcome = np.unravel_index(cell, cells.shape)
    outcome = (outcome + 1).astype(np.uint8)
    parts = np.searchsorted(slots, np.arange(blocks + 1, dtype=np.uint64) * np.uint64(block_slots))
    listed = [
        CollectedBlock(BlockId(1, i), slots[x:y], outcome[x:y], int(y))
        for i, (x, y) in enumerate(pairwise(parts))
    ]
    sources = [
        ListedSource(slots, setting.astype(np.uint8), bit.astype(np.uint8), end)
        for setting, bit in ((a, bit_a), (b, bit_b))
    ]
    return SyntheticRun(block_slots, listed, *sources)
