"""How long a Bell outcome takes from the detectors' pulses at the pins to the announcement."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table
from bellrelay_gateware.datapath import RelayDatapath
from bellrelay_gateware.fine_lookup import linear_fine_table
from bellrelay_gateware.tap_timing import TapTiming

TAG_PS = 5_000
CLOCK_PS = 2 * TAG_PS
N_TAPS = 255  # the longest line of a board, hence the deepest ones counter
G = BoardGeometry(n_detectors=2, clock_period_ps=CLOCK_PS, code_bits=9, tick_clocks=8192)
SLOT_PS = CLOCK_PS
CELLS_APART = 40


def clocks_from_pins(offsets_ps: list[int]) -> list[float]:
    """Both detectors are hit half a slot apart, once per offset of the later pulse in its slot.

    Clocks of `sync` from that pulse at its pin to the clock in which the announcement is valid.
    """
    m = Module()
    m.submodules.timing = timing = TapTiming(G, N_TAPS)
    m.submodules.datapath = datapath = RelayDatapath(G)
    lines = Signal(N_TAPS * G.n_channels)
    first, second = Signal.like(lines), Signal.like(lines)
    # The two ranks of a TappedLine.
    m.d.tag += [first.eq(lines), second.eq(first)]
    m.d.comb += [timing.taps.as_value().eq(second), datapath.hits.eq(timing.hits)]
    config = datapath.config
    fine_table = [
        (channel << G.code_bits | code, time)
        for channel in range(G.n_channels)
        for code, time in enumerate(linear_fine_table(G))
    ]
    cells = CELLS_APART * (len(offsets_ps) + 1)
    later = [CELLS_APART * (i + 1) * CLOCK_PS + at for i, at in enumerate(offsets_ps)]
    begin: list[int] = []  # time of cell 0, in ps of the simulation
    seen: list[int] = []  # times of announcements, likewise since cell 0

    def sample(edge_ps: int) -> int:
        word = 0
        for channel, early in enumerate((SLOT_PS // 2, 0)):
            for click in later:
                age = edge_ps - (click - early)
                if 0 <= age < 2 * TAG_PS:
                    word |= ((1 << min(age * N_TAPS // TAG_PS, N_TAPS)) - 1) << channel * N_TAPS
        return word

    async def pulses(ctx):
        edge = 0
        while True:
            edge += TAG_PS
            ctx.set(lines, sample(edge - begin[0]) if begin else 0)
            await ctx.tick("tag")

    async def acquisition(ctx):
        clock = 0

        async def step():
            nonlocal clock
            await ctx.tick()
            clock += 1

        for value, number in (
            (config.slot_period_ps, SLOT_PS),
            (config.early_end, SLOT_PS // 2),
            (config.late_start, SLOT_PS // 2),
            (config.late_end, SLOT_PS),
            (config.align_cells, 2),
        ):
            ctx.set(value, number)
        for addr, outcome in enumerate(pattern_table("time-bin", (0, 1))):
            ctx.set(datapath.pattern_write, {"en": 1, "addr": addr, "data": outcome})
            await step()
        ctx.set(datapath.pattern_write.en, 0)
        for addr, time in fine_table:
            ctx.set(datapath.fine_write, {"en": 1, "addr": addr, "data": time})
            await step()
        ctx.set(datapath.fine_write.en, 0)
        ctx.set(datapath.derive, 1)
        await step()
        ctx.set(datapath.derive, 0)
        while not ctx.get(datapath.derived):
            await step()
        ctx.set(datapath.tick_last, 1)
        await step()
        ctx.set(datapath.tick_last, 0)
        ctx.set(datapath.active, 1)
        ctx.set(datapath.acquire, 1)
        begin.append(clock * CLOCK_PS)
        for cell in range(cells):
            ctx.set(datapath.cell_start, cell == 0)
            if ctx.get(datapath.announce[0].valid):
                seen.append(cell * CLOCK_PS)
            await step()

    sim = Simulator(m)
    sim.add_clock(CLOCK_PS * 1e-12, phase=CLOCK_PS * 1e-12)
    sim.add_clock(TAG_PS * 1e-12, phase=TAG_PS * 1e-12, domain="tag")
    sim.add_testbench(pulses, background=True)
    sim.add_testbench(acquisition)
    sim.run()
    first_after = [min((t for t in seen if t > click), default=0) - click for click in later]
    return [wait / CLOCK_PS for wait in first_after if 0 < wait < CELLS_APART * CLOCK_PS]


def test_at_most_32_clocks() -> None:
    took = clocks_from_pins(list(range(0, SLOT_PS, 520)))
    assert len(took) >= 8  # the others are not early and late of one slot
    assert max(took) <= 32
