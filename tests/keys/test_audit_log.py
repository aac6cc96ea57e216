"""The audit log: what a line is, several writers, crashes, full disks, and what it refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from audit_lines import actions, event, lines, records, segments
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.keys.audit_chain import GENESIS, canonical
from bellrelay.keys.audit_log import AuditBroken, AuditLog
from bellrelay.keys.audit_record import AuditError, AuditEvent
from bellrelay.keys.audit_verify import verify_audit


def fill(directory: Path, n: int = 5, **options: Any) -> None:
    log = AuditLog(directory, "kme-a", **options)
    for number in range(n):
        log.record(event(number))
    log.close()


def test_a_line_is_canonical_and_carries_the_hash_of_the_one_before(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    prev = GENESIS
    for number, line in enumerate(lines(tmp_path)):
        values = json.loads(line)
        assert canonical(values) == line
        assert values["event.sequence"] == number
        assert values["bellrelay.audit.prev"] == prev
        prev = hashlib.sha256(line).hexdigest()
    assert actions(tmp_path) == ["audit-begun"] + ["key-delivered"] * 3


def test_fields_are_those_of_ecs(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "kme-a")
    log.record(
        AuditEvent(
            "request-refused",
            "sae:mallory",
            "sae:bob",
            "failure",
            {"source.ip": "10.0.0.9", "error.message": "no such pair", "size_bits": 256},
        )
    )
    log.close()
    found = records(tmp_path)[-1]
    assert found["event.action"] == "request-refused"
    assert found["event.outcome"] == "failure"
    assert found["event.category"] == ["api"]
    assert found["event.type"] == ["denied"]
    assert found["user.id"] == "sae:mallory"
    assert found["service.node.name"] == "kme-a"
    assert found["source.ip"] == "10.0.0.9"
    assert found["error.message"] == "no such pair"
    assert found["bellrelay.size_bits"] == 256
    assert found["bellrelay.object"] == "sae:bob"


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    fill(tmp_path, 2)
    assert len(lines(tmp_path)) == 6
    assert verify_audit(tmp_path).whole


def test_one_call_for_many_events(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "kme-a")
    log.record(*map(event, range(5000)))
    log.record()
    log.close()
    assert verify_audit(tmp_path).records == 5001


def test_files_are_closed_and_chained(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "kme-a", segment_bytes=4000)
    for number in range(60):
        log.record(event(number))
    log.close()
    files = segments(tmp_path)
    assert len(files) > 3
    for earlier, later in pairwise(files):
        closed = earlier.read_bytes().splitlines()[-1]
        opened = json.loads(later.read_bytes().splitlines()[0])
        assert json.loads(closed)["event.action"] == "audit-segment-closed"
        assert opened["event.action"] == "audit-segment-opened"
        assert opened["bellrelay.audit.prev"] == hashlib.sha256(closed).hexdigest()
        assert opened["bellrelay.audit.chain"]
    report = verify_audit(tmp_path)
    assert report.whole
    assert report.segments == len(files)
    fill(tmp_path, 3, segment_bytes=4000)
    assert verify_audit(tmp_path).whole


# ---------------------------------------------------------------------------------- several writers


def test_threads_write_one_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "kme-a", segment_bytes=20_000)
    threads = [
        threading.Thread(target=lambda: [log.record(event(n)) for n in range(40)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert verify_audit(tmp_path).whole
    assert actions(tmp_path).count("key-delivered") == 160


def write_many(directory: Path, n: int) -> None:
    log = AuditLog(directory, "kme-a", segment_bytes=10_000)
    for number in range(n):
        log.record(event(number))
    log.close()


def test_processes_write_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_many, args=(tmp_path, 60)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    report = verify_audit(tmp_path)
    assert report.whole, report.faults
    assert actions(tmp_path).count("key-delivered") == 180


# ------------------------------------------------------------------------------------------ crashes


def test_a_torn_line_is_kept_and_accounted_for(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    path = segments(tmp_path)[0]
    torn = b'{"@timestamp":"2026-11-2'
    with path.open("ab") as file:
        file.write(torn)
    assert verify_audit(tmp_path).unfinished == len(torn)
    fill(tmp_path, 1)
    assert torn + b"\n" in path.read_bytes()
    report = verify_audit(tmp_path)
    assert report.whole
    assert len(report.repairs) == 1
    repaired = records_but(tmp_path, torn)[-2]
    assert repaired["event.action"] == "audit-repaired"
    assert repaired["bellrelay.torn_bytes"] == len(torn) + 1
    assert repaired["bellrelay.torn_sha256"] == hashlib.sha256(torn + b"\n").hexdigest()


def records_but(directory: Path, torn: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(directory) if line != torn]


@settings(max_examples=40)
@given(cut=st.integers(1, 2000))
def test_any_end_can_be_torn(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cut anywhere, as the loss of power may do to what nobody was told is on record."""
    directory = tmp_path_factory.mktemp("log")
    fill(directory, 3)
    path = segments(directory)[0]
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)])
    for _ in range(2):
        fill(directory, 1)
        report = verify_audit(directory)
        assert report.whole, report.faults
    assert actions_but_torn(directory).count("audit-begun") == 1


def actions_but_torn(directory: Path) -> list[str]:
    found = []
    for line in lines(directory):
        try:
            found.append(json.loads(line)["event.action"])
        except ValueError:
            continue
    return found


