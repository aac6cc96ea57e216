"""Signed checkpoints: how far the log went and what its last line hashes to, at a time.

A chain alone does not show that its end was cut off. A checkpoint that is kept where the log's
writer cannot reach it does: the log must still hold the line that the checkpoint names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bellrelay.service.private_file import require_private_file

from .audit_chain import canonical
from .audit_record import AuditError

__all__ = [
    "Checkpoint",
    "CheckpointSigner",
    "CheckpointVerifier",
    "append_checkpoint",
    "create_signing_key",
    "public_path",
    "read_checkpoints",
]

_RAW = serialization.Encoding.Raw
_PUBLIC_RAW = serialization.PublicFormat.Raw
# What a signature is made for, so that it cannot pass for one of anything else.
_CONTEXT = b"bellrelay audit checkpoint 1\n"


@dataclass(frozen=True)
class Checkpoint:
    """The log of ``service`` went to line ``sequence``, whose SHA-256 is ``head``, at ``time``.

    chain : UUID that the log was given when it began. key_id : of the key that signed.
    """

    service: str
    chain: str
    sequence: int
    head: str
    time: str
    key_id: str
    signature: str

    def signed(self) -> bytes:
        """The bytes under the signature."""
        values = {k: v for k, v in self.values().items() if k != "signature"}
        return _CONTEXT + canonical(values)

    def values(self) -> dict[str, str | int]:
        """All of it, plain."""
        return dict(self.__dict__)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Checkpoint:
        """From plain values; KeyError, TypeError: they are none."""
        found = {name: values[name] for name in cls.__dataclass_fields__}
        for name, value in found.items():
            if type(value) is not (int if name == "sequence" else str):
                raise TypeError(f"{name} of a checkpoint")
        return cls(**found)


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(_RAW, _PUBLIC_RAW)).hexdigest()[:16]


class CheckpointSigner:
    """Signs with an Ed25519 key in a file that its owner alone can read.

    Raises
    ------
    UnsafeMode
        Others could read or change the file.
    AuditError
        There is none, or it is no Ed25519 key in PEM.
    """

    def __init__(self, path: Path) -> None:
        try:
            require_private_file(path)
        except FileNotFoundError:
            raise AuditError(
                f"{path}: there is no signing key; bellrelay keys audit --create-key makes one"
            ) from None
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise AuditError(f"{path}: not a private key in PEM without a passphrase") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditError(f"{path}: not an Ed25519 key")
        self._key = key
        self.verifier = CheckpointVerifier(key.public_key())

    @property
    def key_id(self) -> str:
        """Name of the key: the beginning of the SHA-256 of its public half."""
        return self.verifier.key_id

    def sign(
        self, service: str, chain: str, sequence: int, head: str, now: datetime | None = None
    ) -> Checkpoint:
        """A checkpoint of this line."""
        time = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        bare = Checkpoint(service, chain, sequence, head, time, self.key_id, "")
        signature = base64.b64encode(self._key.sign(bare.signed())).decode()
        return Checkpoint(**{**bare.__dict__, "signature": signature})


class CheckpointVerifier:
    """Verifies with the public key."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.key_id = _key_id(key)

    @classmethod
    def from_file(cls, path: Path) -> CheckpointVerifier:
        """From a public key in PEM; AuditError: it is none, or cannot be read."""
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (OSError, ValueError) as error:
            raise AuditError(f"{path}: not a public key in PEM") from error
        if not isinstance(key, Ed25519PublicKey):
            raise AuditError(f"{path}: not an Ed25519 key")
        return cls(key)

    def good(self, checkpoint: Checkpoint) -> bool:
        """Whether this key signed it."""
        try:
            self._key.verify(base64.b64decode(checkpoint.signature), checkpoint.signed())
        except (InvalidSignature, ValueError):
            return False
        return checkpoint.key_id == self.key_id


def public_path(signing_key: Path) -> Path:
    """Where the public half of a signing key is, if nobody moved it."""
    return signing_key.with_name(signing_key.name + ".pub")


def create_signing_key(path: Path) -> Path:
    """Make a key of mode 0600, and its public half beside it, ``.pub``: the path of that.

    Raises
    ------
    FileExistsError
        There is one already: it is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    beside = public_path(path)
    _write_new(path, secret, 0o600)
    _write_new(beside, public, 0o644)
    return beside


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def append_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Add a line to a file of checkpoints; durable when it returns. OSError: it did not work."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        # A line that a crash has torn must not swallow this one.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = b"\n" * torn + canonical(checkpoint.values()) + b"\n"
        if os.write(descriptor, line) != len(line):
            raise AuditError(f"{path}: no room for a checkpoint")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoints(
    path: Path, on_junk: Callable[[int], None] = lambda _number: None
) -> Iterator[Checkpoint]:
    """Checkpoints of a file, also of one with whole records of the log or of a SIEM's export.

    ``on_junk`` is called with the number of every line that holds none.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield Checkpoint.of(_own_values(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                on_junk(number)


def _own_values(values: Any) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise TypeError("no object")
    prefix = "bellrelay.checkpoint."
    if any(name.startswith(prefix) for name in values):
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    return values
