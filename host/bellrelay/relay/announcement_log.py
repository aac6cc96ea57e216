"""The durable log of what a relay announced: segments of checksummed blocks on disk.

A block is a header, a payload and a CRC. Blocks are only ever appended, and only what fsync has
put on disk is shown to readers or called acknowledged: killing the process, or the machine, at any
byte leaves a prefix of whole blocks, and the torn rest is cut off when the log is opened again.

One process writes (it holds a lock), any number read. Positions are record numbers: record ``n``
is the n-th announcement of this relay since the log began, across acquisitions.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AnnouncementLog",
    "Block",
    "BlockKind",
    "LogBusy",
    "LogDamaged",
    "LogReader",
    "SlotOrderError",
]

_MAGIC = 0x474C4252  # "RBLG"
_HEADER = struct.Struct("<IHHIQQI")  # magic, kind, zero, length, record, acquisition, header crc
_CRC = struct.Struct("<I")
_RECORD = np.dtype([("slot", "<u8"), ("outcome", "u1")])
_MAX_PAYLOAD = 1 << 26
_SUFFIX = ".brlog"


class BlockKind(IntEnum):
    """What a block holds."""

    ANNOUNCEMENTS = 1
    EVENT = 2
    """A JSON object with ``event``: start, stop, gap, loss, heartbeat, quarantine."""


class LogBusy(Exception):
    """Another process writes this log."""


class LogDamaged(Exception):
    """A segment is not readable where it must be."""


class SlotOrderError(ValueError):
    """Slots do not increase: the board broke the rules, nothing was written."""


@dataclass(frozen=True, eq=False)
class Block:
    """One block of the log.

    record : number of the first announcement in it, or of the next one for an event.
    slot : (n,) uint64 and outcome : (n,) uint8, empty for an event. event : the object, or None.
    """

    kind: BlockKind
    record: int
    acquisition: int
    slot: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    outcome: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    event: dict[str, Any] | None = None

    @property
    def end_record(self) -> int:
        """Number of the announcement after the last one in this block."""
        return self.record + self.slot.size


class AnnouncementLog:
    """The writing end.

    Parameters
    ----------
    directory
        Made if it is not there.
    segment_bytes
        A new segment begins once the last one is this long.
    retain_bytes
        Whole segments are deleted, oldest first, while all together are longer; 0 keeps all.

    Attributes
    ----------
    next_record : int
        Number that the next announcement gets.
    durable_record : int
        Announcements below this number are on disk: they may be served and acknowledged.
    torn_bytes : int
        What was cut off when the log was opened: the unfinished write of a crash.
    last_acquisition : int
        The highest acquisition id in the log, 0 if there is none.

    Raises
    ------
    LogBusy
        Another process holds the log.
    LogDamaged
        A segment does not begin where the one before ended.
    OSError
        The directory cannot be used; ENOSPC when a disk is full.
    """

    def __init__(
        self, directory: Path, segment_bytes: int = 64 << 20, retain_bytes: int = 0
    ) -> None:
        self.directory = Path(directory)
        self._segment_bytes = segment_bytes
        self._retain_bytes = retain_bytes
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        self._file = -1
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LogBusy(f"{self.directory}: another process writes this log") from None
            self._recover()
        except BaseException:
            os.close(self._lock)
            raise

    def _recover(self) -> None:
        self.next_record = 0
        self.last_acquisition = 0
        self.torn_bytes = 0
        self._last_slot: dict[int, int] = {}
        paths = _segments(self.directory)
        for i, path in enumerate(paths):
            first = _first_record(path)
            if i and first != self.next_record:
                raise LogDamaged(
                    f"{path}: begins at record {first}, the segment before ends at "
                    f"{self.next_record}"
                )
            self.next_record = first
            good = 0
            for offset, block in _scan(path):
                good = offset
                self._note(block)
            torn = path.stat().st_size - good
            if torn and i < len(paths) - 1:
                raise LogDamaged(f"{path}: damaged at byte {good}, and later segments exist")
            if torn:
                self.torn_bytes = torn
                with path.open("r+b") as file:
                    file.truncate(good)
                    os.fsync(file.fileno())
        self.durable_record = self.next_record
        if paths:
            self._open(paths[-1])
        else:
            self._begin_segment()

    def _note(self, block: Block) -> None:
        self.next_record = block.end_record
        self.last_acquisition = max(self.last_acquisition, block.acquisition)
        if block.slot.size:
            self._last_slot = {block.acquisition: int(block.slot[-1])}

    def _open(self, path: Path) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._file).st_size

    def _begin_segment(self) -> None:
        path = self.directory / f"{self.next_record:020d}{_SUFFIX}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
        _sync_directory(self.directory)
        self._open(path)

    def append(self, acquisition: int, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]) -> int:
        """Append announcements of one acquisition; returns the number of the first.

        Not durable before :meth:`sync`. After an OSError nothing of the block is in the log.

        Raises
        ------
        SlotOrderError
            Slots do not increase, or not beyond the last of this acquisition.
        OSError
            Nothing was written.
        """
        if slot.shape != outcome.shape or slot.ndim != 1:
            raise ValueError(f"slots of shape {slot.shape}, outcomes of {outcome.shape}")
        if slot.size == 0:
            return self.next_record
        last = self._last_slot.get(acquisition)
        if not (slot[1:] > slot[:-1]).all() or (last is not None and int(slot[0]) <= last):
            raise SlotOrderError(
                f"acquisition {acquisition}: slots do not increase beyond {last} at {int(slot[0])}"
            )
        records = np.empty(slot.size, _RECORD)
        records["slot"], records["outcome"] = slot, outcome
        first = self.next_record
        self._write(BlockKind.ANNOUNCEMENTS, acquisition, records.tobytes())
        self.next_record += slot.size
        self.last_acquisition = max(self.last_acquisition, acquisition)
        self._last_slot = {acquisition: int(slot[-1])}
        return first

    def append_event(self, acquisition: int, event: str, **details: Any) -> None:
        """Append an event; details must be JSON. Raises OSError, TypeError."""
        body = json.dumps({"event": event, **details}).encode()
        self._write(BlockKind.EVENT, acquisition, body)
        self.last_acquisition = max(self.last_acquisition, acquisition)

    def _write(self, kind: BlockKind, acquisition: int, payload: bytes) -> None:
        if self._size >= self._segment_bytes:
            self.sync()
            self._begin_segment()
            self._retire()
        head = _HEADER.pack(_MAGIC, kind, 0, len(payload), self.next_record, acquisition, 0)[:-4]
        head += _CRC.pack(zlib.crc32(head))
        block = head + payload
        block += _CRC.pack(zlib.crc32(block))
        try:
            written = 0
            while written < len(block):
                written += os.write(self._file, block[written:])
        except OSError:
            # A block is whole or not there.
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(block)

    def sync(self) -> int:
        """Put everything on disk; returns ``durable_record``. Raises OSError."""
        os.fsync(self._file)
        self.durable_record = self.next_record
        return self.durable_record

    def _retire(self) -> None:
        if not self._retain_bytes:
            return
        paths = _segments(self.directory)
        total = sum(p.stat().st_size for p in paths)
        for path in paths[:-1]:
            if total <= self._retain_bytes:
                break
            total -= path.stat().st_size
            path.unlink()

    def close(self) -> None:
        """Sync and release the lock. May be called twice."""
        if self._file >= 0:
            try:
                self.sync()
            finally:
                os.close(self._file)
                os.close(self._lock)
                self._file = -1

    def __enter__(self) -> AnnouncementLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LogReader:
    """A reading end: blocks from any record on, as far as whole ones are there.

    A reader in the writer's process is told by it how far it may read (``durable_record``);
    another process sees what is in the files, which a crash of the machine may still take back.

    Attributes
    ----------
    skipped_bytes : int
        Damage that was passed over to reach later blocks.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.skipped_bytes = 0

    @property
    def first_record(self) -> int | None:
        """Number of the oldest announcement that is kept, None without a segment."""
        paths = _segments(self.directory)
        return _first_record(paths[0]) if paths else None

    def blocks(self, from_record: int = 0, until_record: int | None = None) -> Iterator[Block]:
        """Blocks that hold announcements in [from_record, until_record), cut to that range.

        Events are given where they stand between them. A damaged block is skipped and its bytes
        counted; numbers show the gap.
        """
        paths = _segments(self.directory)
        starts = [_first_record(p) for p in paths]
        for i, path in enumerate(paths):
            if i + 1 < len(paths) and starts[i + 1] <= from_record and starts[i + 1] > starts[i]:
                continue
            if until_record is not None and starts[i] > until_record:
                return
            try:
                for _, block in _scan(path, self):
                    cut = _cut(block, from_record, until_record)
                    if cut is not None:
                        yield cut
            except FileNotFoundError:
                continue  # retired since the directory was listed

    def from_slot(self, acquisition: int, slot: int) -> int | None:
        """Number of the first announcement of this acquisition at or after a slot; None if none."""
        for block in self.blocks():
            if block.acquisition == acquisition and block.slot.size and block.slot[-1] >= slot:
                return block.record + int(np.searchsorted(block.slot, np.uint64(slot)))
        return None


