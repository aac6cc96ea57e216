"""An endpoint's cluster of real processes over TLS: the same results, whatever dies."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import distributed
import numpy as np
import pytest
from running_cluster import RunningCluster, until, until_workers
from slow_work import slow
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.distill.amplify import toeplitz_hash
from bellrelay.distill.reconcile.engine import Role
from bellrelay.distill.reconcile.ldpc import Ldpc
from bellrelay.endpoint.block import BlockState
from bellrelay.endpoint.cluster.security import cluster_security, shared_authority
from bellrelay.endpoint.correction import first_step, next_step
from bellrelay.endpoint.pipeline_settings import PipelineSettings
from bellrelay.settings.model import MutualTls


@pytest.fixture
def cluster(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    with RunningCluster(folder) as running:
        yield running


def amplified(number, bits=20_000):
    """Arguments of work that takes some milliseconds."""
    rng = np.random.default_rng(number)
    return (
        toeplitz_hash,
        rng.integers(0, 2, bits, np.uint8),
        rng.integers(0, 2, bits + 999, np.uint8),
        1000,
    )


def transcript(executor, n=4000):
    """Everything that LDPC says on both sides about the same block, and what is left of it.

    Alice expects too few errors, so that engines that are not done yet are carried, too.
    """
    rng = np.random.default_rng(5)
    alice_bits = rng.integers(0, 2, n, np.uint8)
    bob_bits = alice_bits ^ (rng.random(n) < 0.04).astype(np.uint8)

    def call(function, *arguments):
        return executor.submit(partial(function, *arguments)).result(240)

    seed = bytes(range(32))
    alice = call(first_step, Ldpc, Role.ALICE, alice_bits, seed, 0.02)
    bob = call(first_step, Ldpc, Role.BOB, bob_bits, seed, 0.02, alice.answer)
    said = [alice.answer, bob.answer]
    while bob.corrected is None:
        alice = call(next_step, alice.engine, bob.answer)
        bob = call(next_step, bob.engine, alice.answer)
        said += alice.answer, bob.answer
    alice = call(next_step, alice.engine, bob.answer)
    assert np.array_equal(bob.corrected.kept, alice.corrected.kept)
    assert bob.corrected.kept.size
    ends = [(c.kept.tobytes(), c.disclosed, c.failed.tobytes()) for _, _, c in (alice, bob)]
    return said, ends, bob.corrected.error_rate


def test_blocks_are_the_same_as_here_bit_for_bit_and_two_endpoints_make_a_key(cluster, tmp_path):
    cluster.start("scheduler")
    cluster.start("one")
    executor = cluster.executor()
    until_workers(executor, 1)
    with ThreadPoolExecutor(1) as here:
        said, *rest = transcript(executor)
        assert (said, *rest) == transcript(here)
        assert len(said) > 2
        works = [amplified(n) for n in range(4)]
        there = [f.result(120) for f in [executor.submit(*w) for w in works]]
        assert all(np.array_equal(t, w[0](*w[1:])) for t, w in zip(there, works, strict=True))
    before = executor.status()["done"]
    assert set(before) == {"on the cluster"}

    def prepare(alice, bob, network):
        bob.settings = replace(PipelineSettings(patience_s=120.0), cluster=executor)

    alice, bob = play(tmp_path, synthetic_run(60_000), prepare=prepare, reconcile="ldpc")
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}
    after = executor.status()["done"]
    # Estimation, correction, amplification.
    assert after["on the cluster"] >= before["on the cluster"] + 3
    assert set(after) == {"on the cluster"}


def test_workers_and_the_scheduler_are_killed_and_nothing_is_lost_or_twice(cluster):
    cluster.start("scheduler")
    cluster.start("one")
    cluster.start("two")
    executor = cluster.executor()
    until_workers(executor, 2)
    over = threading.Event()
    with ThreadPoolExecutor(1) as here, ThreadPoolExecutor(1) as beside:
        expected = transcript(here)
        corrected = beside.submit(_transcripts_until, over, executor)
        try:
            _kill_one_after_the_other(cluster, executor)
        finally:
            over.set()
        found = corrected.result(240)
    assert all(each == expected for each in found)
    done = executor.status()["done"]
    assert done["sent again"] > 0
    assert set(done) <= {"on the cluster", "sent again", "here: workers were lost"}


def _transcripts_until(over, executor):
    found = [transcript(executor)]
    while not over.is_set():
        found.append(transcript(executor))
    return found


def _kill_one_after_the_other(cluster, executor):
    results = []
    calls = [executor.submit(slow, 0.2, n) for n in range(30)]
    for call in calls:
        call.add_done_callback(lambda done: results.append(done.result()))
    until(lambda: len(results) >= 3)
    cluster.kill("one")
    until(lambda: len(results) >= 8)
    cluster.kill("scheduler")
    time.sleep(0.5)
    cluster.start("scheduler")
    until(lambda: len(results) == 30)
    assert sorted(results) == list(range(30))


def test_without_a_cluster_the_endpoint_does_the_work_itself(cluster):
    executor = cluster.executor(patience_s=1.0)
    work = amplified(1)
    assert np.array_equal(executor.submit(*work).result(60), work[0](*work[1:]))
    assert executor.status()["done"] == {"here: cluster was away": 1}
    # A scheduler without workers is none, either.
    cluster.start("scheduler")
    until(lambda: executor.status()["connected"])
    assert executor.submit(slow, 0.0, 7).result(60) == 7
    assert executor.status()["done"]["here: overdue"] == 1
    with pytest.raises(ValueError, match="negative"):
        executor.submit(slow, -1.0, 7).result(60)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(slow, 0.0, 7)


def test_a_worker_of_another_endpoint_gets_no_work_done_and_sees_none(cluster):
    cluster.start("scheduler")
    cluster.start("foreign", endpoint_id="mallory")
    executor = cluster.executor()
    until_workers(executor, 1)
    secret = "what nobody but Alice's workers may see"
    assert executor.submit(slow, 0.0, secret).result(60) == secret
    assert executor.status()["done"] == {"here: refused by a worker": 1}
    logs = cluster.log("scheduler") + cluster.log("foreign")
    assert "NotOurs" in logs
    assert "nobody but" not in logs
    assert cluster.folder.joinpath("work.key").read_bytes().hex() not in logs


def test_certificates_of_another_authority_and_plain_connections_are_refused(cluster, tmp_path):
    cluster.start("scheduler")
    executor = cluster.executor()
    until(lambda: executor.status()["connected"])
    make_certificates(tmp_path, ["mallory"])
    mallory = MutualTls.model_validate(tls_files(tmp_path, "mallory"))
    for address, security in (
        (f"tls://{cluster.scheduler}", cluster_security(mallory)),
        (f"tcp://{cluster.scheduler}", None),
    ):
        with pytest.raises(OSError):
            distributed.Client(address, security=security, timeout=3, set_as_default=False)
    assert executor.status()["connected"]


def test_workers_come_with_work_and_go_without(cluster):
    adaptive = {"minimum": 0, "maximum": 2, "target_s": 0.5}
    cluster.start("scheduler", adaptive=adaptive)
    executor = cluster.executor()
    until(lambda: executor.status()["connected"])
    assert executor.status()["workers"] == 0
    calls = [executor.submit(slow, 0.4, n) for n in range(24)]
    most = 0
    while not all(call.done() for call in calls):
        most = max(most, executor.status()["workers"])
        time.sleep(0.05)
    assert [call.result() for call in calls] == list(range(24))
    assert most == 2
    until_workers(executor, 0)
    assert set(executor.status()["done"]) == {"on the cluster"}


def test_an_authority_of_others_is_seen(tmp_path):
    folders = [tmp_path / name for name in ("peer", "cluster")]
    for folder in folders:
        folder.mkdir()
        make_certificates(folder, ["node"])
    peer, own = (folder / "ca.crt" for folder in folders)
    assert shared_authority(own, [peer]) is None
    both = tmp_path / "both.crt"
    both.write_bytes(own.read_bytes() + peer.read_bytes())
    assert shared_authority(both, [peer]) == peer
    (tmp_path / "none.crt").write_text("no certificate")
    with pytest.raises(ValueError):
        shared_authority(tmp_path / "none.crt", [peer])
