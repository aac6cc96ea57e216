"""The store: steps that blocks take, keys that appear at once or never, one owner."""

import sqlite3
import stat
from contextlib import closing
from random import Random

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


OLD = """
CREATE TABLE block (
    acquisition INTEGER NOT NULL, number INTEGER NOT NULL, state INTEGER NOT NULL,
    cause TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    sequence INTEGER NOT NULL, digest BLOB NOT NULL DEFAULT x'',
    record TEXT NOT NULL DEFAULT '{}', begun_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    PRIMARY KEY (acquisition, number)
) WITHOUT ROWID;
CREATE TABLE verdict (
    acquisition INTEGER NOT NULL, number INTEGER NOT NULL, deliver INTEGER,
    tag_index INTEGER NOT NULL, tag_key BLOB NOT NULL,
    PRIMARY KEY (acquisition, number)
) WITHOUT ROWID;
CREATE TABLE key (
    key_id TEXT PRIMARY KEY, acquisition INTEGER NOT NULL, number INTEGER NOT NULL,
    confirmed INTEGER NOT NULL, length INTEGER NOT NULL, packed BLOB NOT NULL,
    to_pool BLOB NOT NULL, record TEXT NOT NULL, stored_ns INTEGER NOT NULL,
    UNIQUE (acquisition, number)
) WITHOUT ROWID;
CREATE INDEX block_changed ON block (changed_ns);
CREATE TABLE relay (
    relay_id TEXT PRIMARY KEY, cause TEXT NOT NULL, detail TEXT NOT NULL, since_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE about (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO about VALUES ('owner', 'alice');
INSERT INTO block VALUES (1, 0, 6, '', '', 3, x'07', '{"length": 8}', 10, 20);
INSERT INTO block VALUES (1, 1, 0, '', '', 9, x'', '{}', 11, 21);
INSERT INTO key VALUES ('k', 1, 0, 1, 8, x'a5', x'', '{}', 20);
INSERT INTO verdict VALUES (1, 0, 1, 77, x'01');
INSERT INTO relay VALUES ('charles', 'duplicate-slot', 'slot 7 twice', 5);
"""


def old_store(folder):
    folder.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder / "blocks.sqlite")) as db:
        db.executescript(OLD)


def test_a_store_of_before_there_were_several_relays_is_taken_over(tmp_path):
    old_store(tmp_path / "store")
    for _ in range(2):
        store = BlockStore(tmp_path / "store", "alice", ["charles", "dora"])
        rows = {str(row.block): row for row in store.blocks()}
        assert {b: r.state for b, r in rows.items()} == {
            "1/0": BlockState.STORED,
            "1/1": BlockState.COLLECTING,
        }
        assert rows["1/0"].digest == b"\x07"
        (key,) = store.keys()
        assert (key.key_id, key.block, key.packed) == ("k", BlockId(1, 0), b"\xa5")
        assert store.verdict(BlockId(1, 0)).tag_index == 77
        assert store.quarantined("charles")[0] == "duplicate-slot"
        store.close()


def test_blocks_of_two_relays_have_the_same_numbers_and_nothing_else_in_common(tmp_path):
    store = BlockStore(tmp_path / "store", "alice", ["charles", "dora"])
    one, other = BlockId(1, 0), BlockId(1, 0, 1)
    store.begin(one, 4)
    store.begin(other, 9)
    store.advance(one, BlockState.ABORTED, None, Cause.NO_KEY)
    assert store.find(other).state is BlockState.COLLECTING
    assert store.commit_list(other, b"x", {})
    assert not store.find(one).digest
    assert [r.block for r in store.open_blocks()] == [other]
    assert (store.latest(0).block, store.latest(1).block) == (one, other)
    assert (str(one), str(other)) == ("1/0", "1/0@1")
    store.close()


def test_a_block_of_which_only_the_peer_has_said_is_placed_when_it_comes(tmp_path):
    store = BlockStore(tmp_path / "store", "alice")
    store.begin(BlockId(1, 0), 4)
    store.begin(BlockId(1, 1), 0)
    assert store.latest().block == BlockId(1, 1)
    assert store.latest(placed=True).block == BlockId(1, 0)
    store.begin(BlockId(1, 1), 8)
    store.begin(BlockId(1, 1), 99)
    assert store.latest(placed=True).sequence == 8
    store.close()


