"""Many SAEs at once, each with connections of its own, that write down what they were told.

HTTP is spoken by hand: a thousand clients share this machine with the KMEs.
"""

import asyncio
import base64
import contextlib
import json
import random
import ssl
from dataclasses import dataclass, field

from bellrelay.cli.sae_connection import SaeConnection
from bellrelay.service.tls import client_context

_ANSWER_S = 60.0


@dataclass
class Ledger:
    """What all clients saw.

    given : key_id to what a master got. taken : key_id to what slaves got. answers : number by
    (method, code). lost : key_ids for which a slave heard nothing, and then that there was nothing.
    """

    given: dict = field(default_factory=dict)
    taken: dict = field(default_factory=dict)
    answers: dict = field(default_factory=dict)
    lost: set = field(default_factory=set)
    broken: int = 0
    twice: list = field(default_factory=list)


class Connection:
    """To one KME, as one SAE; it comes back after it broke."""

    def __init__(self, port, context, ledger):
        self._ledger = ledger
        self._connection = SaeConnection(port, "localhost", context)

    async def ask(self, method, path, body=b""):
        """Code and bytes of an answer, or None if the connection broke."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await self._connection.ask(method, path, body)
        except (OSError, EOFError, TimeoutError, ssl.SSLError):
            self._ledger.broken += 1
            return None
        verb = path.rsplit("/", 1)[1].partition("?")[0]
        self._ledger.answers[verb, answer.code] = (
            self._ledger.answers.get((verb, answer.code), 0) + 1
        )
        return answer.code, answer.body

    def close(self):
        self._connection.close()


@dataclass(frozen=True)
class Duty:
    """A master at one KME and its slave at the other."""

    master: str
    master_port: int
    slave: str
    slave_port: int


class Client:
    """A master that asks for a key and its slave that fetches it, over and over."""

    def __init__(self, duty, contexts, ledger, seed):
        self._duty = duty
        self._ledger = ledger
        self._random = random.Random(seed)
        self._master = Connection(duty.master_port, contexts[duty.master], ledger)
        self._slave = Connection(duty.slave_port, contexts[duty.slave], ledger)

    async def run(self, rounds, patience_s):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        try:
            for _ in range(rounds):
                keys = await self._enc(deadline, loop)
                for key in keys:
                    await self._dec(key, deadline, loop)
        finally:
            self._master.close()
            self._slave.close()

    async def _pause(self, loop, deadline):
        assert loop.time() < deadline, "keys did not come back"
        await asyncio.sleep(self._random.uniform(0.1, 0.4))

    async def _enc(self, deadline, loop):
        ledger = self._ledger
        while True:
            found = await self._master.ask("GET", f"/api/v1/keys/{self._duty.slave}/enc_keys")
            if found is not None and found[0] == 200:
                keys = json.loads(found[1])["keys"]
                for key in keys:
                    if key["key_ID"] in ledger.given:
                        ledger.twice.append(key["key_ID"])
                    ledger.given[key["key_ID"]] = base64.b64decode(key["key"])
                return [key["key_ID"] for key in keys]
            assert found is None or found[0] == 503, found
            await self._pause(loop, deadline)

    async def _dec(self, key_id, deadline, loop):
        path = f"/api/v1/keys/{self._duty.master}/dec_keys?key_ID={key_id}"
        broke = False
        while True:
            found = await self._slave.ask("GET", path)
            if found is not None and found[0] == 200:
                (key,) = json.loads(found[1])["keys"]
                if key_id in self._ledger.taken:
                    self._ledger.twice.append(key_id)
                self._ledger.taken[key_id] = base64.b64decode(key["key"])
                return
            if found is not None and found[0] == 400 and broke:
                # It was on its way when the KME died: nobody can tell whether it arrived.
                self._ledger.lost.add(key_id)
                return
            assert found is None or found[0] == 503, found
            broke = broke or found is None or found[0] == 503
            await self._pause(loop, deadline)


def contexts_of(sites, saes):
    """TLS of every SAE."""
    return {sae: client_context(*sites.certificate(sae), sites.authority.ca) for sae in saes}


async def run_clients(clients, rounds, patience_s, begun=None):
    """All at once; ``begun`` is awaited beside them."""
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(rounds, patience_s))
        if begun is not None:
            with contextlib.suppress(asyncio.CancelledError):
                group.create_task(begun())
