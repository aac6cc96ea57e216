"""The log after crashes at every byte, with damage, with a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from bellrelay.relay.announcement_log import (
    AnnouncementLog,
    BlockKind,
    LogBusy,
    LogDamaged,
    LogReader,
    SlotOrderError,
)


def slots(*values):
    return np.array(values, np.uint64)


def outcomes(n):
    return (np.arange(n) % 2 + 1).astype(np.uint8)


def fill(log, acquisition, first, n, step=3):
    slot = np.arange(first, first + n * step, step, dtype=np.uint64)
    log.append(acquisition, slot, outcomes(n))


def read_all(directory, *args):
    blocks = [b for b in LogReader(directory).blocks(*args) if b.slot.size]
    record = [b.record + i for b in blocks for i in range(b.slot.size)]
    slot = [int(s) for b in blocks for s in b.slot]
    return record, slot


def test_what_is_written_is_read_across_segments_and_openings(tmp_path):
    written = []
    for run in range(3):
        with AnnouncementLog(tmp_path, segment_bytes=200) as log:
            assert log.next_record == len(written)
            log.append_event(run + 1, "start", board="b")
            for i in range(10):
                fill(log, run + 1, 100 * i, 7)
                written += range(100 * i, 100 * i + 21, 3)
        assert log.durable_record == len(written)
    record, slot = read_all(tmp_path)
    assert record == list(range(len(written)))
    assert slot == written
    assert len(list(tmp_path.glob("*.brlog"))) > 5
    events = [b.event for b in LogReader(tmp_path).blocks() if b.kind is BlockKind.EVENT]
    assert events == [{"event": "start", "board": "b"}] * 3


@pytest.mark.parametrize(("start", "stop"), [(0, None), (5, 6), (13, 50), (69, None), (70, None)])
def test_any_range_of_records_is_cut_out(tmp_path, start, stop):
    with AnnouncementLog(tmp_path, segment_bytes=150) as log:
        for i in range(10):
            fill(log, 1, 100 * i, 7)
    record, _ = read_all(tmp_path, start, stop)
    assert record == list(range(start, 70 if stop is None else stop))


def test_a_crash_at_any_byte_leaves_the_whole_blocks(tmp_path):
    source = tmp_path / "source"
    ends = []
    with AnnouncementLog(source) as log:
        path = next(source.glob("*.brlog"))
        for i in range(4):
            fill(log, 1, 100 * i, 3)
            log.append_event(1, "heartbeat", n=i)
            ends.append(path.stat().st_size)
    data = path.read_bytes()
    for length in range(len(data) + 1):
        crashed = tmp_path / f"crash{length}"
        crashed.mkdir()
        (crashed / path.name).write_bytes(data[:length])
        with AnnouncementLog(crashed) as log:
            whole = log.next_record
            assert whole % 3 == 0
            assert whole >= 3 * sum(end <= length for end in ends)
            # writing goes on as if nothing had been
            log.append(2, slots(1, 2), outcomes(2))
        record, slot = read_all(crashed)
        assert record == list(range(whole + 2))
        assert slot[-2:] == [1, 2]


def test_damage_in_the_middle_is_skipped_and_counted(tmp_path):
    with AnnouncementLog(tmp_path) as log:
        path = next(tmp_path.glob("*.brlog"))
        fill(log, 1, 0, 3)
        begin = path.stat().st_size
        fill(log, 1, 100, 3)
        end = path.stat().st_size
        fill(log, 1, 200, 3)
    data = bytearray(path.read_bytes())
    data[begin + 40] ^= 1
    path.write_bytes(data)
    reader = LogReader(tmp_path)
    record = [b.record for b in reader.blocks()]
    assert record == [0, 6]
    assert reader.skipped_bytes == end - begin


def test_a_missing_segment_is_an_error_and_nothing_is_cut(tmp_path):
    with AnnouncementLog(tmp_path, segment_bytes=100) as log:
        for i in range(5):
            fill(log, 1, 100 * i, 7)
    paths = sorted(tmp_path.glob("*.brlog"))
    paths[1].unlink()
    with pytest.raises(LogDamaged, match="begins at record"):
        AnnouncementLog(tmp_path)
    # the failed opening holds no lock
    paths[2].unlink()


def test_old_segments_are_retired(tmp_path):
    with AnnouncementLog(tmp_path, segment_bytes=200, retain_bytes=600) as log:
        for i in range(50):
            fill(log, 1, 100 * i, 7)
    assert sum(p.stat().st_size for p in tmp_path.glob("*.brlog")) < 1000
    reader = LogReader(tmp_path)
    record, _ = read_all(tmp_path)
    assert record == list(range(reader.first_record, 350))
    with AnnouncementLog(tmp_path) as log:
        assert log.next_record == 350


def test_slots_that_do_not_increase_are_refused_whole(tmp_path):
    with AnnouncementLog(tmp_path) as log:
        log.append(1, slots(5, 6), outcomes(2))
        for bad in (slots(6, 7), slots(9, 8), slots(7, 7)):
            with pytest.raises(SlotOrderError):
                log.append(1, bad, outcomes(2))
        log.append(1, slots(7), outcomes(1))
        log.append(2, slots(0), outcomes(1))
    assert read_all(tmp_path)[1] == [5, 6, 7, 0]
    with AnnouncementLog(tmp_path) as log, pytest.raises(SlotOrderError):
        log.append(2, slots(0), outcomes(1))


def test_one_writer_at_a_time(tmp_path):
    with AnnouncementLog(tmp_path), pytest.raises(LogBusy):
        AnnouncementLog(tmp_path)
    AnnouncementLog(tmp_path).close()


def test_position_of_a_slot(tmp_path):
    with AnnouncementLog(tmp_path) as log:
        fill(log, 1, 0, 5)
        fill(log, 2, 0, 5)
    reader = LogReader(tmp_path)
    assert reader.from_slot(2, 4) == 7
    assert reader.from_slot(1, 0) == 0
    assert reader.from_slot(2, 13) is None


def test_a_full_disk_loses_nothing_and_says_so(tmp_path):
    """The kernel itself stops the file from growing, in a process of its own."""
    script = textwrap.dedent(
        """
        import json, resource, signal, sys
        import numpy as np
        from pathlib import Path
        from bellrelay.relay.announcement_log import AnnouncementLog
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        log = AnnouncementLog(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        n = 0
        try:
            while True:
                log.append(1, np.arange(n, n + 10, dtype=np.uint64), np.ones(10, np.uint8))
                n += 10
        except OSError as error:
            number = error.errno
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        log.append(1, np.arange(n, n + 10, dtype=np.uint64), np.ones(10, np.uint8))
        log.close()
        print(json.dumps([number, n + 10]))
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    number, n = json.loads(result.stdout)
    assert number == errno.EFBIG
    assert read_all(tmp_path) == (list(range(n)), list(range(n)))


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    """A writer reports what is durable; it is killed at random moments, again and again."""
    script = textwrap.dedent(
        """
        import sys
        import numpy as np
        from pathlib import Path
        from bellrelay.relay.announcement_log import AnnouncementLog
        log = AnnouncementLog(Path(sys.argv[1]), segment_bytes=3000)
        n = log.next_record
        while True:
            log.append(1, np.arange(n, n + 7, dtype=np.uint64), np.ones(7, np.uint8))
            n += 7
            sys.stdout.write(f"{log.sync()}\\n")
            sys.stdout.flush()
        """
    )
    rng = np.random.default_rng(3)
    acknowledged = 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(int(rng.integers(1, 200))):
            acknowledged = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        process.wait()
        if len(rest) > 1:
            acknowledged = int(rest[-2])
        record, slot = read_all(tmp_path)
        assert len(record) >= acknowledged
        assert record == slot == list(range(len(record)))
