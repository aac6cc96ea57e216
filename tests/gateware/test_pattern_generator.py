"""The self-test's pattern: replayed cell by cell, and with every class of slot in it."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from bellrelay.tags.reference import reference_acquisition
from bellrelay.tags.relay_config import RelayConfig
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import SlotClass, pattern_table
from bellrelay.wire.selftest_pattern import (
    PatternEntry,
    pattern_clicks,
    pattern_registers,
    selftest_pattern,
)
from bellrelay_gateware.pattern_generator import PatternGenerator

BOARD = BoardGeometry(clock_period_ps=10_000, code_bits=9, board="bench")


def _replayed(dut: PatternGenerator, runs: int) -> list[list[PatternEntry]]:
    """Entries seen at the hits, per acquisition, by the clock after `cell_start`."""
    g = dut.geometry
    length = dut.entries[-1].cell + 10
    out: list[list[PatternEntry]] = []

    async def bench(ctx):
        for _ in range(50):  # nothing before the first start
            await ctx.tick()
            assert not any(ctx.get(dut.hits[c].hit) for c in range(g.n_channels))
        for _ in range(runs):
            seen = []
            before = 0
            for cell in range(length):
                ctx.set(dut.cell_start, cell == 0)
                mask = sum(ctx.get(dut.hits[c].hit) << c for c in range(g.n_channels))
                assert ctx.get(dut.pulses) == mask | before
                before = mask
                if mask:
                    seen.append(PatternEntry(cell, mask, ctx.get(dut.hits[0].code)))
                await ctx.tick()
            out.append(seen)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return out


@pytest.mark.parametrize("n_detectors", [2, 4])
def test_the_pattern_is_replayed_in_every_acquisition(n_detectors: int) -> None:
    geometry = BoardGeometry(n_detectors=n_detectors)
    wanted = list(selftest_pattern(geometry))
    assert _replayed(PatternGenerator(geometry), 2) == [wanted, wanted]


def test_entries_in_neighbouring_cells_from_the_first_on() -> None:
    entries = [PatternEntry(c, 1 + c % 31, 7 * c % 512) for c in (2, 3, 4, 6, 7, 10)]
    assert _replayed(PatternGenerator(BOARD, entries), 3) == [entries] * 3
    single = [PatternEntry(2, 4, 3)]
    assert _replayed(PatternGenerator(BOARD, single), 2) == [single] * 2


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "last cell is 1; allowed: 2 to 16383"),
        ([PatternEntry(1, 1, 0)], "cell 1 after 1; allowed: ascending"),
        ([PatternEntry(4, 1, 0), PatternEntry(4, 2, 0)], "cell 4 after 4"),
        ([PatternEntry(2, 32, 0)], "a channel or a code that is not there"),
        ([PatternEntry(2, 1, 512)], "a channel or a code that is not there"),
        ([PatternEntry(16384, 1, 0)], "last cell is 16384"),
    ],
)
def test_entries_are_checked(entries: list[PatternEntry], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PatternGenerator(BOARD, entries)


@pytest.mark.parametrize("n_detectors", [2, 4])
def test_the_pattern_meets_every_stage(n_detectors: int) -> None:
    """Each class but `none`, clicks of every fate: a stage that nothing meets is not tested."""
    g = BoardGeometry(n_detectors=n_detectors, clock_period_ps=10_000, code_bits=9)
    registers = pattern_registers(g)
    t, channel = pattern_clicks(g)
    result = reference_acquisition(
        np.array(t, np.int64),
        np.array(channel, np.uint8),
        RelayConfig(
            geometry=g,
            slot_period_ps=registers["slot_period_ps"][0],
            early=(registers["early_start"][0], registers["early_end"][0]),
            late=(registers["late_start"][0], registers["late_end"][0]),
            deskew_ps=registers["deskew_ps"],
            dead_time_ps=registers["dead_time_ps"],
            extending=(False,) * n_detectors,
            pattern=tuple(
                pattern_table("time-bin", tuple(2 * d // n_detectors for d in range(n_detectors)))
            ),
            hist_shift=registers["hist_shift"][0],
            stream_mask=registers["stream_mask"][0],
        ),
        n_ticks=1,
    )
    never = {SlotClass.NONE}
    if n_detectors == 2:
        never.add(SlotClass.PSI_PLUS_TWO_DETECTORS)
    missing = {c for c in SlotClass if not result.counters[f"class_{c.value}"]}
    assert missing == never
    for kind in ("clicks", "outside", "early", "late"):
        assert all(result.counters[f"{kind}_{d}"] for d in range(n_detectors))
    assert result.counters[f"dead_time_{n_detectors - 1}"]
    assert result.counters["sync"] == 2
