"""Why blocks end without key: every cause, on both sides alike, and nothing left behind."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from synthetic_blocks import synthetic_run
from two_endpoints import Crash, Reserve, play, same_verdict

from bellrelay.distill.reconcile.cascade import Cascade
from bellrelay.distill.security import Security
from bellrelay.endpoint import agreement as agreement_module
from bellrelay.endpoint.announcement_rules import AnnouncementBreach, BlockBegun
from bellrelay.endpoint.block import BlockAborted, BlockId, BlockState, Cause
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.source_log import SlotRemoved


def ended(alice, bob, *causes):
    """Both sides have aborted the one block, for one of these causes."""
    assert same_verdict(alice, bob) == {"1/0": BlockState.ABORTED}
    found = {party.rows()["1/0"].cause for party in (alice, bob)}
    assert found <= {str(c) for c in causes}, found
    assert not alice.keys()


def without(block, index):
    keep = np.arange(block.slot.size) != index
    return replace(block, slot=block.slot[keep], outcome=block.outcome[keep])


@pytest.mark.parametrize("side", ["alice", "bob"])
def test_different_lists(tmp_path, side):
    """The relay says one announcement to one of them alone."""

    def prepare(alice, bob, _network):
        party = alice if side == "alice" else bob
        party.blocks = [without(party.blocks[0], 17)]

    ended(*play(tmp_path, synthetic_run(), prepare=prepare), Cause.LISTS_DIFFER)


def test_lists_that_differ_in_an_outcome(tmp_path):
    def prepare(_alice, bob, _network):
        outcome = bob.blocks[0].outcome.copy()
        outcome[5] ^= 3
        bob.blocks = [replace(bob.blocks[0], outcome=outcome)]

    ended(*play(tmp_path, synthetic_run(), prepare=prepare), Cause.LISTS_DIFFER)


def test_nothing_of_choices_leaves_before_both_hold_the_same_list(tmp_path):
    said = []

    def watch(speaker, frame):
        said.append((speaker, frame.exchange.name, frame.kind.name))
        return [frame.encode()]

    def prepare(_alice, bob, _network):
        bob.blocks = [without(bob.blocks[0], 3)]

    ended(*play(tmp_path, synthetic_run(), prepare=prepare, tamper=watch), Cause.LISTS_DIFFER)
    assert {kind for _, _, kind in said} <= {"HELLO", "ALIVE", "OPEN", "COMMIT", "ABORT"}

    said.clear()
    play(tmp_path / "good", synthetic_run(), tamper=watch)
    about = [(speaker, kind) for speaker, exchange, kind in said if exchange in ("COMMIT", "SIFT")]
    reveals = [about.index((speaker, "REVEAL")) for speaker in ("alice", "bob")]
    tags = [about.index((speaker, "TAG")) for speaker in ("alice", "bob")]
    assert max(tags) < min(reveals)


def test_another_list_after_a_reveal(tmp_path):
    """The relay has seen settings, an endpoint dies: the relay may not choose anew."""

    def prepare(alice, bob, _network):
        def checkpoint(name):
            if name == "after sending sift reveal":
                for party in (alice, bob):
                    party.blocks = [without(party.blocks[0], 17)]
                raise Crash

        bob.start(checkpoint=checkpoint)

    alice, bob = play(tmp_path, synthetic_run(), prepare=prepare, starts=2)
    # Bob alone collects again; Alice still has the first list.
    ended(alice, bob, Cause.LIST_CHANGED)


def test_too_few_events(tmp_path):
    run = synthetic_run(500)
    ended(*play(tmp_path, run, security=Security()), Cause.NO_BOUND, Cause.NO_KEY)


def test_a_fixed_length_that_the_data_do_not_allow(tmp_path):
    security = Security(secrecy=0.3, length_rule="fixed", fixed_length_bits=50_000)
    ended(*play(tmp_path, synthetic_run(), security=security), Cause.NO_KEY)


def test_a_fixed_length_that_they_do(tmp_path):
    security = Security(secrecy=0.3, length_rule="fixed", fixed_length_bits=500)
    alice, bob = play(tmp_path, synthetic_run(), security=security, refill_share=0.0)
    same_verdict(alice, bob)
    assert [length for length, _ in alice.keys().values()] == [500]


class Careless(Cascade):
    """Leaves an error behind."""

    @property
    def bits(self):
        bits = super().bits.copy()
        if self._role.value == "bob":
            bits[11] ^= 1
        return bits


class Boastful(Cascade):
    """Counts less than was disclosed."""

    @property
    def disclosed_bits(self):
        return super().disclosed_bits - (self._role.value == "bob")


@pytest.mark.parametrize(
    ("engine", "cause"),
    [(Careless, Cause.VERIFICATION), (Boastful, Cause.LEDGERS_DIFFER)],
)
def test_correction_that_went_wrong(tmp_path, monkeypatch, engine, cause):
    method = agreement_module.ReconcileMethod("cascade", 1, engine, reveals=True, heavy=None)
    monkeypatch.setattr(agreement_module, "_CASCADE", method)
    ended(*play(tmp_path, synthetic_run(), prepare=None), cause)


@pytest.mark.parametrize("cause", [Cause.RANDOM_HEALTH, Cause.INTENSITY, Cause.SOURCE_RECORD])
@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_source_that_is_not_admitted(tmp_path, side, cause):
    def refuse(_block, _source):
        raise BlockAborted(cause, "as tests have it")

    def prepare(alice, bob, _network):
        (alice if side == "alice" else bob).start(admit=refuse)

    ended(*play(tmp_path, synthetic_run(), prepare=prepare), cause)


@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_source_without_its_record(tmp_path, side):
    run = synthetic_run()

    def fail(_slots):
        raise SlotRemoved("a slot in a range that was dropped")

    getattr(run, side).choices = fail
    ended(*play(tmp_path, run), Cause.SOURCE_RECORD)


def test_a_fault_of_ours_makes_no_key_and_tells_no_secret(tmp_path):
    run = synthetic_run()

    def fail(_slots):
        raise RuntimeError("the bits are 10110")

    run.bob.choices = fail
    alice, bob = play(tmp_path, run)
    ended(alice, bob, Cause.FAULT)
    assert all("10110" not in p.rows()["1/0"].detail for p in (alice, bob))


@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_dry_pool(tmp_path, side):
    def prepare(alice, bob, _network):
        (alice if side == "alice" else bob).reserve = Reserve(1 << 20, 32, 1e-6)

    ended(*play(tmp_path, synthetic_run(), prepare=prepare, pool_bytes=1 << 12), Cause.POOL_DRY)


def test_a_pool_that_runs_dry_in_the_middle(tmp_path):
    alice, bob = play(
        tmp_path, synthetic_run(blocks=2), pool_bytes=64 * 6, blocks=2, refill_share=0
    )
    states = set(same_verdict(alice, bob).values())
    assert BlockState.ABORTED in states
    causes = {r.cause for p in (alice, bob) for r in p.rows().values()}
    assert causes <= {"", str(Cause.POOL_DRY), str(Cause.REFUSED)}


def test_blocks_wait_for_key_that_those_before_them_give_back(tmp_path):
    """Three at once would run dry; one after the other they all pay."""
    run = synthetic_run(blocks=3)
    alice, bob = play(tmp_path, run, pool_bytes=64 * 5, blocks=3, refill_share=0.5)
    assert set(same_verdict(alice, bob).values()) == {BlockState.STORED}


def test_a_peer_that_says_nothing(tmp_path):
    def prepare(alice, bob, _network):
        async def never(_block):
            await asyncio.sleep(3600)

        bob.start(afford=never)
        alice.settings = replace(alice.settings, patience_s=0.3)

        async def stop_bob():
            while not any(r.state.final for r in alice.rows().values()):
                await asyncio.sleep(0.01)
            await bob.stop()
            bob.start()

        return stop_bob()

    alice, bob = play(tmp_path, synthetic_run(), prepare=prepare)
    ended(alice, bob, Cause.TIMEOUT)


@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_block_that_only_one_has_collected(tmp_path, side):
    """One came later than the relay's log reaches back."""
    run = synthetic_run(blocks=2)

    def prepare(alice, bob, _network):
        party = alice if side == "alice" else bob
        party.blocks = party.blocks[1:]

    def one_late(alice, bob):
        rows = [p.rows() for p in (alice, bob)]
        assert [r["1/1"].state for r in rows] == [BlockState.STORED] * 2
        assert {r["1/0"].state for r in rows if "1/0" in r} == {BlockState.ABORTED}
        assert alice.keys() == bob.keys()

    one_late(*play(tmp_path, run, prepare=prepare))


def test_a_relay_that_breaks_the_rules(tmp_path):
    """The block ends on both sides, though one of them alone has seen it; the relay is put away."""
    run = synthetic_run(blocks=2)
    second = BlockId(1, 1)

    def prepare(alice, bob, _network):
        async def feed():
            await alice.pipeline.begun(BlockBegun(BlockId(1, 0), 0))
            await alice.pipeline.collected(run.blocks[0])
            await alice.pipeline.begun(BlockBegun(second, 5))
            breach = AnnouncementBreach(Cause.DUPLICATE_SLOT, second, "slot 7 twice")
            await alice.pipeline.breached(breach)

        alice._feed = feed

    alice, bob = play(tmp_path, run, prepare=prepare, blocks=2)
    ends = same_verdict(alice, bob)
    assert ends == {"1/0": BlockState.STORED, "1/1": BlockState.ABORTED}
    assert {p.rows()["1/1"].cause for p in (alice, bob)} == {str(Cause.DUPLICATE_SLOT)}
    store = BlockStore(alice.folder, "alice")
    assert store.quarantined("charles")[0] == str(Cause.DUPLICATE_SLOT)
    store.close()
