"""Announcements between two flushes, per port of the classifier, read out in slot order."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.frames import OUTCOME_SHIFT
from bellrelay.wire.outcomes import Outcome

from .bank_reader import BankReader

__all__ = ["AnnouncementCapture"]

_RECORD = OUTCOME_SHIFT + 2


class AnnouncementCapture(wiring.Component):
    """Two banks per port, one record per port and clock; a merge that gives one record per clock.

    Records are kept as offsets to the bank's base, the slot of its first record.

    Members
    -------
    announce : In(array of {valid, outcome, slot}), one per port
        Slots increase with the port within a clock, and from clock to clock.
    cut, flush : In(1), half : Out(1)
        As in :class:`~bellrelay_gateware.tag_capture.TagCapture`; half of any port's depth.
    lost_psi_minus, lost_psi_plus : Out
        Records of this clock that found their bank full.
    count, psi_minus, psi_plus : Out
        Records in the bank to read, and by outcome; 0 after a cut without flush. Three clocks
        after the cut.
    base_slot : Out(64)
        Of the bank to read; 0 if it is empty.
    take : In(1), record : Out(32)
        With ``take`` the next record, the first one after a cut, is in ``record`` two clocks later
        as the word of the frame. The first ``take`` comes at least 16 clocks after the cut.
    """

    def __init__(self, depths: Sequence[int]) -> None:
        if not depths or any(d < 2 or d & (d - 1) for d in depths):
            raise ValueError(f"depths is {depths!r}; allowed: powers of two from 2")
        self._depths = tuple(depths)
        total = range(sum(depths) + 1)
        self._layout = data.StructLayout({"valid": 1, "outcome": 2, "slot": 64})
        lost = range(len(depths) + 1)
        super().__init__(
            {
                "announce": In(data.ArrayLayout(self._layout, len(depths))),
                "cut": In(1),
                "flush": In(1),
                "half": Out(1),
                "lost_psi_minus": Out(lost),
                "lost_psi_plus": Out(lost),
                "count": Out(total),
                "psi_minus": Out(total),
                "psi_plus": Out(total),
                "base_slot": Out(64),
                "take": In(1),
                "record": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ports = len(self._depths)
        bank = Signal()
        base, base_now, has_base = Signal(64), Signal(64), Signal()
        m.d.comb += base_now.eq(base)
        for p in reversed(range(ports)):
            with m.If(~has_base & self.announce[p].valid):
                m.d.comb += base_now.eq(self.announce[p].slot)
        any_valid = Const(0, 1)
        for p in range(ports):
            any_valid = any_valid | self.announce[p].valid
        anchor = Signal(OUTCOME_SHIFT)
        m.d.sync += [
            base.eq(base_now),
            has_base.eq(has_base | any_valid),
            anchor.eq(base_now),
        ]

        # A record is placed in this clock and written in the next, with the base that it has then.
        stored = {o: Signal(range(ports + 1), name=f"stored_{o.name}") for o in Outcome}
        lost = dict.fromkeys(Outcome, 0)
        kept = []
        half = Const(0, 1)
        merge = []
        for p, depth in enumerate(self._depths):
            memory = Memory(shape=_RECORD, depth=2 * depth, init=[], attrs={"no_rw_check": 1})
            m.submodules[f"port_{p}"] = memory
            m.submodules[f"reader_{p}"] = reader = BankReader(depth, _RECORD)
            write, read = memory.write_port(), memory.read_port()
            level = Signal(range(depth + 1), name=f"level_{p}")
            after = Signal.like(level, name=f"after_{p}")
            full, at_half, near_half = (
                Signal(name=f"{name}_{p}") for name in ("full", "at_half", "near_half")
            )
            one = self.announce[p]
            keeps = Signal(name=f"keeps_{p}")
            placed = Signal(self._layout, name=f"placed_{p}")
            m.d.comb += [keeps.eq(one.valid & ~full), after.eq(level + keeps)]
            m.d.sync += [
                placed.eq(one),
                write.en.eq(keeps),
                write.addr.eq(Cat(level[: len(read.addr) - 1], bank)),
                level.eq(after),
                full.eq(after == depth),
                at_half.eq(after >= depth // 2),
                near_half.eq(after == depth // 2 - 1),
            ]
            m.d.comb += write.data.eq(Cat((placed.slot - anchor)[:OUTCOME_SHIFT], placed.outcome))
            half = half | at_half | (near_half & one.valid)
            kept.append((keeps, one.outcome))
            for outcome in Outcome:
                lost[outcome] = lost[outcome] + (one.valid & full & (one.outcome == outcome.value))
            with m.If(self.cut & self.flush):
                m.d.sync += [level.eq(0), full.eq(0), at_half.eq(0), near_half.eq(depth == 2)]

            m.d.comb += [
                reader.cut.eq(self.cut),
                reader.count.eq(Mux(self.flush, after, 0)),
                read.addr.eq(Cat(reader.addr, ~bank)),
                reader.data.eq(read.data),
            ]
            merge.append(reader)
        m.d.comb += [
            self.half.eq(half),
            self.lost_psi_minus.eq(lost[Outcome.PSI_MINUS]),
            self.lost_psi_plus.eq(lost[Outcome.PSI_PLUS]),
        ]

        # --- the record with the least offset
        record = Signal(_RECORD)
        for p, reader in enumerate(merge):
            least = reader.valid
            for q, other in enumerate(merge):
                mine, its = reader.head[:OUTCOME_SHIFT], other.head[:OUTCOME_SHIFT]
                if q != p:
                    least = least & (~other.valid | ((mine < its) if q < p else (mine <= its)))
            m.d.comb += reader.take.eq(self.take & least)
            with m.If(least):
                m.d.sync += record.eq(reader.head)
        m.d.sync += self.record.eq(record)

        # --- how many by outcome, one clock late as well
        minus, plus = Signal.like(self.psi_minus), Signal.like(self.psi_plus)
        minus_now, plus_now = Signal.like(minus), Signal.like(plus)
        cut, flush = Signal(), Signal()
        m.d.sync += [
            cut.eq(self.cut),
            flush.eq(self.flush),
            *(
                stored[o].eq(sum((keeps & (which == o.value) for keeps, which in kept), Const(0)))
                for o in Outcome
            ),
        ]
        m.d.comb += [
            minus_now.eq(minus + stored[Outcome.PSI_MINUS]),
            plus_now.eq(plus + stored[Outcome.PSI_PLUS]),
        ]
        m.d.sync += [
            minus.eq(Mux(cut & flush, 0, minus_now)),
            plus.eq(Mux(cut & flush, 0, plus_now)),
            self.count.eq(self.psi_minus + self.psi_plus),
        ]
        with m.If(cut):
            m.d.sync += [
                self.psi_minus.eq(Mux(flush, minus_now, 0)),
                self.psi_plus.eq(Mux(flush, plus_now, 0)),
            ]
        with m.If(self.cut & self.flush):
            m.d.sync += [
                bank.eq(~bank),
                has_base.eq(0),
                base.eq(0),
                self.base_slot.eq(base_now),
            ]
        return m
