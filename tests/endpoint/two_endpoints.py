"""Alice's and Bob's pipelines in one event loop, and a network between them that tests can harm."""

import asyncio
import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from synthetic_blocks import LADDER

from bellrelay.distill.reconcile.engine import Role
from bellrelay.distill.security import Security
from bellrelay.endpoint.agreement import Agreement
from bellrelay.endpoint.announcement_rules import BlockBegun
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.key_pool import KeyPool, Reserve
from bellrelay.endpoint.peer_channel import PeerChannel
from bellrelay.endpoint.peer_session import PeerSession
from bellrelay.endpoint.pipeline import Pipeline, PipelineSettings
from bellrelay.endpoint.pool_account import PoolAccount
from bellrelay.wire.peer_messages import FRAME_HEADER_BYTES, PeerFrame

# Epsilons so large that a key comes out of a block that takes no time.
QUICK = Security(secrecy=0.3)
EXECUTOR = ThreadPoolExecutor(2)


class Crash(BaseException):
    """The process dies here."""


class Network:
    """Connections between two parties, through a man in the middle.

    Parameters
    ----------
    tamper
        Called with "alice" or "bob", who speaks, and every frame; returns what is passed on, a list
        of bytes. None: nobody is in the middle.
    delay_s
        Of every byte, one way.
    """

    def __init__(self, tamper=None, delay_s=0.0):
        self._tamper = tamper
        self._delay_s = delay_s
        self._waiting = asyncio.Queue()
        self._writers = []
        self._relays = []

    async def accept(self):
        return await self._waiting.get()

    async def connect(self):
        if self._tamper is None and not self._delay_s:
            alice, bob = await _pair()
        else:
            alice, middle_a = await _pair()
            middle_b, bob = await _pair()
            self._relays += [
                asyncio.ensure_future(self._pass("alice", middle_a[0], middle_b[1])),
                asyncio.ensure_future(self._pass("bob", middle_b[0], middle_a[1])),
            ]
            self._writers += [middle_a[1], middle_b[1]]
        self._writers += [alice[1], bob[1]]
        self._waiting.put_nowait(bob)
        return alice

    async def _pass(self, speaker, reader, writer):
        queue = asyncio.Queue()
        out = asyncio.ensure_future(self._deliver(queue, writer))
        try:
            while True:
                header = await reader.readexactly(FRAME_HEADER_BYTES)
                frame, size = PeerFrame.parse_header(header)
                frame = replace(frame, body=await reader.readexactly(size))
                parts = [frame.encode()] if self._tamper is None else self._tamper(speaker, frame)
                at = asyncio.get_running_loop().time() + self._delay_s
                for part in parts:
                    queue.put_nowait((at, part))
        except (EOFError, OSError):
            queue.put_nowait((0.0, None))
            await out

    async def _deliver(self, queue, writer):
        with contextlib.suppress(OSError):
            while True:
                at, part = await queue.get()
                await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
                if part is None:
                    break
                writer.write(part)
                await writer.drain()
        writer.transport.abort()

    def cut(self):
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self):
        self.cut()
        await asyncio.gather(*self._relays, return_exceptions=True)


async def _pair():
    a, b = socket.socketpair()
    return [await asyncio.open_connection(sock=s, limit=1 << 20) for s in (a, b)]


