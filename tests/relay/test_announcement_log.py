"""The log against crashes at any byte, damaged disks, full disks, and its own retention."""

import errno
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.relay.announcement_log import (
    AnnouncementLog,
    LogBusy,
    LogReader,
    LogTrimmed,
    OrderViolation,
)
from bellrelay.wire.messages import Announced, Event


def fill(log, n_blocks=20, acquisition=3, seed=1, per_block=5, slot=0):
    rng = np.random.default_rng(seed)
    for _ in range(n_blocks):
        slots = np.cumsum(rng.integers(1, 1000, per_block), dtype=np.uint64) + np.uint64(slot)
        slot = int(slots[-1])
        log.append_announcements(acquisition, slots, rng.integers(1, 3, per_block).astype(np.uint8))
    log.sync()
    return slot


def flat(records):
    """(sequence, acquisition, slot, outcome) of every announcement."""
    out = []
    for r in records:
        if isinstance(r, Announced):
            pairs = zip(r.slot.tolist(), r.outcome.tolist(), strict=True)
            out += [(r.sequence + i, r.acquisition, s, o) for i, (s, o) in enumerate(pairs)]
    return out


def test_records_come_back_in_order_from_any_sequence(tmp_path):
    log = AnnouncementLog(tmp_path)
    log.append_event(3, {"kind": "start"})
    fill(log)
    everything = flat(log.reader(0))
    assert len(everything) == 100
    assert [e[0] for e in everything] == list(range(1, 101))
    for begin in (0, 1, 2, 50, 100, 101):
        assert flat(log.reader(begin)) == [e for e in everything if e[0] >= begin]


def test_what_is_not_durable_is_not_served(tmp_path):
    log = AnnouncementLog(tmp_path)
    slot = fill(log)
    log.append_announcements(3, np.array([slot + 1], np.uint64), np.array([1], np.uint8))
    assert log.durable_sequence == 100
    assert flat(log.reader(0))[-1][0] == 99
    reader = log.reader(100)
    assert reader.read() == []
    log.sync()
    assert flat(reader.read()) == [(100, 3, slot + 1, 1)]


