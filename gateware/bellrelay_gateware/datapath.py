"""From hits to announcements: the stages of the relay, in their order."""

from __future__ import annotations

from itertools import combinations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import Outcome, SlotClass

from .align import Align
from .bitmap import Bitmap
from .bsm import Bsm
from .code_density import load_layout
from .config import config_layout
from .dead_time import DeadTime
from .delay_line import delayed
from .derive import DERIVE_CLOCKS, Derive
from .deskew import Deskew
from .fine_lookup import FineLookup
from .front_end import hits_layout
from .gate import Gate
from .gate_output import GateOutput
from .increments import increments_layout
from .liveness import Liveness
from .pile_up import PileUp
from .slot_clock import SlotClock
from .slot_position import SlotPosition, located_latency
from .tag import delta_width, marker_layout

__all__ = [
    "DERIVE_CLOCKS",
    "GATE_LATENCY",
    "RAW_LATENCY",
    "RelayDatapath",
    "aligned_latency",
    "hits_layout",
]

RAW_LATENCY = FineLookup.LATENCY + PileUp.LATENCY + DeadTime.LATENCY
"""Clocks from a hit to the raw outputs of its cell."""

_TO_ALIGNED = RAW_LATENCY + Deskew.LATENCY + Align.LATENCY  # and align_cells
_TO_SLOT_CLOCK = _TO_ALIGNED + SlotClock.LATENCY
_LOCATED_TO_BSM = Gate.LATENCY + Bitmap.LATENCY + 1
_BACK = _LOCATED_TO_BSM + Bsm.LATENCY + 1
"""Clocks from a located tag to the aligned outputs."""
assert _LOCATED_TO_BSM + 2 == Liveness.LATENCY, "a slot meets its liveness"
GATE_LATENCY = _TO_SLOT_CLOCK + GateOutput.LATENCY
"""Clocks from a cell to the gate outputs that are computed from it, ``align_cells`` aside."""


def aligned_latency(geometry: BoardGeometry) -> int:
    """Clocks from a cell's hits to its aligned outputs, ``align_cells`` not included."""
    return _TO_SLOT_CLOCK + located_latency(geometry) + _BACK


