"""The endpoint's side of the source log on disk: what :class:`SourceWriter` wrote, by slot."""

from __future__ import annotations

import os
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .slot_ranges import Ranges, clipped, inside
from .source_erasure import erase_before, forgotten_mark, private_directory
from .source_format import (
    CHUNK_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    ChunkHeader,
    SegmentHeader,
    payload_bytes,
    segment_path,
    segments_of,
    unpack,
    walk_chunks,
)
from .source_log import (
    Choices,
    HeldLadder,
    SlotNotKept,
    SlotRemoved,
    SourceLogDamaged,
    SourceLogError,
)

__all__ = ["SourceFiles"]


@dataclass
class _Segment:
    """Chunks of one file, as far as they have been walked through.

    end: first slot of which the file says nothing yet.
    """

    first: int
    path: Path
    file: int
    offset: int = SEGMENT_HEADER_BYTES
    end: int = 0
    size: int = 0
    firsts: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        """Whether what follows the last chunk is there, and is none."""
        if os.fstat(self.file).st_size < self.offset + CHUNK_HEADER_BYTES:
            return False
        return ChunkHeader.parse(os.pread(self.file, CHUNK_HEADER_BYTES, self.offset)) is None

    def walk(self) -> None:
        """Take what has been appended."""
        self.size = os.fstat(self.file).st_size
        for offset, chunk in walk_chunks(self.file, self.offset, self.size):
            if chunk.first < self.end:
                raise SourceLogDamaged(f"{self.path}: slots go back")
            if chunk.first > self.end:
                self.gaps.append((self.end, chunk.first))
            if chunk.slots:
                self.firsts.append(chunk.first)
                self.slots.append(chunk.slots)
                self.offsets.append(offset + CHUNK_HEADER_BYTES)
                self.crcs.append(chunk.payload_crc)
            self.end = chunk.end
            self.offset = offset + CHUNK_HEADER_BYTES + payload_bytes(chunk.slots)