@settings(max_examples=60)
@given(st.data())
def test_a_crash_at_any_byte_keeps_every_whole_record(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("log")
    log = AnnouncementLog(directory)
    fill(log, 6)
    before = flat(log.reader(0))
    log.close()
    (segment,) = directory.glob("*.brlog")
    whole = segment.read_bytes()
    block = len(whole) // 6
    cut = data.draw(st.integers(0, len(whole)))
    segment.write_bytes(whole[:cut] + data.draw(st.binary(max_size=40)))
    damaged = segment.stat().st_size
    log = AnnouncementLog(directory)
    kept = flat(log.reader(0))
    assert kept == before[: 5 * (cut // block)]
    assert log.recovery.torn_bytes == damaged - block * (cut // block)
    assert segment.stat().st_size == block * (cut // block)
    # It goes on where it ended, and nothing has a number twice.
    last = kept[-1][2] if kept else 0
    fill(log, 2, slot=last, seed=9)
    again = flat(log.reader(0))
    assert [e[0] for e in again] == list(range(len(kept) + 10))
    log.close()


def test_a_damaged_block_in_the_middle_is_stepped_over_and_counted(tmp_path):
    log = AnnouncementLog(tmp_path)
    fill(log)
    before = flat(log.reader(0))
    log.close()
    (segment,) = tmp_path.glob("*.brlog")
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 20 * 10 + 30] ^= 4
    segment.write_bytes(raw)
    log = AnnouncementLog(tmp_path)
    reader = log.reader(0)
    assert flat(reader) == [e for e in before if not 50 <= e[0] < 55]
    assert reader.missing == 5
    assert log.recovery.torn_bytes == 0
    assert log.recovery.corrupt_bytes == len(raw) // 20
    assert log.next_sequence == 100


def test_slots_that_do_not_increase_are_not_logged(tmp_path):
    log = AnnouncementLog(tmp_path)
    one = np.array([1], np.uint8)
    log.append_announcements(2, np.array([7], np.uint64), one)
    for acquisition, slot in ((2, [7]), (2, [3]), (1, [9])):
        with pytest.raises(OrderViolation):
            log.append_announcements(acquisition, np.array(slot, np.uint64), one)
    with pytest.raises(OrderViolation):
        log.append_announcements(2, np.array([9, 9], np.uint64), np.array([1, 2], np.uint8))
    log.append_announcements(3, np.array([0], np.uint64), one)
    log.sync()
    assert [e[1:3] for e in flat(log.reader(0))] == [(2, 7), (3, 0)]
    log.close()
    with pytest.raises(OrderViolation):
        AnnouncementLog(tmp_path).append_announcements(3, np.array([0], np.uint64), one)


def test_slots_far_apart_and_many_share_no_block(tmp_path):
    log = AnnouncementLog(tmp_path)
    slots = np.concatenate(
        [np.arange(20_000, dtype=np.uint64), np.array([1 << 40, (1 << 64) - 1], np.uint64)]
    )
    log.append_announcements(1, slots, np.ones(len(slots), np.uint8))
    log.sync()
    assert [e[2] for e in flat(log.reader(0))] == slots.tolist()


def test_segments_roll_and_the_oldest_go(tmp_path):
    log = AnnouncementLog(tmp_path, segment_bytes=2000, retention_bytes=8000)
    slot = fill(log, 300)
    segments = sorted(tmp_path.glob("*.brlog"))
    assert 3 <= len(segments) <= 6
    assert sum(s.stat().st_size for s in segments) < 10_500
    assert log.oldest_sequence == int(segments[0].stem) > 0
    with pytest.raises(LogTrimmed) as trimmed:
        log.reader(0).read()
    assert trimmed.value.oldest == log.oldest_sequence
    reader = log.reader(log.oldest_sequence)
    numbers = [n for r in reader for n in range(r.sequence, r.end)]
    assert numbers == list(range(log.oldest_sequence, log.durable_sequence))
    assert reader.missing == 0
    # The tally survives the loss of the first segments, and a restart.
    assert log.tally.psi_minus + log.tally.psi_plus == 1500
    tally = log.tally
    log.close()
    log = AnnouncementLog(tmp_path, segment_bytes=2000, retention_bytes=8000)
    assert log.tally == tally
    assert log.tally.last_slot == slot
    assert not log.tally.ended


@pytest.mark.parametrize("segment_bytes", [1 << 20, 1000])
def test_a_slot_is_found(tmp_path, segment_bytes):
    log = AnnouncementLog(tmp_path, segment_bytes=segment_bytes)
    fill(log, acquisition=3, seed=1)
    log.append_event(3, {"kind": "stop"})
    fill(log, acquisition=5, seed=2)
    everything = flat(log.reader(0))
    rng = random.Random(4)
    queries = [(e[1], e[2] + d) for e in rng.sample(everything, 12) for d in (-1, 0, 1)]
    for acquisition, slot in [*queries, (1, 0), (4, 7), (5, 0), (6, 0), (3, 1 << 60)]:
        expected = [e[0] for e in everything if (e[1], e[2]) >= (acquisition, slot)]
        found = log.sequence_of_slot(acquisition, max(0, slot))
        assert found == (expected[0] if expected else log.durable_sequence)


def test_acquisitions_increase_for_ever(tmp_path):
    log = AnnouncementLog(tmp_path)
    assert [log.next_acquisition() for _ in range(3)] == [1, 2, 3]
    log.append_event(9, {"kind": "start"})
    assert log.next_acquisition() == 10
    log.close()
    for path in tmp_path.glob("*.brlog"):
        path.unlink()
    assert AnnouncementLog(tmp_path).next_acquisition() == 11


def test_one_writer_at_a_time(tmp_path):
    log = AnnouncementLog(tmp_path)
    with pytest.raises(LogBusy, match="another process"):
        AnnouncementLog(tmp_path)
    log.close()
    AnnouncementLog(tmp_path).close()


def test_a_file_that_may_not_grow_costs_no_record_that_was_durable(tmp_path):
    """The limit makes the kernel refuse in the middle of a write, as a full disk does."""
    code = f"""
import resource, signal, sys
import numpy as np
from pathlib import Path
from bellrelay.relay.announcement_log import AnnouncementLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = AnnouncementLog(Path({str(tmp_path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1001, 1001))
slot = 0
try:
    while True:
        log.append_announcements(1, np.array([slot], np.uint64), np.array([1], np.uint8))
        log.sync()
        slot += 1
        print(slot, flush=True)
except OSError as error:
    print(error.errno, error.filename)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *acknowledged, last = run.stdout.split("\n")[:-1]
    assert last.startswith(f"{errno.EFBIG} ")
    assert last.endswith(".brlog")
    records = flat(LogReader(tmp_path, 0))
    assert [r[2] for r in records] == list(range(len(acknowledged)))
    assert len(records) > 10


def test_a_full_disk_says_where(tmp_path, monkeypatch):
    log = AnnouncementLog(tmp_path)
    fill(log, 1)

    def full(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(OSError, match="No space left") as error:
            log.sync()
    assert str(tmp_path) in error.value.filename
    with pytest.raises(OSError, match="failed before"):
        log.append_event(3, {"kind": "stop"})


def test_kill_9_at_random_moments_loses_nothing_acknowledged(tmp_path):
    code = f"""
import sys
import numpy as np
from pathlib import Path
from bellrelay.relay.announcement_log import AnnouncementLog
log = AnnouncementLog(Path({str(tmp_path)!r}), segment_bytes=5000)
acquisition = log.next_acquisition()
slot = 0
while True:
    for _ in range(3):
        log.append_announcements(
            acquisition, np.arange(slot, slot + 10, dtype=np.uint64), np.ones(10, np.uint8))
        slot += 10
    log.sync()
    sys.stdout.write(f"{{acquisition}} {{slot}}\\n")
    sys.stdout.flush()
"""
    rng = random.Random(5)
    acknowledged = {}
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(rng.randrange(1, 400)):
            line = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        for told in [line, *child.stdout.read().split("\n")]:
            if told.count(" ") == 1 and told.split()[1:]:
                acquisition, slot = map(int, told.split())
                acknowledged[acquisition] = slot
        child.wait()
    records = flat(LogReader(tmp_path, 0))
    found = {}
    for _, acquisition, slot, _ in records:
        found.setdefault(acquisition, []).append(slot)
    assert sorted(acknowledged) == list(range(1, 7))
    for acquisition, slots in found.items():
        assert slots == list(range(len(slots)))
        assert len(slots) >= acknowledged[acquisition]


def test_an_event_keeps_its_values(tmp_path):
    log = AnnouncementLog(tmp_path)
    log.append_event(4, {"kind": "gap", "reason": "Grüße", "frames": None})
    log.sync()
    (event,) = log.reader(0)
    assert event == Event(0, 4, {"kind": "gap", "reason": "Grüße", "frames": None})
