"""The store: steps that blocks take, keys that appear at once or never, one owner."""

import sqlite3
import stat

import pytest

from bellrelay.endpoint.block import BlockId, BlockState, Cause, allowed_steps
from bellrelay.endpoint.block_store import BlockStore, StoredKey, StoredVerdict, StoreError

BLOCK = BlockId(3, 7)
WAY = [s for s in BlockState if s not in (BlockState.COLLECTING, BlockState.ABORTED)]


@pytest.fixture
def store(tmp_path):
    store = BlockStore(tmp_path / "store", "alice")
    yield store
    store.close()


def key(block=BLOCK, name="k"):
    return StoredKey(name, block, False, 12, {"leak_ec": 5}, 1, b"\xa7\xa0", b"\xb7")


def amplified(store, block=BLOCK, name="k"):
    store.begin(block, 0)
    for state in (BlockState.SIFTED, BlockState.ESTIMATED, BlockState.RECONCILED):
        store.advance(block, state)
    store.advance(block, BlockState.VERIFIED)
    store.put_pending(key(block, name), StoredVerdict(None, 5, b"s" * 32))


def test_only_its_owner_reads_it(store):
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) & 0o077 == 0


def test_it_belongs_to_one_endpoint(tmp_path, store):
    with pytest.raises(StoreError, match="alice"):
        BlockStore(tmp_path / "store", "bob")


def test_every_step_that_is_none_is_refused(store):
    for number, state in enumerate(BlockState):
        block = BlockId(1, number)
        for target in BlockState:
            store.begin(block, 0)
            row = store.find(block)
            if target in allowed_steps(row.state):
                continue
            with pytest.raises(StoreError):
                store.advance(block, target)
        del state
    with pytest.raises(StoreError):
        store.advance(BlockId(9, 9), BlockState.SIFTED)


def test_nothing_follows_an_end():
    assert allowed_steps(BlockState.STORED) == allowed_steps(BlockState.ABORTED) == frozenset()
    for state in WAY[:-1]:
        assert BlockState.ABORTED in allowed_steps(state)


def test_from_parities_on_there_is_no_way_back():
    for state in BlockState:
        back = BlockState.COLLECTING in allowed_steps(state)
        assert back == (state <= BlockState.SIFTED)


def test_a_key_is_there_for_nobody_until_it_is_confirmed(store):
    amplified(store)
    assert store.keys() == []
    assert store.pool_parts() == []
    store.confirm(BLOCK)
    (found,) = store.keys()
    assert (found.length, found.packed, found.confirmed) == (12, b"\xa7\xa0", True)
    assert store.pool_parts() == [(BLOCK, "k", b"\xb7")]
    store.forget_pool_part("k")
    assert store.pool_parts() == []
    assert store.verdict(BLOCK).deliver is True


def test_the_pending_key_of_an_aborted_block_is_destroyed(store):
    amplified(store)
    store.advance(BLOCK, BlockState.ABORTED, None, Cause.INTERRUPTED)
    assert store.keys() == store.keys(confirmed=False) == []
    assert store.verdict(BLOCK).deliver is False
    with pytest.raises(StoreError):
        store.confirm(BLOCK)


def test_the_first_list_of_a_block_is_the_only_one(store):
    store.begin(BLOCK, 5)
    assert store.commit_list(BLOCK, b"d" * 32, {"said": 1})
    assert store.commit_list(BLOCK, b"d" * 32, {"said": 2})
    store.advance(BLOCK, BlockState.SIFTED)
    store.advance(BLOCK, BlockState.COLLECTING)
    assert not store.commit_list(BLOCK, b"e" * 32, {"said": 3})
    # And so is what was put down with it.
    assert store.find(BLOCK).record == {"said": 1}


def test_what_is_written_is_there_for_the_next_process(tmp_path, store):
    amplified(store)
    # Another connection, as after a crash: nothing waits in this one.
    other = BlockStore(tmp_path / "store", "alice")
    row = other.find(BLOCK)
    assert row.state is BlockState.AMPLIFIED
    assert row.record == {"leak_ec": 5}
    assert len(other.keys(confirmed=False)) == 1
    other.close()
    with sqlite3.connect(store.path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_beginning_again_changes_nothing(store):
    store.begin(BLOCK, 5)
    store.advance(BLOCK, BlockState.SIFTED, {"pulses": 9})
    store.begin(BLOCK, 8)
    row = store.find(BLOCK)
    assert (row.sequence, row.state, row.record) == (5, BlockState.SIFTED, {"pulses": 9})


def test_counts_and_the_latest(store):
    for index, acquisition in ((0, 1), (5, 1), (2, 2)):
        store.begin(BlockId(acquisition, index), 0)
    store.advance(BlockId(1, 5), BlockState.ABORTED, None, Cause.NO_KEY)
    assert store.counts() == {"collecting": 2, "aborted": 1, "aborted:no-key": 1}
    assert store.latest().block == BlockId(2, 2)
    assert [r.block for r in store.open_blocks()] == [BlockId(1, 0), BlockId(2, 2)]


def test_quarantine_stays_until_somebody_ends_it(tmp_path, store):
    store.quarantine("charles", Cause.DUPLICATE_SLOT, "slot 5")
    store.quarantine("charles", Cause.MALFORMED, "later")
    other = BlockStore(tmp_path / "store", "alice")
    assert other.quarantined("charles")[:2] == ("duplicate-slot", "slot 5")
    assert other.release("charles")
    assert not other.release("charles")
    other.close()
    assert store.quarantined("charles") is None


def test_no_key_is_shown():
    for secret in (key(), StoredVerdict(True, 5, b"\xa7" * 32)):
        assert "a7" not in repr(secret)
        assert "\\xb7" not in repr(secret)


def test_a_store_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        BlockStore(tmp_path / "file" / "store", "alice")


def test_blocks_that_have_ended_since(store):
    amplified(store)
    store.begin(BlockId(3, 8), 0)
    store.begin(BlockId(3, 9), 0)
    assert store.ended_since(0) == []
    store.confirm(BLOCK)
    (first,) = store.ended_since(0)
    assert first.block == BLOCK
    store.advance(BlockId(3, 9), BlockState.ABORTED, None, Cause.NO_BOUND)
    assert [row.block for row in store.ended_since(first.changed_ns)] == [BlockId(3, 9)]
    assert [row.block for row in store.ended_since(first.changed_ns - 1)] == [BLOCK, BlockId(3, 9)]
