"""Every slot is classified exactly once, and announced slots increase."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Mux, Signal, signed

from ..bitmap import Bitmap
from ..bsm import Bsm
from ..delay_line import delayed
from ..slot_clock import SlotClock
from ..slot_position import SlotPosition
from ..tag import delta_width
from .proof import Proof, SmallGeometry, Top, begin, free, held

__all__ = ["PROOFS"]

_GEOMETRY = SmallGeometry(n_detectors=2, clock_period_ps=8)


def _clock(fault: bool) -> Top:
    g = _GEOMETRY
    m = Top()
    first = begin(m)
    m.submodules.clock = clock = SlotClock(g)
    m.submodules.place = place = SlotPosition(g)
    period = held(m, first, 6, "period")
    phase = held(m, first, 6, "phase")
    q, r = held(m, first, delta_width(g), "clock_q"), held(m, first, 4, "clock_r")
    fine, trim = free(m, 3, "fine"), free(m, signed(32), "trim")
    # Whole and half picoseconds: the fraction is an addition, its low bits are left out here.
    rate = held(m, first, signed(5), "rate_halves")
    m.d.comb += [
        Assume(period >= g.SHORTEST),
        Assume(phase < period),
        Assume(q * period + r == g.clock_period_ps),
        Assume(r < period),
        Assume(rate >= -8),
        Assume(rate < 8),
        Assume(trim[:31] == 0),
        clock.marker.start.eq(first),
        clock.marker.active.eq(1),
        clock.marker.last.eq(free(m, 1, "last")),
        clock.slot_period.eq(period),
        clock.phase.eq(phase),
        clock.rate.eq(rate << 47),
        clock.trim.eq(trim),
        clock.clock_q.eq(q + fault),
        clock.clock_r.eq(r),
        place.slot_period.eq(period),
        place.position.eq(clock.position),
        place.step.eq(clock.step),
        place.last.eq(clock.last),
        place.i.valid.eq(1),
        place.i.fine.eq(fine),
    ]
    out = clock.marker_o.active
    was, end, was_slots = Signal(), Signal(8), Signal(8)
    m.d.sync += [
        was.eq(out),
        end.eq(clock.position + clock.step),
        was_slots.eq(clock.slots * period),
    ]
    slots = delayed(m, clock.slots, place.latency, "slots")
    located = delayed(m, out, place.latency, "located")
    short = delayed(m, clock.step, place.latency, "step")
    start = delayed(m, clock.position, place.latency, "start")
    then = delayed(m, fine, place.latency, "then")
    inside = Mux(then < short, then, short - 1)
    m.d.comb += [
        Assert(Mux(out, clock.position < period, 1)),
        # No picosecond appears or goes: a cell's end is the next one's start.
        Assert(Mux(was & out, end == was_slots + clock.position, 1)),
        Assert(Mux(located, place.o.pos < period, 1)),
        Assert(Mux(located, place.o.delta <= slots, 1)),
        Assert(Mux(located, place.o.delta * period + place.o.pos == start + inside, 1)),
        Cover(located & (slots == 3)),
        Cover(located & (slots == 0) & (period > 20)),
        Cover(located & (place.o.delta == 2) & (place.o.delta == slots)),
        Cover(located & (then >= short)),
    ]
    return m


def _clicks(m: Top, slots: Signal, bitmap: Bitmap) -> list[tuple[Signal, Signal]]:
    """Free clicks, each in a slot that the cell touches (proved of the slot clock)."""
    clicks = []
    for d in range(_GEOMETRY.n_detectors):
        early, late = free(m, 1, f"early_{d}"), free(m, 1, f"late_{d}")
        delta = free(m, delta_width(_GEOMETRY), f"delta_{d}")
        m.d.comb += [
            Assume(~(early & late)),
            Assume(delta <= slots),
            bitmap.i[d].early.eq(early),
            bitmap.i[d].late.eq(late),
            bitmap.i[d].delta.eq(delta),
        ]
        clicks.append((Cat(early, late), delta))
    return clicks


def _bitmap(fault: bool) -> Top:
    g, n = _GEOMETRY, _GEOMETRY.n_detectors
    m = Top()
    first = begin(m)
    m.submodules.dut = dut = Bitmap(g)
    slots = free(m, delta_width(g), "slots")
    m.d.comb += [
        Assume(slots <= g.max_slots_per_cell),
        dut.marker.start.eq(first),
        dut.marker.active.eq(1),
        dut.slots.eq(slots),
    ]
    clicks = _clicks(m, slots, dut)
    # Any one slot: what was clicked in it, and how often it came out.
    chosen = held(m, first, 8, "chosen")
    open_slot = Signal(8)
    m.d.sync += open_slot.eq(open_slot + slots)
    bits, multi = Signal(g.n_cells), Signal()
    for d, (which, delta) in enumerate(clicks):
        with m.If(open_slot + delta == chosen):
            for k in range(2):
                with m.If(which[k]):
                    m.d.sync += bits[k * n + d].eq(1)
                    with m.If(bits[k * n + d]):
                        m.d.sync += multi.eq(1)
    closing = (open_slot <= chosen) & (chosen < open_slot + slots)
    closed = delayed(m, closing, 1, "closed")
    base = delayed(m, open_slot, 1, "base")
    come_out: Signal | Const = Const(0)
    for lane in range(1 + n):
        slot = dut.o[lane]
        valid = slot.valid & ~(Const(int(fault)) & (slot.delta == 3))
        mine = valid & (base + slot.delta == chosen)
        come_out = come_out + mine
        m.d.comb += Assert(Mux(mine, (slot.bits == bits) & (slot.multi == multi), 1))
    m.d.comb += [
        Assert(come_out == (closed & bits.any())),
        Cover(closed & multi & bits.all()),
        Cover(closed & dut.o[2].valid & dut.o[1].valid & (chosen == base + dut.o[2].delta)),
        Cover(closed & (chosen > base) & bits[0] & bits[3]),
    ]
    return m


def _classes(fault: bool) -> Top:
    g, n = _GEOMETRY, _GEOMETRY.n_detectors
    m = Top()
    first = begin(m)
    m.submodules.bitmap = bitmap = Bitmap(g)
    m.submodules.dut = dut = Bsm(g)
    slots = free(m, delta_width(g), "slots")
    blocked = free(m, g.max_slots_per_cell + 1, "blocked")
    write = free(m, 10, "write")
    m.d.comb += [
        Assume(slots <= g.max_slots_per_cell),
        bitmap.marker.start.eq(first),
        bitmap.marker.active.eq(1),
        bitmap.slots.eq(slots),
        dut.slots.eq(bitmap.o),
        dut.blocked.eq(blocked),  # whatever it is, and whenever it comes
        dut.announce_not_live.eq(held(m, first, 1, "announce_not_live")),
        # the host may write anything into the table
        dut.write.en.eq(write[0]),
        dut.write.addr.eq(write[1:6]),
        dut.write.data.eq(write[6:]),
    ]
    _clicks(m, slots, bitmap)
    valid = delayed(m, Cat(bitmap.o[lane].valid for lane in range(1 + n)), Bsm.LATENCY, "valid")
    expected = sum((valid[lane] for lane in range(1 + n)), Const(0))
    classes = [dut.classes[k] for k in range(9)]
    total = sum((c for c in classes[fault:]), Const(0))
    ports = [dut.ports[p] for p in range(g.n_ports)]
    accepted = classes[1] + classes[2] + classes[3]
    m.d.comb += [
        Assert(total == expected),
        # every accepted slot has a port
        Assert(sum((p.valid for p in ports), Const(0)) == accepted),
        Cover(classes[0] != 0),
        Cover(classes[8] == 2),
        Cover(accepted == 2),
        Cover(classes[1] == 1),
        Cover(expected == 3),
    ]
    # Announced slots increase: over the ports of a clock, and clock by clock.
    open_slot = Signal(8)
    now = delayed(m, open_slot, Bitmap.LATENCY + Bsm.LATENCY, "now")
    m.d.sync += open_slot.eq(open_slot + slots)
    newest, any_before = Signal(8), Signal()
    upto, some = newest, any_before
    for k, port in enumerate(ports):
        slot = Signal(8, name=f"slot_{k}")
        m.d.comb += [
            slot.eq(now + port.delta),
            Assert(Mux(port.valid & some, slot > upto, 1)),
        ]
        upto, some = Mux(port.valid, slot, upto), some | port.valid
    m.d.sync += [newest.eq(upto), any_before.eq(some)]
    m.d.comb += Cover(any_before & ports[0].valid & ports[1].valid)
    return m


PROOFS = (
    Proof("slot-clock", "no picosecond is lost; every tag lies in a slot of its cell", _clock, 11),
    Proof(
        "slot-bitmap", "every slot with a click comes out exactly once, with its bits", _bitmap, 6
    ),
    Proof("slot-class", "every slot gets exactly one class; announced slots increase", _classes, 9),
)
