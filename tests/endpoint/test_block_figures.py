"""What /health and /metrics say of the blocks that have ended, against a store that is known."""

import pytest

from bellrelay.endpoint.block import BlockId, BlockState, Cause
from bellrelay.endpoint.block_figures import BlockFigures
from bellrelay.endpoint.block_store import BlockStore, StoredKey, StoredVerdict
from bellrelay.endpoint.metrics import _histograms

N = [[100, 0, 0, 0], [0, 40, 0, 0], [0, 0, 60, 0], [0, 0, 0, 0]]
M = [[1, 0, 0, 0], [0, 10, 0, 0], [0, 0, 20, 0], [0, 0, 0, 0]]
RECORD = {
    "pulses": 1000,
    "sifted_bits": 100,
    "tallies": {"psi_minus": {"n": N, "m": M}, "psi_plus": {"n": N, "m": M}},
    "error_rate_z": 0.01,
    "phase_error_upper": 0.07,
    "key_bits": 20,
}


@pytest.fixture
def store(tmp_path):
    store = BlockStore(tmp_path / "store", "alice")
    yield store
    store.close()


def stored(store, block):
    store.begin(block, 0)
    for state in (BlockState.SIFTED, BlockState.ESTIMATED, BlockState.RECONCILED):
        store.advance(block, state, RECORD)
    store.advance(block, BlockState.VERIFIED, RECORD)
    key = StoredKey(f"k{block.index}", block, False, 20, RECORD, 1, b"\xa7\xa0\x00", b"\xb7")
    store.put_pending(key, StoredVerdict(None, 5, b"s" * 32))
    store.confirm(block)


def test_nothing_is_said_before_a_block_has_ended(store):
    figures = BlockFigures(store)
    store.begin(BlockId(1, 0), 0)
    assert set(figures.status().values()) == {None}


def test_the_last_block_with_key(store):
    stored(store, BlockId(1, 0))
    figures = BlockFigures(store).status()
    assert figures["error_z"] == 0.01
    assert figures["error_x"] == pytest.approx(0.3)
    assert figures["key_bits_per_pulse"] == pytest.approx(0.02)
    assert figures["phase_error_upper"] == 0.07
    assert figures["last_key_utc_ns"] > 1e18
    assert figures["seconds"] >= 0.0


def test_a_block_that_ends_early_leaves_what_it_does_not_know(store):
    figures = BlockFigures(store)
    stored(store, BlockId(1, 0))
    before = figures.status()
    store.begin(BlockId(1, 1), 0)
    store.advance(BlockId(1, 1), BlockState.ABORTED, None, Cause.NOT_COLLECTED)
    after = figures.status()
    assert after["block"] != before["block"]
    unchanged = ("error_z", "error_x", "key_bits_per_pulse", "last_key_utc_ns")
    assert [after[k] for k in unchanged] == [before[k] for k in unchanged]


def test_every_block_is_counted_between_two_looks(store):
    figures = BlockFigures(store)
    stored(store, BlockId(1, 0))
    figures.status()
    # What ended before the first look is not counted; what comes is, once.
    for index in (1, 2, 3):
        stored(store, BlockId(1, index))
    store.begin(BlockId(1, 4), 0)
    store.advance(BlockId(1, 4), BlockState.ABORTED, None, Cause.TIMEOUT)
    for _ in range(2):
        figures.status()
        counted = figures.histograms()
        assert sum(counted["seconds"]["counts"]) == 3
        assert sum(counted["errors"]["Z"]["counts"]) == 3
        assert counted["errors"]["Z"]["sum"] == pytest.approx(0.03)
        assert counted["errors"]["X"]["sum"] == pytest.approx(0.9)


def test_what_prometheus_is_told_of_every_block(store):
    figures = BlockFigures(store)
    figures.status()
    stored(store, BlockId(1, 0))
    figures.status()
    families = {f.name: f for f in _histograms(figures.histograms())}
    samples = families["bellrelay_endpoint_block_error_ratio"].samples
    at = {
        s.labels["le"]: s.value for s in samples if s.labels.get("le") and s.labels["basis"] == "Z"
    }
    assert (at["0.005"], at["0.01"], at["+Inf"]) == (0.0, 1.0, 1.0)
