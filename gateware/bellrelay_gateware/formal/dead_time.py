"""No tag passes inside a dead time, and none outside of it is held back."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cover, Mux, Signal

from ..dead_time import DeadTime
from ..delay_line import delayed
from ..pile_up import PileUp
from .proof import Proof, SmallGeometry, Top, begin, free, held

__all__ = ["PROOFS"]

_P = 8


def _build(fault: bool) -> Top:
    geometry = SmallGeometry(clock_period_ps=_P)
    m = Top()
    first = begin(m)
    m.submodules.pile_up = pile_up = PileUp(geometry)
    m.submodules.dut = dut = DeadTime(geometry)
    dead_time = held(m, first, 7, "dead_time")
    extend = held(m, first, 1, "extend")
    hit, fine = free(m, 1, "hit"), free(m, 3, "fine")
    m.d.comb += [
        pile_up.restart.eq(first),
        pile_up.i.valid.eq(hit),
        pile_up.i.fine.eq(fine),
        dut.restart.eq(delayed(m, first, 1, "restart")),
        dut.active.eq(1),
        dut.dead_time.eq(dead_time - fault),
        dut.extend.eq(extend),
        dut.i.eq(pile_up.o),
        Assume(dead_time >= fault),
    ]
    # Ghost: absolute times, and the last click that began a dead time.
    latency = PileUp.LATENCY + DeadTime.LATENCY
    started = delayed(m, first, latency, "started_now")
    running = Signal()
    m.d.sync += running.eq(running | delayed(m, first, latency - 1, "started_next"))
    now, last, any_before = Signal(12), Signal(12), Signal()
    time = Signal(12)
    m.d.comb += time.eq(now + dut.o.fine)
    inside = any_before & (time - last < dead_time)
    click = running & dut.o.valid
    kept = click & ~dut.o.suppressed
    with m.If(running):
        m.d.sync += now.eq(now + _P)
    with m.If(kept | (click & extend)):
        m.d.sync += [last.eq(time), any_before.eq(1)]
    dead = any_before & (now < last + dead_time)
    m.d.comb += [
        Assert(~(kept & inside)),
        Assert(~(click & dut.o.suppressed & ~inside)),
        Assert(Mux(running, dut.dead == dead, 1)),
        Cover(kept & any_before & (time - last == dead_time) & (dead_time > 3 * _P)),
        Cover(click & inside & extend & (time - last == dead_time - 1) & (dead_time > _P)),
        Cover(running & ~started & dut.dead & ~click),
    ]
    seen_suppressed = Signal()
    with m.If(click & dut.o.suppressed):
        m.d.sync += seen_suppressed.eq(1)
    m.d.comb += Cover(kept & seen_suppressed)
    return m


PROOFS = (
    Proof("dead-time", "no tag passes inside a dead time; suppressed ones lie inside", _build, 19),
)