def test_a_repair_can_be_torn_too(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    path = segments(tmp_path)[0]
    with path.open("ab") as file:
        file.write(b'{"torn":\n{"also torn')
    fill(tmp_path, 1)
    report = verify_audit(tmp_path)
    assert report.whole, report.faults
    assert len(report.repairs) == 1


def test_another_process_may_have_died_while_we_write(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "kme-a")
    with segments(tmp_path)[0].open("ab") as file:
        file.write(b'{"half')
    log.record(event())
    log.close()
    report = verify_audit(tmp_path)
    assert report.whole
    assert report.repairs


def test_killed_writers_leave_a_whole_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(4):
        process = context.Process(target=write_many, args=(tmp_path, 100_000))
        process.start()
        process.join(0.1)
        process.kill()
        process.join()
    fill(tmp_path, 1)
    report = verify_audit(tmp_path)
    assert report.whole, report.faults
    assert report.records > 10


@pytest.mark.parametrize("left", [0, 1])
def test_death_between_two_files(tmp_path: Path, left: int) -> None:
    """The last line says that the file is closed; the next one is not there, or empty."""
    log = AuditLog(tmp_path, "kme-a", segment_bytes=3000)
    for number in range(20):
        log.record(event(number))
    log.close()
    last = segments(tmp_path)[-1]
    if left:
        last.write_bytes(b"")
    else:
        last.unlink()
    fill(tmp_path, 2)
    report = verify_audit(tmp_path)
    assert report.whole, report.faults
    assert actions(tmp_path).count("audit-segment-opened") == len(segments(tmp_path)) - 1


# --------------------------------------------------------------------------- what it does not take


def test_a_full_disk_fails_the_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path, "kme-a")
    log.record(event(1))
    before = segments(tmp_path)[0].read_bytes()
    write = os.write
    room = 100

    def short(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(descriptor, bytes(data)[:room])
        room -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                log.record(event(2))
            assert caught.value.errno == errno.ENOSPC
    assert segments(tmp_path)[0].read_bytes() == before
    log.record(event(3))
    log.close()
    assert verify_audit(tmp_path).whole
    assert [r["bellrelay.object"] for r in records(tmp_path)][1:] == ["key:1", "key:3"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs a file system of its own: run as root")
    yield small
    subprocess.run(["umount", str(small)], check=True)


def test_a_real_full_disk(small_disk: Path) -> None:
    directory = small_disk / "audit"
    log = AuditLog(directory, "kme-a")
    recorded = 0

    def fill_up() -> None:
        nonlocal recorded
        for number in range(1000):
            log.record(event(number))
            recorded += 1

    with pytest.raises(OSError) as caught:
        fill_up()
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError):
        log.record(event())
    log.close()
    assert actions(directory).count("key-delivered") == recorded
    assert verify_audit(directory).whole


def test_after_a_failed_fsync_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, "kme-a")

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError):
            log.record(event())
    with pytest.raises(AuditError, match="failed before"):
        log.record(event())
    log.close()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"key:1")] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def swap(path: Path) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def remove_line(path: Path) -> None:
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:2] + kept[3:]))


@pytest.mark.parametrize("harm", [cut, swap, Path.unlink])
def test_a_log_that_is_changed_under_a_writer_takes_nothing_more(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    log = AuditLog(tmp_path, "kme-a")
    log.record(event(1), event(2))
    harm(segments(tmp_path)[0])
    with pytest.raises(AuditBroken):
        log.record(event(3))
    assert log.fault
    with pytest.raises(AuditError):
        log.record(event(4))
    log.close()


@pytest.mark.parametrize("harm", [flip, remove_line])
def test_a_changed_log_does_not_open(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    fill(tmp_path, 5)
    harm(segments(tmp_path)[0])
    before = segments(tmp_path)[0].read_bytes()
    with pytest.raises(AuditBroken):
        AuditLog(tmp_path, "kme-a")
    assert segments(tmp_path)[0].read_bytes() == before
    assert not verify_audit(tmp_path).whole


def test_a_lost_file_in_the_middle_is_seen(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "kme-a", segment_bytes=3000)
    for number in range(30):
        log.record(event(number))
    log.close()
    segments(tmp_path)[-2].unlink()
    with pytest.raises(AuditBroken):
        AuditLog(tmp_path, "kme-a")


@pytest.mark.parametrize(
    "words",
    [
        {"action": "Key Delivered"},
        {"action": "a" * 33},
        {"outcome": "fine"},
        {"actor": ""},
        {"object_": "x" * 2000},
        {"details": {"key": "x" * 40_000}},
        {"details": {"key": b"\x00" * 32}},
        {"details": {"key": bytearray(32)}},
        {"details": {"key": int.from_bytes(b"\xff" * 32, "big")}},
        {"details": {"key": float("nan")}},
        {"details": {"key": ["a"]}},
        {"details": {"Bad Name": 1}},
        {"details": {"flag": True}},
    ],
)
def test_what_no_event_may_be(words: dict[str, Any]) -> None:
    arguments = {"action": "key-delivered", "actor": "sae:a", "object_": "key:1", **words}
    with pytest.raises((ValueError, TypeError)):
        AuditEvent(**arguments)


def test_an_error_does_not_repeat_what_was_refused() -> None:
    secret = b"\xa5" * 32
    with pytest.raises(TypeError) as caught:
        AuditEvent("key-delivered", "sae:a", "key:1", details={"k": secret})  # type: ignore[dict-item]
    assert "a5" not in str(caught.value)
