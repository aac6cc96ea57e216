"""Verification of an audit log: every change, cut and swap is seen; what checkpoints add."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_lines import actions, event, records, segments

from bellrelay.keys.audit_checkpoint import (
    CheckpointSigner,
    CheckpointVerifier,
    create_signing_key,
    read_checkpoints,
)
from bellrelay.keys.audit_log import AuditBroken, AuditLog
from bellrelay.keys.audit_record import AuditError
from bellrelay.keys.audit_verify import verify_audit
from bellrelay.service.private_file import UnsafeMode


@pytest.fixture
def key(tmp_path: Path) -> Path:
    create_signing_key(tmp_path / "audit.key")
    return tmp_path / "audit.key"


@pytest.fixture
def signer(key: Path) -> CheckpointSigner:
    return CheckpointSigner(key)


@pytest.fixture
def directory(tmp_path: Path, signer: CheckpointSigner) -> Path:
    """Some files of a log with checkpoints every ten records, and copies of those."""
    directory = tmp_path / "audit"
    write(directory, signer, 60, tmp_path / "elsewhere.jsonl")
    return directory


def write(directory: Path, signer: CheckpointSigner, n: int, *copies: Path) -> None:
    log = AuditLog(
        directory,
        "kme-a",
        segment_bytes=12_000,
        signer=signer,
        checkpoint_every_records=10,
        checkpoint_copies=copies,
    )
    for number in range(n):
        log.record(event(number))
    log.close()


def faults(directory: Path, signer: CheckpointSigner, *files: Path) -> list[str]:
    return verify_audit(directory, [signer.verifier], files).faults


def test_a_whole_log(directory: Path, signer: CheckpointSigner, tmp_path: Path) -> None:
    report = verify_audit(directory, [signer.verifier], [tmp_path / "elsewhere.jsonl"])
    assert report.whole, report.faults
    assert report.segments > 1
    assert report.checkpoints >= 10
    # The last record of all is a checkpoint, of the line before it.
    assert report.signed_to == report.last - 1
    assert actions(directory)[-1] == "audit-checkpoint"


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "changed": lambda found: [*found[:3], found[3].replace(b"alice", b"malle"), *found[4:]],
    "removed": lambda found: [*found[:3], *found[4:]],
    "swapped": lambda found: [*found[:3], found[4], found[3], *found[5:]],
    "repeated": lambda found: [*found[:4], *found[3:]],
    "spaced": lambda found: [*found[:3], found[3].replace(b":", b": ", 1), *found[4:]],
    "junk": lambda found: [*found[:3], b"junk\n", *found[3:]],
    "blank": lambda found: [*found[:3], b"\n", *found[3:]],
    "end": lambda found: found[:-1],
    "last changed": lambda found: [*found[:-1], found[-1].replace(b"success", b"failure")],
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("number", [0, 1])
def test_every_change_is_seen(
    directory: Path, signer: CheckpointSigner, name: str, number: int
) -> None:
    rewrite(segments(directory)[number], CHANGES[name])
    assert faults(directory, signer)


@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_lost_file_is_seen(directory: Path, signer: CheckpointSigner, number: int) -> None:
    segments(directory)[number].unlink()
    found = faults(directory, signer)
    # The oldest may be kept elsewhere: the checkpoint at its end says how it ended.
    assert bool(found) == (number != 0)


def test_a_fault_names_the_line(directory: Path, signer: CheckpointSigner) -> None:
    rewrite(segments(directory)[0], CHANGES["changed"])
    assert faults(directory, signer)[0].startswith("audit-0000000000000000.jsonl line 5: ")


def test_only_checkpoints_kept_elsewhere_show_a_cut(
    directory: Path, signer: CheckpointSigner, tmp_path: Path
) -> None:
    """Who can write the directory can shorten everything in it."""
    last = segments(directory)[-1]
    last.unlink()
    rewrite(segments(directory)[-1], lambda found: found[:6])
    rewrite(directory / "checkpoints.jsonl", lambda found: found[:1])
    assert faults(directory, signer) == []
    found = faults(directory, signer, tmp_path / "elsewhere.jsonl")
    assert found
    assert "cut off after line" in found[0]


def test_a_chain_that_was_forged_anew_is_seen(
    directory: Path, signer: CheckpointSigner, tmp_path: Path
) -> None:
    """Without the key, somebody writes a perfect chain of other records."""
    forged = tmp_path / "forged"
    mallory = tmp_path / "mallory.key"
    create_signing_key(mallory)
    write(forged, CheckpointSigner(mallory), 60)
    found = faults(forged, signer, tmp_path / "elsewhere.jsonl")
    assert any("is not signed by key" in fault for fault in found)
    assert any("of another log" in fault for fault in found)


def test_a_rewritten_line_is_seen_by_its_checkpoint(
    directory: Path, signer: CheckpointSigner, tmp_path: Path
) -> None:
    """All hashes made anew after a change: only a signature from before tells."""
    import bellrelay.keys.audit_chain as chain

    at = chain.ChainPosition()
    for path in segments(directory):
        fresh = []
        for line in path.read_bytes().splitlines():
            values = json.loads(line)
            values["user.id"] = values["user.id"].replace("alice", "malle")
            if values["event.action"] == "audit-checkpoint":
                values["event.action"] = "key-delivered"
            line = chain.chained(values, at)
            at = at.after(line)
            fresh.append(line + b"\n")
        path.write_bytes(b"".join(fresh))
    (directory / "checkpoints.jsonl").unlink()
    assert faults(directory, signer) == []
    found = faults(directory, signer, tmp_path / "elsewhere.jsonl")
    assert "rewritten" in found[0]


def test_the_export_of_a_siem_is_a_file_of_checkpoints(
    directory: Path, signer: CheckpointSigner, tmp_path: Path
) -> None:
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"".join(path.read_bytes() for path in segments(directory)))
    segments(directory)[-1].unlink()
    report = verify_audit(directory, [signer.verifier], [export])
    assert any(str(export) in fault and "cut off" in fault for fault in report.faults)


def test_a_file_without_checkpoints_proves_nothing(
    directory: Path, signer: CheckpointSigner, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("hello\n")
    assert faults(directory, signer, empty) == [f"{empty}: no checkpoint in it"]


def test_without_a_public_key_the_report_says_so(directory: Path) -> None:
    report = verify_audit(directory)
    assert report.whole
    assert report.signed_to == -1
    assert "signatures were not verified: no public key was given" in report.notes


def test_no_log_at_all(tmp_path: Path) -> None:
    assert not verify_audit(tmp_path).whole


# -------------------------------------------------------------------------------------- checkpoints


def test_a_log_cut_before_its_checkpoint_does_not_open(
    directory: Path, signer: CheckpointSigner
) -> None:
    rewrite(segments(directory)[-1], lambda found: found[:-3])
    with pytest.raises(AuditBroken, match="was signed at"):
        AuditLog(directory, "kme-a", signer=signer)


def test_a_torn_end_before_a_checkpoint_does_not_open(
    directory: Path, signer: CheckpointSigner
) -> None:
    rewrite(segments(directory)[-1], lambda found: [*found[:-3], found[-3][:50]])
    with pytest.raises(AuditBroken, match="went further"):
        AuditLog(directory, "kme-a", signer=signer)


def test_checkpoints_without_a_log_are_no_new_log(
    directory: Path, signer: CheckpointSigner
) -> None:
    for path in segments(directory):
        path.unlink()
    with pytest.raises(AuditBroken, match="not a line"):
        AuditLog(directory, "kme-a", signer=signer)


def test_a_checkpoint_is_made_once(tmp_path: Path, signer: CheckpointSigner) -> None:
    log = AuditLog(tmp_path / "audit", "kme-a", signer=signer)
    log.record(event())
    first = log.checkpoint()
    assert first is not None
    assert first.sequence == 1
    assert log.checkpoint() is None
    log.close()
    assert len(list(read_checkpoints(tmp_path / "audit" / "checkpoints.jsonl"))) == 1


def test_time_makes_a_checkpoint_too(tmp_path: Path, signer: CheckpointSigner) -> None:
    log = AuditLog(tmp_path / "audit", "kme-a", signer=signer, checkpoint_every_s=0.0)
    log.record(event())
    log.record(event())
    log.close()
    assert actions(tmp_path / "audit").count("audit-checkpoint") >= 2


def test_a_copy_that_cannot_be_kept_stops_nobody(tmp_path: Path, signer: CheckpointSigner) -> None:
    write(tmp_path / "audit", signer, 25, tmp_path / "not" / "there")
    assert verify_audit(tmp_path / "audit", [signer.verifier]).whole


def test_a_torn_copy_goes_on(tmp_path: Path, signer: CheckpointSigner) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b'{"chain":"torn')
    write(tmp_path / "audit", signer, 25, copy)
    assert list(read_checkpoints(copy))


def test_the_key_is_private_and_never_overwritten(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(FileExistsError):
        create_signing_key(key)
    assert key.read_bytes() == before
    key.chmod(0o640)
    with pytest.raises(UnsafeMode, match="chmod go="):
        CheckpointSigner(key)


def test_the_public_half_verifies(key: Path, directory: Path) -> None:
    verifier = CheckpointVerifier.from_file(key.with_name("audit.key.pub"))
    assert verify_audit(directory, [verifier]).whole
    with pytest.raises(AuditError, match="not a public key"):
        CheckpointVerifier.from_file(key)


def test_the_private_key_is_nowhere_in_the_log(key: Path, directory: Path) -> None:
    secret = key.read_bytes().splitlines()[1]
    assert all(secret not in path.read_bytes() for path in directory.iterdir())
    assert records(directory)


def test_a_log_goes_on_under_another_key(tmp_path: Path, signer: CheckpointSigner) -> None:
    create_signing_key(tmp_path / "second.key")
    second = CheckpointSigner(tmp_path / "second.key")
    write(tmp_path / "audit", signer, 5)
    write(tmp_path / "audit", second, 5)
    assert verify_audit(tmp_path / "audit", [signer.verifier, second.verifier]).whole
    assert not verify_audit(tmp_path / "audit", [second.verifier]).whole
