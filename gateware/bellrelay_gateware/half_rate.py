"""Two clocks of the tagging domain to one of the relay's."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .front_end import hits_layout

__all__ = ["HalfRate", "fast_hits_layout"]


def fast_hits_layout(geometry: BoardGeometry) -> data.ArrayLayout:
    """Per channel and clock of ``tag`` at most one hit; its code has one bit less than a cell's."""
    return data.ArrayLayout(
        data.StructLayout({"hit": 1, "code": geometry.code_bits - 1}), geometry.n_channels
    )


class HalfRate(wiring.Component):
    """Hits of domain ``tag`` as hits of cells of domain ``sync``, which runs at half the rate.

    A cell is two clocks of ``tag``. The code gets a bit more on top, which half it was. The earlier
    of two hits in a cell is passed on, the later one is told to be counted.

    Which half a clock of ``tag`` is comes from a flip-flop of ``sync`` that toggles, and hits of
    both halves cross in one register that then rests for a whole clock of ``sync``. Hence the half
    and the cell's number are one decision: nothing can take an edge for the first half of one cell
    and the second half of its neighbour. What the crossing needs is that every edge of ``sync`` is
    one of ``tag`` (two outputs of a loop, in phase). Each channel has such a flip-flop beside it:
    lines lie at pads, and a clock of ``tag`` is too short for a way from one to all of them.

    Parameters
    ----------
    geometry
        Of the cells: ``clock_period_ps`` is that of ``sync``, ``code_bits`` includes the half.

    Members
    -------
    fast : In, :func:`fast_hits_layout`, ``tag``
    hits : Out, :func:`~.front_end.hits_layout`, ``sync``: of the cell that ended
        ``LATENCY`` clocks of ``sync`` ago
    second : Out(n_channels), ``sync``: there was another hit in this cell

    Raises
    ------
    ValueError
        For ``code_bits`` below 2.
    """

    LATENCY = 2

    def __init__(self, geometry: BoardGeometry) -> None:
        if geometry.code_bits < 2:
            raise ValueError(f"code_bits is {geometry.code_bits!r}; allowed: from 2")
        self.geometry = geometry
        super().__init__(
            {
                "fast": In(fast_hits_layout(geometry)),
                "hits": Out(hits_layout(geometry)),
                "second": Out(geometry.n_channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        toggle: Signal | None = None
        for channel, fast in enumerate(self.fast):
            # Each toggles by following the one before: equal ones would be made into one.
            before, toggle = toggle, Signal(init=channel & 1, name=f"toggle_{channel}")
            m.d.sync += toggle.eq(~toggle if before is None else before)
            # `toggle` has changed in the clock of `tag` that begins with an edge of `sync`; `last`
            # is high in the one that ends with it.
            seen, last = Signal(name=f"seen_{channel}"), Signal(name=f"last_{channel}")
            m.d.tag += [seen.eq(toggle), last.eq(seen ^ toggle)]
            earlier = Signal(fast.shape(), name=f"earlier_{channel}")
            pair = Signal(self.hits[channel].shape(), name=f"pair_{channel}")
            both = Signal(name=f"both_{channel}")
            m.d.tag += earlier.eq(fast)
            with m.If(last):
                m.d.tag += [
                    pair.hit.eq(earlier.hit | fast.hit),
                    both.eq(earlier.hit & fast.hit),
                ]
                with m.If(earlier.hit):
                    m.d.tag += pair.code.eq(Cat(earlier.code, Const(0, 1)))
                with m.Else():
                    m.d.tag += pair.code.eq(Cat(fast.code, Const(1, 1)))
            m.d.sync += [self.hits[channel].eq(pair), self.second[channel].eq(both)]
        return m
