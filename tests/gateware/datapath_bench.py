"""Runs the datapath in Amaranth's simulator, and collects what comes out by cell."""

from __future__ import annotations

from collections import Counter

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.sim import Simulator
from reference_model import Result, Settings

from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.datapath import DERIVE_CLOCKS, RAW_LATENCY, RelayDatapath, aligned_latency
from bellrelay_gateware.increments import RAW_COUNTERS


class _Flat:
    """All outputs as one word: one read per clock."""

    def __init__(self, fields: dict[str, Value]) -> None:
        self.slices = {}
        offset = 0
        for name, value in fields.items():
            self.slices[name] = (offset, (1 << len(value)) - 1)
            offset += len(value)
        self.word = Signal(offset)
        self.value = Cat(fields.values())

    def get(self, word: int, name: str) -> int:
        offset, mask = self.slices[name]
        return word >> offset & mask


def run_datapath(
    g: BoardGeometry,
    acquisitions: list[tuple[Settings, list[dict[int, int]]]],
    running: int,
    total: int,
    tick: int,
) -> tuple[list[Result], list[list[int]]]:
    """Every acquisition in turn on one board; results and, per cell, the gate outputs."""
    dut = RelayDatapath(g)
    m = Module()
    m.submodules.dut = dut
    names = [c for c in counters(g) if c.name in dut.signature.members["increments"].shape.members]
    fields: dict[str, Value] = {
        "raw_cell_last": dut.raw_cell_last,
        "cell_last": dut.cell_last,
        "cut_slot": dut.cut_slot,
        "gate_out": dut.gate_out,
        "derived": dut.derived,
        "minus": dut.trigger_psi_minus,
        "plus": dut.trigger_psi_plus,
        "sync": Cat(dut.sync.valid, dut.sync.slot, dut.sync.pos),
    }
    for k in range(g.n_channels):
        fields[f"raw_{k}"] = Cat(dut.raw_tags[k].valid, dut.raw_tags[k].time)
        fields[f"hist_{k}"] = Cat(dut.hist[k].valid, dut.hist[k].bin)
    for p in range(g.n_ports):
        a = dut.announce[p]
        fields[f"announce_{p}"] = Cat(a.valid, a.outcome, a.slot)
    for c in names:
        fields[f"n_{c.name}"] = Value.cast(dut.increments[c.name])
    flat = _Flat(fields)
    m.d.comb += flat.word.eq(flat.value)
    mask = (1 << g.code_bits) - 1
    results: list[Result] = []
    gates: list[list[int]] = []

    async def bench(ctx):
        clock = 0

        async def step():
            nonlocal clock
            word = ctx.get(flat.word)
            await ctx.tick()
            clock += 1
            return word

        async def write(port, pairs):
            for addr, value in pairs:
                ctx.set(port, {"en": 1, "addr": addr, "data": value})
                await ctx.tick()
            ctx.set(port.en, 0)

        for s, hits in acquisitions:
            config = dut.config
            for name, value in (
                ("slot_period_ps", s.slot_period_ps),
                ("phase_ps", s.phase_ps),
                ("rate_lo", s.rate & 0xFFFFFFFF),
                ("rate_hi", s.rate >> 32),
                ("early_start", s.early[0]),
                ("early_end", s.early[1]),
                ("late_start", s.late[0]),
                ("late_end", s.late[1]),
                ("dead_extend", s.dead_extend),
                ("align_cells", s.align_cells),
                ("announce_not_live", s.announce_not_live),
                ("hist_shift", s.hist_shift),
                ("deskew_ps", s.deskew_ps),
                ("dead_time_ps", s.dead_time_ps),
                ("gate_delay_ps", [1000 * d for d in range(g.n_detectors)]),
                ("gate_width_ps", [g.clock_period_ps + 1] * g.n_detectors),
            ):
                ctx.set(config[name], value)
            await write(dut.pattern_write, enumerate(s.pattern))
            await write(
                dut.fine_write,
                (
                    (k << g.code_bits | c, f)
                    for k in range(g.n_channels)
                    for c, f in enumerate(s.fine[k])
                ),
            )
            ctx.set(dut.derive, 1)
            await ctx.tick()
            ctx.set(dut.derive, 0)
            waited = 0
            while not ctx.get(dut.derived):
                await ctx.tick()
                waited += 1
                assert waited < DERIVE_CLOCKS
            # a hit before the start must not count
            ctx.set(dut.hits[0], {"hit": 1, "code": 0})
            ctx.set(dut.tick_last, 1)
            await ctx.tick()

            after = aligned_latency(g) + s.align_cells
            result = Result(
                [Counter() for _ in range(total // tick)], [], [], [], [], [], [], Counter()
            )
            gate = []
            for cell in range(total + after):
                inside = cell < total
                ctx.set(dut.cell_start, cell == 0)
                ctx.set(dut.active, inside)
                ctx.set(dut.acquire, cell < running)
                ctx.set(dut.tick_last, inside and cell % tick == tick - 1)
                if cell % tick == 0:
                    ctx.set(config.trim, s.trims[min(cell // tick, len(s.trims) - 1)])
                # hits outside `running` are there and must be ignored
                wanted = hits[cell] if inside else {0: 1, g.n_detectors: 1}
                flat_hits = 0
                for channel, code in wanted.items():
                    flat_hits |= (1 | (code & mask) << 1) << channel * (1 + g.code_bits)
                ctx.set(Value.cast(dut.hits), flat_hits)
                word = ctx.get(flat.word)
                get = flat.get
                gate.append(get(word, "gate_out"))
                raw_cell = cell - RAW_LATENCY
                aligned = cell - after
                if 0 <= raw_cell < total:
                    n = result.counters[raw_cell // tick]
                    assert get(word, "raw_cell_last") == (raw_cell % tick == tick - 1)
                    for c in names:
                        if c.kind in RAW_COUNTERS:
                            n[c.name] += get(word, f"n_{c.name}")
                    for k in range(g.n_channels):
                        entry = get(word, f"raw_{k}")
                        if entry & 1:
                            result.raw.append((raw_cell, k, entry >> 1))
                if 0 <= aligned < total:
                    n = result.counters[aligned // tick]
                    last = aligned % tick == tick - 1
                    assert get(word, "cell_last") == last
                    if last:
                        result.cut_slots.append(get(word, "cut_slot"))
                    for c in names:
                        if c.kind not in RAW_COUNTERS:
                            n[c.name] += get(word, f"n_{c.name}")
                    outcomes = set()
                    for p in range(g.n_ports):
                        entry = get(word, f"announce_{p}")
                        if entry & 1:
                            outcomes.add(entry >> 1 & 3)
                            result.announced.append((aligned, p, entry >> 1 & 3, entry >> 3))
                    assert get(word, "minus") == (1 in outcomes)
                    assert get(word, "plus") == (2 in outcomes)
                    for k in range(g.n_channels):
                        entry = get(word, f"hist_{k}")
                        if entry & 1:
                            result.hist.append((aligned, k, entry >> 1))
                    entry = get(word, "sync")
                    if entry & 1:
                        slot = entry >> 1 & ((1 << 64) - 1)
                        result.sync.append((aligned, slot, entry >> 65))
                elif aligned >= 0 or raw_cell < 0:
                    assert not any(get(word, f"n_{c.name}") for c in names), "counts while idle"
                await ctx.tick()
            results.append(result)
            gates.append(gate)
            ctx.set(dut.tick_last, 0)
            ctx.set(dut.active, 0)
            for _ in range(g.align_depth):
                await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return results, gates
