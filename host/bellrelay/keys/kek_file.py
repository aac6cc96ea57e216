"""A KEK in a file: 32 random bytes that nobody but their owner may read. For the lab.

Whoever reads this file and the database has every key. An HSM (:mod:`.kek_pkcs11`) keeps the KEK
where not even root can read it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from bellrelay.service.private_file import require_private_file

from .sealing import (
    NONCE_BYTES,
    TAG_BYTES,
    SealBroken,
    SealerUnavailable,
    blob_header,
    join_blob,
    split_blob,
)
from .wiping import wipe

__all__ = ["KEK_BYTES", "FileKek", "write_kek_file"]

KEK_BYTES = 32
_BLOCK_BYTES = 16


def write_kek_file(path: Path) -> None:
    """A new KEK, in a new file of mode 0600. FileExistsError: there is something already."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(KEK_BYTES))
        file.flush()
        os.fsync(descriptor)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class FileKek:
    """Seals under the KEK in a file, which is read once.

    The KEK's name is a MAC under it, so that a file that was swapped for another is seen.

    Raises
    ------
    UnsafeMode
        Somebody else could read or change the file.
    SealerUnavailable
        There is none, or it does not hold 32 bytes.
    """

    def __init__(self, path: Path) -> None:
        try:
            require_private_file(path)
            kek = bytearray(path.read_bytes())
        except FileNotFoundError:
            raise SealerUnavailable(f"{path}: there is no KEK") from None
        if len(kek) != KEK_BYTES:
            raise SealerUnavailable(f"{path}: {len(kek)} bytes instead of the {KEK_BYTES} of a KEK")
        # The library keeps copies of its own for as long as it lives: see wiping.
        self._gcm = AESGCM(bytes(kek))
        self._aes = AES(bytes(kek))
        name = hmac.new(kek, b"bellrelay kek id", hashlib.sha256).hexdigest()
        self._kek_id = f"file:{name[:16]}"
        wipe(kek)

    @property
    def kek_id(self) -> str:
        """``file:`` and 16 hexadecimal digits."""
        return self._kek_id

    def seal(self, plain: bytearray | bytes, aad: bytes) -> bytes:
        """A blob."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._gcm.encrypt(nonce, plain, blob_header(self._kek_id) + aad)
        return join_blob(self._kek_id, nonce, sealed)

    def unseal(self, blob: bytes, aad: bytes) -> bytearray:
        """What was sealed, decrypted into a buffer of ours. SealBroken."""
        kek_id, nonce, sealed = split_blob(blob)
        if kek_id != self._kek_id:
            raise SealBroken("sealed under another KEK")
        ciphertext, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
        decryptor = Cipher(self._aes, GCM(nonce, tag)).decryptor()
        decryptor.authenticate_additional_data(blob_header(kek_id) + aad)
        plain = bytearray(len(ciphertext) + _BLOCK_BYTES - 1)
        size = decryptor.update_into(ciphertext, plain)
        try:
            decryptor.finalize()
        except InvalidTag:
            wipe(plain)
            raise SealBroken("a sealed blob that was changed or belongs elsewhere") from None
        # What is cut off was never written to.
        del plain[size:]
        return plain
