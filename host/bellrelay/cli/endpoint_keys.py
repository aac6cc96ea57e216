"""Finished keys of an endpoint, as a KME takes them over: the two know nothing of each other."""

from __future__ import annotations

from collections.abc import Sequence

from bellrelay.endpoint.block_store import BlockStore
from bellrelay.keys.provenance import FinishedKey, Provenance

__all__ = ["EndpointKeys"]


class EndpointKeys:
    """See :class:`bellrelay.keys.intake.FinishedKeys`.

    Parameters
    ----------
    store
        Of the endpoint; it may be running.
    relay
        Its relay's id, for the record of keys from before blocks named theirs.
    """

    def __init__(self, store: BlockStore, relay: str) -> None:
        self._store = store
        self._relay = relay

    def finished(self) -> Sequence[FinishedKey]:
        """Confirmed keys that were not handed over yet, in the order of their blocks."""
        found = []
        for key in self._store.keys():  # noqa: SIM118
            row = self._store.find(key.block)
            facts = Provenance(
                key.key_id,
                self._relay if row is None else row.record.get("relay_id", self._relay),
                key.block.acquisition,
                key.block.index,
                key.stored_ns if row is None else row.begun_ns,
                key.stored_ns,
                key.length,
                key.record,
            )
            if key.length:
                found.append(FinishedKey(facts, bytearray(key.packed)))
        return found

    def forget(self, key_id: str) -> None:
        """The KME has it."""
        self._store.forget_key(key_id)
