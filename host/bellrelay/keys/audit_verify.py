"""Whether an audit log is what was written: the chain, line by line, and the checkpoints on it.

Reads only; the log may be written meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .audit_chain import (
    CHECKPOINT,
    PREV,
    SEQUENCE,
    ChainPosition,
    as_repair_of,
    canonical,
    follows,
    parsed,
)
from .audit_checkpoint import Checkpoint, CheckpointVerifier, read_checkpoints
from .audit_log import AuditLog
from .audit_segments import first_sequences, segment_path

__all__ = ["AuditReport", "verify_audit"]

_MAX_FAULTS = 50


@dataclass
class AuditReport:
    """What was found. faults : each a line for a person; the log is whole if there are none.

    unfinished : bytes at the very end that are no whole line; a writer that is at work, or one that
    died: the next one accounts for them. repairs : places where that has happened.
    signed_to : the last line that a good signature covers, -1 if none.
    """

    directory: str
    chain: str = ""
    first: int = -1
    last: int = -1
    head: str = ""
    segments: int = 0
    records: int = 0
    repairs: list[str] = field(default_factory=list)
    unfinished: int = 0
    checkpoints: int = 0
    signed_to: int = -1
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing contradicts the log."""
        return not self.faults

    def fault(self, text: str) -> None:
        """Put a fault down; the first ones are kept."""
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(text)
        elif len(self.faults) == _MAX_FAULTS:
            self.faults.append("further faults are not listed")

    def values(self) -> dict[str, Any]:
        """All of it, plain."""
        return {"whole": self.whole, **self.__dict__}


def verify_audit(
    directory: Path,
    verifiers: Sequence[CheckpointVerifier] = (),
    checkpoint_files: Iterable[Path] = (),
) -> AuditReport:
    """Verify a log.

    Parameters
    ----------
    directory
        Of the log.
    verifiers
        Public keys of the checkpoints, all that were in use. Without any, signatures are not
        verified, and the report says so in its notes.
    checkpoint_files
        Kept elsewhere: files of checkpoints, or of whole records such as a SIEM exports.

    Raises
    ------
    OSError
        Something cannot be read.
    """
    report = AuditReport(str(directory))
    wanted: dict[int, list[tuple[str, Checkpoint]]] = {}
    own = directory / AuditLog.CHECKPOINTS
    for path in [own] * own.exists() + list(checkpoint_files):
        for checkpoint in _checkpoints(path, report):
            wanted.setdefault(checkpoint.sequence, []).append((str(path), checkpoint))
    walk = _Walk(report, {verifier.key_id: verifier for verifier in verifiers}, wanted)
    for sequence in first_sequences(directory):
        walk.segment(segment_path(directory, sequence), sequence)
    walk.end()
    return report


def _checkpoints(path: Path, report: AuditReport) -> list[Checkpoint]:
    junk: list[int] = []
    found = list(read_checkpoints(path, junk.append))
    if not found:
        report.fault(f"{path}: no checkpoint in it")
    elif junk:
        report.notes.append(f"{path}: {len(junk)} lines hold no checkpoint")
    return found


