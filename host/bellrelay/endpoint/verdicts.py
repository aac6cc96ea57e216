"""Alice's verdicts on pending keys: decided once, on disk, and said until Bob has them.

The tag's key was taken from the pool before the key of the block was pending, on both sides. So a
verdict needs nothing but the two stores, and said again it is the same word for word. Bob believes
a verdict for its tag alone, whichever session it comes in.
"""

from __future__ import annotations

from bellrelay.distill.authenticate import Forgery, OneTimeKey, Transcript, check, seal
from bellrelay.distill.reconcile.engine import Role
from bellrelay.wire.peer_messages import Exchange, Kind, PeerFrame, Tag, Verdict

from .agreement import Agreement
from .block import BlockId
from .block_store import StoredVerdict

__all__ = ["is_vouched", "verdict_messages"]


def _transcript(agreement: Agreement, block: BlockId, verdict: Verdict) -> Transcript:
    # Of no session: the same in whichever it is said.
    transcript = Transcript(
        f"bellrelay block {block}\n".encode() + agreement.digest, Exchange.VERDICT
    )
    frame = PeerFrame(Kind.VERDICT, Exchange.VERDICT, *block.at, body=verdict.encode())
    transcript.add(Role.ALICE, frame.transcribed())
    return transcript


def verdict_messages(
    agreement: Agreement, block: BlockId, stored: StoredVerdict
) -> tuple[Verdict, Tag]:
    """What Alice says. ValueError: she has not decided."""
    if stored.deliver is None:
        raise ValueError(f"block {block}: not decided")
    verdict = Verdict(int(stored.deliver))
    # One verdict is ever sealed under this key: which one, was on disk before.
    tag = seal(OneTimeKey(stored.tag_key), _transcript(agreement, block, verdict), Role.ALICE)
    return verdict, Tag(stored.tag_index, tag)


def is_vouched(
    agreement: Agreement, block: BlockId, stored: StoredVerdict, verdict: Verdict, tag: Tag
) -> bool:
    """Whether Alice has said this verdict."""
    transcript = _transcript(agreement, block, verdict)
    try:
        check(OneTimeKey(stored.tag_key), transcript, Role.ALICE, tag.tag)
    except Forgery:
        return False
    return tag.index == stored.tag_index
