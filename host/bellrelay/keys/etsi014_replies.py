"""What a KME answers with 200: Status (6.1) and Key container (6.3) of ETSI GS QKD 014 v1.1.1."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass

from .etsi014_requests import Limits

__all__ = ["StatusOfPair", "key_container", "status_body"]


@dataclass(frozen=True)
class StatusOfPair:
    """Who asks about whom, and how many keys of the default size there are for the two alone."""

    source_kme_id: str
    target_kme_id: str
    master_sae_id: str
    slave_sae_id: str
    stored_key_count: int
    max_key_count: int


def status_body(status: StatusOfPair, limits: Limits) -> bytes:
    """The Status, all items that the standard requires."""
    return json.dumps(
        {
            "source_KME_ID": status.source_kme_id,
            "target_KME_ID": status.target_kme_id,
            "master_SAE_ID": status.master_sae_id,
            "slave_SAE_ID": status.slave_sae_id,
            "key_size": limits.key_size,
            "stored_key_count": status.stored_key_count,
            "max_key_count": status.max_key_count,
            "max_key_per_request": limits.max_key_per_request,
            "max_key_size": limits.max_key_size,
            "min_key_size": limits.min_key_size,
            "max_SAE_ID_count": limits.max_sae_ids,
        },
        separators=(",", ":"),
    ).encode()


def key_container(keys: Iterable[tuple[str, bytes | bytearray | memoryview]]) -> bytearray:
    """The Key container of (key_ID, key) pairs; whoever sends it overwrites it afterwards.

    Base64 goes through one ``bytes`` object per key that Python gives nobody a way to overwrite.
    """
    body = bytearray(b'{"keys":[')
    for number, (key_id, key) in enumerate(keys):
        if number:
            body += b","
        body += b'{"key_ID":"'
        body += key_id.encode("ascii")
        body += b'","key":"'
        body += binascii.b2a_base64(key, newline=False)
        body += b'"}'
    body += b"]}"
    return body
