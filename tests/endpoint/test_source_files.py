"""The source log on disk: what was written is read by slot, after a crash at any byte as well."""

import itertools
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.distill.sift import BASIS_X, BASIS_Z
from bellrelay.endpoint import source_erasure
from bellrelay.endpoint.source_erasure import EVERY_SLOT, forgotten_mark
from bellrelay.endpoint.source_files import SourceFiles
from bellrelay.endpoint.source_format import SEGMENT_HEADER_BYTES
from bellrelay.endpoint.source_log import (
    SlotNotKept,
    SlotRemoved,
    SourceLogDamaged,
    SourceLogError,
    sent_between,
)
from bellrelay.endpoint.source_writer import SourceWriter

INTENSITIES = (0.4, 0.3, 0.05, 0.0)
PROBABILITIES = (0.45, 0.1, 0.3, 0.15)
SMALL = {"segment_slots": 40, "chunk_slots": 8}


def sent(n, seed=1):
    """(setting, bit) of slots 0 to n - 1."""
    random = np.random.default_rng(seed)
    return (
        random.choice(4, n, p=PROBABILITIES).astype(np.uint8),
        random.integers(0, 2, n, dtype=np.uint8),
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "source"


def writer(folder, acquisition=7, **options):
    return SourceWriter(
        folder, acquisition, 123, 10_000, INTENSITIES, PROBABILITIES, **{**SMALL, **options}
    )


def write(folder, setting, bit, ranges, **options):
    """Records of these ranges, the slots between them dropped."""
    log = writer(folder, **options)
    for first, end in ranges:
        log.append(first, setting[first:end], bit[first:end])
    log.sync()
    log.close()


def same(choices, slots, setting, bit):
    np.testing.assert_array_equal(choices.setting, setting[slots])
    np.testing.assert_array_equal(choices.bit, bit[slots])
    np.testing.assert_array_equal(choices.basis, np.where(setting[slots] == 0, BASIS_Z, BASIS_X))


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 300), min_size=2, max_size=12, unique=True).map(sorted),
    chunk=st.integers(1, 30),
    segment=st.integers(30, 120),
    seed=st.integers(0, 99),
)
def test_what_was_written_is_read_in_any_order(tmp_path_factory, cuts, chunk, segment, seed):
    folder = tmp_path_factory.mktemp("any") / "source"
    setting, bit = sent(300, seed)
    ranges = [r for i, r in enumerate(itertools.pairwise(cuts)) if i % 2 == 0]
    write(folder, setting, bit, ranges, segment_slots=segment, chunk_slots=chunk)
    log = SourceFiles(folder, 7)
    assert log.kept == (0, ranges[-1][1])
    there = np.concatenate([np.arange(*r, dtype=np.uint64) for r in ranges])
    slots = np.random.default_rng(seed).choice(there, len(there))
    same(log.choices(slots), slots.astype(int), setting, bit)
    gaps = np.setdiff1d(np.arange(ranges[-1][1], dtype=np.uint64), there)
    removed = log.removed(0, ranges[-1][1])
    np.testing.assert_array_equal(
        np.concatenate([np.arange(*r, dtype=np.uint64) for r in removed] or [gaps[:0]]), gaps
    )
    assert log.sent(0, ranges[-1][1]) == len(there)
    log.close()


def test_rule_14_records_are_dropped_by_range_and_their_slots_are_not_among_those_sent(folder):
    setting, bit = sent(100)
    write(folder, setting, bit, [(0, 30), (50, 70)])
    log = SourceFiles(folder, 7)
    assert log.removed(0, 70).tolist() == [[30, 50]]
    assert log.removed(35, 40).tolist() == [[35, 40]]
    assert log.removed(50, 70).tolist() == []
    assert log.sent(0, 70) == 50
    with pytest.raises(SlotRemoved):
        log.choices(np.array([29, 30], np.uint64))
    # A range is dropped whatever was sent there: the writer has no other way to drop.
    with writer_of(folder) as more:
        with pytest.raises(ValueError, match="never go back"):
            more.append(69, setting[69:70], bit[69:70])
        more.skip(90)
        more.sync()
    assert log.kept == (0, 90)
    assert log.sent(0, 90) == 50


class writer_of:
    def __init__(self, folder, **options):
        self.log = writer(folder, **options)

    def __enter__(self):
        return self.log

    def __exit__(self, *_):
        self.log.close()


