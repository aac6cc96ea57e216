"""What one side of the pipeline may choose for itself, and what is called as blocks pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from bellrelay.wire.peer_messages import (
    AskMove,
    Change,
    Move,
    Moved,
    PeerFrame,
    PeerMessageError,
    RelaysSeen,
)

from .agreement import Agreement
from .announcement_rules import CollectedBlock
from .block import BlockId
from .block_parameters import BlockParameters
from .block_store import BlockRow
from .block_trace import BlockTrace
from .source_log import SourceLog

__all__ = ["Parameters", "PipelineSettings", "RelayMessage", "RelayTalk"]

RelayMessage = Move | Moved | RelaysSeen | AskMove


def _no_checkpoint(_name: str) -> None:
    pass


class _AsConfigured:
    """Every block is sent by the parameters of the configuration."""

    def of_block(self, agreement: Agreement, block: BlockId) -> BlockParameters:
        """By which parameters our sender sends a block."""
        return agreement.parameters

    def known(self, agreement: Agreement, digest: bytes) -> BlockParameters | None:
        """Parameters that both endpoints hold."""
        own = agreement.parameters
        return own if own.digest == digest else None

    def greeting(self) -> Sequence[Change]:
        """What is said of them at the begin of a session."""
        return ()

    def told(self, change: Change) -> Sequence[Change]:
        """What is answered to the peer's word of them."""
        raise PeerMessageError("CHANGE: parameters do not change here")


class Parameters(Protocol):
    """Which parameters blocks have; see :mod:`.parameter_plan`. Its methods are called in threads.

    PeerMessageError by :meth:`told`: not what a peer of this protocol says.
    """

    def of_block(self, agreement: Agreement, block: BlockId) -> BlockParameters: ...
    def known(self, agreement: Agreement, digest: bytes) -> BlockParameters | None: ...
    def greeting(self) -> Sequence[Change]: ...
    def told(self, change: Change) -> Sequence[Change]: ...


class _OneRelay:
    """There is nothing to choose."""

    def greeting(self) -> Sequence[RelayMessage]:
        """Nothing is said."""
        return ()

    def told(self, frame: PeerFrame) -> None:
        """Nothing may be said."""
        raise PeerMessageError(f"{frame.kind.name}: there is one relay")


class RelayTalk(Protocol):
    """What is said of relays; see :mod:`.relays`. In the loop: neither may wait.

    PeerMessageError by :meth:`told`: not what a peer of this protocol says.
    """

    def greeting(self) -> Sequence[RelayMessage]: ...
    def told(self, frame: PeerFrame) -> None: ...


def _admit_all(_block: BlockId, _source: SourceLog) -> float:
    return 0.0


def _always_lit(_collected: CollectedBlock, _row: BlockRow) -> bool:
    return True


async def _enough(_block: BlockId) -> None:
    pass


def _no_more(_block: BlockId) -> None:
    pass


def _keep() -> None:
    pass


def _share(_block: BlockId | None) -> None:
    pass


@dataclass(frozen=True)
class PipelineSettings:
    """Choices of one side; the other may make others.

    max_in_flight : blocks in work at once. max_waiting : complete lists, of these blocks and of
    those that wait; what comes beyond waits in the relay's log. patience_s : for the peer's next
    message. settle_s : for the source's records of a block whose announcements are in. error_rate :
    assumed before a block was corrected.

    checkpoint : called with a name wherever this side may die, for tests. admit : relative
    deviation that intensities of a block may have (what is declared counts if that is more),
    BlockAborted if its source cannot be trusted; in a thread. afford : waits until a block's tags
    can be paid for; BlockAborted if never. ended : a block is no longer in work. stored : there may
    be new keys; in a thread, before the peer can know that we have them. shared : the peer has been
    told of the block's key, or of every one; in a thread. parameters : by which blocks are sent.
    relays : what is said of which relay light is directed to. lit : whether ours was directed at
    its relay in any of a block; in a thread. trace : told how far blocks have come.
    cluster : carries out heavy work, if this process does not.
    """

    max_in_flight: int = 16
    max_waiting: int = 20
    patience_s: float = 300.0
    settle_s: float = 5.0
    error_rate: float = 0.02
    checkpoint: Callable[[str], None] = _no_checkpoint
    admit: Callable[[BlockId, SourceLog], float] = _admit_all
    afford: Callable[[BlockId], Awaitable[None]] = _enough
    ended: Callable[[BlockId], None] = _no_more
    stored: Callable[[], None] = _keep
    shared: Callable[[BlockId | None], None] = _share
    parameters: Parameters = field(default_factory=_AsConfigured)
    relays: RelayTalk = field(default_factory=_OneRelay)
    lit: Callable[[CollectedBlock, BlockRow], bool] = _always_lit
    trace: BlockTrace = field(default_factory=BlockTrace)
    cluster: Executor | None = None
