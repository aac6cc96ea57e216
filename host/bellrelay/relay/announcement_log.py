"""The durable log of what a relay announced.

A directory of segments ``<sequence of the first record>.brlog``; each is a plain row of frames
(:mod:`bellrelay.wire.frames`) of the types ANNOUNCED and EVENT. The frames' CRCs find what a crash
or a disk damaged, and the decoder steps over it. A record counts as announced only once it is
durable: readers see nothing beyond the last :meth:`AnnouncementLog.sync`.

One process writes, held by a lock; any number of readers, in any thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import SLOT_OFFSET_MASK, FrameType, encode_frame
from bellrelay.wire.messages import Announced, Event
from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.payloads import PayloadError

__all__ = [
    "AnnouncementLog",
    "LogBusy",
    "LogReader",
    "LogTrimmed",
    "OrderViolation",
    "Recovery",
    "Tally",
]

_SUFFIX = ".brlog"
_RECORDS_PER_BLOCK = 16_000
_PIECE = 1 << 18

Record = Announced | Event


class LogBusy(OSError):
    """Another process writes this log."""

    def __str__(self) -> str:
        return str(self.args[1])


class LogTrimmed(Exception):
    """The records asked for are older than what is kept; ``oldest`` is the first one there is."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"records before {oldest} are no longer kept")
        self.oldest = oldest


class OrderViolation(ValueError):
    """Slots that do not increase within their acquisition, or an acquisition that goes back."""


@dataclass(frozen=True)
class Recovery:
    """What was found when the log was opened.

    ``torn_bytes`` at the end were cut off: a record that was being written when the writer died.
    ``corrupt_bytes`` of the last segment lie between whole records and are stepped over.
    """

    torn_bytes: int = 0
    corrupt_bytes: int = 0


@dataclass
class Tally:
    """What the log holds of the last acquisition: announcements by outcome, and its last slot."""

    acquisition: int = 0
    psi_minus: int = 0
    psi_plus: int = 0
    last_slot: int = -1
    ended: bool = True

    def add(self, record: Record) -> None:
        """Take a record into account."""
        if record.acquisition and record.acquisition != self.acquisition:
            self.__init__(record.acquisition, ended=False)  # type: ignore[misc]
        if isinstance(record, Announced):
            minus = int(np.count_nonzero(record.outcome == Outcome.PSI_MINUS))
            self.psi_minus += minus
            self.psi_plus += len(record.outcome) - minus
            self.last_slot = int(record.slot[-1])
        elif record.kind == "stop":
            self.ended = True
        elif record.kind == "summary":
            values = record.values
            self.psi_minus = int(values["psi_minus"])
            self.psi_plus = int(values["psi_plus"])
            self.last_slot = int(values["last_slot"])
            self.ended = bool(values["ended"])


@dataclass(frozen=True)
class _Durable:
    """Up to where readers may go."""

    sequence: int
    segment: int
    offset: int


def _record(frame: Frame) -> Record | None:
    try:
        if frame.type == FrameType.ANNOUNCED:
            block = Announced.parse(frame.payload, frame.acquisition)
            return block if len(block.slot) else None
        if frame.type == FrameType.EVENT:
            return Event.parse(frame.payload, frame.acquisition)
    except PayloadError:
        return None
    return None


def _segments(directory: Path) -> list[int]:
    names = (path.name.removesuffix(_SUFFIX) for path in directory.glob("*" + _SUFFIX))
    return sorted(int(name) for name in names if name.isdigit())


