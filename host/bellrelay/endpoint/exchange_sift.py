"""Sifting: both say their settings, and the bits that can make no key; both count the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.sift import BASIS_Z, bob_flips
from bellrelay.distill.tally import Tally, key_mask, tally
from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.peer_messages import Exchange, Kind, Reveal, Tallies

from .block import BlockAborted, BlockState, Cause
from .block_run import BlockRun
from .block_talk import Encoded
from .exchange_commit import CommittedList
from .source_log import SIGNAL, Choices, SourceLogError

__all__ = ["SiftedBlock", "sift_block"]


@dataclass(frozen=True, eq=False)
class SiftedBlock:
    """What is left of a block: counts that both know, and our half of the sifted key.

    key : (n,) uint8, Bob's flipped: equal to Alice's but for errors. tallies : by outcome.
    """

    key: NDArray[np.uint8] = field(repr=False)
    tallies: Mapping[Outcome, Tally] = field(default_factory=dict)


async def sift_block(run: BlockRun, committed: CommittedList) -> SiftedBlock:
    """Reveal, count, compare.

    Raises
    ------
    BlockAborted, TalkOver
    """
    try:
        own, reveal = await run.compute(_own_choices, run, committed)
    except SourceLogError as error:
        raise BlockAborted(Cause.SOURCE_RECORD, str(error)) from None
    talk = run.talk
    talk.begin(Exchange.SIFT, committed.digest)
    if run.is_alice:
        await talk.say(reveal)
        other = await talk.hear(Kind.REVEAL, Reveal.parse)
        sifted, digest = await run.compute(_count, run.is_alice, committed, own, other)
        theirs = await talk.hear(Kind.TALLIES, Tallies.parse)
        await talk.trust()
        _compare(digest, theirs)
        await talk.say(Tallies(digest))
        await talk.vouch()
    else:
        other = await talk.hear(Kind.REVEAL, Reveal.parse)
        await talk.say(reveal)
        sifted, digest = await run.compute(_count, run.is_alice, committed, own, other)
        await talk.say(Tallies(digest))
        await talk.vouch()
        theirs = await talk.hear(Kind.TALLIES, Tallies.parse)
        await talk.trust()
        _compare(digest, theirs)
    await run.advance(
        BlockState.SIFTED,
        {
            **run.record,
            "sifted_bits": int(sifted.key.size),
            "tallies": {
                o.name.lower(): {"n": t.n.tolist(), "m": t.m.tolist()}
                for o, t in sifted.tallies.items()
            },
        },
    )
    return sifted


def _own_choices(run: BlockRun, committed: CommittedList) -> tuple[Choices, Encoded]:
    own = run.source.choices(committed.slot)
    reveal = Reveal(own.setting, own.bit[own.setting != SIGNAL])
    return own, Encoded(Kind.REVEAL, reveal.encode())


def _compare(own: bytes, theirs: Tallies) -> None:
    if own != theirs.digest:
        raise BlockAborted(Cause.TALLIES_DIFFER)


def _count(
    is_alice: bool, committed: CommittedList, own: Choices, other: Reveal
) -> tuple[SiftedBlock, bytes]:
    outcome = committed.outcome
    if other.setting.shape != own.setting.shape:
        raise BlockAborted(Cause.PROTOCOL, "REVEAL: another number of slots")
    # Bits that were not disclosed stand as 0 and enter no count.
    disclosed = np.zeros(other.setting.shape, np.uint8)
    disclosed[other.setting != SIGNAL] = other.bit
    own_bit = np.where(own.setting == SIGNAL, np.uint8(0), own.bit)
    parties = [(own.setting, own_bit), (other.setting, disclosed)]
    if not is_alice:
        parties.reverse()
    (setting_a, bit_a), (setting_b, bit_b) = parties
    tallies = tally(outcome, setting_a, bit_a, setting_b, bit_b, committed.pulses)
    mask = key_mask(setting_a, setting_b)
    key = own.bit[mask]
    if not is_alice:
        key = key ^ bob_flips(outcome[mask], BASIS_Z)
    text = hashlib.sha256(b"%d" % committed.pulses)
    for kind in sorted(tallies):
        text.update(b"%d" % kind)
        text.update(np.ascontiguousarray(tallies[kind].n, "<i8").tobytes())
        text.update(np.ascontiguousarray(tallies[kind].m, "<i8").tobytes())
    return SiftedBlock(key, tallies), text.digest()
