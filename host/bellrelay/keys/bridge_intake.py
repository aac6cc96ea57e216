"""From the key store into a bridge's backlog: keys that its SAE is owed as a slave."""

from __future__ import annotations

from functools import partial

from .bridge_backlog import BridgeBacklog
from .bridge_settings import BridgeSettings
from .key_requests import FetchRefused
from .key_store import KeyStore
from .store_deliver import discard_keys

__all__ = ["take_owed"]


def take_owed(settings: BridgeSettings, store: KeyStore, backlog: BridgeBacklog, limit: int) -> int:
    """Fetch what other KMEs' masters have set aside for the bridge's SAE; how many keys.

    Each key leaves the store and enters the backlog in one transaction. Raises what the store
    raises; then nothing was taken.
    """
    requests = store.owed_to(settings.sae, limit, settings.settle_s)
    if not requests:
        return 0
    found = store.fetch(requests, partial(backlog.take, settings.name))
    discard_keys(found)
    return sum(len(each) for each in found if not isinstance(each, FetchRefused))
