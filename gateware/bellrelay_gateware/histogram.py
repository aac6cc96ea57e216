"""Arrival-time histogram in block memory, one period being counted while the last one is sent."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

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
    before is still being sent waits for it; :attr:`idle` is low until both are out.

    Members
    -------
    hist : In(array of {valid, bin}), one per channel
    cut : In(1)
        The tags of this clock are the last ones of a tick that ran or drained; of it, ``first``,
        ``final`` and ``cut_tick`` (ticks up to and with it) are told.
    hist_ticks : In(32)
        Ticks per period, 0 off.
    decide : In(1)
        Strobe once per tick, idle or not, after its ``cut``: ``due`` is looked at in this clock.
    due : Out(1), chunk : Out(chunk_layout(geometry)), idle : Out(1)
    sent, skipped : In(1)
        Strobes: the chunk has been read, or is given up (it is cleared within ``hist_chunk``
        clocks); the next one becomes due with the next tick.
    read_bin : In, read : In(1), read_data : Out(32)
        Of the chunk's channel; latency one clock. ``read`` clears the bin behind the reading.
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
        on = self.hist_ticks != 0
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

        answers = []
        for c in range(g.n_channels):
            tag = self.hist[c]
            for k in range(2):
                memory = Memory(shape=32, depth=g.hist_bins, init=[])
                m.submodules[f"bins_{c}_{k}"] = memory
                write = memory.write_port()
                # Transparent: a bin that is hit in clocks on end reads what is being written.
                read = memory.read_port(transparent_for=[write])
                counts = Signal(name=f"counts_{c}_{k}")
                place = Signal(range(g.hist_bins), name=f"place_{c}_{k}")
                active = bank == k
                m.d.comb += read.addr.eq(Mux(active, tag.bin, self.read_bin))
                m.d.sync += [counts.eq(active & tag.valid & on), place.eq(tag.bin)]
                m.d.comb += [
                    write.en.eq(counts | (~active & clear & (clear_channel == c))),
                    write.addr.eq(Mux(counts, place, clear_bin)),
                    write.data.eq(Mux(counts, read.data + 1, 0)),
                ]
                answers.append(read)
        with m.Switch(chunk.channel):
            for c in range(g.n_channels):
                with m.Case(c):
                    m.d.comb += self.read_data.eq(
                        Mux(bank, answers[2 * c].data, answers[2 * c + 1].data)
                    )

        sending, fresh, waiting = Signal(), Signal(), Signal()
        age, age_now = Signal(32), Signal(32)
        period, period_now = Signal(32), Signal(32)
        begin, begin_now = Signal(64), Signal(64)
        span = data.StructLayout({"period": 32, "start_tick": 64, "end_tick": 64})
        ended, next_up = Signal(span), Signal(span)
        ends = Signal()
        m.d.comb += [
            self.due.eq(sending & ~fresh),
            self.idle.eq(~sending & ~waiting),
            age_now.eq(Mux(self.first, 1, age + 1)),
            period_now.eq(Mux(self.first, 0, period)),
            begin_now.eq(Mux(self.first, 0, begin)),
            ends.eq(self.cut & on & ((age_now >= self.hist_ticks) | self.final)),
            ended.period.eq(period_now),
            ended.start_tick.eq(begin_now),
            ended.end_tick.eq(self.cut_tick),
        ]
        load, load_from = Signal(), Signal(span)
        last = (chunk.channel == g.n_channels - 1) & (chunk.first_bin == g.hist_bins - g.hist_chunk)
        with m.If(self.decide):
            m.d.sync += fresh.eq(0)
        with m.If(self.sent | self.skipped):
            with m.If(last):
                m.d.sync += sending.eq(0)
                m.d.comb += [load.eq(waiting), load_from.eq(next_up)]
                m.d.sync += waiting.eq(0)
            with m.Elif(chunk.first_bin == g.hist_bins - g.hist_chunk):
                m.d.sync += [chunk.first_bin.eq(0), chunk.channel.eq(chunk.channel + 1)]
            with m.Else():
                m.d.sync += chunk.first_bin.eq(chunk.first_bin + g.hist_chunk)
        with m.If(self.cut):
            m.d.sync += [age.eq(age_now), period.eq(period_now), begin.eq(begin_now)]
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
