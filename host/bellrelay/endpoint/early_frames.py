"""What the peer has said about blocks that we have not complete yet; it cannot fill our memory."""

from __future__ import annotations

from bellrelay.wire.peer_messages import PeerFrame, PeerMessageError

from .block import BlockId

__all__ = ["EarlyFrames"]

_MOST_BLOCKS = 256
_MOST_FRAMES = 8


class EarlyFrames:
    """Frames by block, in order, until the block begins here."""

    def __init__(self) -> None:
        self._frames: dict[BlockId, list[PeerFrame]] = {}

    def __contains__(self, block: BlockId) -> bool:
        return block in self._frames

    def keep(self, block: BlockId, frame: PeerFrame) -> None:
        """Keep a frame. PeerMessageError: nobody says so much before he is answered."""
        if block not in self._frames and len(self._frames) >= _MOST_BLOCKS:
            raise PeerMessageError("more blocks begun than anybody needs")
        frames = self._frames.setdefault(block, [])
        if len(frames) >= _MOST_FRAMES:
            raise PeerMessageError("more said about a block than anybody says unasked")
        frames.append(frame)

    def take(self, block: BlockId) -> list[PeerFrame]:
        """What was kept about a block; it is kept no longer."""
        return self._frames.pop(block, [])

    def clear(self) -> None:
        """Forget all: the session in which it was said is over."""
        self._frames.clear()
