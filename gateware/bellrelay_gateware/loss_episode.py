"""When a loss began, whether it is over, and whether that has been told."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LossEpisode"]


class LossEpisode(wiring.Component):
    """Looked at once per tick, in the clock of ``look``.

    An episode whose frame found no room goes on: a loss before it could be told extends it. The
    first tick of an acquisition forgets the one before.

    Members
    -------
    look : In(1), active, first, final, loss : In(1), cut_tick : In(64), quiet_ticks : In(8)
        Of the tick: ticks up to and with it, and whether anything was lost in it.
    ended : Out(1)
        In the clock of ``look``, from what all inputs are in the clock before: to be told now.
    told : In(1)
        In the clock of ``look``: the frame is admitted.
    begin_tick, end_tick : Out(64)
        From the clock after ``look`` on.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "look": In(1),
                "active": In(1),
                "first": In(1),
                "final": In(1),
                "loss": In(1),
                "cut_tick": In(64),
                "quiet_ticks": In(8),
                "ended": Out(1),
                "told": In(1),
                "begin_tick": Out(64),
                "end_tick": Out(64),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lasting, going = Signal(), Signal()
        quiet, quiet_now = Signal(9), Signal(9)
        loss = self.loss & self.active
        m.d.comb += [
            going.eq(lasting & ~(self.first & self.active)),
            quiet_now.eq(Mux(loss, 0, Mux(quiet == 0x1FF, quiet, quiet + 1))),
        ]
        m.d.sync += [
            self.ended.eq(
                (going | loss)
                & (self.final | ~self.active | (~loss & (quiet_now >= self.quiet_ticks)))
            ),
        ]
        with m.If(self.look):
            m.d.sync += [
                lasting.eq((going | loss) & ~(self.ended & self.told)),
                quiet.eq(quiet_now),
            ]
            with m.If(loss):
                m.d.sync += self.end_tick.eq(self.cut_tick)
                with m.If(~going):
                    m.d.sync += self.begin_tick.eq(self.cut_tick - 1)
        return m
