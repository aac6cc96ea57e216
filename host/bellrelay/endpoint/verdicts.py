"""Alice's verdicts on pending keys: decided once, on disk, and said until Bob has them.

The tag's key was taken from the pool before the key of the block was pending, on both sides. So a
verdict needs nothing but the two stores, and said again it is the same word for word. Bob believes
a verdict for its tag alone, whichever session it comes in.
"""

from __future__ import annotations

import hmac

from bellrelay.wire.peer_messages import Exchange, Kind, PeerFrame, Tag, Verdict

from .agreement import Agreement
from .block import BlockId
from .block_store import StoredVerdict
from .exchange_tags import one_time_tag

__all__ = ["is_vouched", "verdict_messages"]


def _text(agreement: Agreement, block: BlockId, verdict: Verdict) -> bytes:
    frame = PeerFrame(
        Kind.VERDICT, Exchange.VERDICT, block.acquisition, block.index, body=verdict.encode()
    )
    return b"verdict" + agreement.digest + frame.transcribed()


def verdict_messages(
    agreement: Agreement, block: BlockId, stored: StoredVerdict
) -> tuple[Verdict, Tag]:
    """What Alice says. ValueError: she has not decided."""
    if stored.deliver is None:
        raise ValueError(f"block {block}: not decided")
    verdict = Verdict(int(stored.deliver))
    tag = one_time_tag(stored.tag_key, _text(agreement, block, verdict))
    return verdict, Tag(stored.tag_index, tag)


def is_vouched(
    agreement: Agreement, block: BlockId, stored: StoredVerdict, verdict: Verdict, tag: Tag
) -> bool:
    """Whether Alice has said this verdict."""
    expected = one_time_tag(stored.tag_key, _text(agreement, block, verdict))
    return tag.index == stored.tag_index and hmac.compare_digest(expected, tag.tag)