def _path(directory: Path, segment: int) -> Path:
    return directory / f"{segment:020d}{_SUFFIX}"


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AnnouncementLog:
    """The writer's side. One thread appends and syncs; readers are made by :meth:`reader`.

    Parameters
    ----------
    directory
        Made if it is missing.
    segment_bytes, retention_bytes
        A segment is closed once it is this long; the oldest go once all are longer than that.

    Attributes
    ----------
    recovery : Recovery
    tally : Tally
        Of the last acquisition, durable or not.

    Raises
    ------
    LogBusy
        Another process writes it.
    OSError
        The directory cannot be used.
    """

    def __init__(
        self, directory: Path, segment_bytes: int = 64 << 20, retention_bytes: int = 4 << 30
    ) -> None:
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._retention_bytes = retention_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise LogBusy(errno.EAGAIN, f"{directory}: another process writes this log") from None
        self._file = -1
        try:
            self._open_last()
        except BaseException:
            self.close()
            raise

    def _open_last(self) -> None:
        self.tally = Tally()
        self.recovery = Recovery()
        self._failed = False
        self._acquisition_path = self.directory / "acquisition"
        segments = _segments(self.directory)
        if not segments:
            self._begin_segment(0)
            return
        self._segment = last = segments[-1]
        path = _path(self.directory, last)
        data = path.read_bytes()
        decoder = FrameDecoder()
        frames = decoder.feed(data) + decoder.flush()
        end = 0
        self._block = 0
        self.next_sequence = last
        if frames:
            f = frames[-1]
            whole = encode_frame(FrameType(f.type), f.sequence, f.acquisition, f.payload)
            end = data.rindex(whole) + len(whole)
            self._block = f.sequence + 1
        torn = len(data) - end
        self.recovery = Recovery(torn, decoder.counts.junk_bytes - torn)
        records = [r for r in map(_record, frames) if r is not None]
        if not any(r.acquisition for r in records) and len(segments) > 1:
            # Died between two segments: the one before says where the acquisition stands.
            for record in _read_segment(_path(self.directory, segments[-2])):
                self.tally.add(record)
        for record in records:
            self.tally.add(record)
            self.next_sequence = max(self.next_sequence, record.end)
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(self._file, end)
        os.lseek(self._file, end, os.SEEK_SET)
        self._offset = end
        self._durable = _Durable(0, last, 0)
        self.sync()

    def _begin_segment(self, sequence: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(_path(self.directory, sequence), flags, 0o640)
        _sync_directory(self.directory)
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        self._segment = self.next_sequence = sequence
        self._offset = self._block = 0
        self._durable = _Durable(sequence, sequence, 0)

    @property
    def durable_sequence(self) -> int:
        """Sequence of the first record that is not durable yet."""
        return self._durable.sequence

    @property
    def oldest_sequence(self) -> int:
        """Sequence of the first record that is kept."""
        return next(iter(_segments(self.directory)), self._segment)

    def next_acquisition(self) -> int:
        """An id above all that were ever used here; durable before it is returned."""
        try:
            stored = int(self._acquisition_path.read_text())
        except (FileNotFoundError, ValueError):
            stored = 0
        number = max(stored, self.tally.acquisition) + 1
        fresh = self._acquisition_path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._acquisition_path)
        _sync_directory(self.directory)
        return number

    def append_announcements(
        self, acquisition: int, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]
    ) -> int:
        """Append announcements, not durable before :meth:`sync`; sequence of the first.

        Raises
        ------
        OrderViolation
            Slots not above all before them in this acquisition, or an earlier acquisition;
            nothing is appended.
        OSError
            Disk full or broken; nothing is appended.
        """
        first = self.next_sequence
        if not len(slot):
            return first
        tally = self.tally
        if acquisition < tally.acquisition:
            raise OrderViolation(f"acquisition {acquisition} after {tally.acquisition}")
        last = tally.last_slot if acquisition == tally.acquisition else -1
        if int(slot[0]) <= last or not (slot[1:] > slot[:-1]).all():
            raise OrderViolation(
                f"acquisition {acquisition}: slot {int(slot[0])} after {last}, or slots in disorder"
            )
        begin = 0
        while begin < len(slot):
            part = slot[begin : begin + _RECORDS_PER_BLOCK]
            n = int(np.searchsorted(part - part[0], SLOT_OFFSET_MASK, side="right"))
            stop = begin + n
            self._append(
                Announced(self.next_sequence, acquisition, slot[begin:stop], outcome[begin:stop])
            )
            begin = stop
        return first

    def append_event(self, acquisition: int, values: Mapping[str, Any]) -> int:
        """Append an event (``values["kind"]`` says which), not durable before :meth:`sync`.

        Returns its sequence. Raises OSError as :meth:`append_announcements`.
        """
        sequence = self.next_sequence
        self._append(Event(sequence, acquisition, values))
        return sequence

    def _append(self, record: Record) -> None:
        if self._failed:
            raise OSError(errno.EIO, "the log failed before", str(self.directory))
        if self._offset >= self._segment_bytes:
            self._roll()
            # The roll may have appended a summary.
            if isinstance(record, Announced):
                record = Announced(
                    self.next_sequence, record.acquisition, record.slot, record.outcome
                )
            else:
                record = Event(self.next_sequence, record.acquisition, record.values)
        self._write(record)

    def _write(self, record: Record) -> None:
        kind = FrameType.ANNOUNCED if isinstance(record, Announced) else FrameType.EVENT
        frame = encode_frame(kind, self._block, record.acquisition, record.encode())
        rest = memoryview(frame)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            # Part of it may stand there.
            os.ftruncate(self._file, self._offset)
            os.lseek(self._file, self._offset, os.SEEK_SET)
            raise OSError(
                error.errno, error.strerror, str(_path(self.directory, self._segment))
            ) from error
        self._offset += len(frame)
        self._block += 1
        self.next_sequence = record.end
        self.tally.add(record)

    def _roll(self) -> None:
        self.sync()
        self._begin_segment(self.next_sequence)
        if self.tally.acquisition:
            # So that the last segment alone says where the acquisition stands.
            t = self.tally
            values = {
                "kind": "summary",
                "psi_minus": t.psi_minus,
                "psi_plus": t.psi_plus,
                "last_slot": t.last_slot,
                "ended": t.ended,
            }
            self._write(Event(self.next_sequence, t.acquisition, values))
        self._trim()

    def _trim(self) -> None:
        segments = _segments(self.directory)
        sizes = {s: _path(self.directory, s).stat().st_size for s in segments}
        total = sum(sizes.values())
        for segment in segments[:-1]:
            if total <= self._retention_bytes:
                break
            _path(self.directory, segment).unlink(missing_ok=True)
            total -= sizes[segment]

    def sync(self) -> int:
        """Make everything appended durable; returns :attr:`durable_sequence`.

        Raises
        ------
        OSError
            The disk failed. What was appended since the last sync may be lost, and the log takes
            nothing more.
        """
        try:
            os.fdatasync(self._file)
        except OSError as error:
            # After a failed fsync, nobody knows what is on disk: a second try would lie.
            self._failed = True
            raise OSError(
                error.errno, error.strerror, str(_path(self.directory, self._segment))
            ) from error
        self._durable = _Durable(self.next_sequence, self._segment, self._offset)
        return self._durable.sequence

    def reader(self, sequence: int) -> LogReader:
        """A reader of the durable records from this sequence on."""
        return LogReader(self.directory, sequence, self)

    def sequence_of_slot(self, acquisition: int, slot: int) -> int:
        """Sequence of the first announcement at or after (acquisition, slot).

        :attr:`durable_sequence` if there is none yet. Reads up to a segment: for a worker thread.
        """
        segments = [s for s in _segments(self.directory) if s <= self._durable.segment]
        begin = segments[0] if segments else 0
        for segment in segments:
            first = next(
                (r for r in _read_segment(_path(self.directory, segment)) if r.acquisition), None
            )
            # A segment that begins in the middle of an acquisition begins with its last slot.
            at = -1
            if isinstance(first, Event) and first.kind == "summary":
                at = int(first.values["last_slot"])
            elif isinstance(first, Announced):
                at = int(first.slot[0])
            if first is None or (first.acquisition, at) < (acquisition, slot):
                begin = segment
            else:
                break
        reader = self.reader(begin)
        try:
            while records := reader.read():
                for r in records:
                    if not isinstance(r, Announced):
                        continue
                    if r.acquisition > acquisition:
                        return r.sequence
                    if r.acquisition == acquisition and int(r.slot[-1]) >= slot:
                        return r.sequence + int(np.searchsorted(r.slot, np.uint64(slot)))
        finally:
            reader.close()
        return self.durable_sequence

    def close(self) -> None:
        """Give files and lock back, without a sync."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class LogReader:
    """Reads records in order; :meth:`AnnouncementLog.reader` makes it.

    Without a log it reads a directory that nobody writes, to its end.

    Attributes
    ----------
    sequence : int
        Of the record that comes next.
    missing : int
        Records that were stepped over because their block is damaged.
    """

    def __init__(self, directory: Path, sequence: int, log: AnnouncementLog | None = None) -> None:
        self.directory = directory
        self.sequence = sequence
        self.missing = 0
        self._log = log
        self._segment: int | None = None
        self._file = -1
        self._offset = 0
        self._decoder = FrameDecoder()

    def read(self, max_bytes: int = _PIECE) -> list[Record]:
        """The next records, from about ``max_bytes`` of the log; empty if there is none yet.

        Raises
        ------
        LogTrimmed
            They are no longer kept.
        """
        while True:
            durable = self._log._durable if self._log is not None else None
            if durable is not None and self.sequence >= durable.sequence:
                return []
            if self._segment is None and not self._open(self._find()):
                return []
            assert self._segment is not None
            limit = max_bytes
            if durable is not None and durable.segment == self._segment:
                limit = min(limit, durable.offset - self._offset)
            data = os.pread(self._file, limit, self._offset) if limit > 0 else b""
            self._offset += len(data)
            frames = self._decoder.feed(data)
            if not data:
                # The end of a segment: whatever is pending will not be completed.
                frames = self._decoder.flush()
            records = self._take(frames)
            if records:
                return records
            if not data and not self._next_segment(durable):
                return []

    def _take(self, frames: list[Frame]) -> list[Record]:
        out: list[Record] = []
        for frame in frames:
            record = _record(frame)
            if record is None or record.end <= self.sequence:
                continue
            if isinstance(record, Announced):
                record = record.from_sequence(self.sequence)
            self.missing += record.sequence - self.sequence
            self.sequence = record.end
            out.append(record)
        return out

    def _find(self) -> int:
        segments = _segments(self.directory)
        index = bisect_right(segments, self.sequence) - 1
        if index < 0:
            raise LogTrimmed(segments[0] if segments else 0)
        return segments[index]

    def _open(self, segment: int) -> bool:
        self.close()
        try:
            self._file = os.open(_path(self.directory, segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            oldest = next(iter(_segments(self.directory)), None)
            if oldest is None:
                return False
            raise LogTrimmed(oldest) from None
        self._segment, self._offset = segment, 0
        self._decoder = FrameDecoder()
        return True

    def _next_segment(self, durable: _Durable | None) -> bool:
        if durable is not None and self._segment == durable.segment:
            return False
        later = [s for s in _segments(self.directory) if s > (self._segment or 0)]
        if not later or (durable is not None and later[0] > durable.segment):
            return False
        if later[0] > self.sequence:
            self.missing += later[0] - self.sequence
            self.sequence = later[0]
        return self._open(later[0])

    def __iter__(self) -> Iterator[Record]:
        while records := self.read():
            yield from records

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._segment = None


def _read_segment(path: Path) -> Iterator[Record]:
    """Records of one segment, lazily; nothing if it is gone."""
    decoder = FrameDecoder()
    try:
        with path.open("rb") as file:
            while data := file.read(_PIECE):
                for frame in decoder.feed(data):
                    record = _record(frame)
                    if record is not None:
                        yield record
    except FileNotFoundError:
        return
    for frame in decoder.flush():
        record = _record(frame)
        if record is not None:
            yield record
