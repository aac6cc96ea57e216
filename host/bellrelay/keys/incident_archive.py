"""What was known when key was suspended, in one file for those who have to judge it later.

A gzipped tar with ``manifest.json`` first: every other file's size and SHA-256. In it: the
suspension and what it covered, how every block and key of it came about and who has it, the
segments of the audit log from that time with their checkpoints, and files that were named. No key.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from .audit_chain import parsed
from .audit_log import AuditLog
from .audit_segments import first_sequences, segment_path
from .incident import Selector, Suspension
from .key_requests import KeyInfo
from .key_store import KeyStore

__all__ = ["key_values", "suspension_values", "write_archive"]

_PAGE = 1000
_T = TypeVar("_T")


def suspension_values(suspension: Suspension) -> dict[str, Any]:
    """A suspension, plain: times in UTC, ISO 8601."""
    return {
        "suspension_id": suspension.suspension_id,
        "relay": suspension.selector.relay,
        "from": iso_time(suspension.selector.since_ns),
        "to": iso_time(suspension.selector.until_ns),
        "reason": suspension.reason,
        "actor": suspension.actor,
        "begun": iso_time(suspension.begun_ns),
        "ended": iso_time(suspension.ended_ns),
        "verdict": str(suspension.verdict),
        "scope": None if suspension.scope is None else asdict(suspension.scope),
    }


def key_values(key: KeyInfo) -> dict[str, Any]:
    """What is known of a key, plain: times in UTC, ISO 8601."""
    return {
        "key_id": key.key_id,
        "pair": key.pair,
        "side": key.side,
        "size_bits": key.size_bits,
        "state": key.state.word,
        "suspended": key.suspended,
        "master": key.master,
        "slaves": list(key.slaves),
        "reserved": iso_time(key.reserved_ns),
        "changed": iso_time(key.changed_ns),
        "taken": {sae: iso_time(at) for sae, at in key.taken.items()},
        "blocks": list(dict.fromkeys(block for block, _ in key.units)),
    }


def iso_time(nanoseconds: int | None) -> str | None:
    """UTC to the microsecond."""
    if nanoseconds is None:
        return None
    at = datetime.fromtimestamp(nanoseconds // 10**9, UTC).replace(
        microsecond=nanoseconds // 1000 % 10**6
    )
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def pages(page: Callable[[str], Sequence[_T]], name: Callable[[_T], str]) -> Iterator[_T]:
    """Everything that a method gives in pages, each of which begins after a name."""
    after = ""
    while found := page(after):
        yield from found
        after = name(found[-1])


def write_archive(
    path: Path,
    store: KeyStore,
    audit_directory: Path,
    suspension: Suspension,
    public_key: Path | None = None,
    include: Iterable[Path] = (),
) -> dict[str, Any]:
    """Write the archive, mode 0600; its manifest with ``sha256`` of the whole file.

    Raises
    ------
    FileExistsError
        There is something of that name: an archive is never overwritten.
    OSError, StoreError
        It could not be written or read; nothing is left of it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    if path.exists():
        raise FileExistsError(17, "there is an archive of this name", str(path))
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            manifest = _write(file, store, audit_directory, suspension, public_key, list(include))
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return {**manifest, "archive": str(path), "sha256": digest}


def _write(
    file: io.BufferedRandom,
    store: KeyStore,
    audit_directory: Path,
    suspension: Suspension,
    public_key: Path | None,
    include: list[Path],
) -> dict[str, Any]:
    selector = suspension.selector
    contents: dict[str, bytes] = {
        "suspension.json": _json(suspension_values(suspension)),
        "blocks.jsonl": _json_lines(
            block.as_json()
            for block in pages(
                lambda after: store.blocks(selector, after, _PAGE), lambda b: b.block_id
            )
        ),
        "keys.jsonl": _json_lines(
            key_values(key)
            for key in pages(
                lambda after: store.keys(selector, after=after, limit=_PAGE), lambda k: k.key_id
            )
        ),
    }
    files = {f"audit/{p.name}": p for p in _audit_files(audit_directory, selector)}
    if public_key is not None and public_key.exists():
        files["audit/signing-key.pub"] = public_key
    for number, path in enumerate(include):
        files[f"included/{number}-{path.name}"] = path
    # Read whole and once: what the manifest says is what is in the archive, though logs grow.
    contents |= {name: path.read_bytes() for name, path in files.items()}
    manifest: dict[str, Any] = {
        "bellrelay": version("bellrelay"),
        "made": iso_time(time.time_ns()),
        "suspension_id": suspension.suspension_id,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        },
    }
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in {"manifest.json": _json(manifest), **contents}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return manifest


def _audit_files(directory: Path, selector: Selector) -> Iterator[Path]:
    """Segments with records from the time of the selector on, and the checkpoints."""
    segments = first_sequences(directory)
    since = iso_time(selector.since_ns) or ""
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        # A segment ends when the next one begins.
        if following is None or _begin(segment_path(directory, following)) >= since:
            yield segment_path(directory, segment)
    checkpoints = directory / AuditLog.CHECKPOINTS
    if checkpoints.exists():
        yield checkpoints


def _begin(path: Path) -> str:
    with path.open("rb") as file:
        values = parsed(file.readline().rstrip(b"\n"))
    return str(values.get("@timestamp", "")) if values else "9"


def _json(values: Any) -> bytes:
    return json.dumps(values, indent=1).encode() + b"\n"


def _json_lines(values: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in values)