def _cut(block: Block, start: int, stop: int | None) -> Block | None:
    if block.kind is BlockKind.EVENT:
        inside = block.record >= start and (stop is None or block.record <= stop)
        return block if inside else None
    low = max(0, start - block.record)
    high = block.slot.size if stop is None else min(block.slot.size, stop - block.record)
    if low >= high:
        return None
    return Block(
        block.kind,
        block.record + low,
        block.acquisition,
        block.slot[low:high],
        block.outcome[low:high],
    )


def _segments(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"[0-9]*{_SUFFIX}"))


def _first_record(path: Path) -> int:
    return int(path.name.removesuffix(_SUFFIX))


def _scan(path: Path, reader: LogReader | None = None) -> Iterator[tuple[int, Block]]:
    """(end offset, block) of the whole blocks of a segment.

    Without a reader, up to the first that is not whole; with one, damage is skipped by searching
    the next header that holds.
    """
    magic = _CRC.pack(_MAGIC)
    with path.open("rb") as file:
        data = file.read()
    offset = 0
    damage = 0
    while len(data) - offset >= _HEADER.size + _CRC.size:
        found = _block_at(data, offset)
        if found is not None:
            offset, block = found
            if reader is not None:
                reader.skipped_bytes += damage
            damage = 0
            yield offset, block
            continue
        if reader is None:
            return
        following = data.find(magic, offset + 1)
        if following < 0:
            return
        damage += following - offset
        offset = following


def _block_at(data: bytes, offset: int) -> tuple[int, Block] | None:
    magic, kind, _, length, record, acquisition, crc = _HEADER.unpack_from(data, offset)
    body = offset + _HEADER.size
    end = body + length + _CRC.size
    if (
        magic != _MAGIC
        or zlib.crc32(data[offset : body - 4]) != crc
        or length > _MAX_PAYLOAD
        or end > len(data)
        or zlib.crc32(data[offset : end - 4]) != _CRC.unpack_from(data, end - 4)[0]
    ):
        return None
    if kind == BlockKind.ANNOUNCEMENTS:
        records = np.frombuffer(data, _RECORD, length // _RECORD.itemsize, body)
        block = Block(
            BlockKind.ANNOUNCEMENTS,
            record,
            acquisition,
            records["slot"].astype(np.uint64),
            records["outcome"].copy(),
        )
    else:
        event = json.loads(data[body : end - 4])
        block = Block(BlockKind.EVENT, record, acquisition, event=event)
    return end, block


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
