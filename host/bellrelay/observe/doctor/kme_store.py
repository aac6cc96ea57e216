"""A KME's store and KEK: whether the database answers and fits, and the KEK is the same."""

from __future__ import annotations

from collections.abc import Iterator

from bellrelay.keys.kme_config import KmeConfig
from bellrelay.keys.open_store import open_keyring
from bellrelay.keys.sealing import Keyring, SealerError
from bellrelay.keys.store_errors import StoreError, StoreUnavailable
from bellrelay.keys.store_look import look_at_store

from .finding import Finding, State, failed, passed, unknown, warning
from .needs import PrivateFile
from .private_files import AS_THE_DAEMON, check_private_files

__all__ = ["check_kme_store"]


def check_kme_store(config: KmeConfig, secrets: tuple[PrivateFile, ...]) -> Iterator[Finding]:
    """KEK first, then the store that it must fit; secrets : private files of the KEKs."""
    findings, keyring = _kek(config, secrets)
    yield from findings
    yield from _store(config, keyring)


def _kek(
    config: KmeConfig, secrets: tuple[PrivateFile, ...]
) -> tuple[list[Finding], Keyring | None]:
    check = "KEK"
    unusable = [f for f in check_private_files(secrets) if f.state is not State.PASSED]
    if unusable:
        return [unknown(check, f"not opened: {unusable[0].detail}")], None
    try:
        keyring = open_keyring(config)
    except (SealerError, OSError) as error:
        return [failed(check, error, "docs/reference/key-store.md; docs/runbooks/kek-due.md")], None
    except ModuleNotFoundError as error:
        return [unknown(check, f"not opened: {error}")], None
    where = "in the HSM" if config.kek.pkcs11 is not None else "in a file, for the lab"
    previous = len(config.kek.previous)
    more = f", and {previous} before it" if previous else ""
    return [passed(check, f"kek: it is there and seals, {where}{more}")], keyring


def _store(config: KmeConfig, keyring: Keyring | None) -> Iterator[Finding]:
    check = "key store"
    in_file = config.store.directory is not None
    where = "store.directory" if in_file else "store.url"
    answers = "ls -l on the file" if in_file else "systemctl status postgresql; pg_isready"
    try:
        there = look_at_store(config, keyring)
    except StoreUnavailable as error:
        yield failed(check, error, f"{answers}; docs/reference/key-store.md")
    except PermissionError:
        yield unknown(check, f"{where}: this user may not look there", AS_THE_DAEMON)
    except (StoreError, SealerError, OSError) as error:
        yield failed(check, error, "docs/reference/key-store.md")
    except ModuleNotFoundError as error:
        yield unknown(check, f"{where}: not asked: {error}")
    else:
        if not there:
            yield passed(check, f"{where}: no store yet; the first start makes it")
        elif keyring is None:
            yield warning(check, f"{where}: it fits; its KEK was not seen", "see KEK, above")
        else:
            yield passed(check, f"{where}: it answers, its form fits, and so does the KEK")
