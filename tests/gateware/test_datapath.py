"""The whole datapath against the law, written a second time with big integers."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table

sys.path.insert(0, str(Path(__file__).parent))

from datapath_bench import run_datapath
from reference_model import Settings, expected

from bellrelay_gateware.datapath import GATE_LATENCY

FOUR = BoardGeometry(
    n_detectors=4,
    clock_period_ps=5000,
    tick_clocks=2048,
    code_bits=4,
    capture_depth=8,
    announce_depth=8,
    announce_depth_short=8,
    hist_bins=64,
    hist_chunk=16,
    align_depth=16,
)
TWO = BoardGeometry(
    n_detectors=2,
    clock_period_ps=8000,
    tick_clocks=2048,
    code_bits=4,
    capture_depth=8,
    announce_depth=8,
    announce_depth_short=8,
    hist_bins=64,
    hist_chunk=16,
    align_depth=32,
)
TICK, RUNNING, TOTAL = 80, 240, 320


def settings(g: BoardGeometry, rng: random.Random, **given: object) -> Settings:
    n = g.n_detectors
    limit = g.max_deskew_ps
    deskew = [rng.randint(-limit, limit) for _ in range(n + 1)]
    most = max(deskew)
    fine = [sorted(rng.sample(range(g.clock_period_ps), 1 << g.code_bits)) for _ in range(n + 1)]
    for table in fine:
        table[0], table[-1] = 0, g.clock_period_ps - 1
    s = Settings(
        deskew_ps=deskew,
        align_cells=max(2, -(-most // g.clock_period_ps) + 2),
        dead_time_ps=[0] * n,
        pattern=pattern_table("time-bin", (0, 0, 1, 1) if n == 4 else (0, 1)),
        fine=fine,
    )
    for name, value in given.items():
        setattr(s, name, value)
    return s


def hits(g: BoardGeometry, rng: random.Random, rate: float) -> list[dict[int, int]]:
    return [
        {k: rng.randrange(1 << g.code_bits) for k in range(g.n_channels) if rng.random() < rate}
        for _ in range(TOTAL)
    ]


def check(g: BoardGeometry, cases: list[tuple[Settings, list[dict[int, int]]]]) -> list:
    got, gates = run_datapath(g, cases, RUNNING, TOTAL, TICK)
    wanted = []
    for (s, clicks), result, gate in zip(cases, got, gates, strict=True):
        want = expected(g, s, clicks, RUNNING, TOTAL, TICK)
        assert result.raw == want.raw
        assert result.hist == want.hist
        assert result.sync == want.sync
        assert result.cut_slots == want.cut_slots
        assert result.announced == want.announced
        for k, (have, need) in enumerate(zip(result.counters, want.counters, strict=True)):
            assert +have == +need, (k, (+have) - need, need - (+have))
        slots = [slot for *_, slot in result.announced]
        assert slots == sorted(set(slots))
        check_gates(g, s, gate, want.positions)
        wanted.append(want)
    return wanted


def check_gates(g: BoardGeometry, s: Settings, gate: list[int], positions: list[int]) -> None:
    """The present position is that of the cell in process, carried on at the nominal rate."""
    behind = s.align_cells + GATE_LATENCY
    for cell in range(behind, len(positions)):
        then = positions[cell - behind] + behind * g.clock_period_ps
        for d in range(g.n_detectors):
            inside = (then - 1000 * d) % s.slot_period_ps < g.clock_period_ps + 1
            assert gate[cell] >> d & 1 == inside
    assert not any(gate[: 13 + s.align_cells])


def test_time_bin_slot_longer_than_a_clock():
    rng = random.Random(1)
    cases = []
    for dead in (0, 23000):
        s = settings(
            FOUR,
            rng,
            slot_period_ps=13333,
            phase_ps=13000,
            rate=round(1 / 3 * 2**48),
            trims=[-(1 << 31), (1 << 31) - 1, 12345, 0],
            early=(500, 6500),
            late=(6500, 12700),
            dead_time_ps=[dead, 2 * dead, dead // 3, 0],
            dead_extend=0b0101,
            hist_shift=7,
        )
        cases.append((s, hits(FOUR, rng, 0.35)))
    wanted = check(FOUR, cases)
    total = sum((sum(w.counters, Counter()) for w in wanted), Counter())
    for kind in (
        "class_1",
        "class_2",
        "class_3",
        "class_4",
        "class_5",
        "class_6",
        "class_7",
        "class_8",
        "slots_not_live",
        "dead_time_0",
        "dead_time_1",
        "dead_cells_2",
        "pile_up_4",
        "outside_0",
        "sync",
    ):
        assert total[kind], f"the clicks do not reach {kind}"


def test_slots_shorter_than_a_clock_with_a_hit_in_every_cell():
    rng = random.Random(2)
    cases = []
    for period, extend, rate in ((1000, 0, -(4 << 48)), (1900, 0b1010, 3 << 48)):
        s = settings(
            FOUR,
            rng,
            slot_period_ps=period,
            phase_ps=period - 1,
            rate=rate,
            early=(0, period // 2),
            late=(period // 2, period),
            dead_time_ps=[1500, 0, 7000, 900],
            dead_extend=extend,
            hist_shift=5,
            announce_not_live=int(extend == 0),
        )
        cases.append((s, hits(FOUR, rng, 1.0)))
    wanted = check(FOUR, cases)
    ports = {port for w in wanted for _, port, _, _ in w.announced}
    assert ports == {0, 1, 2}


def test_slot_much_longer_than_a_clock():
    rng = random.Random(3)
    s = settings(
        FOUR,
        rng,
        slot_period_ps=300_001,
        phase_ps=17,
        rate=-12345678901234,
        early=(0, 100_000),
        late=(150_000, 300_001),
        dead_time_ps=[1_000_000] * 3 + [(1 << 31) - 1],
        dead_extend=0b0010,
        announce_not_live=1,
        hist_shift=13,
    )
    wanted = check(FOUR, [(s, hits(FOUR, rng, 0.02)), (s, hits(FOUR, rng, 0.005))])
    assert any(w.announced for w in wanted)


def test_polarisation_table_and_empty_late_window():
    rng = random.Random(4)
    s = settings(
        FOUR,
        rng,
        slot_period_ps=6000,
        early=(500, 5500),
        late=(0, 0),
        pattern=pattern_table("polarisation", (0, 0, 1, 1)),
        dead_time_ps=[9000, 4000, 0, 12000],
    )
    (want,) = check(FOUR, [(s, hits(FOUR, rng, 0.3))])
    assert {outcome for _, _, outcome, _ in want.announced} == {1, 2}


@pytest.mark.parametrize("seed", range(4))
def test_two_detectors_at_random(seed):
    rng = random.Random(100 + seed)
    cases = []
    for _ in range(3):
        period = rng.choice((1000, 1001, 2500, 7999, 8000, 8001, 12500, 40000, 16_000_000))
        cuts = sorted(rng.randint(0, period) for _ in range(4))
        windows = [(cuts[0], cuts[1]), (cuts[2], cuts[3])]
        rng.shuffle(windows)
        s = settings(
            TWO,
            rng,
            slot_period_ps=period,
            phase_ps=rng.randrange(period),
            rate=rng.choice((0, rng.randrange(-(4 << 48), 4 << 48))),
            trims=[rng.randrange(-(1 << 31), 1 << 31) for _ in range(4)],
            early=windows[0],
            late=windows[1],
            dead_time_ps=[rng.choice((0, 1, period, rng.randrange(100_000))) for _ in range(2)],
            dead_extend=rng.randrange(4),
            announce_not_live=rng.randrange(2),
            hist_shift=rng.randrange(21),
            pattern=[rng.randrange(16) for _ in range(32)],
        )
        cases.append((s, hits(TWO, rng, rng.choice((0.1, 0.5, 1.0)))))
    check(TWO, cases)


def test_tags_that_align_cannot_place_are_counted():
    rng = random.Random(5)
    limit = FOUR.max_deskew_ps
    s = settings(FOUR, rng, deskew_ps=[limit, limit - 1, -limit, 9999, 10001], align_cells=2)
    (want,) = check(FOUR, [(s, hits(FOUR, rng, 0.4))])
    total = sum(want.counters, Counter())
    assert total["misaligned_0"]
    assert total["misaligned_3"]
    assert total["before_start_0"] + total["before_start_1"]
    assert not total["misaligned_2"]