@dataclass
class Party:
    """One endpoint: what lies on its disk, and the process that runs now."""

    role: Role
    folder: Path
    agreement: Agreement
    source: object
    connect: object
    settings: PipelineSettings
    blocks: list
    reserve: Reserve = field(default_factory=lambda: Reserve(0))
    lists: object = None
    task: asyncio.Task | None = None
    starts: int = 0

    @property
    def name(self):
        return self.role.value

    def start(self, **changes):
        self.starts += 1
        self.store = BlockStore(self.folder, self.name)
        self.pool = KeyPool(self.folder / "pool", self.role, reserve=self.reserve)
        account = PoolAccount(self.pool, self.store)
        settings = replace(
            self.settings,
            **{
                "afford": account.afford,
                "ended": account.ended,
                "stored": account.stored,
                "shared": account.shared,
                **changes,
            },
        )
        self.pipeline = Pipeline(
            self.role,
            self.agreement,
            self.store,
            self.pool,
            lambda _acquisition: self.source,
            EXECUTOR,
            settings,
        )
        number = 0 if self.role is Role.ALICE else 1
        session = PeerSession(number, self.agreement.digest)
        self.channel = PeerChannel(session, self.connect, self.pipeline)
        self.pipeline.attach(self.channel)
        self.task = asyncio.ensure_future(self._live())

    async def _live(self):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pipeline.run())
                group.create_task(self.channel.run())
                group.create_task(self._feed())
        finally:
            self.store.close()
            self.pool.close()

    async def _feed(self):
        """What the relay's log says, from its beginning, as after every start."""
        for block in self.blocks:
            await self.pipeline.begun(BlockBegun(block.block, 0))
            await self.pipeline.collected(block)

    async def stop(self):
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    @property
    def crashed(self):
        """Whether it died as tests have it die; any other end of it is raised."""
        if self.task is None or not self.task.done() or self.task.cancelled():
            return False
        error = self.task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, Crash):
            raise error
        return True

    def rows(self):
        """Blocks by id, from the disk."""
        store = BlockStore(self.folder, self.name)
        try:
            return {str(row.block): row for row in store.blocks()}
        finally:
            store.close()

    def keys(self, *, confirmed=True):
        """Keys by name, from the disk: (length, bytes)."""
        store = BlockStore(self.folder, self.name)
        try:
            return {k.key_id: (k.length, k.packed) for k in store.keys(confirmed=confirmed)}
        finally:
            store.close()


def make_parties(
    folder, run, network, *, security=QUICK, settings=None, pool_bytes=1 << 14, **agreed
):
    """Alice and Bob over one network; not started."""
    agreed = {"reconcile": "cascade", **agreed}
    agreement = Agreement(
        "alice", "bob", "charles", run.block_slots, LADDER, LADDER, security, **agreed
    )
    secret = os.urandom(pool_bytes)
    parties = []
    for role, source, connect in (
        (Role.ALICE, run.alice, network.connect),
        (Role.BOB, run.bob, network.accept),
    ):
        KeyPool.create(folder / role.value / "pool", secret)
        parties.append(
            Party(
                role,
                folder / role.value,
                agreement,
                source,
                connect,
                settings or PipelineSettings(patience_s=60.0, settle_s=0.1),
                list(run.blocks),
            )
        )
    return parties


async def until_ended(*parties, blocks=1, starts=1, seconds=150.0):
    """Until every block has ended on both sides; who crashes is started again.

    starts : of the side that starts most often, to wait for a crash that comes at the very end.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        for party in parties:
            if party.crashed:
                await party.stop()
                party.start()
        ended = [
            party
            for party in parties
            if not party.task.done()
            and len(rows := party.store.blocks()) >= blocks
            and all(row.state.final for row in rows)
        ]
        if len(ended) == len(parties) and max(p.starts for p in parties) >= starts:
            return
        if loop.time() > end:
            states = [
                (p.name, [(str(r.block), r.state.word) for r in p.rows().values()]) for p in parties
            ]
            raise AssertionError(f"not ended: {states}")
        await asyncio.sleep(0.005)


def play(
    folder,
    run,
    *,
    tamper=None,
    delay_s=0.0,
    prepare=None,
    blocks=1,
    starts=1,
    seconds=150.0,
    **options,
):
    """Run both until all blocks have ended; returns Alice and Bob, stopped.

    prepare : called with Alice, Bob and the network before they start; may return a coroutine that
    runs beside them.
    """

    async def main():
        network = Network(tamper, delay_s)
        parties = make_parties(folder, run, network, **options)
        beside = prepare(*parties, network) if prepare else None
        for party in parties:
            if party.task is None:
                party.start()
        task = asyncio.ensure_future(beside) if beside is not None else None
        try:
            await until_ended(*parties, blocks=blocks, starts=starts, seconds=seconds)
            if task is not None:
                await task
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            for party in parties:
                await party.stop()
            await network.close()
        return parties

    return asyncio.run(main())


def same_verdict(alice, bob):
    """What must hold whatever happened: the same end of every block, the same keys, none alone."""
    ends = [{b: r.state for b, r in party.rows().items()} for party in (alice, bob)]
    assert ends[0] == ends[1]
    assert alice.keys() == bob.keys()
    assert not alice.keys(confirmed=False)
    assert not bob.keys(confirmed=False)
    return ends[0]
