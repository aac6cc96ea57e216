"""Files of recorded tags: round trips, records that are no tags, damage, other readers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import ptufile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bellrelay.tags.formats import (
    WRITABLE,
    TagFile,
    TagFileError,
    detect_format,
    open_tags,
    write_tags,
)
from bellrelay.tags.formats.qutag import RECORD as QUTAG
from bellrelay.tags.formats.swabian import RECORD as SWABIAN

Tags = tuple[NDArray[np.int64], NDArray[np.uint8]]


def whole(file: TagFile, block: int = 1 << 20) -> Tags:
    blocks = list(file.blocks(block))
    if not blocks:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    return np.concatenate([t for t, _ in blocks]), np.concatenate([c for _, c in blocks])


def pieces(t: NDArray[np.int64], channel: NDArray[np.uint8], n: int) -> Iterator[Tags]:
    for first in range(0, t.size, n):
        yield t[first : first + n], channel[first : first + n]


def recording(n: int, seed: int = 1) -> Tags:
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, 200_000, n))
    return t, rng.integers(0, 5, n).astype(np.uint8)


def t2_file(path: Path, t: NDArray[np.int64], channel: NDArray[np.uint8], unit_ps: int) -> None:
    """A PTU T2 file, written independently: sync is channel 0, input n is channel n."""
    entries = [
        ("Measurement_Mode", 0x10000008, struct.pack("<q", 2)),
        ("TTResultFormat_TTTRRecType", 0x10000008, struct.pack("<q", 0x01010204)),
        ("TTResultFormat_BitsPerRecord", 0x10000008, struct.pack("<q", 32)),
        ("MeasDesc_GlobalResolution", 0x20000008, struct.pack("<d", unit_ps * 1e-12)),
        ("MeasDesc_Resolution", 0x20000008, struct.pack("<d", unit_ps * 1e-12)),
    ]
    records = []
    wraps = 0
    for time, c in zip((t // unit_ps).tolist(), channel.tolist(), strict=True):
        while time >= (wraps + 1) << 25:
            records.append(0xFE000001)
            wraps += 1
        field = time - (wraps << 25)
        records.append(0x80000000 | field if c == 0 else (c - 1) << 25 | field)
    entries.append(("TTResult_NumberOfRecords", 0x10000008, struct.pack("<q", len(records))))
    with path.open("wb") as file:
        file.write(b"PQTTTR\0\x001.0.00\0\0")
        comment = b"a comment\0\0\0\0\0\0\0"
        file.write(struct.pack("<32siIq", b"File_Comment", -1, 0x4001FFFF, 16) + comment)
        for name, kind, value in entries:
            file.write(struct.pack("<32siI", name.encode(), -1, kind) + value)
        file.write(struct.pack("<32siIq", b"Header_End", -1, 0xFFFF0008, 0))
        file.write(struct.pack(f"<{len(records)}I", *records))


@pytest.mark.parametrize("name", WRITABLE)
@settings(max_examples=25)
@given(data=st.data())
def test_written_is_read_in_any_blocks(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    gap = st.one_of(st.integers(0, 50), st.integers(0, 1 << 27), st.just(3 << 50))
    gaps = data.draw(st.lists(gap, max_size=15))
    t = np.cumsum(np.array(gaps, dtype=np.int64))
    top = 63 if name == "ptu" else 255
    channel = np.array(
        data.draw(st.lists(st.integers(0, top), min_size=t.size, max_size=t.size)), dtype=np.uint8
    )
    path = tmp_path_factory.mktemp("round") / f"tags.{name}"
    write = data.draw(st.integers(1, 16))
    if name == "u64" and t.size and t[-1] >= 1 << 56:
        with pytest.raises(TagFileError, match="2\\*\\*56"):
            write_tags(path, pieces(t, channel, write))
        assert not path.exists()
        return
    assert write_tags(path, pieces(t, channel, write)) == t.size
    read_t, read_channel = whole(open_tags(path), data.draw(st.integers(1, 16)))
    np.testing.assert_array_equal(read_t, t)
    np.testing.assert_array_equal(read_channel, channel)
    assert read_t.dtype == np.int64
    assert read_channel.dtype == np.uint8


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_of_numpy_both_ways(tmp_path: Path, compressed: bool) -> None:
    t, channel = recording(1000)
    path = tmp_path / "tags.npz"
    (np.savez_compressed if compressed else np.savez)(path, t=t, channel=channel)
    read_t, read_channel = whole(open_tags(path), 37)
    np.testing.assert_array_equal(read_t, t)
    np.testing.assert_array_equal(read_channel, channel)
    write_tags(tmp_path / "again.npz", pieces(t, channel, 100))
    with np.load(tmp_path / "again.npz") as again:
        np.testing.assert_array_equal(again["t"], t)
        np.testing.assert_array_equal(again["channel"], channel)


@pytest.mark.parametrize("unit_ps", [1, 4, 80])
def test_ptu_of_another_writer(tmp_path: Path, unit_ps: int) -> None:
    """Same counts and times as the independent reader finds."""
    t, channel = recording(3000)
    path = tmp_path / "other.ptu"
    t2_file(path, t, channel, unit_ps)
    file = open_tags(path)
    read_t, read_channel = whole(file, 101)
    np.testing.assert_array_equal(read_t, t // unit_ps * unit_ps)
    np.testing.assert_array_equal(read_channel, channel)
    independent(path, read_t, read_channel, unit_ps)
    assert file.notes.counts.get("overflow", 0) == int(t[-1] // unit_ps) >> 25


def test_ptu_of_ours_read_by_another(tmp_path: Path) -> None:
    t, channel = recording(3000)
    write_tags(tmp_path / "ours.ptu", pieces(t, channel, 700))
    independent(tmp_path / "ours.ptu", t, channel, 1)


def independent(path: Path, t: NDArray[np.int64], channel: NDArray[np.uint8], unit: int) -> None:
    """Hold tags against ptufile, which reads sync and the first input as one channel 0."""
    with ptufile.PtuFile(path) as other:
        records = other.decode_records()
    photons = records[records["channel"] >= 0]
    np.testing.assert_array_equal(photons["time"].astype(np.int64) * unit, t)
    np.testing.assert_array_equal(photons["channel"], np.maximum(channel.astype(int) - 1, 0))


def test_ptu_of_the_picoharp(tmp_path: Path) -> None:
    """Four bits of channel, sync as input 0, overflow every 210698240 units."""
    path = tmp_path / "harp.ptu"
    t2_file(path, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8), 4)
    data = path.read_bytes().replace(struct.pack("<q", 0x01010204), struct.pack("<q", 0x00010203))
    records = [5, 1 << 28 | 7, 0xF0000000, 15 << 28 | 2, 2 << 28 | 9]
    path.write_bytes(data + struct.pack("<5I", *records))
    file = open_tags(path)
    t, channel = whole(file, 2)
    np.testing.assert_array_equal(t, [20, 28, 4 * (210_698_240 + 9)])
    np.testing.assert_array_equal(channel, [0, 1, 2])
    assert file.notes.counts == {"overflow": 1, "marker": 1}


def test_ptu_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "no.ptu"
    one = np.array([1], dtype=np.uint8)
    with pytest.raises(TagFileError, match="order"):
        write_tags(path, iter([(np.array([5]), one), (np.array([4]), one)]))
    with pytest.raises(TagFileError, match="channel 64"):
        write_tags(path, iter([(np.array([5]), np.array([64], dtype=np.uint8))]))
    assert list(tmp_path.iterdir()) == []


def test_ptu_t3_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t3.ptu"
    t2_file(path, *recording(3), 1)
    path.write_bytes(
        path.read_bytes().replace(struct.pack("<q", 0x01010204), struct.pack("<q", 0x01010304))
    )
    with pytest.raises(TagFileError, match="only T2"):
        open_tags(path)


def test_ptu_that_ends_before_its_header_says(tmp_path: Path) -> None:
    path = tmp_path / "short.ptu"
    t2_file(path, np.arange(10, dtype=np.int64), np.ones(10, dtype=np.uint8), 1)
    path.write_bytes(path.read_bytes()[:-6])
    file = open_tags(path)
    assert whole(file)[0].size == 8
    assert file.notes.truncated_bytes == 2
    assert file.notes.counts["records_missing"] == 2


def test_swabian_records(tmp_path: Path) -> None:
    path = tmp_path / "tags.tag16"
    records = np.array(
        [(0, 0, 0, 1, 100), (2, 0, 0, 0, 110), (4, 0, 7, 2, 120), (3, 0, 0, 0, 130),
         (0, 0, 0, -3, 140), (1, 0, 0, 0, 150)],
        dtype=SWABIAN,
    )  # fmt: skip
    path.write_bytes(records.tobytes() + b"half")
    file = open_tags(path)
    t, channel = whole(file, 2)
    np.testing.assert_array_equal(t, [100, 140])
    np.testing.assert_array_equal(channel, [1, 131])
    assert file.notes.counts == {
        "overflow_begin": 1,
        "overflow_end": 1,
        "missed_events_record": 1,
        "missed_events": 7,
        "error": 1,
    }
    assert file.notes.truncated_bytes == 4


def test_swabian_record_of_no_known_type(tmp_path: Path) -> None:
    path = tmp_path / "tags.tag16"
    records = np.zeros(3, dtype=SWABIAN)
    records["type"][2] = 9
    path.write_bytes(records.tobytes())
    with pytest.raises(TagFileError, match=r"tags\.tag16 at 32: record type 9") as raised:
        whole(open_tags(path))
    assert raised.value.offset == 32


def test_qutag(tmp_path: Path) -> None:
    path = tmp_path / "tags.qutag"
    records = np.array([(10, 1), (20, 104), (30, 2)], dtype=QUTAG)
    path.write_bytes(bytes(40) + records.tobytes() + b"abc")
    file = open_tags(path)
    t, channel = whole(file, 1)
    np.testing.assert_array_equal(t, [10, 30])
    np.testing.assert_array_equal(channel, [1, 2])
    assert file.notes.counts == {"mark": 1}
    assert file.notes.truncated_bytes == 3


@pytest.mark.parametrize("swapped", [False, True])
def test_sfifteen(tmp_path: Path, swapped: bool) -> None:
    """Times in 1/256 ns, floored; a pattern of several detectors is several tags."""
    path = tmp_path / "tags.a1"
    words = [256 << 10 | 1, 257 << 10 | 0b1010, 300 << 10 | 16, (1 << 53) << 10 | 4]
    if swapped:
        words = [w >> 32 | (w & 0xFFFFFFFF) << 32 for w in words]
    path.write_bytes(struct.pack("<4Q", *words))
    file = open_tags(path, "sfifteen-swapped" if swapped else None)
    t, channel = whole(file, 3)
    np.testing.assert_array_equal(t, [1000, 1003, 1003, (1 << 53) * 1000 // 256])
    np.testing.assert_array_equal(channel, [1, 2, 4, 3])
    assert file.notes.counts == {"rollover": 1}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npz", b"PK\x03\x04nonsense", "npz"),
        ("a.parquet", b"PAR1nonsense", "Parquet"),
        ("a.ptu", b"PQTTTR\0\x001.0.00\0\0" + b"x" * 20, "breaks off"),
        ("a.ptu", b"something else", "PQTTTR"),
        ("a.qutag", b"short", "40"),
        ("a.dat", b"", "--format"),
        ("a.parquet", b"", "Parquet"),
        ("a.npz", b"", "npz"),
    ],
)
def test_a_bad_file_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TagFileError, match=reason) as raised:
        open_tags(path)
    assert raised.value.path == path
    assert "\n" not in str(raised.value)


def test_arrays_of_the_wrong_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, t=np.arange(3.0), channel=np.zeros(3, dtype=np.uint8))
    with pytest.raises(TagFileError, match="t is float64"):
        open_tags(path)
    np.savez(path, t=np.arange(3), channel=np.zeros(2, dtype=np.uint8))
    with pytest.raises(TagFileError, match="3 times and 2 channels"):
        open_tags(path)
    np.savez(path, time=np.arange(3))
    with pytest.raises(TagFileError, match="no array 't'"):
        open_tags(path)
    np.savez(path, t=np.array([0, 1 << 61]), channel=np.zeros(2, dtype=np.uint8))
    with pytest.raises(TagFileError, match="2\\*\\*58"):
        whole(open_tags(path))
    np.savez(path, t=np.array([0, 1]), channel=np.array([0, 256]))
    with pytest.raises(TagFileError, match="0 to 255"):
        whole(open_tags(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for format_name in (None, "u64", "npz", "parquet"):
        with pytest.raises(TagFileError, match="No such file"):
            open_tags(tmp_path / "none.u64", format_name)


def test_the_magic_wins_over_the_extension(tmp_path: Path) -> None:
    t2_file(tmp_path / "wrong.u64", *recording(3), 1)
    assert detect_format(tmp_path / "wrong.u64") == "ptu"
