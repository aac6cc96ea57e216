"""The fused chain against the stages one by one, cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bellrelay.tags.bsm import BELL_CLASSES
from bellrelay.tags.chain import begin, feed_tags, feed_words, finish, plan_chain, result
from bellrelay.tags.recorded import analyse_recorded
from bellrelay.tags.recorded_result import RecordedResult
from bellrelay.tags.recorded_settings import RecordedDetector, RecordedSettings
from bellrelay.tags.words import encode_words

SYNC = 7


@st.composite
def analyses(draw: st.DrawFn) -> RecordedSettings:
    n = draw(st.integers(1, 4))
    period = draw(st.integers(1, 60))
    edges = sorted(draw(st.lists(st.integers(0, period), min_size=4, max_size=4)))
    early, late = (edges[0], edges[1]), (edges[2], edges[3])
    if draw(st.booleans()):
        early, late = late, early
    sync = draw(st.sampled_from([None, SYNC]))
    return RecordedSettings(
        detectors=tuple(
            RecordedDetector(
                name=f"D{d}",
                channel=draw(st.sampled_from([d, d + 100])),
                port=draw(st.integers(0, 1)),
                deskew_ps=draw(st.integers(-40, 40)),
                dead_time_ps=draw(st.integers(0, 90)),
                extending=draw(st.booleans()),
            )
            for d in range(n)
        ),
        slot_period_ps=period,
        early=early,
        late=late,
        sync_channel=sync,
        slots_per_pulse=draw(st.integers(1, 8)),
        sync_deskew_ps=draw(st.integers(-20, 20)),
        phase_ps=draw(st.integers(0, period - 1)),
        reorder_ps=draw(st.sampled_from([0, 5, 1000])),
    )


@st.composite
def recordings(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Crowded tags, nearly in order."""
    gaps = draw(st.lists(st.integers(-3, 25), max_size=120))
    start = draw(st.integers(0, 50))
    t = np.maximum(start + np.cumsum(np.array(gaps, dtype=np.int64)), 0)
    channels = st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, SYNC, 100, 101, 9])
    channel = draw(st.lists(channels, min_size=t.size, max_size=t.size))
    return t, np.array(channel, dtype=np.uint8)


def through_chain(
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    analysis: RecordedSettings,
    cuts: list[int],
    as_words: bool,
    bin_ps: int,
) -> tuple[RecordedResult, list[tuple[int, int, int, bool]]]:
    plan = plan_chain(analysis, histogram_bin_ps=bin_ps)
    state = begin(plan)
    found = []
    edges = [0, *sorted(c for c in cuts if c < t.size), t.size]
    for first, end in pairwise(edges):
        if as_words:
            state, slots = feed_words(plan, state, encode_words(t[first:end], channel[first:end]))
        else:
            state, slots = feed_tags(plan, state, t[first:end], channel[first:end])
        found += list(zip(*(a.tolist() for a in slots), strict=True))
    state, slots = finish(plan, state)
    found += list(zip(*(a.tolist() for a in slots), strict=True))
    return result(analysis, state), found


def same(one: RecordedResult, other: RecordedResult) -> None:
    assert (one.sync, one.ignored, one.out_of_order) == (
        other.sync,
        other.ignored,
        other.out_of_order,
    )
    np.testing.assert_array_equal(one.fates, other.fates)
    np.testing.assert_array_equal(one.slots, other.slots)
    np.testing.assert_array_equal(one.histogram, other.histogram)


@settings(max_examples=400)
@given(
    recordings(),
    analyses(),
    st.lists(st.integers(0, 120), max_size=5),
    st.booleans(),
    st.sampled_from([0, 3]),
)
def test_chain_is_the_stages_wherever_it_is_cut(
    tags: tuple[NDArray[np.int64], NDArray[np.uint8]],
    analysis: RecordedSettings,
    cuts: list[int],
    as_words: bool,
    bin_ps: int,
) -> None:
    """With a histogram and without: these are two ways through the kernel."""
    t, channel = tags
    whole, slots = through_chain(t, channel, analysis, [], False, 3 - bin_ps)
    same(whole, analyse_recorded(t, channel, analysis, histogram_bin_ps=3 - bin_ps))
    in_pieces, slots_in_pieces = through_chain(t, channel, analysis, cuts, as_words, bin_ps)
    same(in_pieces, analyse_recorded(t, channel, analysis, histogram_bin_ps=bin_ps))
    assert slots == slots_in_pieces
    numbers = [slot for slot, *_ in slots]
    assert numbers == sorted(set(numbers))
    bell = [whole.class_count(c) for c in BELL_CLASSES]
    assert bell == [sum(s[1] == c for s in slots) for c in BELL_CLASSES]
    assert int(whole.fates.sum()) + whole.sync + whole.ignored + whole.out_of_order == t.size


@pytest.mark.parametrize("bin_ps", [0, 3])
@pytest.mark.parametrize("sync", [None, SYNC])
@pytest.mark.parametrize("extending", [False, True])
@pytest.mark.parametrize("gap_ps", [4000, 80_000])
def test_many_blocks_agree_with_the_stages(
    bin_ps: int, sync: int | None, extending: bool, gap_ps: int
) -> None:
    """More tags than a block of the kernel, delays longer than a block, gaps beyond 2**50 ps.

    Tags close together, and far apart with some that are close.
    """
    rng = np.random.default_rng(5)
    gaps = rng.integers(0, gap_ps, 30_000)
    gaps[rng.random(gaps.size) < 0.1] //= 20
    t = np.cumsum(gaps)
    t[20_000:] += 3 << 50
    channel = rng.choice(np.array([0, 1, 2, 3, SYNC], dtype=np.uint8), t.size)
    analysis = RecordedSettings(
        detectors=tuple(
            RecordedDetector(f"D{d}", d, d // 2, 3_000_000 * d, 9000, extending and d > 0)
            for d in range(4)
        ),
        slot_period_ps=12_500,
        early=(2500, 5000),
        late=(7000, 9500),
        sync_channel=sync,
        slots_per_pulse=1000,
    )
    whole, slots = through_chain(t, channel, analysis, [11, 9000], True, bin_ps)
    same(whole, analyse_recorded(t, channel, analysis, histogram_bin_ps=bin_ps))
    assert len(slots) > 100
    assert whole.not_live > 100
