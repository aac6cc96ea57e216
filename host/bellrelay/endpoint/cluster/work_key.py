"""The key that an endpoint and its workers share: whoever lacks it sees nothing of the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bellrelay.service.private_file import require_private_file

__all__ = ["KEY_BYTES", "WorkKey", "read_work_key"]

KEY_BYTES = 32


@dataclass(frozen=True)
class WorkKey:
    """A secret of 32 bytes, and whose it is.

    owner : the endpoint_id. Keys of calls hang on it and on the version of bellrelay, as another
    version may round a bound differently.
    """

    owner: str
    secret: bytes = field(repr=False)
    version: str = field(default_factory=lambda: version("bellrelay"))

    def of_call(self, call: bytes, purpose: str) -> bytes:
        """The key for one call, by HKDF-SHA256 (RFC 5869); call: random, 32 bytes, not secret."""
        info = f"bellrelay work {purpose} {self.version} {self.owner}".encode()
        return HKDF(SHA256(), KEY_BYTES, call, info).derive(self.secret)


def read_work_key(path: Path, owner: str) -> WorkKey:
    """From a file that nobody but us may read.

    Raises
    ------
    OSError
        It cannot be read, others can, or it has not 32 bytes.
    """
    require_private_file(path)
    secret = path.read_bytes()
    if len(secret) != KEY_BYTES:
        raise OSError(0, f"{path}: {len(secret)} bytes instead of {KEY_BYTES}")
    return WorkKey(owner, secret)
