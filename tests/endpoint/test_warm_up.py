"""What computes is loaded before the first block: no loop is compiled with it any more."""

import asyncio
import json
import os
import subprocess
import sys
import threading

import pytest
import yaml
from test_endpoint_daemon_keys import LADDER, write_config

from bellrelay.cli.run_certificates import make_certificates
from bellrelay.distill.reconcile.engine import ReconcileError
from bellrelay.endpoint import daemon
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.endpoint.key_pool import KeyPool

COUNT = """
import json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from bellrelay.distill.amplify import draw_seed_packed, toeplitz_hash_packed
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.reconcile.engine import Role, exchange
from bellrelay.distill.security import Security
from bellrelay.distill.verify import new_verification_key, verification_tag
from bellrelay.endpoint.agreement import Agreement
from bellrelay.endpoint.warm_up import warm_up

LOOPS = ("bellrelay.distill", "bellrelay.tags")

def compiled():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(LOOPS):
            for each in vars(module).values():
                if isinstance(each, Dispatcher):
                    found[id(each)] = len(each.signatures)
    return sum(found.values())

ladder = Ladder(**json.loads(sys.argv[1]))
agreement = Agreement("alice", "bob", "charles", 10**9, ladder, ladder, Security(), sys.argv[2])
told = {"begin": compiled()}
if sys.argv[3] == "warm":
    warm_up(agreement, 0.02)
told["before"] = compiled()
bits = 20_000
rng = np.random.default_rng(5)
alice = rng.integers(0, 2, bits, np.uint8)
engine = agreement.method(bits).engine
for errors in (0.01, 0.03, 0.06):
    bob = alice ^ (rng.random(bits) < errors).astype(np.uint8)
    exchange(engine(Role.ALICE, alice, bytes(32), 0.03), engine(Role.BOB, bob, bytes(32), 0.03))
verification_tag(alice, new_verification_key())
length = 3 * bits // 4
toeplitz_hash_packed(np.packbits(alice), bits, draw_seed_packed(bits, length), length)
told["after"] = compiled()
print(json.dumps(told))
"""


def loops(method, warm):
    words = [sys.executable, "-c", COUNT, json.dumps(LADDER), method, warm]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("method", ["auto", "ldpc"])
def test_a_block_after_it_compiles_and_loads_no_loop(method):
    told = loops(method, "warm")
    assert told["begin"] == 0
    assert told["after"] == told["before"] > 5


def test_without_it_the_block_does():
    told = loops("auto", "cold")
    assert told["before"] == 0
    assert told["after"] > 10


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ("alice", "bob"))
    return folder


@pytest.mark.parametrize("wanted", [True, False])
def test_the_daemon_does_it_in_the_threads_that_compute_unless_told_not_to(
    tmp_path, certificates, monkeypatch, wanted
):
    began = []

    def seen(agreement, error_rate):
        began.append((agreement.block_slots, error_rate, threading.current_thread().name))
        raise ReconcileError("refused")  # and the daemon goes on all the same

    monkeypatch.setattr(daemon, "warm_up", seen)
    path = write_config(tmp_path, certificates)
    if not wanted:
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "warm_up": False}))
    KeyPool.create(tmp_path / "pool", os.urandom(4096))

    async def run():
        endpoint = daemon.EndpointDaemon(load_endpoint_config(path))
        await endpoint.start()
        for _ in range(100):
            if began or not wanted:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        assert not endpoint.failed.done()
        await endpoint.stop()

    asyncio.run(run())
    assert len(began) == wanted
    for slots, error_rate, thread in began:
        assert (slots, error_rate) == (20000, 0.02)
        assert thread.startswith("compute")