class _Walk:
    """Along the chain, once."""

    def __init__(
        self,
        report: AuditReport,
        verifiers: Mapping[str, CheckpointVerifier],
        wanted: dict[int, list[tuple[str, Checkpoint]]],
    ) -> None:
        self.report = report
        self.verifiers = verifiers
        self.wanted = wanted
        self.at: ChainPosition | None = None
        self.heads: dict[int, str] = {}
        self.accepted = False

    def segment(self, path: Path, sequence: int) -> None:
        report, name = self.report, path.name
        data = path.read_bytes()
        report.segments += 1
        if self.at is None:
            self._begin(sequence, data)
        elif self.at.sequence != sequence:
            report.fault(f"{name}: lines {self.at.sequence} to {sequence - 1} are missing before")
        if report.unfinished:
            report.fault(f"{report.unfinished} bytes before {name} are no whole line")
            report.unfinished = 0
        end = begin = number = 0
        while (newline := data.find(b"\n", begin)) >= 0:
            number += 1
            self._line(data[begin:newline], data[end:begin], f"{name} line {number}")
            if self.accepted:
                end = newline + 1
            begin = newline + 1
        rest = data[end:]
        if rest.count(b"\n"):
            report.fault(f"{name}: after line {report.last}: {len(rest)} bytes are no lines of it")
        else:
            report.unfinished = len(rest)

    def _begin(self, sequence: int, data: bytes) -> None:
        self.report.first = sequence
        self.at = ChainPosition(sequence)
        if sequence == 0:
            return
        # What came before is kept elsewhere: the first line says what it follows.
        values = parsed(data.partition(b"\n")[0])
        if values is not None:
            self.at = ChainPosition(sequence, values[PREV])
            self.heads[sequence - 1] = values[PREV]
        if sequence - 1 not in self.wanted:
            self.report.fault(
                f"lines 0 to {sequence - 1} are not here, and no checkpoint says how they ended"
            )

    def _line(self, line: bytes, before: bytes, where: str) -> None:
        assert self.at is not None
        report = self.report
        values = parsed(line)
        self.accepted = values is not None
        if values is None:
            # Torn, if a later line accounts for it; the end of the segment tells.
            return
        if before:
            if follows(values, self.at) and as_repair_of(values, before):
                report.repairs.append(f"{where}: {len(before)} torn bytes before it")
            else:
                report.fault(f"{where}: {len(before)} bytes before it are no lines of this log")
        elif not follows(values, self.at):
            expected = self.at.sequence
            if values[SEQUENCE] != expected:
                report.fault(f"{where}: line {values[SEQUENCE]} stands where {expected} belongs")
            else:
                report.fault(f"{where}: line {expected - 1} before it is not the one it follows")
        if canonical(values) != line:
            report.fault(f"{where}: not in the form that the log writes")
        self.at = ChainPosition(values[SEQUENCE], "").after(line)
        report.records += 1
        report.last, report.head = values[SEQUENCE], self.at.head
        if values[SEQUENCE] in self.wanted:
            self.heads[values[SEQUENCE]] = self.at.head
        if not report.chain:
            report.chain = str(values.get("bellrelay.audit.chain", ""))
        if values.get("event.action") == CHECKPOINT:
            self._inside(values, where)

    def _inside(self, values: dict[str, Any], where: str) -> None:
        prefix = "bellrelay.checkpoint."
        own = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
        try:
            checkpoint = Checkpoint.of(own)
        except (KeyError, TypeError):
            self.report.fault(f"{where}: not a checkpoint")
            return
        if (checkpoint.sequence, checkpoint.head) != (values[SEQUENCE] - 1, values[PREV]):
            self.report.fault(f"{where}: a checkpoint of something else")
        elif self._signature(checkpoint, where):
            self.report.signed_to = max(self.report.signed_to, checkpoint.sequence)

    def _signature(self, checkpoint: Checkpoint, where: str) -> bool:
        if not self.verifiers:
            return False
        verifier = self.verifiers.get(checkpoint.key_id)
        if verifier is None or not verifier.good(checkpoint):
            self.report.fault(
                f"{where}: the checkpoint of line {checkpoint.sequence} is not signed by key "
                f"{' or '.join(self.verifiers)}"
            )
            return False
        return True

    def end(self) -> None:
        report = self.report
        if self.at is None:
            report.fault(f"{report.directory}: no file of an audit log")
        if not self.verifiers:
            report.notes.append("signatures were not verified: no public key was given")
        for sequence, checkpoints in sorted(self.wanted.items()):
            for path, checkpoint in checkpoints:
                report.checkpoints += 1
                if self.verifiers and not self._signature(checkpoint, path):
                    continue
                self._compare(path, sequence, checkpoint)
        if report.unfinished:
            report.notes.append(f"the log ends with {report.unfinished} bytes of a line")

    def _compare(self, path: str, sequence: int, checkpoint: Checkpoint) -> None:
        report = self.report
        said = f"{path}: line {sequence}, signed at {checkpoint.time},"
        if report.chain and checkpoint.chain != report.chain:
            report.fault(f"{said} is of another log ({checkpoint.chain}, not {report.chain})")
        elif sequence > report.last:
            report.fault(f"{said} is not here: the log was cut off after line {report.last}")
        elif sequence in self.heads and self.heads[sequence] != checkpoint.head:
            report.fault(f"{said} is another line here: the log was rewritten")
        elif sequence not in self.heads and sequence >= report.first:
            report.fault(f"{said} is not here")
        elif self.verifiers:
            report.signed_to = max(report.signed_to, sequence)
