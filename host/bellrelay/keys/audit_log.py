"""The audit log: lines of JSON that are only ever added, each chained to the one before.

Several processes may write it, such as a KME and the command line beside it: each takes a lock for
the time of one call and first follows what the others have added.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

from .audit_chain import (
    BEGUN,
    CHECKPOINT,
    CLOSED,
    GENESIS,
    OPENED,
    REPAIRED,
    ChainPosition,
    chained,
    follows,
    parsed,
    repair_details,
)
from .audit_checkpoint import Checkpoint, CheckpointSigner, append_checkpoint, read_checkpoints
from .audit_ecs import Origin, ecs_fields
from .audit_record import AuditError, AuditEvent
from .audit_segments import (
    AuditBroken,
    first_sequences,
    position_before,
    scan,
    segment_path,
)

__all__ = ["AuditBroken", "AuditLog"]

# Lines that are written at once; more than this was never half written, and is no torn end.
_BATCH_BYTES = 1 << 20
_log = structlog.get_logger(__name__)


class AuditLog:
    """One audit log, for writing; any thread may use it.

    Parameters
    ----------
    directory
        Its own; made with mode 0750 if it is missing.
    service
        The KME's id, or the relay's: it stands in every record.
    program
        Whose log it is: ``kme`` or ``relay``.
    segment_bytes
        A file that has grown so long is closed, and the next one begun.
    signer
        Signs checkpoints; none are made without.
    checkpoint_every_s, checkpoint_every_records
        A checkpoint follows the first record after so long, or so many.
    checkpoint_copies
        Files that get every checkpoint beside the log's own ``checkpoints.jsonl``.

    Raises
    ------
    AuditBroken
        What is there is not what was written: a changed or missing line, a lost file, an end before
        the last checkpoint. Nothing is changed.
    OSError
        It cannot be read or written.
    """

    CHECKPOINTS = "checkpoints.jsonl"

    def __init__(
        self,
        directory: Path,
        service: str,
        *,
        program: str = "kme",
        segment_bytes: int = 16 << 20,
        signer: CheckpointSigner | None = None,
        checkpoint_every_s: float = 60.0,
        checkpoint_every_records: int = 1000,
        checkpoint_copies: tuple[Path, ...] = (),
    ) -> None:
        self.directory = directory
        self.service = service
        self._origin = Origin(service, program=program)
        self._segment_bytes = segment_bytes
        self._signer = signer
        self._every_s = checkpoint_every_s
        self._every_records = checkpoint_every_records
        self._copies = checkpoint_copies
        self._thread_lock = threading.RLock()
        self._failed: str | None = None
        self._file = -1
        self._segment = self._offset = self._signed = 0
        self._position = ChainPosition()
        self._chain = ""
        self._signed_at = time.monotonic()
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock_file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            with self._alone():
                self._open()
        except BaseException:
            self._close_files()
            raise

    # --------------------------------------------------------------------------- for everybody

    def record(self, *events: AuditEvent) -> None:
        """Put events on record, in this order; durable when it returns.

        Raises
        ------
        AuditError, OSError
            The disk is full or broken, or the log is not what was written. Nothing counts as
            recorded; what may stand there of it is accounted for by the next record.
        """
        if not events:
            return
        with self._alone():
            self._catch_up()
            # Before the events: if there is no room for these, nothing has been recorded.
            if self._offset >= self._segment_bytes:
                self._roll()
            if self._due():
                self._checkpoint()
            lines = self._lines(events, self._position)
            begin = 0
            while begin < len(lines):
                end, size = begin, 0
                while end < len(lines) and (size == 0 or size + len(lines[end]) < _BATCH_BYTES):
                    size += len(lines[end]) + 1
                    end += 1
                self._write(lines[begin:end])
                begin = end

    def checkpoint(self) -> Checkpoint | None:
        """Sign where the log stands, unless that was done; None without a key or anything new."""
        with self._alone():
            self._catch_up()
            return self._checkpoint() if self._position.sequence > self._signed else None

    @property
    def fault(self) -> str:
        """Why nothing can be recorded any more: what is there is not what was written."""
        return self._failed or ""

    @property
    def position(self) -> ChainPosition:
        """Of the next line, as far as this process has followed the log."""
        return self._position

    def close(self) -> None:
        """Sign where the log stands, and give files and lock back."""
        with self._thread_lock:
            if self._lock_file < 0:
                return
            try:
                if self._failed is None:
                    self.checkpoint()
            except OSError as error:
                _log.error("no checkpoint at the end", log=str(self.directory), why=str(error))
            finally:
                self._close_files()

    # -------------------------------------------------------------------------------- opening

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread and no other process writes."""
        with self._thread_lock:
            if self._failed is not None:
                raise AuditError(errno.EIO, f"{self.directory}: failed before: {self._failed}")
            if self._lock_file < 0:
                raise AuditError(errno.EBADF, f"{self.directory}: closed")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                yield
            except AuditBroken as error:
                self._failed = str(error)
                raise
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _open(self) -> None:
        segments = first_sequences(self.directory)
        last_checkpoint = self._last_checkpoint()
        if not segments:
            if last_checkpoint is not None:
                raise AuditBroken(f"{self.directory}: checkpoints, but not a line of the log")
            self._begin_segment(ChainPosition())
            self._begin_chain()
            return
        self._chain = self._chain_id(segments)
        at = position_before(self.directory, segments)
        self._file = self._open_segment(segments[-1])
        self._segment, self._offset, self._position = segments[-1], 0, at
        self._signed = at.sequence
        if last_checkpoint is not None:
            self._signed = max(self._signed, last_checkpoint.sequence + 1)
        self._catch_up(floor=self._signed)
        if not self._chain:
            # It died while it began.
            self._begin_chain()
        elif self._position.sequence == self._segment:
            self._append(self._opened_event())
        if last_checkpoint is not None:
            self._require_checkpointed(last_checkpoint)

    def _chain_id(self, segments: list[int]) -> str:
        """UUID of the chain, from the first line that says it; empty if there is none."""
        for segment in segments:
            with segment_path(self.directory, segment).open("rb") as file:
                for line in file.read(_BATCH_BYTES).split(b"\n"):
                    values = parsed(line)
                    if values is not None and "bellrelay.audit.chain" in values:
                        return str(values["bellrelay.audit.chain"])
        return ""

    def _last_checkpoint(self) -> Checkpoint | None:
        last = None
        try:
            for found in read_checkpoints(self.directory / self.CHECKPOINTS):
                good = self._signer is None or self._signer.verifier.good(found)
                if good and (last is None or found.sequence > last.sequence):
                    last = found
        except FileNotFoundError:
            pass
        return last

    def _require_checkpointed(self, checkpoint: Checkpoint) -> None:
        """The log still goes as far as it did, and is the same log."""
        if self._chain != checkpoint.chain:
            raise AuditBroken(f"{self.directory}: another log than that of its checkpoints")
        if self._position.sequence <= checkpoint.sequence:
            raise AuditBroken(
                f"{self.directory}: ends at line {self._position.sequence - 1}, "
                f"but line {checkpoint.sequence} was signed at {checkpoint.time}"
            )

    def _begin_chain(self) -> None:
        self._chain = str(uuid.uuid4())
        event = AuditEvent(BEGUN, "system", f"audit:{self.service}", "success")
        self._append(event)

    # ------------------------------------------------------------------- following the others

    def _catch_up(self, floor: int = 0) -> None:
        """Follow the chain to its end, over whatever other processes have added.

        ``floor`` : lines before this one were whole once, so they cannot be torn now.
        """
        while True:
            self._require_in_place()
            size = os.fstat(self._file).st_size
            if size < self._offset:
                raise AuditBroken(f"{self._path}: shorter than it was")
            data = os.pread(self._file, size - self._offset, self._offset) if size else b""
            found = scan(data, self._position)
            self._offset += found.end
            self._position = found.position
            if found.action == CHECKPOINT:
                # Whoever signed: its own line needs no further one.
                self._signed = found.position.sequence
            torn = data[found.end :]
            if torn:
                self._repair(torn, floor)
            if found.action == CLOSED:
                # Whoever closed it begins the next one; if that died in between, we do.
                self._go_on(found.position)
                continue
            return

    def _go_on(self, position: ChainPosition) -> None:
        if segment_path(self.directory, position.sequence).exists():
            file = self._open_segment(position.sequence)
            os.close(self._file)
            self._file, self._segment, self._offset = file, position.sequence, 0
            if os.fstat(file).st_size:
                return
        else:
            self._begin_segment(position)
        self._append(self._opened_event())

    def _require_in_place(self) -> None:
        """The file that we write is the one that has its name: nobody moved or replaced it."""
        ours = os.fstat(self._file)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            raise AuditBroken(f"{self._path}: no longer there") from None
        if (ours.st_ino, ours.st_dev) != (there.st_ino, there.st_dev):
            raise AuditBroken(f"{self._path}: replaced by another file")

    def _repair(self, torn: bytes, floor: int) -> None:
        """Account for bytes after the last whole line, which nobody was told are on record."""
        values = parsed(torn)
        if values is not None and follows(values, self._position):
            # Whole but for its end.
            self._append_after(torn, b"\n")
            self._position = self._position.after(torn)
            return
        what = f"{self._path}: after line {self._position.sequence - 1}"
        if self._position.sequence < floor:
            raise AuditBroken(f"{what}: not the log of its checkpoints, which went further")
        if len(torn) > 2 * _BATCH_BYTES:
            raise AuditBroken(f"{what}: {len(torn)} bytes that are no lines of this log")
        if any(parsed(line) is not None for line in torn.split(b"\n")[:-1]):
            raise AuditBroken(f"{what}: lines that do not follow: one was changed or removed")
        rest = b"" if torn.endswith(b"\n") else b"\n"
        region = torn + rest
        _log.warning("torn line in the audit log", file=str(self._path), bytes=len(torn))
        details = {**repair_details(region), "file": self._path.name, "offset": self._offset}
        event = AuditEvent(REPAIRED, "system", f"audit:{self.service}", "success", details)
        (line,) = self._lines((event,), self._position)
        self._append_after(torn, rest + line + b"\n")
        self._position = self._position.after(line)

    def _append_after(self, torn: bytes, data: bytes) -> None:
        self._offset += len(torn)
        try:
            self._write_bytes(data)
        except OSError:
            self._offset -= len(torn)
            raise

    # --------------------------------------------------------------------------------- writing

    @property
    def _path(self) -> Path:
        return segment_path(self.directory, self._segment)

    def _lines(self, events: tuple[AuditEvent, ...], at: ChainPosition) -> list[bytes]:
        now = datetime.now(UTC)
        lines = []
        for event in events:
            values = ecs_fields(event, self._origin, now)
            if event.action in (BEGUN, OPENED):
                values["bellrelay.audit.chain"] = self._chain
            line = chained(values, at)
            at = at.after(line)
            lines.append(line)
        return lines

    def _append(self, event: AuditEvent) -> None:
        self._write(self._lines((event,), self._position))

    def _write(self, lines: list[bytes]) -> None:
        """Write whole lines after the end and make them durable, or leave nothing that counts."""
        self._write_bytes(b"".join(line + b"\n" for line in lines))
        for line in lines:
            self._position = self._position.after(line)

    def _write_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            try:
                os.ftruncate(self._file, self._offset)
            except OSError:
                # A file that may only grow (chattr +a): what stands there must not pass for whole.
                self._failed = f"{error.strerror}, and part of a record cannot be taken back"
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        try:
            os.fdatasync(self._file)
        except OSError as error:
            # After a failed fsync nobody knows what is on disk: a second try would lie.
            self._failed = error.strerror or "fsync"
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._offset += len(data)

    def _open_segment(self, sequence: int) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        return os.open(segment_path(self.directory, sequence), flags)

    def _begin_segment(self, position: ChainPosition) -> None:
        path = segment_path(self.directory, position.sequence)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(path, flags, 0o640)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._segment, self._offset = file, position.sequence, 0
        self._position = position

    def _opened_event(self) -> AuditEvent:
        return AuditEvent(OPENED, "system", f"audit:{self.service}", "success")

    def _roll(self) -> None:
        closed = AuditEvent(CLOSED, "system", f"audit:{self.service}", "success")
        self._append(closed)
        self._checkpoint_outside(self._signature())
        self._begin_segment(self._position)
        self._append(self._opened_event())

    # ----------------------------------------------------------------------------- checkpoints

    def _due(self) -> bool:
        new = self._position.sequence - self._signed
        late = time.monotonic() - self._signed_at >= self._every_s
        return self._signer is not None and new > 0 and (late or new >= self._every_records)

    def _signature(self) -> Checkpoint | None:
        if self._signer is None or self._position.head == GENESIS:
            return None
        at = self._position
        return self._signer.sign(self.service, self._chain, at.sequence - 1, at.head)

    def _checkpoint(self) -> Checkpoint | None:
        """As a line of the log, which is forwarded like any other, and in files beside it."""
        checkpoint = self._signature()
        if checkpoint is None:
            return None
        details = {f"checkpoint.{k}": v for k, v in checkpoint.values().items()}
        self._append(AuditEvent(CHECKPOINT, "system", f"audit:{self.service}", "success", details))
        self._checkpoint_outside(checkpoint)
        # Its own line needs no further one.
        self._signed = self._position.sequence
        return checkpoint

    def _checkpoint_outside(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        self._signed_at = time.monotonic()
        for path in (self.directory / self.CHECKPOINTS, *self._copies):
            # The record is durable already, and the next checkpoint covers what this one does.
            try:
                append_checkpoint(path, checkpoint)
            except OSError as error:
                _log.error("checkpoint not kept", file=str(path), why=error.strerror)

    def _close_files(self) -> None:
        for descriptor in (self._file, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock_file = -1
