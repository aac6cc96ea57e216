"""A look at a key store from outside: whether it is this KME's, and its KEKs are those that it met.

Nothing is written, and no file is made, whether the KME runs or not.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine, inspect, select
from sqlalchemy.exc import ArgumentError, DBAPIError

from bellrelay.service.private_file import require_private_file
from bellrelay.service.read_only_sqlite import read_only

from . import schema
from .database import database_url
from .kme_config import KmeConfig
from .known_keks import require_configured, require_known, sealed_under
from .open_store import store_url
from .sealing import Keyring
from .store_errors import StoreError, StoreUnavailable

__all__ = ["look_at_store"]

_CONNECT_S = 3


def look_at_store(config: KmeConfig, keyring: Keyring | None) -> bool:
    """Whether there is a store already; the first start of a KME makes it.

    Parameters
    ----------
    keyring
        Held against the KEKs that the store has met; None: they are not looked at.

    Raises
    ------
    StoreUnavailable
        The database does not answer.
    StoreError, SealerUnavailable, OSError
        It is another KME's or version's, or cannot be used; a KEK is not what it was.
    """
    url = database_url(store_url(config))
    name = url.render_as_string(hide_password=True)
    if url.drivername == "sqlite":
        path = Path(str(url.database))
        if not path.exists():
            return False
        require_private_file(path)
        engine = create_engine("sqlite://", creator=lambda: read_only(path))
    else:
        try:
            engine = create_engine(
                url, hide_parameters=True, connect_args={"connect_timeout": _CONNECT_S}
            )
        except ArgumentError:
            raise StoreError("the database's URL cannot be used") from None
    try:
        return _look(engine, config, keyring, name)
    except (DBAPIError, sqlite3.Error) as error:
        said = str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__]
        raise StoreUnavailable(f"{name}: {said[0]}") from None
    finally:
        engine.dispose()


def _look(engine: Engine, config: KmeConfig, keyring: Keyring | None, name: str) -> bool:
    with engine.connect() as connection:
        if not inspect(connection).has_table(schema.about.name):
            return False
        found = {row.name: row.value for row in connection.execute(select(schema.about))}
        for key, value in schema.about_store(config.kme_id, config.unit_bits).items():
            if found.get(key, value) != value:
                raise StoreError(f"{name}: made with {key} {found[key]}, not {value}")
        if keyring is not None:
            require_configured(sealed_under(connection), keyring, name)
            columns = schema.kek.c
            rows = connection.execute(select(columns.kek_id, columns.known))
            known = {row.kek_id: bytes(row.known) for row in rows}
            for sealer in keyring:
                if sealer.kek_id in known:
                    require_known(sealer, known[sealer.kek_id])
    return True
