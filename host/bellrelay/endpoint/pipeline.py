"""From complete lists to stored keys: which blocks are in work, and what becomes of each.

One task per block in work, on each side; Alice begins blocks in their order, Bob answers. Both
put their states on disk and, when a session ends, apply the same rule to what was under way
(:mod:`.interruption`); the next session begins by each telling what it has given up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import structlog

from bellrelay.distill.reconcile.engine import Role
from bellrelay.wire.peer_messages import (
    Abort,
    Change,
    Exchange,
    Kind,
    OpenBlock,
    OpenBlocks,
    PeerFrame,
    PeerMessageError,
    Tag,
    Verdict,
)

from .agreement import Agreement
from .announcement_rules import (
    RELAY_BEGAN_NS,
    AnnouncementBreach,
    BlockBegun,
    CollectedBlock,
)
from .block import BlockAborted, BlockId, BlockState, Cause, aborted_by_peer, may_restart
from .block_run import BlockRun
from .block_store import BlockRow, BlockStore
from .block_talk import BlockTalk, TalkOver
from .early_frames import EarlyFrames
from .exchange_amplify import amplify
from .exchange_commit import commit
from .exchange_reconcile import reconcile
from .exchange_sift import sift_block
from .exchange_tags import ExchangeTags, TagKeys
from .interruption import Next, after_interruption
from .peer_channel import PeerChannel
from .pipeline_settings import PipelineSettings, RelayMessage
from .source_log import SourceLog, SourceLogError
from .verdicts import is_vouched, verdict_messages

__all__ = ["Pipeline", "PipelineSettings"]

_RECORDED_POLL_S = 0.05
_OF_RELAYS = frozenset({Kind.MOVE, Kind.MOVED, Kind.RELAYS, Kind.ASK})
_log = structlog.get_logger(__name__)


def _opened(row: BlockRow) -> OpenBlock:
    return OpenBlock(row.block.acquisition, row.block.index, row.state, row.block.relay)


class Pipeline:
    """One endpoint's blocks, for as long as :meth:`run` runs.

    Attributes
    ----------
    alarms : int
        Things that nobody honest does: tags that do not fit, a peer that contradicts itself.
    """

    def __init__(
        self,
        role: Role,
        agreement: Agreement,
        store: BlockStore,
        tag_keys: TagKeys,
        open_source: Callable[[BlockId], SourceLog],
        executor: Executor,
        settings: PipelineSettings,
    ) -> None:
        self.alarms = 0
        self._role = role
        self._agreement = agreement
        self._store = store
        self._tag_keys = tag_keys
        self._open_source = open_source
        self._executor = executor
        self._settings = settings
        self._channel: PeerChannel | None = None
        self._sources: dict[tuple[int, int], SourceLog] = {}
        self._ending: set[BlockId] = set()
        self._lists: dict[BlockId, CollectedBlock] = {}
        self._talks: dict[BlockId, BlockTalk] = {}
        self._tasks: dict[BlockId, asyncio.Task[None]] = {}
        self._early = EarlyFrames()
        self._verdicts: dict[BlockId, tuple[Verdict, Tag | None]] = {}
        self._inbox: asyncio.Queue[PeerFrame | None] = asyncio.Queue()
        self._room = asyncio.Condition()
        self._session: bytes | None = None
        self._error_rate = settings.error_rate

    def attach(self, channel: PeerChannel) -> None:
        """The channel that this side speaks by."""
        self._channel = channel

    # ---------------------------------------------------------------- from the channel

    def session_began(self) -> None:
        """Whatever was under way is over."""
        # Nothing is begun or said before the new session is, though its name may be the old one's:
        # a peer that has refused us before it knew us comes back as the same process.
        self._session = None
        for talk in self._talks.values():
            talk.end()
        self._inbox.put_nowait(None)

    def received(self, frame: PeerFrame) -> None:
        """A message of the running session."""
        self._inbox.put_nowait(frame)

    # ---------------------------------------------------------------- from the announcements

    async def begun(self, begun: BlockBegun) -> None:
        """A block is being collected; earlier ones that are not complete never will be."""
        record = {"relay_id": self._agreement.relay_of(begun.block)}
        said = {RELAY_BEGAN_NS: begun.began_ns} if begun.began_ns else {}
        await self._write(self._store.begin, begun.block, begun.sequence, record | said)
        self._settings.trace.reached(begun.block, "begun", record)
        for row in await self._write(self._store.open_blocks):
            earlier = row.block.is_before(begun.block)
            if earlier and row.block not in self._lists and may_restart(row.state):
                await self._abort(row.block, BlockAborted(Cause.NOT_COLLECTED))

    async def collected(self, block: CollectedBlock) -> None:
        """A list is complete; waits while too many of this relay are."""
        relay = block.block.relay
        async with self._room:
            await self._room.wait_for(
                lambda: sum(b.relay == relay for b in self._lists) < self._settings.max_waiting
            )
        row = await self._write(self._store.find, block.block)
        if row is None or not may_restart(row.state):
            # Collected again after a start; or a relay whose log began anew says old blocks again.
            _log.info("block ended before", block=str(block.block))
            return
        if not await self._write(self._settings.lit, block, row):
            # Before the peer is asked anything, and before a tag: it costs no key.
            await self._abort(block.block, BlockAborted(Cause.UNLIT))
            return
        self._lists[block.block] = block
        self._settings.trace.reached(block.block, "complete", {"announced": int(block.slot.size)})
        _log.info("block complete", block=str(block.block), announced=int(block.slot.size))
        self._begin_blocks()

    async def breached(self, breach: AnnouncementBreach) -> None:
        """The relay is believed nothing more, and the block in which it broke the rules ends."""
        self.alarms += 1
        relay = self._agreement.relay_of(breach.block)
        _log.error("relay quarantined", relay=relay, cause=str(breach.cause), why=breach.detail)
        await self._write(self._store.quarantine, relay, breach.cause, breach.detail)
        await self._write(self._store.begin, breach.block, 0, {"relay_id": relay})
        for row in await self._write(self._store.open_blocks):
            if row.block.relay != breach.block.relay:
                continue
            if row.block not in self._lists and may_restart(row.state):
                mine = row.block == breach.block
                cause = breach.cause if mine else Cause.QUARANTINED
                await self._abort(row.block, BlockAborted(cause, breach.detail if mine else ""))

    async def abandon(self, relay: int, why: str) -> None:
        """Give up every block of a relay that nobody works at yet: it is believed nothing more."""
        for row in await self._write(self._store.open_blocks):
            if row.block.relay != relay or row.block in self._tasks:
                continue
            if may_restart(row.state):
                await self._abort(row.block, BlockAborted(Cause.QUARANTINED, why))

    # ---------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Serve the channel, for ever; ends only by an exception."""
        await self._interrupt()
        # A process that died here may have left keys untold; the next session begins with telling.
        await self._write(self._settings.stored)
        await self._write(self._settings.shared, None)
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    frame = await self._inbox.get()
                    if frame is None:
                        await self._new_session()
                    elif self._session == self._name:
                        await self._take(frame)
            finally:
                # Who ends now begins no other block.
                self._session = None

    @property
    def _name(self) -> bytes:
        assert self._channel is not None
        return self._channel.session_name

    async def _new_session(self) -> None:
        self._session = None
        self._early.clear()
        self._verdicts.clear()
        await self._interrupt()
        self._session = self._name
        rows = await self._write(self._store.open_blocks)
        blocks = [_opened(row) for row in rows]
        await self._say(BlockId(0, 0), Exchange.CHANNEL, OpenBlocks(tuple(blocks)))
        for change in await self._write(self._settings.parameters.greeting):
            await self.say_change(change)
        for message in self._settings.relays.greeting():
            await self.say_of_relays(message)
        self._begin_blocks()

    async def _interrupt(self) -> None:
        """Apply the rule of interruption to every block that has not ended."""
        while self._tasks:
            for talk in self._talks.values():
                talk.end()
            await asyncio.wait(list(self._tasks.values()))
            # Ended tasks take themselves off the list in a callback.
            await asyncio.sleep(0)
        for row in await self._write(self._store.open_blocks):
            match after_interruption(self._role, row.state):
                case Next.RESTART if row.state is not BlockState.COLLECTING:
                    await self._write(self._store.advance, row.block, BlockState.COLLECTING)
                case Next.ABORT:
                    await self._abort(row.block, BlockAborted(Cause.INTERRUPTED, row.state.word))

    # ---------------------------------------------------------------- blocks in work

    def _begin_blocks(self) -> None:
        """Begin what can begin."""
        if self._session is None or self._session != self._name:
            return
        for block in sorted(self._lists):
            if len(self._tasks) >= self._settings.max_in_flight:
                return
            if block in self._tasks:
                continue
            if self._role is Role.BOB and block not in self._early:
                continue
            self._begin_block(block)

    def _begin_block(self, block: BlockId) -> None:
        session = self._name
        talk = BlockTalk(
            block,
            lambda kind, exchange, at, body: self._send(session, kind, exchange, at, body),
            lambda exchange, known: self._tags(block, exchange, session, known),
            self._settings.checkpoint,
            self._settings.patience_s,
        )
        for frame in self._early.take(block):
            talk.received(frame)
        self._talks[block] = talk
        task = self._group.create_task(self._work(block, talk), name=f"block {block}")
        self._tasks[block] = task
        task.add_done_callback(lambda done: self._ended(block, done))

    def _ended(self, block: BlockId, task: asyncio.Task[None]) -> None:
        del self._tasks[block], self._talks[block]
        self._settings.ended(block)
        if task.cancelled() or task.exception() is not None:
            # Everything ends: nothing else is begun.
            self._session = None
        self._begin_blocks()

    def _tags(
        self, block: BlockId, exchange: Exchange, session: bytes, known: Sequence[bytes]
    ) -> ExchangeTags:
        agreement = self._agreement
        context = f"bellrelay block {block}\n".encode() + agreement.digest + session
        epsilon = agreement.security.authentication
        return ExchangeTags(self._tag_keys, context, exchange, self._role, epsilon, known)

    async def _send(
        self, session: bytes, kind: Kind, exchange: Exchange, at: tuple[int, int, int], body: bytes
    ) -> bool:
        assert self._channel is not None
        return await self._channel.send(session, kind, exchange, at, body)

    async def _work(self, block: BlockId, talk: BlockTalk) -> None:
        try:
            await self._distill(block, talk)
        except TalkOver:
            pass
        except BlockAborted as aborted:
            await self._abort(block, aborted)
        except Exception as error:
            # Closed, not open: whatever this was, it makes no key. The text may say too much.
            _log.exception("fault", block=str(block), kind=type(error).__name__)
            await self._abort(block, BlockAborted(Cause.FAULT, type(error).__name__))
        await self._settle(block)

    async def _distill(self, block: BlockId, talk: BlockTalk) -> None:
        trace = self._settings.trace
        trace.reached(block, "opened", {})
        source = await self._source(block)
        await self._recorded(block, source)
        await self._require_light(block, source)
        agreement, parameters = self._agreement, self._settings.parameters
        await self._settings.afford(block)
        deviation = await self._write(self._settings.admit, block, source)
        run = BlockRun(
            block,
            self._role,
            agreement,
            talk,
            self._store,
            self._executor,
            source,
            self._tag_keys,
            parameters.of_block(agreement, block),
            lambda digest: parameters.known(agreement, digest),
            deviation,
            self._settings.checkpoint,
            trace,
            cluster=self._settings.cluster,
        )
        trace.reached(block, "admitted", {})
        committed = await commit(run, self._lists[block])
        trace.reached(block, "committed", run.record)
        sifted = await sift_block(run, committed)
        verified = await reconcile(run, committed, sifted, self._error_rate)
        if verified.bits.size:
            # Rates of the past, of blocks that both know: nothing secret in the next assumption.
            self._error_rate = min(max(verified.errors / verified.bits.size, 0.001), 0.25)
        await amplify(run, committed, verified)
        trace.reached(block, BlockState.AMPLIFIED.word, run.record)
        if self._role is Role.ALICE:
            self._settings.checkpoint("before stored")
            await self._write(self._store.confirm, block)
            self._settings.checkpoint("after stored")
            await self._end(block)
            await self._say_verdict(block)
            await self._write(self._settings.shared, block)

    async def _source(self, block: BlockId) -> SourceLog:
        key = (block.relay, block.acquisition)
        if key not in self._sources:
            try:
                source = await self._write(self._open_source, block)
            except (SourceLogError, OSError) as error:
                raise BlockAborted(Cause.SOURCE_RECORD, str(error)) from None
            self._sources[key] = source
        return self._sources[key]

    async def _recorded(self, block: BlockId, source: SourceLog) -> None:
        """Until the sender has recorded the block, or no longer writes."""
        end = block.end(self._agreement.block_slots)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.settle_s):
                while source.kept[1] < end:
                    await asyncio.sleep(_RECORDED_POLL_S)

    async def _require_light(self, block: BlockId, source: SourceLog) -> None:
        """Nothing, unless the sender has recorded that it sent in no slot of the block."""
        slots = self._agreement.block_slots

        def dark() -> bool:
            first, end = block.first(slots), min(source.kept[1], block.end(slots))
            return end > first and source.sent(first, end) == 0

        try:
            if await self._write(dark):
                raise BlockAborted(Cause.UNLIT, "as the sender has recorded")
        except SourceLogError as error:
            raise BlockAborted(Cause.SOURCE_RECORD, str(error)) from None

    # ---------------------------------------------------------------- ends of blocks

    async def _abort(self, block: BlockId, aborted: BlockAborted, *, tell: bool = True) -> None:
        # Our own reason and the peer's may come at the same time: a block ends once.
        if block in self._ending:
            return
        self._ending.add(block)
        try:
            await self._end_without_key(block, aborted, tell=tell)
        finally:
            self._ending.discard(block)

    async def _end_without_key(self, block: BlockId, aborted: BlockAborted, *, tell: bool) -> None:
        row = await self._write(self._store.find, block)
        if row is None or row.state.final:
            return
        pending = row.state is BlockState.AMPLIFIED
        if pending and self._role is Role.BOB:
            # Alice's to decide; but she need not wait for what will not come.
            if tell:
                await self._say(block, Exchange.CHANNEL, Abort(str(aborted.cause)))
            return
        if aborted.alarming:
            self.alarms += 1
        _log.warning(
            "block aborted", block=str(block), cause=str(aborted.cause), why=aborted.detail
        )
        self._settings.checkpoint("before aborted")
        await self._write(
            self._store.advance, block, BlockState.ABORTED, None, aborted.cause, aborted.detail
        )
        self._settings.checkpoint("after aborted")
        if tell:
            await self._say(block, Exchange.CHANNEL, Abort(str(aborted.cause)))
        if pending:
            await self._say_verdict(block)
        await self._end(block)

    async def _end(self, block: BlockId) -> None:
        """The block has ended: forget its list, and what was sent before every open block."""
        self._lists.pop(block, None)
        row = await self._write(self._store.find, block)
        assert row is not None
        self._settings.trace.ended(row)
        if row.state is BlockState.STORED:
            _log.info("key stored", block=str(block), bits=row.record.get("key_bits"))
            await self._write(self._settings.stored)
        await self._forget(block)
        async with self._room:
            self._room.notify_all()
        self._begin_blocks()

    async def _forget(self, ended: BlockId) -> None:
        key = (ended.relay, ended.acquisition)
        rows = await self._write(self._store.open_blocks)
        needed = [r.block for r in rows if may_restart(r.state) or r.block in self._tasks]
        own = [b for b in needed if (b.relay, b.acquisition) == key]
        latest = await self._write(self._store.latest, ended.relay)
        if own:
            before = min(own).first(self._agreement.block_slots)
        elif latest is not None and latest.block.acquisition == ended.acquisition:
            before = latest.block.end(self._agreement.block_slots)
        else:
            return
        source = self._sources.get(key)
        if source is not None:
            try:
                await self._write(source.forget, before)
            except OSError as error:
                _log.warning("source log not forgotten", why=str(error))

    # ---------------------------------------------------------------- what the peer says

    async def _take(self, frame: PeerFrame) -> None:
        try:
            block = self._named(frame)
            if frame.kind is Kind.OPEN:
                await self._take_open(OpenBlocks.parse(frame.body))
            elif frame.kind is Kind.CHANGE:
                change = Change.parse(frame.body)
                for answer in await self._write(self._settings.parameters.told, change):
                    await self.say_change(answer)
            elif frame.kind in _OF_RELAYS:
                self._settings.relays.told(frame)
            elif frame.exchange is Exchange.VERDICT:
                await self._take_verdict(block, frame)
            elif block in self._talks:
                self._talks[block].received(frame)
            else:
                await self._take_unasked(block, frame)
        except PeerMessageError as error:
            self.alarms += 1
            assert self._channel is not None
            self._channel.break_session(str(error))

    async def _take_open(self, opened: OpenBlocks) -> None:
        """The peer has these blocks open: tell it which of them are over."""
        for entry in opened.blocks:
            block = self._named(entry)
            row = await self._write(self._store.find, block)
            if row is None:
                latest = await self._write(self._store.latest, block.relay)
                if latest is not None and block.is_before(latest.block):
                    await self._say(block, Exchange.CHANNEL, Abort(str(Cause.NOT_COLLECTED)))
            elif entry.state == BlockState.AMPLIFIED and self._role is Role.ALICE:
                if row.state.final:
                    await self._say_verdict(block)
            elif row.state is BlockState.ABORTED:
                await self._say(block, Exchange.CHANNEL, Abort(row.cause or str(Cause.PEER)))
            elif row.state is BlockState.STORED and entry.state != BlockState.AMPLIFIED:
                self._alarm(block, f"the peer has lost block {block}, whose key is stored here")

    async def _take_unasked(self, block: BlockId, frame: PeerFrame) -> None:
        row = await self._write(self._store.find, block)
        if frame.kind is Kind.ABORT:
            await self._take_abort(block, row, Abort.parse(frame.body))
        elif row is not None and row.state.final:
            if frame.kind is Kind.COMMIT and self._role is Role.BOB:
                cause = row.cause or str(Cause.PROTOCOL)
                await self._say(block, Exchange.CHANNEL, Abort(cause))
        elif self._role is Role.BOB:
            self._early.keep(block, frame)
            await self._ask_for_earlier(block)
            self._begin_blocks()

    async def _take_abort(self, block: BlockId, row: BlockRow | None, abort: Abort) -> None:
        if row is None:
            record = {"relay_id": self._agreement.relay_of(block)}
            await self._write(self._store.begin, block, 0, record)
        elif row.state is BlockState.STORED:
            self._alarm(block, "the peer aborts a block whose key is stored here")
            return
        self._early.take(block)
        await self._abort(block, aborted_by_peer(abort.cause), tell=False)

    async def _ask_for_earlier(self, block: BlockId) -> None:
        """Alice goes in order: what she passes over, she may have given up before we had it."""
        passed = []
        for earlier in sorted(b for b in self._lists if b.is_before(block)):
            if earlier in self._tasks or earlier in self._early:
                continue
            row = await self._write(self._store.find, earlier)
            # One that is further on waits for her verdict.
            if row is not None and row.state is BlockState.COLLECTING:
                passed.append(_opened(row))
        if passed:
            await self._say(BlockId(0, 0), Exchange.CHANNEL, OpenBlocks(tuple(passed)))

    def _named(self, what: PeerFrame | OpenBlock) -> BlockId:
        """The block that the peer names. PeerMessageError: of no relay that both know."""
        if what.relay >= len(self._agreement.relays):
            raise PeerMessageError(f"a block of relay number {what.relay}")
        return BlockId(what.acquisition, what.index, what.relay)

    def _alarm(self, block: BlockId, why: str) -> None:
        self.alarms += 1
        _log.error("alarm", block=str(block), why=why)

    # ---------------------------------------------------------------- verdicts

    async def _say_verdict(self, block: BlockId) -> None:
        stored = await self._write(self._store.verdict, block)
        if stored is None or stored.deliver is None:
            self._alarm(block, "the peer waits for a verdict on a key that was never made here")
            return
        for message in verdict_messages(self._agreement, block, stored):
            await self._say(block, Exchange.VERDICT, message)

    async def _take_verdict(self, block: BlockId, frame: PeerFrame) -> None:
        if self._role is Role.ALICE:
            raise PeerMessageError("a verdict from Bob")
        if frame.kind is Kind.VERDICT:
            self._verdicts[block] = (Verdict.parse(frame.body), None)
        elif frame.kind is Kind.TAG and block in self._verdicts:
            self._verdicts[block] = (self._verdicts[block][0], Tag.parse(frame.body))
            if block not in self._tasks:
                await self._settle(block)
        else:
            raise PeerMessageError(f"{frame.kind.name} instead of a verdict")

    async def _settle(self, block: BlockId) -> None:
        """Do as Alice has said, if she has and a key is pending."""
        verdict, tag = self._verdicts.get(block, (None, None))
        if verdict is None or tag is None:
            return
        del self._verdicts[block]
        row = await self._write(self._store.find, block)
        stored = await self._write(self._store.verdict, block)
        if row is None or stored is None or row.state is not BlockState.AMPLIFIED:
            return
        if not is_vouched(self._agreement, block, stored, verdict, tag):
            # What Alice has said she says again in another session; until then the key waits.
            assert self._channel is not None
            self._channel.break_session(f"block {block}: a verdict whose tag does not fit")
            return
        if verdict.deliver:
            self._settings.checkpoint("before stored")
            await self._write(self._store.confirm, block)
            self._settings.checkpoint("after stored")
            await self._end(block)
            await self._write(self._settings.shared, block)
            return
        self._settings.checkpoint("before aborted")
        await self._write(self._store.advance, block, BlockState.ABORTED, None, Cause.REFUSED)
        self._settings.checkpoint("after aborted")
        await self._end(block)

    # ---------------------------------------------------------------- small things

    def close(self) -> None:
        """Give the sources back."""
        for source in self._sources.values():
            source.close()

    async def _say(self, block: BlockId, exchange: Exchange, message: Any) -> None:
        """Say something in the running session; nothing if there is none."""
        if self._session is None:
            return
        name = f"{exchange.name} {message.KIND.name}".lower()
        self._settings.checkpoint(f"before sending {name}")
        await self._send(self._session, message.KIND, exchange, block.at, message.encode())
        self._settings.checkpoint(f"after sending {name}")

    async def say_change(self, change: Change) -> None:
        """Say something about parameters; nothing if no session runs: its begin says it again."""
        await self._say(BlockId(0, 0), Exchange.CHANNEL, change)

    async def say_of_relays(self, message: RelayMessage) -> None:
        """Say something about relays; nothing if no session runs: its begin says it all."""
        await self._say(BlockId(0, 0), Exchange.CHANNEL, message)

    async def _write(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)

    def status(self) -> dict[str, Any]:
        """For people: plain JSON values."""
        return {
            "in_work": sorted(str(b) for b in self._tasks),
            "waiting": len(self._lists) - len(self._tasks),
            "blocks": self._store.counts(),
            "alarms": self.alarms,
            "error_rate_assumed": self._error_rate,
        }