def test_identity_and_declaration(folder):
    setting, bit = sent(20)
    write(folder, setting, bit, [(0, 20)])
    log = SourceFiles(folder, 7)
    assert (log.acquisition, log.start_ns, log.slot_period_ps) == (7, 123, 10_000.0)
    assert sent_between(log, 100, 200) == (123 + 1000, 123 + 2000)
    assert tuple(log.intensities) == INTENSITIES
    assert tuple(log.probabilities) == PROBABILITIES
    with pytest.raises(SourceLogError, match="no records of acquisition 8"):
        SourceFiles(folder, 8)
    with pytest.raises(SourceLogError, match="acquisition 6 after 7"):
        writer(folder, acquisition=6)
    with pytest.raises(SourceLogError, match="another start"):
        SourceWriter(folder, 7, 124, 10_000, INTENSITIES, PROBABILITIES)
    open_one = writer(folder)
    with pytest.raises(SourceLogError, match="another process"):
        writer(folder)
    open_one.close()


OTHER = (0.5, 0.3, 0.05, 0.0)


def held(folder, first, end):
    log = SourceFiles(folder, 7)
    found = [(h.first_slot, tuple(h.intensities)) for h in log.ladders(first, end)]
    log.close()
    return found


def test_every_slot_has_the_ladder_that_it_was_sent_by(folder):
    setting, bit = sent(60)
    log = writer(folder)
    log.set_ladder(OTHER, PROBABILITIES)
    log.set_ladder(INTENSITIES, PROBABILITIES)
    log.append(0, setting[:20], bit[:20])
    log.set_ladder(OTHER, PROBABILITIES)
    log.append(25, setting[25:40], bit[25:40])
    log.set_ladder(INTENSITIES, PROBABILITIES)
    log.set_ladder(OTHER, PROBABILITIES)
    log.append(40, setting[40:50], bit[40:50])
    log.close()
    # A sender that dies and comes back with another ladder.
    again = writer(folder)
    again.append(50, setting[50:], bit[50:])
    again.close()
    assert held(folder, 0, 60) == [(0, INTENSITIES), (20, OTHER), (50, INTENSITIES)]
    assert held(folder, 0, 20) == [(0, INTENSITIES)]
    assert held(folder, 30, 50) == [(20, OTHER)]
    assert held(folder, 49, 51) == [(20, OTHER), (50, INTENSITIES)]
    with pytest.raises(SlotNotKept):
        held(folder, 50, 61)
    log = SourceFiles(folder, 7)
    got = log.choices(np.arange(25, 60, dtype=np.uint64))
    assert (got.setting == setting[25:]).all()


def test_a_segment_without_a_record_may_change_its_ladder_under_a_reader(folder):
    setting, bit = sent(10)
    log = writer(folder)
    log.skip(0)
    reader = SourceFiles(folder, 7)
    log.set_ladder(OTHER, PROBABILITIES)
    log.append(0, setting, bit)
    assert [tuple(h.intensities) for h in reader.ladders(0, 10)] == [OTHER]
    reader.close()
    log.close()


def test_nothing_is_said_of_slots_that_are_not_kept_and_no_choice_is_shown(folder):
    setting, bit = sent(100)
    write(folder, setting, bit, [(0, 100)])
    log = SourceFiles(folder, 7)
    with pytest.raises(SlotNotKept, match="up to 100 are recorded"):
        log.choices(np.array([99, 100], np.uint64))
    with pytest.raises(SlotNotKept):
        log.sent(50, 101)
    log.forget(43)
    assert log.kept == (43, 100)
    for first in (0, 42):
        with pytest.raises(SlotNotKept, match="before 43 are forgotten"):
            log.choices(np.array([first], np.uint64))
    same(log.choices(np.arange(43, 100, dtype=np.uint64)), np.arange(43, 100), setting, bit)
    choices = log.choices(np.arange(43, 100, dtype=np.uint64))
    assert repr(choices) == "Choices()"
    assert "acquisition 7" in repr(log)
    log.close()


def records_on_disk(folder):
    """Bytes of all payloads that are not zero."""
    total = 0
    for path in Path(folder).glob("*.brsrc"):
        data = path.read_bytes()[SEGMENT_HEADER_BYTES:]
        while data:
            slots = int.from_bytes(data[4:8], "little")
            size = (slots + 1) // 2
            total += np.count_nonzero(np.frombuffer(data[24 : 24 + size], np.uint8))
            data = data[24 + size :]
    return total


