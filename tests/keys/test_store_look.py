"""A look at a KME's store in PostgreSQL: before there is one, after, and while nobody answers."""

import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect
from two_sites import TwoSites, free_port

from bellrelay.keys.database import database_url
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.open_store import open_keyring, open_store
from bellrelay.keys.provenance import FinishedKey, Provenance
from bellrelay.keys.sealing import Keyring
from bellrelay.keys.store_errors import StoreError, StoreUnavailable
from bellrelay.keys.store_look import look_at_store


class Unrecorded:
    def record(self, *_events):
        pass


def sites_at(folder: Path, url: str) -> TwoSites:
    folder.mkdir(exist_ok=True)
    return TwoSites(folder, [("vpn", "a", "b", 1)], store_urls={"kme-a": url, "kme-b": url})


@pytest.mark.needs_server
def test_a_database_is_looked_at_and_left_alone(tmp_path, postgresql):
    url = postgresql.new_database()
    sites = sites_at(tmp_path / "sites", url)
    config = load_kme_config(sites.config("kme-a"))
    keyring = open_keyring(config)
    assert look_at_store(config, keyring) is False
    engine = create_engine(database_url(url))
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    open_store(config, Unrecorded()).close()
    assert look_at_store(config, keyring) is True
    other = load_kme_config(sites.config("kme-b"))
    with pytest.raises(StoreError, match="made with kme_id kme-a, not kme-b"):
        look_at_store(other, None)
    # Once key is sealed, another KEK is not taken for it, whatever it calls itself.
    assert look_at_store(config, open_keyring(other)) is True
    store = open_store(config, Unrecorded())
    now = time.time_ns()
    store.add_block(
        FinishedKey(Provenance(str(uuid.uuid4()), "charles", 1, 0, now, now, 512), bytes(64))
    )
    store.close()
    assert look_at_store(config, keyring) is True
    with pytest.raises(StoreError, match=r"sealed under file:\w+, which is not configured"):
        look_at_store(config, open_keyring(other))
    (stranger,) = open_keyring(other)
    stranger._kek_id = keyring.kek_id
    with pytest.raises(StoreError, match="not the KEK that it was"):
        look_at_store(config, Keyring(stranger))


def test_nobody_answers_and_no_password_is_told(tmp_path):
    url = f"postgresql://jane:swordfish@127.0.0.1:{free_port()}/keys"
    config = load_kme_config(sites_at(tmp_path / "sites", url).config("kme-a"))
    with pytest.raises(StoreUnavailable) as told:
        look_at_store(config, None)
    assert "swordfish" not in str(told.value)
