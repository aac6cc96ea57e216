"""The key store and its KEKs as a KME's YAML has them: for the daemon and for `bellrelay keys`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from .audit_record import Audit
from .kek_file import FileKek
from .key_store import KeyStore, StoreSettings
from .kme_config import KekSource, KmeConfig
from .sealing import Keyring, Sealer

__all__ = ["open_keyring", "open_store", "store_url"]


def open_keyring(config: KmeConfig) -> Keyring:
    """The KEK, and those before it.

    Raises
    ------
    SealerUnavailable, OSError
        One of them cannot be used.
    """
    return Keyring(_sealer(config.kek), [_sealer(source) for source in config.kek.previous])


def _sealer(source: KekSource) -> Sealer:
    if source.file is not None:
        return FileKek(source.file)
    assert source.pkcs11 is not None
    from .kek_pkcs11 import Pkcs11Kek, read_pin

    hsm = source.pkcs11
    return Pkcs11Kek(hsm.module, hsm.token, partial(read_pin, hsm.pin_file), hsm.key)


def store_url(config: KmeConfig) -> str:
    """Where the store's database is."""
    database = config.store
    if database.url is not None:
        return database.url
    assert database.directory is not None
    return str(database.directory / "keys.sqlite")


def open_store(
    config: KmeConfig,
    audit: Audit,
    clock: Callable[[], int] = time.time_ns,
    patience_s: float = 8.0,
) -> KeyStore:
    """The store.

    Raises
    ------
    StoreError, SealerError, OSError
        It cannot be used.
    """
    keys = config.keys
    settings = StoreSettings(
        config.unit_bits,
        keys.max_age_s,
        keys.margin_s,
        keys.fetch_within_s,
        keys.newest_first,
        keys.keep_s,
    )
    return KeyStore(
        store_url(config),
        config.kme_id,
        config.key_pairs(),
        open_keyring(config),
        audit,
        settings,
        clock,
        patience_s,
    )