def test_forgotten_records_are_overwritten_and_files_go(folder, monkeypatch):
    # Bits of one, so that no record is a zero byte.
    setting, bit = np.ones(100, np.uint8), np.ones(100, np.uint8)
    write(folder, setting, bit, [(0, 100)])
    assert records_on_disk(folder) == 50
    seen = []
    unlink = Path.unlink

    def look_and_unlink(path):
        seen.append(set(path.read_bytes()[SEGMENT_HEADER_BYTES:]))
        unlink(path)

    monkeypatch.setattr(Path, "unlink", look_and_unlink)
    log = SourceFiles(folder, 7)
    log.forget(90)
    # Chunks of 8 and segments of 40: two files are gone, overwritten before; the chunk at 88 stays.
    assert len(list(folder.glob("*.brsrc"))) == 1
    assert seen == [{0}, {0}]
    assert records_on_disk(folder) == 6
    log.forget(EVERY_SLOT)
    assert records_on_disk(folder) == 0
    log.close()
    # The sender's next acquisition removes what is left.
    monkeypatch.undo()
    writer(folder, acquisition=8).close()
    assert list(folder.glob("*.brsrc")) == []


def test_a_crash_between_mark_and_overwriting_serves_nothing_forgotten(folder, monkeypatch):
    setting, bit = np.ones(100, np.uint8), np.ones(100, np.uint8)
    write(folder, setting, bit, [(0, 100)])
    log = SourceFiles(folder, 7)

    def dies(*_):
        raise OSError("no power")

    monkeypatch.setattr(source_erasure, "_zeros", dies)
    with pytest.raises(OSError, match="no power"):
        log.forget(56)
    with pytest.raises(SlotNotKept):
        log.choices(np.array([55], np.uint64))
    log.close()
    monkeypatch.undo()
    assert records_on_disk(folder) == 50
    again = SourceFiles(folder, 7)
    assert again.kept == (56, 100)
    assert records_on_disk(folder) == 22
    again.close()


def test_after_a_crash_at_any_byte_whole_chunks_are_there_and_the_rest_is_removed(folder, tmp_path):
    """Cut the last file at every length: reader and writer both find exactly the whole chunks."""
    setting, bit = sent(80)
    write(folder, setting, bit, [(0, 27), (30, 36), (40, 60)], segment_slots=48)
    last = sorted(folder.glob("*.brsrc"))[-1]
    data = last.read_bytes()
    ends = []
    for length in range(len(data) + 1):
        copy = tmp_path / f"cut{length}"
        shutil.copytree(folder, copy)
        (copy / last.name).write_bytes(data[:length])
        log = SourceFiles(copy, 7)
        end = log.kept[1]
        ends.append(end)
        removed = [[a, min(b, end)] for a, b in [(27, 30), (36, 40)] if a < end]
        assert log.removed(0, end).tolist() == removed
        log.close()
        with writer_of(copy, segment_slots=48) as more:
            assert more.next_slot == end
            more.append(70, setting[70:80], bit[70:80])
            more.sync()
        log = SourceFiles(copy, 7)
        assert log.kept == (0, 80)
        gaps = [r for r in [[27, 30], [36, 40]] if r[1] <= end] + [[end, 70]]
        if end == 36:
            gaps = [[27, 30], [36, 70]]
        assert log.removed(0, 80).tolist() == gaps
        slots = np.setdiff1d(np.arange(80), np.concatenate([np.arange(*g) for g in gaps]))
        same(log.choices(slots.astype(np.uint64)), slots, setting, bit)
        log.close()
        shutil.rmtree(copy)
    assert ends == sorted(ends)
    assert len(set(ends)) >= 3
    assert ends[-1] == 60


def test_a_loss_of_power_may_leave_later_pages_and_not_earlier_ones(folder):
    setting, bit = sent(40)
    write(folder, setting, bit, [(0, 40)])
    (path,) = folder.glob("*.brsrc")
    data = bytearray(path.read_bytes())
    at = SEGMENT_HEADER_BYTES + 2 * 28 + 24
    data[at : at + 4] = bytes(b ^ 255 for b in data[at : at + 4])
    path.write_bytes(data)
    # The reader says so when it comes to the damage.
    log = SourceFiles(folder, 7)
    same(log.choices(np.arange(16, dtype=np.uint64)), np.arange(16), setting, bit)
    with pytest.raises(SourceLogDamaged, match="from slot 16 on"):
        log.choices(np.arange(40, dtype=np.uint64))
    log.close()
    # The writer cuts it off, and what follows: those slots are removed from then on.
    with writer_of(folder) as more:
        assert more.next_slot == 16
        assert more.torn_bytes == 3 * 28
        more.append(40, setting[:4], bit[:4])
        more.sync()
    log = SourceFiles(folder, 7)
    assert log.removed(0, 44).tolist() == [[16, 40]]
    log.close()


