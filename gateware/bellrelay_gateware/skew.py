"""How much later than channel 0 every channel sees the same pulse."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .front_end import hits_layout

__all__ = ["SkewMeter"]

_WINDOW = 3  # cells in which all channels must have the pulse


class SkewMeter(wiring.Component):
    """Mean time differences over ``2**pulses_log2`` pulses that go to all channels at once.

    A pulse begins with the first hit of any channel; a channel's hit counts if it comes in that
    cell or the next two. A pulse that some channel does not show is passed over, as is every pulse
    that begins while the one before is worked out. Pulses must be at least four cells apart.

    With ``t[k]`` a channel's time by its table, the skew is ``floor(mean(t[k] - t[0]) + 1/2)`` ps.

    Parameters
    ----------
    geometry
        Of the cells; ``clock_period_ps`` even.
    pulses_log2
        1 to 16.
    timeout_clocks
        Without a pulse in all channels for so long the measurement fails.

    Members
    -------
    start : In(1), strobe
    hits : In, :func:`~.front_end.hits_layout`
    look_addr : Out, look_time : In
        Times by ``channel << (code_bits - 1) | fine code``, 2 clocks later.
    done : Out(1), strobe; failed : Out(1), valid with it
    skew_ps : Out, per channel signed(32); changes with ``done`` of a measurement that succeeded

    Raises
    ------
    ValueError
        Naming the parameter and what is allowed.
    """

    def __init__(
        self, geometry: BoardGeometry, *, pulses_log2: int = 12, timeout_clocks: int = 1 << 16
    ) -> None:
        if not 1 <= pulses_log2 <= 16:
            raise ValueError(f"pulses_log2 is {pulses_log2!r}; allowed: 1 to 16")
        if timeout_clocks < 16:
            raise ValueError(f"timeout_clocks is {timeout_clocks!r}; allowed: from 16")
        self.geometry = g = geometry
        self.pulses_log2 = pulses_log2
        self.timeout_clocks = timeout_clocks
        self.period_ps = g.clock_period_ps // 2
        super().__init__(
            {
                "start": In(1),
                "hits": In(hits_layout(g)),
                "look_addr": Out(range(g.n_channels << (g.code_bits - 1))),
                "look_time": In(range(self.period_ps)),
                "done": Out(1),
                "failed": Out(1),
                "skew_ps": Out(data.ArrayLayout(signed(32), g.n_channels)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g, k, n = self.geometry, self.pulses_log2, self.geometry.n_channels
        fine_bits = g.code_bits - 1
        # A channel's cell and half in ps, and its fine code, until the pulse is worked out.
        latest = _WINDOW * g.clock_period_ps
        starts = [Signal(range(latest), name=f"start_{c}") for c in range(n)]
        codes = [Signal(fine_bits, name=f"code_{c}") for c in range(n)]
        sums = [Signal(signed(k + latest.bit_length() + 1), name=f"sum_{c}") for c in range(n)]
        seen, age = Signal(n), Signal(range(_WINDOW))
        cell_ps = Signal(range(latest))
        pulses, quiet = Signal(k + 1), Signal(range(self.timeout_clocks))
        channel = Signal(range(n))
        time, first = Signal(range(latest)), Signal(range(latest))
        m.d.comb += self.look_addr.eq(Cat(Array(codes)[channel], channel))

        looks = Signal()
        for c in range(n):
            hit = self.hits[c]
            with m.If(looks & hit.hit & ~seen[c]):
                half = hit.code[fine_bits]
                m.d.sync += [
                    seen[c].eq(1),
                    codes[c].eq(hit.code[:fine_bits]),
                    starts[c].eq(
                        cell_ps + (half.replicate(self.period_ps.bit_length()) & self.period_ps)
                    ),
                ]
        any_hit = Cat(hit.hit for hit in self.hits).any()
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [pulses.eq(0), quiet.eq(0)]
                m.d.sync += [s.eq(0) for s in sums]
                with m.If(self.start):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.sync += [seen.eq(0), age.eq(0), cell_ps.eq(0), channel.eq(0)]
                m.next = "PULSE"
            with m.State("PULSE"):
                m.d.comb += looks.eq(1)
                m.d.sync += quiet.eq(quiet + 1)
                with m.If(quiet == self.timeout_clocks - 1):
                    m.d.comb += [self.done.eq(1), self.failed.eq(1)]
                    m.next = "IDLE"
                with m.Elif(any_hit | seen.any()):
                    m.d.sync += [age.eq(age + 1), cell_ps.eq(cell_ps + g.clock_period_ps)]
                    with m.If(age == _WINDOW - 1):
                        m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "CLEAR"
                with m.If(seen.all()):
                    m.d.sync += quiet.eq(0)
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "KEEP"
            with m.State("KEEP"):
                m.next = "TIME"
            with m.State("TIME"):
                m.d.sync += time.eq(Array(starts)[channel] + self.look_time)
                m.next = "ADD"
            with m.State("ADD"):
                with m.If(channel == 0):
                    m.d.sync += first.eq(time)
                with m.Switch(channel):
                    for c in range(1, n):
                        with m.Case(c):
                            m.d.sync += sums[c].eq(sums[c] + (time - first))
                m.d.sync += channel.eq(channel + 1)
                m.next = "LOOK"
                with m.If(channel == n - 1):
                    m.d.sync += pulses.eq(pulses + 1)
                    m.next = "CLEAR"
                    with m.If(pulses == (1 << k) - 1):
                        m.next = "MEAN"
            with m.State("MEAN"):
                m.d.sync += [
                    self.skew_ps[c].eq((sums[c] + (1 << (k - 1))) >> k) for c in range(1, n)
                ]
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
