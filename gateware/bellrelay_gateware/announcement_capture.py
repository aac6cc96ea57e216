"""Announcements between two flushes, per port of the classifier, read out in slot order."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.frames import OUTCOME_SHIFT
from bellrelay.wire.outcomes import Outcome

__all__ = ["AnnouncementCapture"]


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
        Records in the bank to read, and by outcome; 0 after a cut without flush.
    base_slot : Out(64)
        Of the bank to read; 0 if it is empty.
    rewind : In(1)
        Strobe: ``record`` is the first one from the second clock after this one on.
    take : In(1), record : Out(32)
        ``record`` is the word of the frame; with ``take`` it is the next one in the clock after.
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
                "rewind": In(1),
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
        m.d.sync += [base.eq(base_now), has_base.eq(has_base | any_valid)]

        stored = dict.fromkeys(Outcome, 0)
        lost = dict.fromkeys(Outcome, 0)
        half = Const(0, 1)
        heads = []
        for p, depth in enumerate(self._depths):
            memory = Memory(shape=OUTCOME_SHIFT + 2, depth=2 * depth, init=[])
            m.submodules[f"port_{p}"] = memory
            write, read = memory.write_port(), memory.read_port()
            level = Signal(range(depth + 1), name=f"level_{p}")
            after = Signal.like(level, name=f"after_{p}")
            full = level == depth
            one = self.announce[p]
            m.d.comb += [
                write.en.eq(one.valid & ~full),
                write.addr.eq(Cat(level[: len(read.addr) - 1], bank)),
                write.data.eq(Cat((one.slot - base_now)[:OUTCOME_SHIFT], one.outcome)),
                after.eq(level + write.en),
            ]
            half = half | (after >= depth // 2)
            for outcome in Outcome:
                same = one.outcome == outcome.value
                stored[outcome] = stored[outcome] + (write.en & same)
                lost[outcome] = lost[outcome] + (one.valid & full & same)
            m.d.sync += level.eq(after)

            # Read side: the head of each port is what its memory answers.
            at = Signal(range(depth + 1), name=f"at_{p}")
            left = Signal(range(depth + 1), name=f"left_{p}")
            following = Signal.like(at, name=f"following_{p}")
            taken = Signal(name=f"taken_{p}")
            m.d.comb += [
                following.eq(Mux(self.rewind, 0, at + taken)),
                read.addr.eq(Cat(following[: len(read.addr) - 1], ~bank)),
            ]
            m.d.sync += at.eq(following)
            with m.If(self.cut):
                m.d.sync += left.eq(Mux(self.flush, after, 0))
                with m.If(self.flush):
                    m.d.sync += level.eq(0)
            with m.Elif(taken):
                m.d.sync += left.eq(left - 1)
            offset = Signal(OUTCOME_SHIFT + 1, name=f"offset_{p}")
            m.d.comb += offset.eq(Cat(read.data[:OUTCOME_SHIFT], left == 0))
            heads.append((offset, read.data, taken))
        m.d.comb += [
            self.half.eq(half),
            self.lost_psi_minus.eq(lost[Outcome.PSI_MINUS]),
            self.lost_psi_plus.eq(lost[Outcome.PSI_PLUS]),
        ]
        for p, (offset, word, taken) in enumerate(heads):
            least = Const(1, 1)
            for q, (other, _, _) in enumerate(heads):
                if q != p:
                    least = least & ((offset < other) if q < p else (offset <= other))
            with m.If(least):
                m.d.comb += [
                    taken.eq(self.take),
                    self.record.eq(Cat(word[:OUTCOME_SHIFT], word[OUTCOME_SHIFT:], Const(0, 2))),
                ]

        minus, plus = Signal.like(self.psi_minus), Signal.like(self.psi_plus)
        minus_now, plus_now = Signal.like(minus), Signal.like(plus)
        m.d.comb += [
            minus_now.eq(minus + stored[Outcome.PSI_MINUS]),
            plus_now.eq(plus + stored[Outcome.PSI_PLUS]),
        ]
        m.d.sync += [minus.eq(minus_now), plus.eq(plus_now)]
        with m.If(self.cut):
            m.d.sync += [
                self.psi_minus.eq(Mux(self.flush, minus_now, 0)),
                self.psi_plus.eq(Mux(self.flush, plus_now, 0)),
                self.count.eq(Mux(self.flush, minus_now + plus_now, 0)),
            ]
            with m.If(self.flush):
                m.d.sync += [
                    bank.eq(~bank),
                    minus.eq(0),
                    plus.eq(0),
                    has_base.eq(0),
                    base.eq(0),
                    self.base_slot.eq(base_now),
                ]
        return m