@pytest.mark.parametrize("segment", [0, 1])
def test_a_damaged_chunk_header_is_neither_a_gap_nor_a_wait(folder, segment):
    setting, bit = sent(80)
    write(folder, setting, bit, [(0, 80)])
    path = sorted(folder.glob("*.brsrc"))[segment]
    data = bytearray(path.read_bytes())
    data[SEGMENT_HEADER_BYTES + 28 + 5] ^= 1
    path.write_bytes(data)
    log = SourceFiles(folder, 7)
    damaged = 40 * segment + 8
    log.sent(0, damaged)
    with pytest.raises(SourceLogDamaged, match=f"from slot {damaged} on"):
        log.sent(0, damaged + 1)
    with pytest.raises(SourceLogDamaged):
        log.choices(np.array([damaged], np.uint64))
    log.close()


def test_a_damaged_segment_header_is_said_at_every_call(folder):
    setting, bit = sent(80)
    write(folder, setting, bit, [(0, 40)])
    log = SourceFiles(folder, 7)
    with writer_of(folder) as more:
        more.append(40, setting[40:], bit[40:])
    path = sorted(folder.glob("*.brsrc"))[1]
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(SourceLogDamaged, match="no whole header"):
            log.choices(np.array([10], np.uint64))
    log.close()


def test_the_reader_follows_a_writer_that_goes_on(folder):
    setting, bit = sent(400)
    log = None
    with writer_of(folder) as more:
        for first in range(0, 400, 7):
            end = min(first + 7, 400)
            more.append(first, setting[first:end], bit[first:end])
            log = log or SourceFiles(folder, 7)
            assert log.kept[1] == end
            slots = np.arange(max(0, end - 50), end)
            same(log.choices(slots.astype(np.uint64)), slots, setting, bit)
    log.close()


def test_blocks_are_read_and_forgotten_by_several_threads(folder):
    setting, bit = sent(4000)
    write(folder, setting, bit, [(0, 4000)])
    log = SourceFiles(folder, 7)

    def resolve(block):
        slots = np.arange(100 * block, 100 * block + 100)
        same(log.choices(slots.astype(np.uint64)), slots, setting, bit)
        return log.sent(100 * block, 100 * block + 100)

    with ThreadPoolExecutor(4) as pool:
        for first in range(0, 40, 4):
            done = pool.map(resolve, range(first, first + 4))
            log.forget(100 * first)
            assert list(done) == [100] * 4
    log.close()


def test_retention_erases_the_oldest_and_says_so(folder):
    setting, bit = sent(400)
    with writer_of(folder, retention_bytes=800) as more:
        more.append(0, setting[:40], bit[:40])
        log = SourceFiles(folder, 7)
        more.append(40, setting[40:], bit[40:])
    sizes = sum(p.stat().st_size for p in folder.glob("*.brsrc"))
    assert sizes <= 800 + 300
    oldest = log.kept[0]
    assert oldest > 0
    with pytest.raises(SlotNotKept):
        log.choices(np.array([oldest - 1], np.uint64))
    slots = np.arange(oldest, 400)
    same(log.choices(slots.astype(np.uint64)), slots, setting, bit)
    log.close()
    assert forgotten_mark(folder, 7) == oldest


def test_the_owner_alone_has_access(folder):
    setting, bit = sent(40)
    before = os.umask(0)
    try:
        write(folder, setting, bit, [(0, 40)])
        SourceFiles(folder, 7).forget(20)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    folder.chmod(0o750)
    with pytest.raises(PermissionError, match="others than its owner"):
        SourceFiles(folder, 7)
    with pytest.raises(PermissionError):
        writer(folder)


def test_a_full_disk_leaves_whole_chunks(folder, monkeypatch):
    setting, bit = sent(40)
    log = writer(folder)
    log.append(0, setting[:16], bit[:16])
    write_all = os.write
    left = [30]

    def full(file, data):
        part = bytes(data[: left[0]])
        left[0] -= len(part)
        if not part:
            raise OSError(28, "No space left on device")
        return write_all(file, part)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        log.append(16, setting[16:40], bit[16:40])
    monkeypatch.undo()
    assert log.next_slot == 24
    log.append(24, setting[24:40], bit[24:40])
    log.close()
    reader = SourceFiles(folder, 7)
    same(reader.choices(np.arange(40, dtype=np.uint64)), np.arange(40), setting, bit)
    reader.close()


def test_what_no_sender_can_have_sent_is_not_recorded(folder):
    log = writer(folder)
    one = np.ones(3, np.uint8)
    for setting, bit in ((one * 4, one), (one, one * 2), (one, one[:2]), (one.astype(int), one)):
        with pytest.raises(ValueError, match=r"shape|uint8|exist"):
            log.append(0, setting, bit)
    assert log.next_slot == 0
    log.close()
