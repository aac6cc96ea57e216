"""A whole acquisition against a plain simulation of the reference page, tag by tag."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.tags.reference import LINK_KINDS, reference_acquisition
from bellrelay.tags.relay_config import RelayConfig
from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table

GEOMETRY = BoardGeometry(
    n_detectors=2, clock_period_ps=1000, tick_clocks=2048, capture_depth=8, announce_depth=8,
    announce_depth_short=8, link_words=2048, hist_bins=16, hist_chunk=16,
)  # fmt: skip
K, P = GEOMETRY.tick_clocks, GEOMETRY.clock_period_ps


@st.composite
def configs(draw: st.DrawFn) -> RelayConfig:
    period = draw(st.integers(1000, 9000))
    edges = sorted(draw(st.lists(st.integers(0, period), min_size=4, max_size=4)))
    delay = st.integers(-5000, 5000)
    return RelayConfig(
        geometry=GEOMETRY,
        slot_period_ps=period,
        early=(edges[0], edges[1]),
        late=(edges[2], edges[3]),
        deskew_ps=(draw(delay), draw(delay), draw(delay)),
        dead_time_ps=(draw(st.integers(0, 20000)), draw(st.integers(0, 20000))),
        extending=(draw(st.booleans()), draw(st.booleans())),
        pattern=tuple(pattern_table("time-bin", (0, 1))),
        phase_ps=draw(st.integers(0, period - 1)),
        rate=draw(st.integers(-(3 << 48), 3 << 48)),
        trims=tuple(draw(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=3))),
        announce_not_live=draw(st.booleans()),
        hist_shift=draw(st.integers(0, 10)),
        stream_mask=draw(st.integers(0, 7)),
    )


@st.composite
def clicks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """At most one per channel and cell, crowded around the beginning and the end of a tick."""
    near = st.one_of(
        st.integers(0, 60), st.integers(K - 20, K + 20), st.integers(2 * K - 20, 2 * K)
    )
    cells = draw(st.sets(st.tuples(near, st.integers(0, 2)), max_size=60))
    rows = sorted((c * P + draw(st.integers(0, P - 1)), d) for c, d in cells)
    t = np.array([t for t, _ in rows], dtype=np.int64)
    return t, np.array([c for _, c in rows], dtype=np.uint8)


def simulate(t: list[int], channel: list[int], c: RelayConfig, n_ticks: int, cut: int) -> Any:
    """The page, sentence by sentence, over all cells."""
    count = {k.name: 0 for k in counters(GEOMETRY)}
    cut_cell = cut * K
    last_pass: dict[int, int] = {}
    last_dead: dict[int, int] = {}
    starting: list[tuple[int, int]] = []
    aligned = []
    dead_starts: dict[int, list[int]] = {0: [], 1: []}
    for time, ch in sorted(zip(t, channel, strict=True)):
        if time >= n_ticks * K * P or time >= cut_cell * P:
            continue
        count[f"clicks_{ch}"] += 1
        if ch in last_pass and time - last_pass[ch] < P:
            count[f"pile_up_{ch}"] += 1
            continue
        last_pass[ch] = time
        kept = starts = True
        if ch < 2:
            kept = ch not in last_dead or time - last_dead[ch] >= c.dead_time_ps[ch]
            starts = kept or c.extending[ch]
            if starts:
                last_dead[ch] = time
                dead_starts[ch].append(time)
            if not kept:
                count[f"dead_time_{ch}"] += 1
        moved = time - c.deskew_ps[ch]
        if moved < 0:
            count[f"before_start_{ch}"] += kept
        elif moved < cut_cell * P:
            aligned.append((moved, ch, kept, starts and ch < 2))
    for d, begun in dead_starts.items():
        dead = {
            x
            for s in begun
            for x in range(s // P, (s + c.dead_time_ps[d]) // P + 1)
            if s < x * P < s + c.dead_time_ps[d] and x < cut_cell
        }
        count[f"dead_cells_{d}"] = len(dead)
    u, a = [], c.phase_ps << 48
    for cell in range(cut_cell + 1):
        u.append(a >> 48)
        trim = c.trims[min(cell // K, len(c.trims) - 1)] if c.trims else 0
        a += (P << 48) + c.rate + (trim << 16)
    period = c.slot_period_ps
    slots = u[-1] // period
    cells: dict[int, list[int]] = {}
    histogram = np.zeros((3, GEOMETRY.hist_bins), dtype=np.int64)
    for moved, ch, kept, starts in sorted(aligned):
        cell, f = divmod(moved, P)
        v = u[cell] + min(f, (u[cell + 1] if cell < cut_cell else 1 << 62) - u[cell] - 1)
        slot, position = divmod(v, period)
        if starts:
            starting.append((slot, v + c.dead_time_ps[ch]))
        if not kept:
            continue
        if position >> c.hist_shift < GEOMETRY.hist_bins:
            histogram[ch, position >> c.hist_shift] += 1
        if ch == 2:
            count["sync"] += 1
            continue
        if c.early[0] <= position < c.early[1]:
            count[f"early_{ch}"] += 1
            cells.setdefault(slot, []).append(ch)
        elif c.late[0] <= position < c.late[1]:
            count[f"late_{ch}"] += 1
            cells.setdefault(slot, []).append(2 + ch)
        else:
            count[f"outside_{ch}"] += 1
    opening = min((s for s, e in (c.early, c.late) if s < e), default=None)

    def blind(s: int) -> bool:
        return opening is not None and any(
            s > s0 and s * period + opening < e for s0, e in starting
        )

    count["slots"] = slots
    reach = {s for s0, e in starting for s in range(s0 + 1, min(slots, e // period + 1))}
    count["slots_not_live"] = sum(blind(s) for s in reach)
    announced = []
    for slot in sorted(s for s in cells if s < slots):
        hit = cells[slot]
        mask = sum(1 << b for b in set(hit))
        code = c.pattern[mask | (len(set(hit)) < len(hit)) << 4]
        if code in (1, 2, 3) and blind(slot) and not c.announce_not_live:
            code = 8
        count[f"class_{code}"] += 1
        count["pair_0_1"] += len({b % 2 for b in hit}) == 2
        if code in (1, 2, 3):
            announced.append((slot, 1 if code == 1 else 2))
            count["announced_psi_minus" if code == 1 else "announced_psi_plus"] += 1
    return count, announced, histogram


@settings(max_examples=60)
@given(clicks(), configs(), st.integers(1, 3))
def test_acquisition_is_the_page(
    tags: tuple[np.ndarray, np.ndarray], config: RelayConfig, until: int
) -> None:
    t, channel = tags
    found = reference_acquisition(t, channel, config, n_ticks=2, until_tick=until)
    count, announced, histogram = simulate(t.tolist(), channel.tolist(), config, 2, until)
    assert found.counters == count
    assert list(
        zip(found.announced_slot.tolist(), found.announced_outcome.tolist(), strict=True)
    ) == announced  # fmt: skip
    np.testing.assert_array_equal(found.histogram, histogram)
    assert set(found.raw_tags) == {c for c in range(3) if config.stream_mask >> c & 1}
    for c, raw in found.raw_tags.items():
        assert raw.size == count[f"clicks_{c}"]
    assert sum(count[f"class_{i}"] for i in (1, 2, 3)) == len(announced)
    assert all(count[k.name] == 0 for k in counters(GEOMETRY) if k.kind in LINK_KINDS)


def plain(**changes: Any) -> RelayConfig:
    values: dict[str, Any] = {
        "geometry": GEOMETRY,
        "slot_period_ps": 10_000,
        "early": (2000, 3000),
        "late": (7000, 8000),
        "deskew_ps": (0, 0, 0),
        "dead_time_ps": (0, 0),
        "extending": (False, False),
        "pattern": tuple(pattern_table("time-bin", (0, 1))),
    }
    return RelayConfig(**{**values, **changes})


def test_the_whole_acquisition_includes_the_draining_tick() -> None:
    """A negative deskew carries a click beyond the end of `running`."""
    t = np.array([2 * K * P - 1])
    found = reference_acquisition(
        t, np.zeros(1, dtype=np.uint8), plain(deskew_ps=(-3000, 0, 0)), n_ticks=2
    )
    assert found.counters["slots"] == 3 * K * P // 10_000
    assert found.tags.t.tolist() == [2 * K * P + 2999]
    cut = reference_acquisition(
        t, np.zeros(1, dtype=np.uint8), plain(deskew_ps=(-3000, 0, 0)), n_ticks=2, until_tick=2
    )
    assert cut.counters["clicks_0"] == 1
    assert cut.tags.t.size == 0


def test_bad_input_is_refused() -> None:
    one = np.zeros(1, dtype=np.uint8)
    for t, channel in (
        (np.array([-1]), one),
        (np.array([0]), one + np.uint8(3)),
        (np.array([5, 4]), np.zeros(2, dtype=np.uint8)),
        (np.array([4, 5]), np.zeros(2, dtype=np.uint8)),
        (np.array([4, 5]), one),
    ):
        with pytest.raises(ValueError):
            reference_acquisition(t, channel, plain(), n_ticks=1)
    with pytest.raises(ValueError, match="dead_time_ps has 1"):
        plain(dead_time_ps=(0,))
    with pytest.raises(ValueError, match="late"):
        plain(late=(2999, 8000))
