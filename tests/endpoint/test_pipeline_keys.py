"""Two endpoints make the same key, and say how it came about."""

import asyncio

import numpy as np
import pytest
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict

from bellrelay.distill.security import Security
from bellrelay.endpoint.block import BlockState
from bellrelay.endpoint.pipeline import PipelineSettings

RECORD = {
    "pulses",
    "announced",
    "sifted_bits",
    "method",
    "concentration",
    "n11_lower",
    "phase_error_upper",
    "epsilons",
    "leak_ec",
    "verification_bits",
    "errors_corrected",
    "length",
    "ladders",
}


def test_a_block_becomes_the_same_key_on_both_sides(tmp_path):
    run = synthetic_run()
    alice, bob = play(tmp_path, run)
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}
    ((length, packed),) = alice.keys().values()
    assert len(packed) == (length + 7) // 8
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))[:length]
    assert length > 1000
    assert abs(bits.mean() - 0.5) < 5 / np.sqrt(4 * length)


def test_the_key_carries_its_statement(tmp_path):
    run = synthetic_run()
    alice, bob = play(tmp_path, run)
    for party in (alice, bob):
        record = party.rows()["1/0"].record
        assert record.keys() >= RECORD
        assert record["pulses"] == run.block_slots
        assert record["announced"] == run.blocks[0].slot.size
        assert 0.005 < record["error_rate_z"] < 0.02
        assert record["leak_ec"] >= record["disclosed_bits"] > 0
        # Cascade tells where bits differ.
        assert record["empty_pulses_credited"] is False
        assert record["length"] == record["key_bits"] + record["pool_bits"]
        assert record["length"] < record["private_bits"] - record["leak_ec"]
    same = RECORD - {"key_id"}
    assert {k: alice.rows()["1/0"].record[k] for k in same} == {
        k: bob.rows()["1/0"].record[k] for k in same
    }


@pytest.mark.parametrize("reconcile", ["cascade", "ldpc"])
@pytest.mark.parametrize("outcomes", ["pooled", "separate"])
def test_every_method_and_policy(tmp_path, reconcile, outcomes):
    security = Security(secrecy=0.3, outcomes=outcomes)
    run = synthetic_run(60_000)
    alice, bob = play(tmp_path, run, reconcile=reconcile, security=security)
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}
    assert alice.rows()["1/0"].record["reconciliation"] == reconcile


def test_many_blocks_in_flight_over_a_slow_line(tmp_path):
    run = synthetic_run(blocks=6)
    alice, bob = play(tmp_path, run, delay_s=0.01, blocks=6)
    assert set(same_verdict(alice, bob).values()) == {BlockState.STORED}
    assert len(alice.keys()) == 6
    # What keys gave to the pool lies there, the same on both sides, and nowhere else.
    assert sum(r.record["pool_bits"] for r in alice.rows().values()) > 0


def test_slots_that_either_sender_lost_count_for_nobody(tmp_path):
    run = synthetic_run()
    slots = run.block_slots
    run.alice.lost = np.array([[slots // 10, slots // 5]], np.uint64)
    run.bob.lost = np.array([[slots // 6, slots // 4]], np.uint64)
    alice, bob = play(tmp_path, run)
    assert same_verdict(alice, bob) == {"1/0": BlockState.STORED}
    record = alice.rows()["1/0"].record
    assert record["pulses"] == slots - (slots // 4 - slots // 10)
    assert record["sifted_bits"] < 0.9 * play_bits(run)


def play_bits(run):
    return np.count_nonzero((run.alice.setting == 0) & (run.bob.setting == 0))


def test_what_is_resolved_is_forgotten(tmp_path):
    run = synthetic_run(blocks=2)

    async def until_forgotten():
        while min(run.alice.forgotten, run.bob.forgotten) < 2 * run.block_slots:
            await asyncio.sleep(0.01)

    play(tmp_path, run, blocks=2, prepare=lambda *_: until_forgotten())
    assert run.alice.forgotten == run.bob.forgotten == 2 * run.block_slots


def test_an_error_rate_is_learnt_from_blocks(tmp_path):
    run = synthetic_run(blocks=2)
    settings = PipelineSettings(max_in_flight=1, error_rate=0.05, settle_s=0.1)
    alice, _ = play(tmp_path, run, blocks=2, settings=settings)
    rows = alice.rows()
    assert rows["1/0"].record["error_rate_assumed"] == 0.05
    learnt = rows["1/0"].record["error_rate_z"]
    assert rows["1/1"].record["error_rate_assumed"] == pytest.approx(learnt, abs=1e-6)
