"""Arrival-time histogram in block memory, one period being counted while the last one is sent."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .delay_line import delayed

__all__ = ["Histogram", "chunk_layout"]


def chunk_layout(geometry: BoardGeometry) -> data.StructLayout:
    """The chunk to send next, and its period."""
    return data.StructLayout(
        {
            "period": 32,
            "start_tick": 64,
            "end_tick": 64,
            "channel": range(geometry.n_channels),
            "first_bin": range(geometry.hist_bins),
        }
    )


class Histogram(wiring.Component):
    """Counts one tag per channel and clock; two banks of 32-bit bins per channel.

    A bank is cleared while it is read. A period that ends with the acquisition while the one
    before is still being sent waits for it; ``idle`` is low until both are out.

    Members
    -------
    hist : In(array of {valid, bin}), one per channel
    cut : In(1)
        The tags of this clock are the last ones of a tick that ran or drained; of it, ``first``,
        ``final`` and ``cut_tick`` (ticks up to and with it) are told.
    hist_ticks : In(32)
        Ticks per period, 0 off; from the clock before the first ``hist`` on.
    decide : In(1)
        Strobe once per tick, idle or not, after its ``cut``: ``due`` is looked at in this clock.
    due : Out(1), chunk : Out(chunk_layout(geometry)), idle : Out(1)
    sent, skipped : In(1)
        Strobes: the chunk has been read, or is given up (it is cleared within ``hist_chunk``
        clocks); the next one becomes due with the next tick.
    read_bin : In, read : In(1), read_data : Out(32)
        Of the chunk's channel; latency two clocks. ``read`` clears the bin behind the reading.
    """

    def __init__(self, geometry: BoardGeometry) -> None:
        self._geometry = g = geometry
        super().__init__(
            {
                "hist": In(
                    data.ArrayLayout(
                        data.StructLayout({"valid": 1, "bin": range(g.hist_bins)}), g.n_channels
                    )
                ),
                "cut": In(1),
                "first": In(1),
                "final": In(1),
                "cut_tick": In(64),
                "hist_ticks": In(32),
                "decide": In(1),
                "due": Out(1),
                "chunk": Out(chunk_layout(g)),
                "idle": Out(1),
                "sent": In(1),
                "skipped": In(1),
                "read_bin": In(range(g.hist_bins)),
                "read": In(1),
                "read_data": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        g = self._geometry
        m = Module()
        bank = Signal()
        on = Signal()
        m.d.sync += on.eq(self.hist_ticks != 0)
        clear, clear_bin = Signal(), Signal(range(g.hist_bins))
        clearing, clear_left = Signal(range(g.hist_bins)), Signal(range(g.hist_chunk + 1))
        chunk = self.chunk
        clear_channel = Signal.like(chunk.channel)
        m.d.sync += [
            clear.eq(self.read | (clear_left != 0)),
            clear_bin.eq(Mux(clear_left != 0, clearing, self.read_bin)),
        ]
        with m.If(clear_left == 0):
            m.d.sync += clear_channel.eq(chunk.channel)
        with m.If(self.skipped):
            m.d.sync += [clearing.eq(chunk.first_bin), clear_left.eq(g.hist_chunk)]
        with m.Elif(clear_left != 0):
            m.d.sync += [clearing.eq(clearing + 1), clear_left.eq(clear_left - 1)]

        # A tag's bin is read, held in a register, counted up and written. What the three tags
        # before it wrote is not in what it has read: their sums go round the memory.
        answers = []
        active = Signal(2)
        m.d.comb += active.eq(Mux(bank, 0b10, 0b01))
        for c in range(g.n_channels):
            tag = self.hist[c]
            counts_1 = delayed(m, Mux(tag.valid & on, active, 0), 1, f"counts_{c}")
            place_1 = delayed(m, tag.bin, 1, f"place_{c}")
            counts, place = Signal(2, name=f"counts_2_{c}"), Signal.like(place_1)
            m.d.sync += [counts.eq(counts_1), place.eq(place_1)]
            around = range(3)
            written = [Signal(range(g.hist_bins), name=f"written_{c}_{i}") for i in around]
            fresh_sum = [Signal(2, name=f"fresh_{c}_{i}") for i in around]
            sums = [Signal(32, name=f"sum_{c}_{i}") for i in around]
            held = [Signal(32, name=f"held_{c}_{k}") for k in range(2)]
            before = Signal(32, name=f"before_{c}")
            m.d.comb += before.eq(Mux(counts[1], held[1], held[0]))
            # Found out one clock ahead, while the tag before is on its way into `written`.
            for i in reversed(around):
                told = counts if i == 0 else fresh_sum[i - 1]
                where = place if i == 0 else written[i - 1]
                same = Signal(name=f"same_{c}_{i}")
                m.d.sync += same.eq((told & counts_1).any() & (where == place_1))
                with m.If(same):
                    m.d.comb += before.eq(sums[i])
            writes = fresh_sum[0]
            m.d.sync += [sums[0].eq(before + 1), written[0].eq(place), fresh_sum[0].eq(counts)]
            for i in around[1:]:
                m.d.sync += [
                    sums[i].eq(sums[i - 1]),
                    written[i].eq(written[i - 1]),
                    fresh_sum[i].eq(fresh_sum[i - 1]),
                ]
            for k in range(2):
                memory = Memory(shape=32, depth=g.hist_bins, init=[], attrs={"no_rw_check": 1})
                m.submodules[f"bins_{c}_{k}"] = memory
                write = memory.write_port()
                read = memory.read_port()
                m.d.comb += [
                    read.addr.eq(Mux(active[k], tag.bin, self.read_bin)),
                    write.en.eq(writes[k] | (~active[k] & clear & (clear_channel == c))),
                    write.addr.eq(Mux(writes[k], written[0], clear_bin)),
                    write.data.eq(Mux(writes[k], sums[0], 0)),
                ]
                m.d.sync += held[k].eq(read.data)
                answers.append(held[k])
        read_bank = delayed(m, bank, 2, "read_bank")
        with m.Switch(delayed(m, chunk.channel, 2, "read_channel")):
            for c in range(g.n_channels):
                with m.Case(c):
                    m.d.comb += self.read_data.eq(
                        Mux(read_bank, answers[2 * c], answers[2 * c + 1])
                    )

        sending, fresh, waiting = Signal(), Signal(), Signal()
        age, old_enough, soon_enough = Signal(32), Signal(), Signal()
        period, period_now = Signal(32), Signal(32)
        begin, begin_now = Signal(64), Signal(64)
        span = data.StructLayout({"period": 32, "start_tick": 64, "end_tick": 64})
        ended, next_up = Signal(span), Signal(span)
        ends = Signal()
        m.d.comb += [
            self.due.eq(sending & ~fresh),
            self.idle.eq(~sending & ~waiting),
            period_now.eq(Mux(self.first, 0, period)),
            begin_now.eq(Mux(self.first, 0, begin)),
            ends.eq(self.cut & on & (Mux(self.first, soon_enough, old_enough) | self.final)),
            ended.period.eq(period_now),
            ended.start_tick.eq(begin_now),
            ended.end_tick.eq(self.cut_tick),
        ]
        m.d.sync += [
            old_enough.eq(age + 1 >= self.hist_ticks),
            soon_enough.eq(self.hist_ticks <= 1),
        ]
        load, load_from = Signal(), Signal(span)
        last, last_of_channel = Signal(), Signal()  # the chunk stands for clocks on end
        m.d.sync += [
            last_of_channel.eq(chunk.first_bin == g.hist_bins - g.hist_chunk),
            last.eq(last_of_channel & (chunk.channel == g.n_channels - 1)),
        ]
        with m.If(self.decide):
            m.d.sync += fresh.eq(0)
        with m.If(self.sent | self.skipped):
            with m.If(last):
                m.d.sync += sending.eq(0)
                m.d.comb += [load.eq(waiting), load_from.eq(next_up)]
                m.d.sync += waiting.eq(0)
            with m.Elif(last_of_channel):
                m.d.sync += [chunk.first_bin.eq(0), chunk.channel.eq(chunk.channel + 1)]
            with m.Else():
                m.d.sync += chunk.first_bin.eq(chunk.first_bin + g.hist_chunk)
        with m.If(self.cut):
            m.d.sync += [
                age.eq(Mux(self.first, 1, age + 1)),
                period.eq(period_now),
                begin.eq(begin_now),
            ]
        with m.If(ends):
            m.d.sync += [age.eq(0), period.eq(period_now + 1), begin.eq(self.cut_tick)]
            with m.If(sending):
                m.d.sync += [waiting.eq(1), next_up.eq(ended)]
            with m.Else():
                m.d.comb += [load.eq(1), load_from.eq(ended)]
                m.d.sync += fresh.eq(1)
        with m.If(load):
            m.d.sync += [
                bank.eq(~bank),
                sending.eq(1),
                chunk.channel.eq(0),
                chunk.first_bin.eq(0),
                chunk.period.eq(load_from.period),
                chunk.start_tick.eq(load_from.start_tick),
                chunk.end_tick.eq(load_from.end_tick),
            ]
        return m
