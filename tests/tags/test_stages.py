"""Edge rules of every stage, each against the sentence of the reference page it comes from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.tags.bitmap import slot_bitmaps
from bellrelay.tags.bsm import classes_of, pair_counts
from bellrelay.tags.coincidences import coincidences
from bellrelay.tags.dead_time import dead_cells, kept_clicks
from bellrelay.tags.deskew import deskewed, time_order
from bellrelay.tags.gate import Bin, check_windows, gated
from bellrelay.tags.histogram import arrival_histogram
from bellrelay.tags.liveness import blind_slots
from bellrelay.tags.pile_up import resolved
from bellrelay.tags.slot_clock import SlotClock, constant_slots
from bellrelay.tags.sync_reference import SyncFate, slots_from_sync
from bellrelay.tags.words import decode_words, encode_words
from bellrelay.wire.outcomes import pattern_table

times = st.lists(st.integers(0, 400), max_size=40).map(
    lambda values: np.array(sorted(values), dtype=np.int64)
)


def one_channel(t: np.ndarray) -> np.ndarray:
    return np.zeros(t.size, dtype=np.uint8)


def test_pile_up_is_measured_from_what_passed() -> None:
    t = np.array([0, 60, 100, 160, 199, 260])
    np.testing.assert_array_equal(
        resolved(t, one_channel(t), 100), [True, False, True, False, False, True]
    )


def test_dead_time_keeps_a_click_exactly_at_its_end() -> None:
    t = np.array([0, 99, 150, 249, 250])
    kept = kept_clicks(t, one_channel(t), [100], [False])
    np.testing.assert_array_equal(kept, [True, False, True, False, True])
    kept = kept_clicks(t, one_channel(t), [100], [True])
    np.testing.assert_array_equal(kept, [True, False, False, False, False])


@given(times, st.integers(0, 60), st.booleans())
def test_dead_time_rule(t: np.ndarray, dead_time: int, extending: bool) -> None:
    kept = kept_clicks(t, one_channel(t), [dead_time], [extending])
    for i in range(t.size):
        before = t[:i] if extending else t[:i][kept[:i]]
        assert kept[i] == (before.size == 0 or t[i] - before[-1] >= dead_time)


@given(times, st.integers(0, 60), st.integers(1, 20), st.integers(0, 30))
def test_dead_cells_are_those_whose_start_lies_strictly_inside(
    t: np.ndarray, dead_time: int, clock: int, end: int
) -> None:
    dead = sum(any(x < c * clock < x + dead_time for x in t.tolist()) for c in range(end))
    assert dead_cells(t, dead_time, clock, end) == dead


def test_deskew_subtracts_and_order_is_by_time_then_channel() -> None:
    t = np.array([10, 10, 12, 15])
    channel = np.array([1, 0, 2, 0], dtype=np.uint8)
    moved = deskewed(t, channel, [0, -2, 2])
    np.testing.assert_array_equal(moved, [12, 10, 10, 15])
    np.testing.assert_array_equal(time_order(moved, channel), [1, 2, 0, 3])


@given(
    st.integers(1000, 20000),
    st.integers(1000, 20000),
    st.integers(-(4 << 48) + 1, (4 << 48) - 1),
    st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=4),
    st.lists(st.integers(0, 5 * 16), min_size=1, max_size=20),
    st.data(),
)
def test_slot_clock_is_the_accumulator(
    period: int,
    clock_period: int,
    rate: int,
    trims: list[int],
    cells: list[int],
    data: st.DataObject,
) -> None:
    phase = data.draw(st.integers(0, period - 1))
    clock = SlotClock(
        slot_period_ps=period,
        phase_ps=phase,
        clock_period_ps=clock_period,
        tick_clocks=16,
        n_ticks=6,
        rate=rate,
        trims=trims,
    )
    sums = [phase << 48]
    for c in range(6 * 16):
        trim = trims[min(c // 16, len(trims) - 1)] if trims else 0
        sums.append(sums[-1] + (clock_period << 48) + rate + (trim << 16))
    u = [a >> 48 for a in sums]
    offsets = [data.draw(st.integers(0, clock_period - 1)) for _ in cells]
    t = np.array([c * clock_period + f for c, f in zip(cells, offsets, strict=True)])
    slot, position, v = clock.place(t)
    for i, (c, f) in enumerate(zip(cells, offsets, strict=True)):
        expected = u[c] + min(f, u[c + 1] - u[c] - 1)
        assert v[i] == expected
        assert divmod(expected, period) == (int(slot[i]), int(position[i]))
    for c in range(0, 97, 8):
        assert clock.closed_slots(c) == u[c] // period


def test_reference_time_wraps_nothing_in_thirty_days() -> None:
    """Ticks of 2**28 ps, a month in: exact in int64."""
    n_ticks = 200_000
    rate = -12345678901234
    clock = SlotClock(
        slot_period_ps=1000, phase_ps=999, clock_period_ps=1024, tick_clocks=1 << 18,
        n_ticks=n_ticks, rate=rate, trims=[5, -7],
    )  # fmt: skip
    step = (1024 << 48) + rate
    a = (999 << 48) + (1 << 18) * (step + (5 << 16))
    a += (1 << 18) * (n_ticks - 1) * (step + (-7 << 16))
    assert clock.closed_slots(n_ticks << 18) == (a >> 48) // 1000


@given(times, st.integers(1, 30), st.integers(0, 100))
def test_constant_slots_are_half_open(t: np.ndarray, period: int, phase: int) -> None:
    slot, position = constant_slots(t - 200, period, phase)
    np.testing.assert_array_equal(slot * period + position, t - 200 + phase)
    assert np.all((position >= 0) & (position < period))


@given(times, times, st.integers(1, 20), st.integers(1, 6))
def test_sync_reference_is_the_last_at_or_before(
    t: np.ndarray, sync: np.ndarray, period: int, per_pulse: int
) -> None:
    slot, position, fate = slots_from_sync(t, sync, period, per_pulse)
    for i, time in enumerate(t.tolist()):
        before = [s for s in sync.tolist() if s <= time]
        if not before:
            assert (fate[i], slot[i]) == (SyncFate.BEFORE_SYNC, -1)
            continue
        k, rest = divmod(time - before[-1], period)
        if k >= per_pulse:
            assert (fate[i], slot[i]) == (SyncFate.PAST_FRAME, -1)
        else:
            assert fate[i] == SyncFate.IN_SLOT
            assert (slot[i], position[i]) == ((len(before) - 1) * per_pulse + k, rest)


def test_windows_are_half_open_and_empty_where_start_is_end() -> None:
    position = np.array([9, 10, 19, 20, 29, 30])
    expected = [Bin.OUTSIDE, Bin.EARLY, Bin.EARLY, Bin.LATE, Bin.LATE, Bin.OUTSIDE]
    np.testing.assert_array_equal(gated(position, (10, 20), (20, 30)), expected)
    assert set(gated(position, (10, 10), (0, 0)).tolist()) == {Bin.OUTSIDE}


def test_windows_stay_in_the_slot_and_apart() -> None:
    check_windows((0, 5), (5, 10), 10)
    check_windows((3, 3), (0, 10), 10)
    for early, late in [((0, 6), (5, 10)), ((0, 5), (5, 11)), ((4, 3), (5, 6)), ((-1, 3), (4, 5))]:
        with pytest.raises(ValueError, match=r"early|late"):
            check_windows(early, late, 10)


def test_bitmap_marks_cells_hit_twice() -> None:
    slot = np.array([7, 3, 3, 3, 9, 9], dtype=np.uint64)
    detector = np.array([1, 0, 0, 1, 1, 0], dtype=np.uint8)
    bins = np.array([2, 1, 1, 2, 0, 0], dtype=np.uint8)
    found = slot_bitmaps(slot, detector, bins, 2)
    assert found.slot.tolist() == [3, 7]
    assert found.mask.tolist() == [0b1001, 0b1000]
    assert found.multi.tolist() == [True, False]
    assert pair_counts(found.mask, 2) == {(0, 1): 1}


def test_a_click_blinds_later_slots_until_its_dead_time_ends() -> None:
    """v + D = 30: slot 2 (opens at 20 + 5) is not live, slot 3 (35) is; its own never blinded."""
    slot, v = np.array([1]), np.array([12])
    for dead_time, blinded in ((13, []), (14, [2]), (23, [2]), (24, [2, 3])):
        found = blind_slots(slot, v, np.array([dead_time]), 10, 5)
        assert np.flatnonzero(found.contains(np.arange(10))).tolist() == blinded
        assert found.count(10) == len(blinded)
    assert found.count(3) == 1


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 60)), max_size=12), st.integers(0, 12))
def test_blind_slots_are_a_union(clicks: list[tuple[int, int]], n_slots: int) -> None:
    v = np.array([c[0] for c in clicks], dtype=np.int64)
    dead = np.array([c[1] for c in clicks], dtype=np.int64)
    found = blind_slots(v // 10, v, dead, 10, 3)
    expected = [any(s > x // 10 and s * 10 + 3 < x + d for x, d in clicks) for s in range(n_slots)]
    assert found.contains(np.arange(n_slots)).tolist() == expected
    assert found.count(n_slots) == sum(expected)


def test_not_live_takes_bell_classes_alone() -> None:
    table = pattern_table("time-bin", (0, 1))
    mask = np.array([0b1001, 0b1001, 0b0001, 0b0101])
    multi = np.zeros(4, dtype=np.bool_)
    not_live = np.array([True, False, True, True])
    assert classes_of(mask, multi, not_live, table).tolist() == [8, 1, 4, 8]
    assert classes_of(mask, multi, not_live, table, True).tolist() == [1, 1, 4, 2]
    assert classes_of(mask, ~multi, not_live & False, table).tolist() == [7, 7, 4, 7]


@given(times, st.integers(1, 50), st.integers(1, 8))
def test_histogram_is_floor_binned(position: np.ndarray, width: int, n_bins: int) -> None:
    channel = (position % 2).astype(np.uint8)
    found = arrival_histogram(position, channel, bin_ps=width, n_bins=n_bins, n_channels=2)
    for c in range(2):
        for k in range(n_bins):
            inside = (position >= k * width) & (position < (k + 1) * width) & (channel == c)
            assert found[c, k] == np.count_nonzero(inside)


@given(times, times, st.integers(0, 50))
def test_coincidences_are_all_pairs_edges_included(
    t_a: np.ndarray, t_b: np.ndarray, window: int
) -> None:
    expected = sum(abs(a - b) <= window for a in t_a.tolist() for b in t_b.tolist())
    assert coincidences(t_a, t_b, window) == expected


@given(st.lists(st.tuples(st.integers(0, (1 << 56) - 1), st.integers(0, 255)), max_size=20))
def test_words(tags: list[tuple[int, int]]) -> None:
    t = np.array([t for t, _ in tags], dtype=np.int64)
    channel = np.array([c for _, c in tags], dtype=np.uint8)
    words = encode_words(t, channel)
    assert words.tolist() == [c << 56 | x for x, c in tags]
    read_t, read_channel = decode_words(words)
    np.testing.assert_array_equal(read_t, t)
    np.testing.assert_array_equal(read_channel, channel)


def test_words_hold_56_bits() -> None:
    for t in (-1, 1 << 56):
        with pytest.raises(ValueError, match="2\\*\\*56"):
            encode_words(np.array([t]), np.zeros(1, dtype=np.uint8))
