"""Decides which frames a tick sends, and writes them word by word.

Timing, exactly, for a tick with boundary ``B`` (the first clock after it). Let
``D = B + decide_clocks(geometry)``, ``M = n_channels``, and let the kinds be numbered in the order
of the frames: 0 announcements, 1 .. M tags of channel 0 .. M - 1, then histogram, loss, response,
heartbeat: ``M + 5`` kinds.

- In clock ``D`` the fill of the link buffer is taken (``link_fill``; its ``level`` in this clock).
- Kind ``i`` is admitted or not in clock ``D + 1 + i``. Then the counters are added up.
- Kind 0 is looked at in clock ``s = D + first_select_clocks(geometry)``. A kind that sends nothing
  is passed over in that one clock: the next one is looked at in clock ``s + 1``.
- A kind that is looked at in clock ``s`` and sends a frame of ``n`` words (header and CRC
  included) pushes them in the clocks ``s + 1 .. s + n``; the next kind is looked at in clock
  ``s + n + 1``.
- A command counts as unanswered until the clock in which the last word of its response is pushed,
  that one included.
- A histogram's period counts as sent likewise, with its last chunk; a skipped chunk in clock
  ``s``.

All of it ends within the next tick; every frame counts ``sequence`` up by one.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.counters import LOSS_COUNTERS, counters
from bellrelay.wire.frames import (
    HEADER_WORDS,
    MAGIC,
    OVERHEAD_WORDS,
    RESERVE_CONTROL_WORDS,
    FrameType,
    heartbeat_fields,
)
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import MODULE_ID, PROTOCOL_VERSION, pack_id

from .counter_bank import decided_layout
from .histogram import chunk_layout
from .register_bank import response_layout
from .sequencer import ended_layout
from .timing import decide_clocks, first_select_clocks
from .word_crc import frame_crc

__all__ = ["Framer", "held_layout"]


def held_layout() -> data.StructLayout:
    """What the heartbeat says of the acquisition beside its counters."""
    return data.StructLayout({"cut_slot": 64, "start_utc_ns": 64, "sync_slot": 64, "sync_pos": 24})


class Framer(wiring.Component):
    """Timing in the module's docstring; one word per clock while a frame is written.

    Members
    -------
    tick_last : In(1), ended : In(ended_layout())
        From the sequencer.
    tag_counts, announce_count, psi_minus, psi_plus, base_slot : In
        Of the banks to read. ``tag_addr`` : Out and ``tag_data`` : In, an array over channels,
        latency one clock; ``announce_rewind``, ``announce_take``, ``record`` as in
        :class:`~bellrelay_gateware.announcement_capture.AnnouncementCapture`.
    decide : Out(1)
        Strobe in clock ``D``.
    hist_* : the histogram's due, chunk, sent, skipped, read_bin, read, read_data.
    loss_* : the loss episode's look, ended, told, begin_tick, end_tick.
    response, response_addr, response_data, answered
        The register bank's.
    decided, walk, counter_addr, counter_data
        The counter bank's.
    held, temperature, fill : In
    push : Out(1), word : Out(32)
        To the link buffer.
    decide_over : Out(1)
        Strobe in the last clock of the decision: all dues have been looked at.
    writing : Out(1)
        The tick is not finished. Low in clock ``D``, or ticks are too short.
    """

    def __init__(self, geometry: BoardGeometry, *, version: tuple[int, int, int]) -> None:
        self._geometry = g = geometry
        self._version = version
        self._counters = counters(g)
        announcements = range(g.announce_depth + (g.n_ports - 1) * g.announce_depth_short + 1)
        super().__init__(
            {
                "tick_last": In(1),
                "ended": In(ended_layout()),
                "tag_counts": In(data.ArrayLayout(range(g.capture_depth + 1), g.n_channels)),
                "tag_addr": Out(range(g.capture_depth)),
                "tag_data": In(data.ArrayLayout(56, g.n_channels)),
                "announce_count": In(announcements),
                "psi_minus": In(announcements),
                "psi_plus": In(announcements),
                "base_slot": In(64),
                "announce_rewind": Out(1),
                "announce_take": Out(1),
                "record": In(32),
                "decide": Out(1),
                "hist_due": In(1),
                "hist_chunk": In(chunk_layout(g)),
                "hist_sent": Out(1),
                "hist_skipped": Out(1),
                "hist_read_bin": Out(range(g.hist_bins)),
                "hist_read": Out(1),
                "hist_read_data": In(32),
                "loss_look": Out(1),
                "loss_ended": In(1),
                "loss_told": Out(1),
                "loss_begin_tick": In(64),
                "loss_end_tick": In(64),
                "response": In(response_layout()),
                "response_addr": Out(7),
                "response_data": In(32),
                "answered": Out(1),
                "decided": Out(decided_layout(g)),
                "walk": Out(1),
                "counter_addr": Out(range(len(self._counters))),
                "counter_data": In(64),
                "held": In(held_layout()),
                "temperature": In(32),
                "fill": In(range(g.link_words + 1)),
                "push": Out(1),
                "word": Out(32),
                "decide_over": Out(1),
                "writing": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        g = self._geometry
        m = Module()
        m.submodules.crc = crc = frame_crc(32)
        n_tags = g.n_channels
        hist, loss, response, heartbeat = (n_tags + 1 + i for i in range(4))
        kinds = n_tags + 5
        ended = self.ended

        # --- clocks since the boundary
        select_at = first_select_clocks(g)
        since = Signal(range(decide_clocks(g) + select_at + 1), init=decide_clocks(g) + select_at)
        with m.If(self.tick_last):
            m.d.sync += since.eq(0)
        with m.Elif(since != decide_clocks(g) + select_at):
            m.d.sync += since.eq(since + 1)
        m.d.comb += self.decide.eq(since == decide_clocks(g))

        # --- how long each frame would be, and what it must leave
        half = g.link_words // 2
        present: list = [self.announce_count != 0]
        lengths: list = [4 + self.announce_count]
        leaves = [RESERVE_CONTROL_WORDS] + [half] * (n_tags + 1) + [0] * 3
        for c in range(n_tags):
            present.append(self.tag_counts[c] != 0)
            lengths.append(2 + (self.tag_counts[c] << 1))
        loss_addresses = [i for i, c in enumerate(self._counters) if c.kind in LOSS_COUNTERS]
        beat = heartbeat_fields(g)
        beat_head = sum(f.words for f in beat) - 2 * len(self._counters)
        assert beat_head % 2 == 0, "the low word of a counter is at an even place"
        present += [self.hist_due, self.loss_ended, ended.answer, ended.due]
        lengths += [
            Const(6 + g.hist_chunk),
            Const(4 + 2 * len(loss_addresses)),
            3 + self.response["values"],
            Const(sum(f.words for f in beat)),
        ]
        kind = Signal(range(kinds + 1))
        admitted = Signal(kinds)
        payload = Signal(17)
        needed = Signal(18)
        free = Signal(range(g.link_words + 1))
        is_there, fits = Signal(), Signal()
        fill = Signal(32)
        hist_given_up = Signal()
        with m.Switch(kind):
            for i in range(kinds):
                with m.Case(i):
                    m.d.comb += [
                        is_there.eq(present[i]),
                        payload.eq(lengths[i]),
                        needed.eq(lengths[i] + (OVERHEAD_WORDS + leaves[i])),
                    ]
        m.d.comb += fits.eq(free >= needed)

        sequence = Signal(32)
        cut_ps = Signal(64)
        temperature = Signal(32)
        position, last_position = Signal(18), Signal(18)
        in_frame = Signal()
        m.d.comb += self.writing.eq(1)
        with m.FSM():
            with m.State("QUIET"):
                m.d.comb += self.writing.eq(0)
                with m.If(self.decide):
                    m.d.sync += [
                        fill.eq(self.fill),
                        free.eq(g.link_words - self.fill),
                        kind.eq(0),
                        admitted.eq(0),
                        hist_given_up.eq(0),
                        self.decided.eq(0),
                        temperature.eq(self.temperature),
                    ]
                    with m.If(ended.active):
                        ticks = Mux(ended.first, 0, cut_ps)
                        m.d.sync += cut_ps.eq(ticks + g.tick_ps)
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += kind.eq(kind + 1)
                m.d.comb += [
                    self.loss_look.eq(kind == loss),
                    self.loss_told.eq(fits),
                ]
                with m.If(is_there & fits):
                    m.d.sync += [
                        admitted.bit_select(kind, 1).eq(1),
                        free.eq(free - (payload + OVERHEAD_WORDS)),
                    ]
                decided = self.decided
                with m.Switch(kind):
                    with m.Case(0):
                        to = ("announced", "shed")
                        for does_fit, family in ((fits, to[0]), (~fits, to[1])):
                            with m.If(is_there & does_fit):
                                m.d.sync += [
                                    decided[f"{family}_psi_minus"].eq(self.psi_minus),
                                    decided[f"{family}_psi_plus"].eq(self.psi_plus),
                                ]
                    for c in range(n_tags):
                        with m.Case(1 + c):
                            with m.If(is_there & ~fits):
                                m.d.sync += decided[f"tags_shed_{c}"].eq(self.tag_counts[c])
                    with m.Case(hist):
                        with m.If(is_there & ~fits):
                            m.d.sync += [hist_given_up.eq(1), decided.frames_skipped.eq(1)]
                    with m.Case(heartbeat):
                        with m.If(is_there & ~fits):
                            m.d.sync += decided.frames_skipped.eq(decided.frames_skipped + 1)
                with m.If(kind == kinds - 1):
                    m.d.comb += self.decide_over.eq(1)
                    m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += self.walk.eq(since == decide_clocks(g) + kinds + 1)
                m.d.sync += kind.eq(0)
                with m.If(since == decide_clocks(g) + select_at - 1):
                    m.next = "SELECT"
            with m.State("SELECT"):
                m.d.comb += [
                    self.announce_rewind.eq(kind == 0),
                    self.hist_skipped.eq((kind == hist) & hist_given_up),
                ]
                with m.If(admitted.bit_select(kind, 1)):
                    m.d.sync += [position.eq(0), last_position.eq(payload + HEADER_WORDS)]
                    m.next = "FRAME"
                with m.Else():
                    m.d.sync += kind.eq(kind + 1)
                    with m.If(kind == kinds - 1):
                        m.next = "QUIET"
            with m.State("FRAME"):
                m.d.comb += in_frame.eq(1)
                m.d.sync += position.eq(position + 1)
                with m.If(position == last_position):
                    m.d.comb += [
                        self.hist_sent.eq(kind == hist),
                        self.answered.eq(kind == response),
                    ]
                    m.d.sync += [sequence.eq(sequence + 1), kind.eq(kind + 1)]
                    m.next = "SELECT"
                    with m.If(kind == kinds - 1):
                        m.next = "QUIET"

        # --- addresses, one clock ahead of the word
        ahead = Signal(18)
        item, double = Signal(18), Signal(17)
        m.d.comb += ahead.eq(position - (HEADER_WORDS - 1))
        place = Signal(18)
        m.d.comb += place.eq(position - HEADER_WORDS)
        in_payload = in_frame & (position >= HEADER_WORDS) & (position != last_position)
        ahead_there = in_frame & (position >= HEADER_WORDS - 1) & (position + 1 < last_position)
        loss_index = Array(loss_addresses)
        heads = Mux(kind == heartbeat, beat_head, Mux(kind == loss, 4, 2))
        m.d.comb += [
            item.eq(ahead - heads),
            double.eq(item >> 1),
            self.tag_addr.eq(double),
            self.counter_addr.eq(
                Mux(kind == heartbeat, double, loss_index[double[: len(self.counter_addr)]])
            ),
            self.response_addr.eq(ahead - 3),
            self.hist_read_bin.eq(self.hist_chunk.first_bin + (ahead - 6)),
            self.hist_read.eq((kind == hist) & ahead_there & (ahead >= 6)),
            self.announce_take.eq((kind == 0) & in_payload & (place >= 4)),
        ]

        # --- words
        body = Signal(32)
        odd = place[0]
        tag = Signal(56)
        frame_type = Signal(8)
        with m.Switch(kind):
            with m.Case(0):
                m.d.comb += frame_type.eq(FrameType.ANNOUNCEMENTS)
                with m.Switch(place):
                    head = Cat(ended.cut_tick, self.base_slot)
                    for i in range(4):
                        with m.Case(i):
                            m.d.comb += body.eq(head[32 * i : 32 * i + 32])
                    with m.Default():
                        m.d.comb += body.eq(self.record)
            for c in range(n_tags):
                with m.Case(1 + c):
                    m.d.comb += [frame_type.eq(FrameType.TAGS), tag.eq(self.tag_data[c])]
                    word = Cat(tag, Const(c, 8))
                    cut = place < 2
                    m.d.comb += body.eq(
                        Mux(
                            cut,
                            Mux(odd, cut_ps[32:], cut_ps[:32]),
                            Mux(odd, word[32:], word[:32]),
                        )
                    )
            with m.Case(hist):
                m.d.comb += frame_type.eq(FrameType.HISTOGRAM)
                chunk = self.hist_chunk
                channel = Signal(16)
                m.d.comb += channel.eq(chunk.channel)
                head = Cat(
                    chunk.period,
                    channel,
                    (chunk.first_bin | Const(0, 16))[:16],
                    chunk.start_tick,
                    chunk.end_tick,
                )
                with m.Switch(place):
                    for i in range(6):
                        with m.Case(i):
                            m.d.comb += body.eq(head[32 * i : 32 * i + 32])
                    with m.Default():
                        m.d.comb += body.eq(self.hist_read_data)
            with m.Case(loss):
                m.d.comb += frame_type.eq(FrameType.LOSS)
                head = Cat(self.loss_begin_tick, self.loss_end_tick)
                with m.Switch(place):
                    for i in range(4):
                        with m.Case(i):
                            m.d.comb += body.eq(head[32 * i : 32 * i + 32])
                    with m.Default():
                        m.d.comb += body.eq(
                            Mux(odd, self.counter_data[32:], self.counter_data[:32])
                        )
            with m.Case(response):
                m.d.comb += frame_type.eq(FrameType.RESPONSE)
                with m.Switch(place):
                    with m.Case(0):
                        m.d.comb += body.eq(self.response.tag)
                    with m.Case(1):
                        m.d.comb += body.eq(Cat(self.response.status, self.response.kind))
                    with m.Case(2):
                        m.d.comb += body.eq(self.response.command)
                    with m.Default():
                        m.d.comb += body.eq(self.response_data)
            with m.Case(heartbeat):
                m.d.comb += frame_type.eq(FrameType.HEARTBEAT)
                major, minor, patch = self._version
                values = {
                    "module_id": Const(pack_id(MODULE_ID), 32),
                    "gateware_version": Const(major << 16 | minor << 8 | patch, 32),
                    "config_hash": Const(g.config_hash, 32),
                    "state": Cat(ended.state, Const(0, 6), ended.final),
                    "uptime_ticks": ended.uptime_ticks,
                    "cut_tick": ended.cut_tick,
                    "cut_ps": cut_ps,
                    "cut_slot": self.held.cut_slot,
                    "start_utc_ns": self.held.start_utc_ns,
                    "temperature_mdegc": temperature,
                    "link_fill": fill,
                    "sync_slot": self.held.sync_slot,
                    "sync_pos": self.held.sync_pos,
                    "trim": ended.trim,
                }
                with m.Switch(place):
                    at = 0
                    for f in beat:
                        if f.name not in values:
                            continue
                        for w in range(f.words):
                            with m.Case(at + w):
                                m.d.comb += body.eq(values[f.name][32 * w : 32 * w + 32])
                        at += f.words
                    with m.Default():
                        m.d.comb += body.eq(
                            Mux(odd, self.counter_data[32:], self.counter_data[:32])
                        )
        m.d.comb += [
            self.push.eq(in_frame),
            self.word.eq(body),
            crc.valid.eq(in_frame),
            crc.start.eq(position == 0),
            crc.data.eq(self.word),
        ]
        with m.Switch(position):
            with m.Case(0):
                m.d.comb += self.word.eq(MAGIC)
            with m.Case(1):
                m.d.comb += self.word.eq(
                    Cat(frame_type, Const(PROTOCOL_VERSION, 8), (last_position - HEADER_WORDS)[:16])
                )
            with m.Case(2):
                m.d.comb += self.word.eq(sequence)
            with m.Case(3):
                m.d.comb += self.word.eq(ended.acquisition)
            with m.Case(4):
                m.d.comb += self.word.eq(crc.crc)
            with m.Default():
                with m.If(position == last_position):
                    m.d.comb += self.word.eq(crc.crc)
        return m