class RelayDatapath(wiring.Component):
    """All stages between the front end and the capture banks; see ``docs/reference/stages.md``.

    One cell per clock, always; nothing in here can stall. Outputs of a cell come together: raw
    ones ``RAW_LATENCY`` clocks, aligned ones ``aligned_latency(geometry) + align_cells`` clocks
    after its hits, the gate outputs for the cell that is at the front end now.

    Parameters
    ----------
    geometry
        Shape of the board.

    Members
    -------
    hits : In, :func:`~.front_end.hits_layout`
    config : In, :func:`~.config.config_layout`; CONFIG fields hold from ``derive`` to the end of
        draining; LIVE ones change in the first clock of a tick, and ``trim`` is sampled again when
        the first aligned cell of the tick is reached
    derive : In(1), strobe; derived : Out(1), high from at most ``DERIVE_CLOCKS`` later on
    acquire : In(1), hits of this clock count
    cell_start : In(1), this clock is cell 0; also the only reset of the stages' state
    active : In(1), this clock is a cell of an acquisition (running or draining)
    tick_last : In(1), this clock is the last of a tick, idle or not
    blind : In(1), a channel is off its pin, with guard on both sides: the slots are not live
    fine_load, fine_load_ready, fine_swap
        New fine tables from a calibration, as in :class:`~.fine_lookup.FineLookup`.
    fine_write, fine_read_addr, fine_read_data, pattern_write, pattern_read_addr, pattern_read_data
        Memories for the host; at most 3 clocks from address to data.
    raw_tags : Out, per channel ``{valid, time}``, picoseconds since the start modulo 2**56
    raw_cell_last : Out(1), of the raw outputs' cell
    announce : Out, per port ``{valid, outcome, slot}``
    hist : Out, per channel ``{valid, bin}``
    sync : Out, ``{valid, slot, pos}`` of a sync tag
    cell_last : Out(1), of the aligned outputs' cell
    cut_slot : Out(64), the open slot at the end of this cell; holds while not active
    trigger_psi_minus, trigger_psi_plus : Out(1), an announcement of this outcome in this clock
    increments : Out, :func:`~.increments.increments_layout`; ``RAW_COUNTERS`` come with the raw
        outputs, all others with the aligned ones
    gate_out : Out, bit per detector
    """

    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        n, m = g.n_detectors, g.n_channels
        fine_addr = (m << g.code_bits) - 1
        pattern_addr = g.n_cells + 1
        fine = (g.clock_period_ps - 1).bit_length()
        super().__init__(
            {
                "hits": In(hits_layout(g)),
                "config": In(config_layout(g)),
                "derive": In(1),
                "derived": Out(1),
                "acquire": In(1),
                "cell_start": In(1),
                "active": In(1),
                "tick_last": In(1),
                "blind": In(1),
                "fine_load": In(load_layout(g)),
                "fine_load_ready": Out(1),
                "fine_swap": In(m),
                "fine_write": In(
                    data.StructLayout({"en": 1, "addr": fine_addr.bit_length(), "data": fine})
                ),
                "fine_read_addr": In(fine_addr.bit_length()),
                "fine_read_data": Out(fine),
                "pattern_write": In(data.StructLayout({"en": 1, "addr": pattern_addr, "data": 4})),
                "pattern_read_addr": In(pattern_addr),
                "pattern_read_data": Out(4),
                "raw_tags": Out(data.ArrayLayout(data.StructLayout({"valid": 1, "time": 56}), m)),
                "raw_cell_last": Out(1),
                "announce": Out(
                    data.ArrayLayout(
                        data.StructLayout({"valid": 1, "outcome": 2, "slot": 64}), g.n_ports
                    )
                ),
                "hist": Out(
                    data.ArrayLayout(
                        data.StructLayout({"valid": 1, "bin": (g.hist_bins - 1).bit_length()}), m
                    )
                ),
                "sync": Out(data.StructLayout({"valid": 1, "slot": 64, "pos": 24})),
                "cell_last": Out(1),
                "cut_slot": Out(64),
                "trigger_psi_minus": Out(1),
                "trigger_psi_plus": Out(1),
                "increments": Out(increments_layout(g)),
                "gate_out": Out(n),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g, c = self.geometry, self.config
        n, channels = g.n_detectors, range(g.n_channels)

        m.submodules.derive = derive = Derive(g, GATE_LATENCY)
        m.d.comb += [
            derive.config.eq(c),
            derive.derive.eq(self.derive),
            derive.tick_last.eq(self.tick_last),
            self.derived.eq(derive.derived),
        ]
        known = derive.o

        marker = Signal(marker_layout())
        m.d.comb += [
            marker.start.eq(self.cell_start),
            marker.active.eq(self.active),
            marker.last.eq(self.tick_last),
            marker.blind.eq(self.blind),
        ]

        # ---- raw cells
        m.submodules.fine = fine = FineLookup(g)
        m.d.comb += [
            fine.hits.eq(self.hits),
            fine.accept.eq(self.acquire),
            fine.write.eq(self.fine_write),
            fine.load.eq(self.fine_load),
            fine.swap.eq(self.fine_swap),
            self.fine_load_ready.eq(fine.load_ready),
            fine.read_addr.eq(self.fine_read_addr),
            self.fine_read_data.eq(fine.read_data),
        ]
        at_tags = delayed(m, marker, FineLookup.LATENCY, "marker_tags")
        at_dead = delayed(m, at_tags, PileUp.LATENCY, "marker_dead")
        at_raw = delayed(m, at_dead, DeadTime.LATENCY, "marker_raw")
        at_align = delayed(m, at_raw, Deskew.LATENCY, "marker_align")
        m.d.comb += self.raw_cell_last.eq(at_raw.last)

        base_state, base = Signal(56), Signal(56)
        m.d.comb += base.eq(Mux(at_tags.start, 0, base_state))
        with m.If(at_tags.active):
            m.d.sync += base_state.eq(base + g.clock_period_ps)

        m.submodules.align = align = Align(g)
        m.d.comb += [align.cells.eq(known.align_cells), align.marker.eq(at_align)]
        count = self.increments
        for k in channels:
            tag = fine.tags[k]
            m.submodules[f"pile_up_{k}"] = pile_up = PileUp(g)
            m.d.comb += [pile_up.restart.eq(at_tags.start), pile_up.i.eq(tag)]

            raw = Signal(data.StructLayout({"valid": 1, "time": 56}), name=f"raw_{k}")
            m.d.sync += [raw.valid.eq(tag.valid), raw.time.eq(base + tag.fine)]
            out = delayed(m, raw, PileUp.LATENCY + DeadTime.LATENCY - 1, f"raw_delay_{k}")
            dropped = delayed(m, pile_up.dropped, DeadTime.LATENCY, f"dropped_delay_{k}")
            m.d.comb += [
                self.raw_tags[k].eq(out),
                count[f"clicks_{k}"].eq(out.valid),
                count[f"pile_up_{k}"].eq(dropped),
            ]

            m.submodules[f"deskew_{k}"] = deskew = Deskew(g)
            m.d.comb += [
                deskew.cells.eq(known.deskew[k].cells),
                deskew.rest.eq(known.deskew[k].rest),
                align.i[k].eq(deskew.o),
            ]
            if k < n:
                m.submodules[f"dead_time_{k}"] = dead_time = DeadTime(g)
                m.d.comb += [
                    dead_time.restart.eq(at_dead.start),
                    dead_time.active.eq(at_dead.active),
                    dead_time.dead_time.eq(c.dead_time_ps[k]),
                    dead_time.extend.eq(c.dead_extend[k]),
                    dead_time.i.eq(pile_up.o),
                    deskew.i.eq(dead_time.o),
                    count[f"dead_time_{k}"].eq(dead_time.o.valid & dead_time.o.suppressed),
                    count[f"dead_cells_{k}"].eq(dead_time.dead),
                ]
            else:
                sync_tag = delayed(m, pile_up.o, DeadTime.LATENCY, "sync_delay")
                m.d.comb += [deskew.i.valid.eq(sync_tag.valid), deskew.i.fine.eq(sync_tag.fine)]

        # ---- aligned cells
        m.submodules.slot_clock = clock = SlotClock(g)
        m.d.comb += [
            clock.marker.eq(align.marker_o),
            clock.slot_period.eq(c.slot_period_ps),
            clock.phase.eq(c.phase_ps),
            clock.rate.eq(Cat(c.rate_lo, c.rate_hi)),
            clock.trim.eq(c.trim),
            clock.clock_q.eq(known.clock_q),
            clock.clock_r.eq(known.clock_r),
        ]
        for d in range(n):
            m.submodules[f"gate_output_{d}"] = gate_output = GateOutput()
            m.d.comb += [
                gate_output.active.eq(clock.marker_o.active),
                gate_output.position.eq(clock.position),
                gate_output.slot_period.eq(c.slot_period_ps),
                gate_output.phase.eq(known.gate_phase[d]),
                gate_output.width.eq(c.gate_width_ps[d]),
                self.gate_out[d].eq(gate_output.o),
            ]

        located = []
        for k in channels:
            m.submodules[f"position_{k}"] = position = SlotPosition(g)
            m.d.comb += [
                position.slot_period.eq(c.slot_period_ps),
                position.position.eq(clock.position),
                position.step.eq(clock.step),
                position.last.eq(clock.last),
                position.i.eq(delayed(m, align.o[k], SlotClock.LATENCY, f"aligned_delay_{k}")),
            ]
            located.append(position.o)
        to_located = located_latency(g)
        at_gate = delayed(m, clock.marker_o, to_located, "marker_located")
        slots = delayed(m, clock.slots, to_located, "slots_located")
        at_bitmap = delayed(m, at_gate, Gate.LATENCY, "marker_bitmap")
        slots_bitmap = delayed(m, slots, Gate.LATENCY, "slots_bitmap")
        at_sum = delayed(m, at_bitmap, _BACK - 1 - Gate.LATENCY, "marker_sum")
        slots_sum = delayed(m, slots_bitmap, _BACK - 1 - Gate.LATENCY, "slots_sum")

        m.submodules.bitmap = bitmap = Bitmap(g)
        m.submodules.liveness = liveness = Liveness(g)
        m.submodules.bsm = bsm = Bsm(g)
        m.d.comb += [
            liveness.marker.eq(at_gate),
            liveness.slots.eq(slots),
            liveness.slot_period.eq(c.slot_period_ps),
            liveness.blind.eq(known.blind),
            liveness.extend.eq(c.dead_extend),
            bitmap.marker.eq(at_bitmap),
            bitmap.slots.eq(slots_bitmap),
            bsm.slots.eq(delayed(m, bitmap.o, 1, "closed_delay")),
            bsm.blocked.eq(liveness.blocked),
            bsm.announce_not_live.eq(c.announce_not_live),
            bsm.write.eq(self.pattern_write),
            bsm.read_addr.eq(self.pattern_read_addr),
            self.pattern_read_data.eq(bsm.read_data),
        ]
        from_gate = _BACK - Gate.LATENCY
        for d in range(n):
            m.submodules[f"gate_{d}"] = gate = Gate(g)
            m.d.comb += [
                gate.early_start.eq(c.early_start),
                gate.early_end.eq(c.early_end),
                gate.late_start.eq(c.late_start),
                gate.late_end.eq(c.late_end),
                gate.i.eq(located[d]),
                bitmap.i[d].eq(gate.o),
                liveness.i[d].eq(located[d]),
                count[f"early_{d}"].eq(delayed(m, gate.o.early, from_gate, f"early_delay_{d}")),
                count[f"late_{d}"].eq(delayed(m, gate.o.late, from_gate, f"late_delay_{d}")),
                count[f"outside_{d}"].eq(delayed(m, gate.outside, from_gate, f"outside_delay_{d}")),
            ]

        # ---- aligned outputs: absolute slots, everything of a cell in one clock
        slot_state, slot, slot_end = Signal(64), Signal(64), Signal(64)
        m.d.comb += [
            slot.eq(Mux(at_sum.start, 0, slot_state)),
            slot_end.eq(slot + slots_sum),
        ]
        with m.If(at_sum.active):
            m.d.sync += slot_state.eq(slot_end)
        m.d.comb += self.cut_slot.eq(slot_state)
        m.d.sync += self.cell_last.eq(at_sum.last)

        for port in range(g.n_ports):
            m.d.sync += [
                self.announce[port].valid.eq(bsm.ports[port].valid),
                self.announce[port].outcome.eq(bsm.ports[port].outcome),
                self.announce[port].slot.eq(slot + bsm.ports[port].delta),
            ]
        for output, which in (
            (self.trigger_psi_minus, Outcome.PSI_MINUS),
            (self.trigger_psi_plus, Outcome.PSI_PLUS),
        ):
            m.d.comb += output.eq(
                Cat(
                    self.announce[port].valid & (self.announce[port].outcome == int(which))
                    for port in range(g.n_ports)
                ).any()
            )

        sync_tag = delayed(m, located[n], _BACK - 1, "sync_located")
        m.d.sync += [
            self.sync.valid.eq(sync_tag.valid),
            self.sync.slot.eq(slot + sync_tag.delta),
            self.sync.pos.eq(sync_tag.pos),
        ]

        bins = (g.hist_bins - 1).bit_length()
        for k in channels:
            # By up to 7, then by the rest.
            less, shifted = Signal(24, name=f"less_{k}"), Signal(24, name=f"shifted_{k}")
            counts, kept = Signal(name=f"counts_{k}"), Signal(name=f"kept_{k}")
            entry = Signal(data.StructLayout({"valid": 1, "bin": bins}), name=f"entry_{k}")
            m.d.sync += [
                less.eq(located[k].pos >> c.hist_shift[:3]),
                shifted.eq(less >> Cat(Const(0, 3), c.hist_shift[3:])),
                counts.eq(located[k].valid & ~located[k].suppressed),
                kept.eq(counts),
                entry.valid.eq(kept & (shifted < g.hist_bins)),
                entry.bin.eq(shifted),
            ]
            m.d.comb += self.hist[k].eq(delayed(m, entry, _BACK - 3, f"hist_delay_{k}"))

        closing = Signal.like(liveness.blocked)
        slots_blocked = delayed(m, slots, Liveness.LATENCY, "slots_blocked")
        m.d.comb += closing.eq((Const(1) << slots_blocked) - 1)
        blocked = Signal.like(closing)
        not_live = Signal(delta_width(g))
        m.d.sync += [
            blocked.eq(liveness.blocked & closing),
            not_live.eq(sum(blocked[i] for i in range(len(blocked)))),
            count.slots_not_live.eq(not_live),
            count.slots.eq(slots_sum),
        ]
        for code in SlotClass:
            m.d.sync += count[f"class_{int(code)}"].eq(bsm.classes[int(code)])
        for p, (i, j) in enumerate(combinations(range(n), 2)):
            m.d.sync += count[f"pair_{i}_{j}"].eq(bsm.pairs[p])
        m.d.comb += count.sync.eq(self.sync.valid)
        dropped_clocks = SlotClock.LATENCY + to_located + _BACK
        for name, bits in (("before_start", align.before_start), ("misaligned", align.misaligned)):
            out = delayed(m, bits, dropped_clocks, f"{name}_delay")
            m.d.comb += [count[f"{name}_{k}"].eq(out[k]) for k in channels]
        return m
