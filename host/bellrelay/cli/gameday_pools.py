"""Key for tags in a gameday: pools that are nearly empty, and the secret for new ones."""

from __future__ import annotations

import os
from pathlib import Path

from bellrelay.cli.run_endpoints import ROLES
from bellrelay.control.link_observer import BITS_PER_BLOCK
from bellrelay.endpoint.key_pool import KeyPool

__all__ = ["SECRET", "bring_secret", "drain_pools"]

SECRET = "secret.bin"
_BLOCKS = 10
_SECRET_BYTES = 1 << 21


def drain_pools(folder: Path, reserve_bits: int) -> None:
    """Both endpoints' pools are left with key for some blocks; nobody may use them meanwhile."""
    _move_away(folder, "full")
    # Half of a secret is for either direction.
    secret = os.urandom((2 * _BLOCKS * BITS_PER_BLOCK + 2 * reserve_bits) // 8)
    for role in ROLES:
        KeyPool.create(folder / f"{role}.pool", secret)


def bring_secret(folder: Path) -> None:
    """The pools are moved away, and a secret is there that both sites have."""
    _move_away(folder, "drained")
    descriptor = os.open(folder / SECRET, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(_SECRET_BYTES))


def _move_away(folder: Path, what: str) -> None:
    for role in ROLES:
        (folder / f"{role}.pool").rename(folder / f"{role}.pool.{what}")
