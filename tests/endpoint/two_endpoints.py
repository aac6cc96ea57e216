"""Alice's and Bob's pipelines in one event loop, with a network between them that tests can harm."""

import asyncio
import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

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
from synthetic_blocks import LADDER


class Crash(BaseException):
    """The process dies here."""


class Network:
    """Connections between two parties; `pass_on` may see and change what goes through."""

    def __init__(self):
        self.waiting = asyncio.Queue()
        self.sides = []

    async def accept(self):
        return await self.waiting.get()

    async def connect(self):
        a, b = socket.socketpair()
        ours = await asyncio.open_connection(sock=a, limit=1 << 20)
        theirs = await asyncio.open_connection(sock=b, limit=1 << 20)
        self.sides += [ours[1], theirs[1]]
        self.waiting.put_nowait(theirs)
        return ours

    def cut(self):
        """Break every connection."""
        for writer in self.sides:
            writer.transport.abort()
        self.sides.clear()
        while not self.waiting.empty():
            self.waiting.get_nowait()


@dataclass
class Party:
    """One endpoint: what lies on its disk, and the process that runs now."""

    role: Role
    folder: object
    agreement: Agreement
    source: object
    connect: object
    settings: PipelineSettings
    executor: ThreadPoolExecutor
    blocks: list = field(default_factory=list)
    reserve: Reserve = Reserve(0)
    task: asyncio.Task | None = None

    def start(self):
        self.store = BlockStore(self.folder, self.role.value)
        self.pool = KeyPool(self.folder / "pool", self.role, reserve=self.reserve)
        account = PoolAccount(self.pool, self.store)
        number = 0 if self.role is Role.ALICE else 1
        self.pipeline = Pipeline(
            self.role,
            self.agreement,
            self.store,
            self.pool,
            lambda _acquisition: self.source,
            self.executor,
            replace(
                self.settings,
                afford=account.afford,
                stored=account.stored,
                shared=account.shared,
            ),
        )
        self.channel = PeerChannel(
            PeerSession(number, self.agreement.digest), self.connect, self.pipeline
        )
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
        await asyncio.sleep(0)
        for block in self.blocks:
            await self.pipeline.begun(BlockBegun(block.block, 0))
            await self.pipeline.collected(block)

    async def stop(self):
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception, BaseExceptionGroup):
                await self.task
            self.task = None

    def keys(self):
        store = BlockStore(self.folder, self.role.value)
        try:
            return store.keys(), store.keys(confirmed=False), store.blocks()
        finally:
            store.close()


def make_parties(
    tmp_path, run, network, *, security=None, settings=None, pool_bytes=1 << 14, **agreed
):
    """Alice and Bob over one network; not started."""
    security = security or Security(secrecy=1e-10)
    agreement = Agreement(
        "alice", "bob", "charles", run.block_slots, LADDER, LADDER, security, **agreed
    )
    secret = os.urandom(pool_bytes)
    for role in Role:
        KeyPool.create(tmp_path / role.value / "pool", secret)
    executor = ThreadPoolExecutor(2)
    return [
        Party(
            role,
            tmp_path / role.value,
            agreement,
            source,
            connect,
            settings or PipelineSettings(),
            executor,
            list(run.blocks),
        )
        for role, source, connect in (
            (Role.ALICE, run.alice, network.connect),
            (Role.BOB, run.bob, network.accept),
        )
    ]
