"""Commit before reveal: both hold the same complete list before anything about choices leaves.

The list itself is part of what the tags vouch for. So nobody, whatever he can compute, makes the
two accept different lists; the digest only tells earlier and more clearly that they differ.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.reconcile.engine import Role
from bellrelay.wire.peer_messages import Commit, Exchange, Kind
from bellrelay.wire.tracking import TrackingSlots

from .announcement_rules import CollectedBlock
from .block import BlockAborted, Cause
from .block_ladders import said_deviation
from .block_run import BlockRun
from .exchange_tags import peer_of
from .slot_ranges import Ranges, inside, slots_in, union
from .source_log import SourceLogError

__all__ = ["CommittedList", "commit"]

_MOST_RANGES = 4000
_SAID = "deviation_said_ppm"


@dataclass(frozen=True, eq=False)
class CommittedList:
    """What both have committed to, less the slots that either sender has no record of.

    No tracking slot is in it. slot : (n,) uint64. outcome : (n,) uint8. pulses : pairs of pulses
    sent. digest : of the list. alice, bob : ladders that the block is bounded with.
    """

    slot: NDArray[np.uint64] = field(repr=False)
    outcome: NDArray[np.uint8] = field(repr=False)
    pulses: int
    digest: bytes
    alice: Ladder
    bob: Ladder


async def commit(run: BlockRun, collected: CollectedBlock) -> CommittedList:
    """Agree on the list, on the number of pulse pairs, and on which intensities these had.

    From here on ``run.agreement`` is that of the block.

    Raises
    ------
    BlockAborted, TalkOver
    """
    # Before anything else: settings of these slots steer what everybody sees. Nothing below knows
    # of an announcement in one of them.
    tracking = run.agreement.tracking_slots
    held = run.agreement.relay_of(run.block), run.block.acquisition, tracking
    if not await run.write(run.store.hold_schedule, *held):
        raise BlockAborted(Cause.PARAMETERS, "the acquisition began with other tracking slots")
    collected = await run.compute(_without_tracking, tracking, collected)
    listed, digest = await run.compute(_listed, run, collected)
    removed = await _removed(run)
    deviation = await _said_deviation(run)
    # Once a list may have led to a reveal, no other list of the same block is ever accepted, nor
    # other slots left out of it, nor other bounds of its intensities.
    about = struct.pack("<I", deviation) + run.parameters.digest + removed.astype("<u8").tobytes()
    promise = hashlib.sha256(digest + about).digest()
    run.checkpoint("before the list is kept")
    facts = {_SAID: deviation}
    if not await run.write(run.store.commit_list, run.block, promise, facts):
        raise BlockAborted(Cause.LIST_CHANGED, "not the list of the first time")
    run.checkpoint("after the list is kept")
    ranges = tuple((int(a), int(b)) for a, b in removed)
    own = Commit(len(collected.slot), deviation, digest, run.parameters.digest, ranges)
    talk = run.talk
    talk.begin(Exchange.COMMIT, *listed)
    if run.is_alice:
        await talk.say(own)
        other = await talk.hear(Kind.COMMIT, Commit.parse)
        _same(own, other)
        await talk.trust()
        await talk.vouch()
    else:
        other = await talk.hear(Kind.COMMIT, Commit.parse)
        _same(own, other)
        await talk.say(own)
        await talk.vouch()
        await talk.trust()
    theirs = run.known(other.parameters)
    if theirs is None:
        raise BlockAborted(
            Cause.PARAMETERS, f"the peer sent by parameters {other.parameters.hex()[:8]}"
        )
    sets = {run.role: run.parameters, peer_of(run.role): theirs}
    run.agreement = run.agreement.of_block(sets[Role.ALICE], sets[Role.BOB])
    said = {run.role: deviation, peer_of(run.role): other.deviation_ppm}
    alice, bob = (run.agreement.used_ladder(role, said[role]) for role in Role)
    both = union(removed, _within(run, other))
    for_tracking = tracking.count(run.first, run.end)
    left_out = slots_in(both) - sum(tracking.count(int(a), int(b)) for a, b in both)
    pulses = run.end - run.first - for_tracking - left_out
    run.record.update(
        announced=int(collected.slot.size),
        pulses=pulses,
        pulses_removed=left_out,
        pulses_for_tracking=for_tracking,
        list_digest=digest.hex(),
        parameters={role.value: sets[role].digest.hex()[:16] for role in Role},
    )
    slot, outcome = await run.compute(_without, both, collected)
    return CommittedList(slot, outcome, pulses, digest, alice, bob)


async def _said_deviation(run: BlockRun) -> int:
    """What we say of our sender in this block: the same each time, and what it is now at least."""
    now = said_deviation(run.parameters.ladder(run.role), run.deviation)
    row = await run.write(run.store.find, run.block)
    if row is None or _SAID not in row.record:
        return now
    before = int(row.record[_SAID])
    if now > before:
        raise BlockAborted(Cause.INTENSITY, "intensities may be off by more than was said before")
    return before


def _listed(run: BlockRun, collected: CollectedBlock) -> tuple[tuple[bytes, ...], bytes]:
    """The list as it is vouched for, in pieces, and the digest of all of them."""
    tracking = run.agreement.tracking_slots
    head = (
        f"{run.agreement.relay_of(run.block)} {run.block} {run.first} {run.end} "
        f"less {tracking.length} of every {tracking.every}\n"
    ).encode()
    slot = np.ascontiguousarray(collected.slot, "<u8").tobytes()
    pieces = (head, slot, collected.outcome.tobytes())
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return pieces, hashed.digest()


def _without_tracking(tracking: TrackingSlots, collected: CollectedBlock) -> CollectedBlock:
    """The list of the slots that make key."""
    kept = ~tracking.inside(collected.slot)
    if kept.all():
        return collected
    return replace(collected, slot=collected.slot[kept], outcome=collected.outcome[kept])


def _without(
    ranges: Ranges, collected: CollectedBlock
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Slots and outcomes of the list outside the ranges."""
    if not len(ranges):
        return collected.slot, collected.outcome
    kept = ~inside(ranges, collected.slot)
    return collected.slot[kept], collected.outcome[kept]


async def _removed(run: BlockRun) -> Ranges:
    """Slots of the block that our sender dropped, or did not reach before it ended."""

    def look() -> Ranges:
        kept_end = min(max(run.source.kept[1], run.first), run.end)
        parts = [run.source.removed(run.first, kept_end)] if kept_end > run.first else []
        return union(*parts, [[kept_end, run.end]])

    try:
        removed = await run.compute(look)
    except SourceLogError as error:
        raise BlockAborted(Cause.SOURCE_RECORD, str(error)) from None
    if len(removed) > _MOST_RANGES:
        raise BlockAborted(Cause.SOURCE_RECORD, f"{len(removed)} ranges of slots are missing")
    return removed


def _same(own: Commit, other: Commit) -> None:
    if (own.announced, own.digest) != (other.announced, other.digest):
        raise BlockAborted(
            Cause.LISTS_DIFFER, f"{own.announced} announcements here, {other.announced} there"
        )


def _within(run: BlockRun, other: Commit) -> Ranges:
    ranges = np.array(other.removed, np.uint64).reshape(-1, 2)
    if ranges.size and not run.first <= int(ranges[0, 0]) <= int(ranges[-1, 1]) <= run.end:
        raise BlockAborted(Cause.PROTOCOL, "COMMIT: ranges outside the block")
    return ranges