class SourceFiles:
    """Records of one acquisition in a directory; a :class:`~.source_log.SourceLog`.

    One process at a time, any of its threads; what the sender's process appends is seen at the next
    call.

    Parameters
    ----------
    directory
        That a :class:`~.source_writer.SourceWriter` writes.
    acquisition
        Whose slots.

    Raises
    ------
    SourceLogError
        No records of this acquisition, or damaged ones.
    OSError
        The directory cannot be used, or others may read it.
    """

    def __init__(self, directory: Path, acquisition: int) -> None:
        self.directory = directory
        private_directory(directory)
        self._acquisition = acquisition
        self._lock = threading.RLock()
        self._segments: list[_Segment] = []
        self._erased = 0
        self._look()
        if not self._segments:
            raise SourceLogError(f"{directory}: no records of acquisition {acquisition}")
        header = SegmentHeader.parse(os.pread(self._segments[0].file, SEGMENT_HEADER_BYTES, 0))
        self._header = header
        # A crash may have come between the mark and the overwriting.
        if self._mark:
            self.forget(self._mark)

    def __repr__(self) -> str:
        return f"SourceFiles({str(self.directory)!r}, acquisition {self._acquisition})"

    @property
    def acquisition(self) -> int:
        return self._acquisition

    @property
    def start_ns(self) -> int:
        return self._header.start_ns

    @property
    def slot_period_ps(self) -> float:
        return self._header.slot_period_ps

    @property
    def intensities(self) -> NDArray[np.float64]:
        return np.array(self._header.intensities)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return np.array(self._header.probabilities)

    @property
    def kept(self) -> tuple[int, int]:
        """[first, end): slots before first are forgotten, from end on not recorded yet."""
        with self._lock:
            self._look()
            first = max(self._mark, self._segments[0].first) if self._segments else self._mark
            return first, max(first, self._end)

    @property
    def _end(self) -> int:
        return self._segments[-1].end if self._segments else 0

    def _look(self) -> None:
        """See what was appended, and what was erased by whom."""
        self._mark = forgotten_mark(self.directory, self._acquisition)
        there = [first for _, first in segments_of(self.directory, self._acquisition)]
        for segment in [s for s in self._segments if s.first not in there]:
            os.close(segment.file)
            self._segments.remove(segment)
        if self._segments:
            # Whole before a next one begins: what came between the two looks is seen now.
            self._segments[-1].walk()
        known = {s.first for s in self._segments}
        for first in there:
            if first not in known:
                self._open(first)

    def _open(self, first: int) -> None:
        path = segment_path(self.directory, self._acquisition, first)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if os.fstat(file).st_size < SEGMENT_HEADER_BYTES:
                # Its sender is just beginning it.
                os.close(file)
                return
            header = SegmentHeader.parse(os.pread(file, SEGMENT_HEADER_BYTES, 0))
            if header.acquisition != self._acquisition or header.first_slot != first:
                raise SourceLogDamaged(f"{path}: holds other slots than its name says")
        except SourceLogDamaged:
            os.close(file)
            raise
        segment = _Segment(first, path, file, end=first)
        self._segments.append(segment)
        segment.walk()

    def choices(self, slots: NDArray[np.uint64]) -> Choices:
        """What was sent in these slots, (n,) uint64, in any order.

        Raises
        ------
        SlotNotKept, SlotRemoved, SourceLogDamaged
            For any of them.
        """
        with self._lock:
            return self._choices(slots)

    def _choices(self, slots: NDArray[np.uint64]) -> Choices:
        setting, basis, bit = (np.empty(len(slots), np.uint8) for _ in range(3))
        if not len(slots):
            return Choices(basis, setting, bit)
        order = np.argsort(slots, kind="stable")
        wanted = slots[order]
        first, end = int(wanted[0]), int(wanted[-1]) + 1
        if inside(self.removed(first, end), wanted).any():
            raise SlotRemoved("a slot lies in a range whose records the sender dropped")
        begin = 0
        for segment in self._segments:
            stop = int(np.searchsorted(wanted, np.uint64(segment.end)))
            if stop <= begin:
                continue
            firsts = np.array(segment.firsts, np.uint64)
            chunk = np.searchsorted(firsts, wanted[begin:stop], side="right") - 1
            edges = np.flatnonzero(np.diff(chunk)) + 1
            for low, high in zip([0, *edges], [*edges, len(chunk)], strict=True):
                c = int(chunk[low])
                part = slice(begin + int(low), begin + int(high))
                at = (wanted[part] - firsts[c]).astype(np.int64)
                to = order[part]
                setting[to], basis[to], bit[to] = unpack(self._payload(segment, c), at)
            begin = stop
        return Choices(basis, setting, bit)

    def _payload(self, segment: _Segment, chunk: int) -> bytes:
        payload = os.pread(
            segment.file, payload_bytes(segment.slots[chunk]), segment.offsets[chunk]
        )
        if zlib.crc32(payload) != segment.crcs[chunk]:
            first = segment.firsts[chunk]
            if first < forgotten_mark(self.directory, self._acquisition):
                raise SlotNotKept(f"slot {first} has just been forgotten")
            raise SourceLogDamaged(f"{segment.path}: records from slot {first} on are damaged")
        return payload

    def removed(self, first: int, end: int) -> Ranges:
        """(k, 2) uint64: slots of [first, end) whose records were dropped; sorted, disjoint.

        Raises
        ------
        SlotNotKept, SourceLogDamaged
        """
        if first > end:
            raise ValueError(f"a range ends at {end}, before it begins at {first}")
        with self._lock:
            return self._removed(first, end)

    def _removed(self, first: int, end: int) -> Ranges:
        oldest, recorded = self.kept
        if first < oldest:
            raise SlotNotKept(f"slots before {oldest} are forgotten, {first} is asked for")
        if end > recorded:
            if self._segments and self._segments[-1].is_damaged:
                raise SourceLogDamaged(
                    f"{self._segments[-1].path}: damaged from slot {recorded} on"
                )
            raise SlotNotKept(f"slots up to {recorded} are recorded, {end - 1} is asked for")
        gaps: list[tuple[int, int]] = []
        follow = [s.first for s in self._segments[1:]] + [self._end]
        for segment, following in zip(self._segments, follow, strict=True):
            gaps += segment.gaps
            # A segment begins where the one before ended: what lies between cannot be read.
            if segment.end < following and first < following and end > segment.end:
                raise SourceLogDamaged(f"{segment.path}: damaged from slot {segment.end} on")
        return clipped(gaps, first, end)

    def ladders(self, first: int, end: int) -> list[HeldLadder]:
        """By which ladders [first, end) was sent, in order: every segment says its own.

        Raises as :meth:`removed`.
        """
        with self._lock:
            self._removed(first, end)
            held: list[HeldLadder] = []
            for segment in self._segments:
                if segment.first >= end:
                    break
                header = SegmentHeader.parse(os.pread(segment.file, SEGMENT_HEADER_BYTES, 0))
                one = HeldLadder(
                    segment.first, np.array(header.intensities), np.array(header.probabilities)
                )
                if segment.first <= first:
                    held = []
                held.append(one)
            return held

    def sent(self, first: int, end: int) -> int:
        """Pulses sent in [first, end) and recorded: its slots less the removed ones.

        Raises as :meth:`removed`.
        """
        ranges = self.removed(first, end)
        return end - first - int(np.sum(ranges[:, 1] - ranges[:, 0], dtype=np.uint64))

    def forget(self, before_slot: int) -> None:
        """Overwrite what was sent in slots before this one, and remove files that are done with.

        Raises
        ------
        OSError
            The disk failed; to be called again.
        """
        with self._lock:
            before = max(before_slot, forgotten_mark(self.directory, self._acquisition))
            erase_before(self.directory, self._acquisition, before, self._erased)
            self._erased = before
            self._look()

    def close(self) -> None:
        """Give files back."""
        with self._lock:
            for segment in self._segments:
                os.close(segment.file)
            self._segments = []
