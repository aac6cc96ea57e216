"""Until when a certificate holds: what a check looks at before somebody else refuses it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from bellrelay.settings.model import FileModel

__all__ = ["require_valid"]


def require_valid(
    config: FileModel, key: str, certificate: Path, now: datetime | None = None
) -> datetime:
    """Until when the certificate of this key holds.

    Raises
    ------
    ConfigError
        It does not hold now.
    OSError, ValueError
        It cannot be read, or is none.
    """
    now = datetime.now(UTC) if now is None else now
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    begin, end = read.not_valid_before_utc, read.not_valid_after_utc
    if not begin <= now < end:
        holds = f"{certificate}, which holds from {begin:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}"
        raise config.error(f"{key}.certificate", holds, "a certificate that has not expired")
    return end
