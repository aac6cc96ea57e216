"""What was known when key was suspended, in one file for those who have to judge it later.

A gzipped tar with ``manifest.json`` last: every other file's size and SHA-256. In it: the
suspension and what it covered, how every block and key of it came about and who has it, the
segments of the audit log from that time with their checkpoints, and files that were named. No key.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TypeVar

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
    blocks = pages(lambda after: store.blocks(selector, after, _PAGE), lambda b: b.block_id)
    keys = pages(
        lambda after: store.keys(selector, after=after, limit=_PAGE), lambda key: key.key_id
    )
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        archive = _Archive(tar)
        archive.add_lines("suspension.json", [suspension_values(suspension)])
        archive.add_lines("blocks.jsonl", (block.as_json() for block in blocks))
        archive.add_lines("keys.jsonl", map(key_values, keys))
        for path in _audit_files(audit_directory, selector):
            archive.add_file(f"audit/{path.name}", path)
        if public_key is not None and public_key.exists():
            archive.add_file("audit/signing-key.pub", public_key)
        for number, path in enumerate(include):
            archive.add_file(f"included/{number}-{path.name}", path)
        manifest: dict[str, Any] = {
            "bellrelay": version("bellrelay"),
            "made": iso_time(time.time_ns()),
            "suspension_id": suspension.suspension_id,
            "files": dict(archive.files),
        }
        archive.add_lines("manifest.json", [manifest])
    return manifest


class _Archive:
    """Adds files to a tar and keeps account of them; none is ever whole in memory."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.files: dict[str, dict[str, str | int]] = {}
        self._tar = tar

    def add_file(self, name: str, path: Path) -> None:
        """As long as it is now: what a log grows by meanwhile is left out."""
        with path.open("rb") as file:
            self._add(name, file, os.fstat(file.fileno()).st_size)

    def add_lines(self, name: str, values: Iterable[Mapping[str, Any]]) -> None:
        """A line of JSON each."""
        with tempfile.TemporaryFile() as file:
            for each in values:
                file.write(json.dumps(each).encode() + b"\n")
            size = file.tell()
            file.seek(0)
            self._add(name, file, size)

    def _add(self, name: str, file: IO[bytes], size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = size, int(time.time()), 0o600
        hashed = _Hashed(file)
        self._tar.addfile(entry, hashed)
        self.files[name] = {"bytes": size, "sha256": hashed.digest.hexdigest()}


class _Hashed:
    """A file that is read once, and hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, n_bytes: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(n_bytes)
        self.digest.update(data)
        return data


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
