"""The sender's side of the source log on disk.

The process that drives a sender appends its hardware's records as they come and syncs when it
likes; what was synced survives any crash. A FIFO that overflows costs a range of slots, whatever
was sent in them: the records go on at a later slot, and the gap is what was removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .source_erasure import (
    EVERY_SLOT,
    erase_acquisition,
    erase_before,
    forgotten_mark,
    private_directory,
    sync_directory,
)
from .source_format import (
    CHUNK_HEADER_BYTES,
    MAX_CHUNK_SLOTS,
    SEGMENT_HEADER_BYTES,
    ChunkHeader,
    SegmentHeader,
    chunk_bytes,
    payload_bytes,
    payload_is_whole,
    segment_path,
    segments_of,
    walk_chunks,
)
from .source_log import SETTINGS, SourceLogDamaged, SourceLogError, basis_of

__all__ = ["SourceWriter"]


class SourceWriter:
    """Appends the records of one acquisition. One process writes a directory at a time.

    Parameters
    ----------
    directory
        Made if it is missing; its owner alone may have access.
    acquisition
        The relay's; not below any that is there.
    start_ns, slot_period_ps
        UTC nanoseconds of slot 0, and picoseconds of a slot: so that it is known when a block was
        sent. 0 if not known.
    intensities, probabilities
        (4,): as declared, of what is recorded from here on.
    segment_slots, chunk_slots
        Slots of a file (a hundred million or so) and of what one CRC covers.
    retention_bytes
        Beyond it the oldest records are erased, resolved or not: more than a block's worth.

    Attributes
    ----------
    next_slot : int
        The first slot of which nothing has been recorded or dropped yet.
    torn_bytes : int
        Cut off at the end when the log was opened: records that a crash had left half written.

    Raises
    ------
    SourceLogError
        An acquisition that has gone by, another start within one, or another writer.
    OSError
        The directory cannot be used, or others may read it.
    """

    def __init__(
        self,
        directory: Path,
        acquisition: int,
        start_ns: int,
        slot_period_ps: float,
        intensities: ArrayLike,
        probabilities: ArrayLike,
        *,
        segment_slots: int = 1 << 28,
        chunk_slots: int = 1 << 16,
        retention_bytes: int = 64 << 30,
    ) -> None:
        if not 1 <= chunk_slots <= MAX_CHUNK_SLOTS or segment_slots < chunk_slots:
            raise ValueError(f"chunks have 1 to {MAX_CHUNK_SLOTS} slots, segments no fewer")
        self.directory = directory
        self._segment_slots = segment_slots
        self._chunk_slots = chunk_slots
        self._retention_bytes = retention_bytes
        self._header = SegmentHeader(
            acquisition,
            start_ns,
            float(slot_period_ps),
            0,
            _declared(intensities),
            _declared(probabilities),
        )
        self._file = self._lock = -1
        self._segment = self._header
        self._segment_first = -1
        self._failed = False
        self.next_slot = self.torn_bytes = 0
        private_directory(directory)
        self._lock = os.open(directory / "writing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take_lock()
            self._go_on()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"SourceWriter({str(self.directory)!r}, acquisition {self._header.acquisition})"

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SourceLogError(f"{self.directory}: another process writes this log") from None

    def _go_on(self) -> None:
        """Remove acquisitions that are done with, cut off what is torn, stand at the end."""
        own = self._header.acquisition
        for acquisition in sorted({a for a, _ in segments_of(self.directory)} - {own}):
            if acquisition > own:
                raise SourceLogError(f"acquisition {own} after {acquisition}")
            if forgotten_mark(self.directory, acquisition) == EVERY_SLOT:
                erase_acquisition(self.directory, acquisition)
        self.next_slot = mark = forgotten_mark(self.directory, own)
        for _, first in reversed(segments_of(self.directory, own)):
            if self._open_segment(first, mark):
                return

    def _open_segment(self, first: int, mark: int) -> bool:
        """Go on in a segment that is there; False, and it is gone, if its header is not whole."""
        path = segment_path(self.directory, self._header.acquisition, first)
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        size = os.fstat(file).st_size
        if size <= SEGMENT_HEADER_BYTES and not _has_header(file):
            # It died before the header was durable, and so before any record.
            os.close(file)
            path.unlink()
            sync_directory(self.directory)
            self.torn_bytes += size
            return False
        self._file = file
        there = SegmentHeader.parse(os.pread(file, SEGMENT_HEADER_BYTES, 0))
        own = self._header
        undeclared = replace(
            there, first_slot=0, intensities=own.intensities, probabilities=own.probabilities
        )
        if undeclared != own:
            raise SourceLogError(f"{path}: another start within one acquisition")
        self._segment = there
        end = SEGMENT_HEADER_BYTES
        self._segment_first = self.next_slot = there.first_slot
        for offset, chunk in walk_chunks(file, end, size):
            # After a loss of power a later page may be there and an earlier one not.
            if chunk.end > mark and not payload_is_whole(file, offset, chunk):
                break
            end = offset + CHUNK_HEADER_BYTES + payload_bytes(chunk.slots)
            self.next_slot = chunk.end
        self.next_slot = max(self.next_slot, mark)
        self.torn_bytes += size - end
        os.ftruncate(file, end)
        os.lseek(file, end, os.SEEK_SET)
        os.fsync(file)
        self._offset = end
        return True

    def set_ladder(self, intensities: ArrayLike, probabilities: ArrayLike) -> None:
        """What is recorded from here on was sent by this ladder: (4,) each.

        ValueError: not four of each.
        """
        self._header = replace(
            self._header,
            intensities=_declared(intensities),
            probabilities=_declared(probabilities),
        )

    def append(self, first_slot: int, setting: NDArray[np.uint8], bit: NDArray[np.uint8]) -> None:
        """Records of consecutive slots; not durable before :meth:`sync`.

        Slots between ``next_slot`` and ``first_slot`` are removed thereby.

        Parameters
        ----------
        first_slot
            At or after ``next_slot``.
        setting, bit
            (n,) uint8: index in the ladder, and 0 or 1.

        Raises
        ------
        ValueError
            A slot that has been passed, or values that do not exist; nothing is appended.
        OSError
            Disk full or broken; ``next_slot`` says how far it came.
        """
        if first_slot < self.next_slot:
            raise ValueError(f"slot {first_slot} after {self.next_slot - 1}: slots never go back")
        if setting.shape != bit.shape or setting.ndim != 1:
            raise ValueError(f"setting has the shape {setting.shape}, bit {bit.shape}")
        if setting.dtype != np.uint8 or bit.dtype != np.uint8:
            raise ValueError("setting and bit must be uint8")
        if setting.size and (int(setting.max()) >= len(SETTINGS) or int(bit.max()) > 1):
            raise ValueError("a setting or bit that does not exist")
        basis = basis_of(setting)
        for begin in range(0, len(setting), self._chunk_slots):
            part = slice(begin, min(begin + self._chunk_slots, len(setting)))
            chunk = chunk_bytes(first_slot + begin, setting[part], basis[part], bit[part])
            self._write(first_slot + begin, part.stop - part.start, chunk)

    def skip(self, to_slot: int) -> None:
        """All slots from ``next_slot`` to this one are removed, before any record follows.

        Raises as :meth:`append`.
        """
        if to_slot < self.next_slot:
            raise ValueError(f"slot {to_slot} after {self.next_slot - 1}: slots never go back")
        self._write(to_slot, 0, ChunkHeader(to_slot, 0, 0).encode())

    def _write(self, first: int, slots: int, chunk: bytes) -> None:
        if self._failed:
            raise OSError(errno.EIO, "the source log failed before", str(self.directory))
        full = first + slots - self._segment_first > self._segment_slots
        if (
            self._file < 0
            or full
            or self._segment != replace(self._header, first_slot=self._segment_first)
        ):
            # Slots that were left out before a new ladder were sent by neither.
            self._begin_segment(self.next_slot)
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # Part of it may stand there.
            os.ftruncate(self._file, self._offset)
            os.lseek(self._file, self._offset, os.SEEK_SET)
            raise
        self._offset += len(chunk)
        self.next_slot = first + slots

    def _begin_segment(self, first: int) -> None:
        header = replace(self._header, first_slot=first)
        if self._file >= 0 and first == self._segment_first:
            # It has no record yet: it may have another ladder, and needs no other file.
            os.pwrite(self._file, header.encode(), 0)
            os.fsync(self._file)
            self._segment = header
            return
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1
        path = segment_path(self.directory, header.acquisition, first)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        os.write(self._file, header.encode())
        os.fsync(self._file)
        sync_directory(self.directory)
        self._segment = header
        self._segment_first = first
        self._offset = SEGMENT_HEADER_BYTES
        self._trim()

    def _trim(self) -> None:
        """Erase the oldest segments beyond the retention."""
        segments = segments_of(self.directory)
        sizes = [_size(segment_path(self.directory, *s)) for s in segments]
        total = sum(sizes)
        for (acquisition, _), size, following in zip(
            segments[:-1], sizes[:-1], segments[1:], strict=True
        ):
            if total <= self._retention_bytes:
                break
            if following[0] != acquisition:
                erase_acquisition(self.directory, acquisition)
            else:
                erase_before(self.directory, acquisition, following[1])
            total -= size

    def sync(self) -> int:
        """Make everything appended durable; returns ``next_slot``.

        Raises
        ------
        OSError
            The disk failed: what was appended since the last sync may be lost, and the log takes
            nothing more.
        """
        if self._file >= 0:
            try:
                os.fdatasync(self._file)
            except OSError:
                # After a failed sync nobody knows what is on disk: a second try would lie.
                self._failed = True
                raise
        return self.next_slot

    def close(self) -> None:
        """Give files and lock back, without a sync."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1


def _has_header(file: int) -> bool:
    try:
        SegmentHeader.parse(os.pread(file, SEGMENT_HEADER_BYTES, 0))
    except SourceLogDamaged:
        return False
    return True


def _size(path: Path) -> int:
    """0 where the endpoint was faster and has erased it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _declared(values: ArrayLike) -> tuple[float, ...]:
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (len(SETTINGS),):
        raise ValueError(f"declared values have the shape {numbers.shape}, not ({len(SETTINGS)},)")
    return tuple(map(float, numbers))