def test_another_order_of_relays_makes_no_block_anothers(tmp_path):
    store = BlockStore(tmp_path / "store", "alice", ["charles", "dora"])
    for relay in (0, 1):
        store.begin(BlockId(1, relay, relay), 1, {"relay_id": ["charles", "dora"][relay]})
    store.close()
    store = BlockStore(tmp_path / "store", "alice", ["dora", "eve", "charles"])
    named = {r.block.relay: r.record["relay_id"] for r in store.blocks()}
    assert named == {0: "dora", 2: "charles"}
    store.close()
    # One that is left out: what may begin again ends, and its rows stay.
    store = BlockStore(tmp_path / "store", "alice", ["dora"])
    assert [r.block for r in store.open_blocks()] == [BlockId(1, 1, 0)]
    ended = [r for r in store.blocks() if r.record["relay_id"] == "charles"]
    assert [r.cause for r in ended] == [Cause.NOT_COLLECTED]
    store.close()


def test_a_relay_is_not_left_out_while_a_block_of_it_is_too_far_on(tmp_path):
    store = BlockStore(tmp_path / "store", "alice", ["charles", "dora"])
    block = BlockId(1, 0, 1)
    store.begin(block, 1)
    for state in (BlockState.SIFTED, BlockState.ESTIMATED):
        store.advance(block, state)
    store.close()
    with pytest.raises(StoreError, match="1 blocks of relay dora"):
        BlockStore(tmp_path / "store", "alice", ["charles"])
    store = BlockStore(tmp_path / "store", "alice", ["dora", "charles"])
    assert store.find(BlockId(1, 0, 0)).state is BlockState.ESTIMATED
    store.close()


def test_a_store_of_a_later_version_is_refused(tmp_path):
    BlockStore(tmp_path / "store", "alice").close()
    with closing(sqlite3.connect(tmp_path / "store" / "blocks.sqlite")) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="form 9"):
        BlockStore(tmp_path / "store", "alice")


def counted(store):
    """What the store says of numbers, and what its rows say."""
    rows = store.blocks()
    by_row = {}
    for row in rows:
        names = [row.state.word]
        if row.state is BlockState.ABORTED:
            names.append(f"aborted:{row.cause}")
        for name in names:
            by_row[name] = by_row.get(name, 0) + 1
    keys = store.keys()  # none was handed over
    return (store.counts(), store.key_totals()), (
        by_row,
        {"number": len(keys), "bits": sum(key.length for key in keys)},
    )


def test_numbers_are_those_of_the_rows_whatever_happens(store):
    random = Random(1)
    for number in range(120):
        block = BlockId(1, number)
        store.begin(block, 0)
        store.begin(block, 5)
        end = random.randrange(9)
        for state in WAY[: min(end, 4)]:
            store.advance(block, state)
        if end >= 5:
            store.put_pending(key(block, f"k{number}"), StoredVerdict(None, 5, b"s" * 32))
        if end >= 7:
            store.confirm(block)
        elif random.random() < 0.5:
            store.advance(block, BlockState.ABORTED, None, random.choice(list(Cause)))
        said, is_so = counted(store)
        assert said == is_so
    assert said[1]["number"] > 10
    assert len(said[0]) > 10


def test_a_store_that_nobody_counted_is_counted_once(tmp_path, store):
    amplified(store)
    store.confirm(BLOCK)
    amplified(store, BlockId(3, 8), "l")
    before = counted(store)
    store.close()
    with closing(sqlite3.connect(store.path)) as db:
        for trigger in ("block_begins", "block_advances", "block_goes", "key_is_confirmed"):
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("DROP TABLE block_tally")
        db.execute("DROP TABLE key_tally")
        db.commit()
    for _ in range(2):
        with closing(BlockStore(tmp_path / "store", "alice")) as again:
            assert counted(again) == before
            assert before[0] == before[1]


def test_the_last_that_ended_and_the_last_with_a_key(store):
    amplified(store)
    store.confirm(BLOCK)
    for number in range(8, 14):
        store.begin(BlockId(3, number), 0)
        store.advance(BlockId(3, number), BlockState.ABORTED, None, Cause.TIMEOUT)
    store.begin(BlockId(3, 14), 0)
    assert [row.block.index for row in store.ended_last(3)] == [7, 11, 12, 13]
    assert [row.block.index for row in store.ended_last(100)] == [7, *range(8, 14)]


def test_what_matters_now_is_found_without_reading_the_past(store):
    """Years of blocks lie in the file."""
    plans = []
    store._db.set_trace_callback(plans.append)
    store.counts()
    store.key_totals()
    store.open_blocks()
    store.ended_since(5)
    store.keys()
    store.pool_parts()
    store._db.set_trace_callback(None)
    assert len(plans) == 6
    for query in plans:
        steps = [row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {query}")]
        assert "SCAN block" not in steps, query
        assert "SCAN key" not in steps, query
