"""What a KME is told of an endpoint's keys."""

from bellrelay.cli.endpoint_keys import EndpointKeys
from bellrelay.endpoint.block import BlockId, BlockState
from bellrelay.endpoint.block_store import BlockStore, StoredKey, StoredVerdict


def put(store, block, name, record):
    store.begin(block, 1, record)
    for state in range(BlockState.SIFTED, BlockState.AMPLIFIED):
        store.advance(block, BlockState(state))
    key = StoredKey(name, block, False, 8, {}, 7, b"\xa5", b"")
    store.put_pending(key, StoredVerdict(None, 0, b"t" * 32))
    store.confirm(block)


def test_a_key_is_told_with_the_relay_whose_block_it_is_of(tmp_path):
    store = BlockStore(tmp_path, "alice", ["charles", "diana"])
    put(store, BlockId(1, 0), "of-before", {})
    put(store, BlockId(1, 1), "first", {"relay_id": "charles"})
    put(store, BlockId(1, 1, 1), "second", {"relay_id": "diana"})
    found = {k.key_id: k.provenance for k in EndpointKeys(store, "charles").finished()}
    assert {name: p.relay for name, p in found.items()} == {
        "of-before": "charles",
        "first": "charles",
        "second": "diana",
    }
    store.close()
