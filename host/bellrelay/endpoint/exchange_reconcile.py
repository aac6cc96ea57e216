"""Estimation, correction and verification: from sifted strings to equal ones of a known length."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.estimate import Estimate
from bellrelay.distill.reconcile.engine import ReconcileError
from bellrelay.distill.verify import (
    TAG_BITS,
    new_verification_key,
    tags_equal,
    verification_epsilon,
    verification_tag,
)
from bellrelay.wire.peer_messages import Exchange, Kind, Start, Verified, Verify

from .agreement import ReconcileMethod
from .block import BlockAborted, BlockState, Cause
from .block_run import BlockRun
from .block_talk import Encoded
from .correction import CorrectedBlock, first_step, next_step
from .exchange_commit import CommittedList
from .exchange_sift import SiftedBlock

__all__ = ["VerifiedBlock", "reconcile"]

_COUNT_BITS = 64
"""What Bob's count of errors may tell where bits differ: the message has so many bits."""
_ROUNDING_BITS, _ROUNDING_SHARE = 64, 0.01
"""So far may lengths of the key be apart. The search for weights stops where it is good enough, and
may stop a step sooner or later on another machine."""


@dataclass(frozen=True, eq=False)
class VerifiedBlock:
    """Bits that are equal on both sides but for epsilon, and the length of the key in them.

    bits : (n,) uint8. length : secret bits. errors : corrected. digest : of the public transcript's
    results, for the next exchange to build on.
    """

    bits: NDArray[np.uint8] = field(repr=False)
    length: int = 0
    errors: int = 0
    digest: bytes = b""


async def estimate_block(run: BlockRun, committed: CommittedList, sifted: SiftedBlock) -> Estimate:
    """Bounds, from the counts that both know; the block goes no further without a chance of key.

    Raises
    ------
    BlockAborted
    """
    agreement = run.agreement
    estimate = await run.compute_anywhere(
        agreement.estimate, sifted.tallies, committed.alice, committed.bob
    )
    if estimate.aborted is not None:
        raise BlockAborted(Cause.NO_BOUND, estimate.aborted)
    if agreement.secret_length(estimate, leak_ec=0, discarded=0) <= 0:
        raise BlockAborted(Cause.NO_KEY, "no key even without a disclosed bit")
    return estimate


async def reconcile(
    run: BlockRun, committed: CommittedList, sifted: SiftedBlock, error_rate: float
) -> VerifiedBlock:
    """Correct Bob's errors, verify, and say how long the key may be.

    Parameters
    ----------
    error_rate
        What Alice assumes; Bob takes it from her.

    Raises
    ------
    BlockAborted, TalkOver
    """
    estimate = await estimate_block(run, committed, sifted)
    told = run.agreement.told(estimate, committed.alice, committed.bob)
    await run.advance(BlockState.ESTIMATED, told)
    talk = run.talk
    talk.begin(Exchange.RECONCILE, committed.digest)
    method = run.agreement.method(int(sifted.key.size))
    start = await _start(run, method, sifted, error_rate)
    corrected, said_by_bob = await _correct(run, method, sifted, start)
    kept, disclosed = corrected.kept, corrected.disclosed
    if verification_epsilon(kept.size) > run.agreement.security.correctness:
        raise BlockAborted(Cause.NO_BOUND, "too long for the epsilon of correctness")
    discarded = corrected.bits - int(kept.size)
    await run.advance(
        BlockState.RECONCILED,
        {
            "frames": int(corrected.failed.size),
            "frames_failed": int(corrected.failed.sum()),
            "bits_discarded": discarded,
            "disclosed_bits": disclosed,
        },
    )
    leak_ec = disclosed
    if estimate.security.credit_empty:
        leak_ec += said_by_bob + _COUNT_BITS
    own_length = run.agreement.secret_length(estimate, leak_ec=leak_ec, discarded=discarded)
    errors, length = await _verify(run, corrected, own_length)
    facts: dict[str, Any] = {
        "said_by_bob_bits": said_by_bob,
        "leak_ec": leak_ec,
        "verification_bits": TAG_BITS,
        "errors_corrected": errors,
        "error_rate_z": errors / kept.size if kept.size else None,
        "length": length,
    }
    await run.advance(BlockState.VERIFIED, facts)
    digest = hashlib.sha256(repr(sorted(facts.items())).encode()).digest()
    return VerifiedBlock(kept, length, errors, digest)


