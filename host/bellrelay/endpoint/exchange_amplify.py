"""Amplification, and one fate for both keys: delivered on both sides or on neither.

Alice draws the Toeplitz seed when the strings can change no more. Bob's key lies on his disk
before he says that he is ready, Alice's before the seed leaves; neither is used. What becomes of
them Alice decides, once, on disk: she says so under a tag until Bob has it (:mod:`.verdicts`).
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.amplify import draw_seed_packed, toeplitz_hash_packed
from bellrelay.wire.peer_messages import Amplify, Exchange, Kind, Pending

from .block import BlockAborted, Cause
from .block_run import BlockRun
from .block_store import StoredKey, StoredVerdict
from .exchange_commit import CommittedList
from .exchange_reconcile import VerifiedBlock
from .key_pool import KeyPoolDry, KeyRefused

__all__ = ["amplify"]


async def amplify(run: BlockRun, committed: CommittedList, verified: VerifiedBlock) -> None:
    """Make the key, and put it down as pending on both sides.

    Returns on Alice's side when Bob has vouched that he holds his, on Bob's side when he has.

    Raises
    ------
    BlockAborted, TalkOver
    """
    length, bits = verified.length, verified.bits
    if length <= 0:
        raise BlockAborted(Cause.NO_KEY, "nothing is left after what was disclosed")
    pool_bits = run.agreement.pool_bits(length)
    key_id = _key_id(run, committed.digest)
    talk = run.talk
    talk.begin(Exchange.AMPLIFY, verified.digest)
    if run.is_alice:
        seed = draw_seed_packed(bits.size, length)
        key = await _hashed(run, bits, seed, length)
        verdict = await _own_verdict_key(run)
        await _put_pending(run, key_id, key, length, pool_bits, verdict)
        await talk.say(Amplify(length, pool_bits, verdict.tag_index, seed))
        pending = await talk.hear(Kind.PENDING, Pending.parse)
        await talk.trust()
        if pending.length != length:
            raise BlockAborted(Cause.PROTOCOL, "PENDING: another length")
    else:
        said = await talk.hear(Kind.AMPLIFY, Amplify.parse)
        if (said.length, said.pool_bits) != (length, pool_bits):
            raise BlockAborted(Cause.LEDGERS_DIFFER, "AMPLIFY: another length than ours")
        seed = _said_seed(said.seed_packed, bits.size + length - 1)
        key = await _hashed(run, bits, seed, length)
        verdict = await _said_verdict_key(run, said.verdict_index)
        await _put_pending(run, key_id, key, length, pool_bits, verdict)
        await talk.say(Pending(length))
        await talk.vouch()


async def _hashed(run: BlockRun, bits: NDArray[np.uint8], seed: bytes, length: int) -> bytes:
    """The key, packed: bits are so wherever they are carried."""
    packed = await run.compute(np.packbits, bits)
    key = await run.compute_anywhere(toeplitz_hash_packed, packed, bits.size, seed, length)
    return bytes(key)


def _said_seed(packed: bytes, size: int) -> bytes:
    if len(packed) != -(-size // 8):
        raise BlockAborted(Cause.PROTOCOL, "AMPLIFY: a seed of the wrong length")
    if size % 8 and packed[-1] & 0xFF >> size % 8:
        raise BlockAborted(Cause.PROTOCOL, "AMPLIFY: padding")
    return packed


async def _own_verdict_key(run: BlockRun) -> StoredVerdict:
    try:
        return StoredVerdict(None, *await run.write(run.tag_keys.draw))
    except KeyPoolDry as error:
        raise BlockAborted(Cause.POOL_DRY, str(error)) from None


async def _said_verdict_key(run: BlockRun, index: int) -> StoredVerdict:
    try:
        return StoredVerdict(None, index, await run.write(run.tag_keys.take, index))
    except KeyRefused as error:
        raise BlockAborted(Cause.AUTHENTICATION, str(error)) from None
    except KeyPoolDry as error:
        raise BlockAborted(Cause.POOL_DRY, str(error)) from None


def _key_id(run: BlockRun, list_digest: bytes) -> str:
    """Name of the key, a UUID in form: the same on both sides, and it tells nothing of the key."""
    text = f"bellrelay key {run.block} ".encode() + run.agreement.digest + list_digest
    digest = hashlib.sha256(text).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


async def _put_pending(
    run: BlockRun,
    key_id: str,
    key: bytes,
    length: int,
    pool_bits: int,
    verdict: StoredVerdict,
) -> None:
    record: dict[str, Any] = {
        **run.record,
        "key_bits": length - pool_bits,
        "pool_bits": pool_bits,
        "key_id": key_id,
        "amplified_utc_ns": time.time_ns(),
    }
    run.record.update(record)
    # What goes into the pool is no key for anybody else; `pool_bits` are whole bytes.
    pool_bytes = pool_bits // 8
    pending = StoredKey(
        key_id,
        run.block,
        confirmed=False,
        length=length - pool_bits,
        record=record,
        stored_ns=time.time_ns(),
        packed=key[pool_bytes:],
        to_pool=key[:pool_bytes],
    )
    run.checkpoint("before amplified")
    await run.write(run.store.put_pending, pending, verdict)
    run.checkpoint("after amplified")
