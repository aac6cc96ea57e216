"""What an endpoint makes key of and with: plugins, the key pool, the store of its blocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.block_store_form import FORM
from bellrelay.endpoint.config import EndpointConfig
from bellrelay.endpoint.key_pool import KeyPoolError, look_at_pool
from bellrelay.endpoint.sender_plugin import load_sender
from bellrelay.endpoint.source_plugin import load_source
from bellrelay.endpoint.timetable import windows_of
from bellrelay.service.private_file import UnsafeMode
from bellrelay.service.read_only_sqlite import read_only
from bellrelay.settings.model import ConfigError
from bellrelay.settings.plugins import installed_plugins

from .directories import StorageFault
from .finding import Finding, failed, passed, unknown, warning
from .private_files import AS_THE_DAEMON, open_to_others
from .running import Running

__all__ = ["check_block_store", "check_key_pool", "check_plugins"]

_LAB = "bellrelay.lab"
_LOW = 4
"""So many times the reserve: with less, the pool is told to be low."""


def check_plugins(config: EndpointConfig) -> Iterator[Finding]:
    """Sources, the sender, devices of the laboratory, the timetable: as the daemon loads them."""
    check = "plugins"
    for key, source in config.sources:
        try:
            load_source(config, source, key)
        except (ConfigError, ImportError, OSError) as error:
            yield failed(check, error, "docs/reference/sources.md; pip list")
        else:
            yield passed(check, f"{key}: {source.plugin} takes its options")
    if config.sender is not None:
        try:
            load_sender(config)
        except (ConfigError, ImportError, OSError) as error:
            yield failed(check, error, "docs/how-to/lab-hardware.md; pip list")
        else:
            yield passed(check, f"sender: {config.sender.plugin} takes its options")
    installed = installed_plugins(_LAB)
    for name, device in config.lab.items():
        key = f"lab.{name}.plugin"
        if device.plugin in installed:
            yield passed(check, f"{key}: {device.plugin} is installed")
            continue
        there = f"{', '.join(sorted(installed)) or 'none'}, as installed here"
        missing = config.error(key, device.plugin, there)
        yield failed(check, missing, "docs/how-to/lab-hardware.md; pip list")
    if config.timetable is not None:
        try:
            windows_of(config)
        except (ConfigError, OSError) as error:
            yield failed(check, error, "bellrelay plan --timetable; docs/how-to/several-relays.md")
        else:
            yield passed(check, f"timetable.file: {config.timetable.file} has this pair's windows")


def check_key_pool(config: EndpointConfig, running: Running | None) -> Iterator[Finding]:
    """How full it is; by the daemon's own word while that runs."""
    check = "key pool"
    path, reserve = config.key_pool.file, config.key_pool.reserve_bits
    said = (running.health or {}).get("key_pool") if running is not None else None
    if said is not None:
        send, receive = int(said["bits"]), int(said["peer_bits"])
    else:
        try:
            look = look_at_pool(path, Role(config.role))
        except KeyPoolError as error:
            make = (
                f"bellrelay endpoint --config {config.origin} --create-pool SECRET, on both sides"
            )
            yield failed(check, error, make)
            return
        except UnsafeMode as error:
            yield open_to_others(check, "key_pool.file", error)
            return
        except OSError as error:
            yield unknown(check, f"key_pool.file: {path}: {error.strerror}", AS_THE_DAEMON)
            return
        send, receive = 8 * look.send_left, 8 * look.receive_left
    left = min(send, receive)
    line = f"key_pool.file: {path}: {send} bits left for our tags, {receive} for the peer's"
    refill = "docs/runbooks/tag-key-short.md"
    if left <= reserve:
        yield failed(check, f"{line}: no block begins below the reserve of {reserve}", refill)
    elif left < _LOW * reserve:
        yield warning(check, f"{line}: not much above the reserve of {reserve}", refill)
    else:
        yield passed(check, line)


def check_block_store(config: EndpointConfig) -> Iterator[Finding]:
    """Whether the store can be read, is this endpoint's, and of a form that this version knows."""
    check = "block store"
    path = config.store.directory / "blocks.sqlite"
    moved = "docs/how-to/run-daemons.md, back up; move it away only if its keys may be lost"
    try:
        db = read_only(path)
    except FileNotFoundError:
        yield passed(check, f"{path}: not there yet; the first start makes it")
        return
    except (OSError, sqlite3.Error) as error:
        yield unknown(check, f"store.directory: {path}: {error}", AS_THE_DAEMON)
        return
    try:
        (form,) = db.execute("PRAGMA user_version").fetchone()
        owner = db.execute("SELECT value FROM about WHERE name = 'owner'").fetchone()
    except sqlite3.Error as error:
        fault = StorageFault(0, f"{path}: {error}")
        yield failed(check, f"store.directory: {path}: {error}", moved, fault)
        return
    finally:
        db.close()
    wrong = ""
    if form > FORM:
        wrong = f"is of form {form}, and this version knows forms up to {FORM}"
    elif owner is not None and owner[0] != config.endpoint_id:
        wrong = f"belongs to {owner[0]}, not to {config.endpoint_id}"
    if wrong:
        fault = StorageFault(0, f"{path}: {wrong}")
        yield failed(check, f"store.directory: {path}: {wrong}", moved, fault)
    else:
        yield passed(check, f"store.directory: {path}: can be read, of form {form}")