async def _start(
    run: BlockRun, method: ReconcileMethod, sifted: SiftedBlock, error_rate: float
) -> Start:
    talk, bits = run.talk, int(sifted.key.size)
    if run.is_alice:
        start = Start(method.code, os.urandom(32), round(error_rate * 1e6), bits)
        await talk.say(start)
    else:
        start = await talk.hear(Kind.START, Start.parse)
        if (start.method, start.bits) != (method.code, bits):
            raise BlockAborted(Cause.PROTOCOL, "START: another method or length than ours")
        if not 0 < start.error_rate_ppm < 500_000:
            raise BlockAborted(Cause.PROTOCOL, "START: no error rate")
    run.record.update(reconciliation=method.name, error_rate_assumed=start.error_rate_ppm / 1e6)
    return start


async def _correct(
    run: BlockRun, method: ReconcileMethod, sifted: SiftedBlock, start: Start
) -> tuple[CorrectedBlock, int]:
    """Carry the engine's messages. Returns what it leaves, and the bits in Bob's messages."""
    talk = run.talk
    said = heard = messages = 0

    async def hear() -> bytes:
        nonlocal heard, messages
        message = await talk.hear(Kind.RECONCILE, bytes)
        heard += len(message)
        messages += 1
        return message

    heavy = run.role is method.heavy
    compute = run.compute_anywhere if heavy else run.compute
    # All that is heavy of a block is one step, as a rule; elsewhere the peer is not kept waiting.
    opening = await hear() if heavy else None
    rate = start.error_rate_ppm / 1e6
    try:
        step = await compute(
            first_step, method.engine, run.role, sifted.key, start.seed, rate, opening
        )
        while True:
            if step.answer is not None:
                await talk.say(Encoded(Kind.RECONCILE, step.answer))
                said += len(step.answer)
                messages += 1
            if step.corrected is not None:
                break
            assert step.engine is not None
            step = await compute(next_step, step.engine, await hear())
    except ReconcileError as error:
        raise BlockAborted(Cause.RECONCILIATION, str(error)) from None
    run.record.update(reconciliation_messages=messages)
    return step.corrected, 8 * (heard if run.is_alice else said)


async def _verify(run: BlockRun, corrected: CorrectedBlock, own_length: int) -> tuple[int, int]:
    """Compare a hash under a key that is drawn only now, and agree on the length of the key.

    Two machines may round a bound differently. Either length is one that the bounds of that side
    allow, so the lesser is safe for both.

    Returns the number of errors corrected, and the length.
    """
    talk, kept, disclosed = run.talk, corrected.kept, corrected.disclosed
    frames = hashlib.sha256(corrected.failed.tobytes()).digest()
    if run.is_alice:
        key = new_verification_key()
        tag = await run.compute(verification_tag, kept, key)
        await talk.say(Verify(key, tag, disclosed, frames, own_length))
        answer = await talk.hear(Kind.VERIFIED, Verified.parse)
        await talk.trust()
        await talk.vouch()
    else:
        said = await talk.hear(Kind.VERIFY, Verify.parse)
        if (said.disclosed, said.frames) != (disclosed, frames):
            raise BlockAborted(Cause.LEDGERS_DIFFER, "what was disclosed is counted differently")
        _require_like(own_length, said.length)
        tag = await run.compute(verification_tag, kept, said.key)
        equal = tags_equal(tag, said.tag)
        errors = round(corrected.error_rate * kept.size) if kept.size else 0
        answer = Verified(int(equal), errors, min(own_length, said.length))
        await talk.say(answer)
        await talk.vouch()
        await talk.trust()
    if not answer.equal:
        raise BlockAborted(Cause.VERIFICATION, "the strings differ after correction")
    if answer.length > own_length:
        raise BlockAborted(Cause.LEDGERS_DIFFER, "a key that is longer than our bounds allow")
    _require_like(own_length, answer.length)
    return answer.errors, answer.length


def _require_like(own: int, other: int) -> None:
    """More than rounding is another way to reckon, and one of the two is wrong."""
    apart = abs(own - other) if own and other else 0
    if apart > max(_ROUNDING_BITS, _ROUNDING_SHARE * own):
        raise BlockAborted(Cause.LEDGERS_DIFFER, f"{own} bits of key here, {other} there")
