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
  included) pushes them in the clocks ``s + 1 + w .. s + n + w`` with ``w = WORD_CLOCKS``, the
  clocks that a word takes from its place in the frame to the link buffer; the next kind is looked
  at in clock ``s + n + 1``.
- A command counts as unanswered until the clock in which the last word of its response is pushed,
  that one included.
- A histogram's period counts as sent likewise, with its last chunk; a skipped chunk in clock
  ``s``.

All of it ends within the next tick; every frame counts ``sequence`` up by one.
"""

from __future__ import annotations

import zlib

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
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
from .delay_line import delayed
from .frame_crc import FrameCrc
from .histogram import chunk_layout
from .register_bank import response_layout
from .sequencer import ended_layout
from .timing import WORD_CLOCKS, decide_clocks, first_select_clocks

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
        Of the banks to read. ``tag_addr`` : Out and ``tag_data`` : In, an array over channels;
        ``announce_take``, ``record`` as in
        :class:`~bellrelay_gateware.announcement_capture.AnnouncementCapture`. All data come two
        clocks after their address.
    decide : Out(1)
        Strobe in clock ``D``.
    hist_* : the histogram's due, chunk, sent, skipped, read_bin, read, read_data.
    loss_* : the loss episode's look, ended, told, begin_tick, end_tick.
    response, response_addr, response_data, answered
        The register bank's.
    decided, walk, counter_addr, counter_data
        The counter bank's. ``shed`` : Out(1), this tick's decision has shed announcements or tags.
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
                "shed": Out(1),
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
        # A header and its CRC leave the CRC of what follows in one state, whatever the header is.
        header = bytes(4 * (HEADER_WORDS - 1))
        before = header + zlib.crc32(header).to_bytes(4, "little")
        m.submodules.header_crc = header_crc = FrameCrc(32)
        m.submodules.payload_crc = payload_crc = FrameCrc(32, before)
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
        walks, selects = Signal(), Signal()
        m.d.sync += [
            self.decide.eq(since == decide_clocks(g) - 1),
            walks.eq(since == decide_clocks(g) + kinds),
            selects.eq(since == decide_clocks(g) + select_at - 2),
        ]

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
        present += [self.hist_due, Const(0, 1), ended.answer, ended.due]
        lengths += [
            Const(6 + g.hist_chunk),
            Const(4 + 2 * len(loss_addresses)),
            3 + self.response["values"],
            Const(sum(f.words for f in beat)),
        ]
        for i, length in enumerate(lengths):
            settled = Signal(17, name=f"length_{i}")
            m.d.sync += settled.eq(length)
            lengths[i] = settled
        # What is known of a kind is looked up one clock ahead, while the kind before is dealt with.
        kind, upcoming = Signal(range(kinds + 1)), Signal(range(kinds + 2))
        advance = Signal()
        admitted = Signal(kinds)
        payload = Signal(17)
        needed = Signal(18)
        free = Signal(range(g.link_words + 1))
        is_there, there, fits, chosen = Signal(), Signal(), Signal(), Signal()
        fill = Signal(32)
        hist_given_up = Signal()
        # What a look has found is put down a clock later: the registers lie all over the chip.
        clear, looked = Signal(), Signal()
        looked_at = Signal.like(kind)
        was_there, was_admitted, did_fit = Signal(), Signal(), Signal()
        with m.If(advance):
            m.d.sync += [kind.eq(upcoming), upcoming.eq(upcoming + 1)]
            with m.Switch(upcoming):
                for i in range(kinds):
                    with m.Case(i):
                        m.d.sync += [
                            is_there.eq(present[i]),
                            payload.eq(lengths[i]),
                            chosen.eq(admitted[i]),
                            needed.eq(lengths[i] + (OVERHEAD_WORDS + leaves[i])),
                        ]
        m.d.comb += fits.eq(free >= needed)

        most_head = 31  # words of a frame's own head, at most; `place` stays there
        assert beat_head < most_head
        heads = Signal(range(most_head))
        with m.Switch(kind):
            for which, words in ((heartbeat, beat_head), (loss, 4), (hist, 6), (response, 3)):
                with m.Case(which):
                    m.d.comb += heads.eq(words)
            with m.Default():
                m.d.comb += heads.eq(2)
        sequence = Signal(32)
        cut_ps = Signal(64)
        temperature = Signal(32)
        position, left = Signal(18), Signal(18)
        item = Signal(18)  # place behind the frame's own head
        payload_words = Signal(16)
        in_frame, is_last = Signal(), Signal()
        m.d.comb += self.writing.eq(1)
        m.d.sync += [
            self.hist_skipped.eq(0),
            clear.eq(0),
            looked.eq(0),
            looked_at.eq(kind),
            was_there.eq(is_there),
            was_admitted.eq(there & fits),
            did_fit.eq(fits),
        ]
        decided = self.decided
        skipped = Signal(2)  # of a histogram and a heartbeat
        m.d.comb += decided.frames_skipped.eq(skipped)
        with m.If(clear):
            m.d.sync += [admitted.eq(0), hist_given_up.eq(0), self.shed.eq(0), skipped.eq(0)]
            m.d.sync += [
                decided[name].eq(0) for name in decided.shape().members if name != "frames_skipped"
            ]
        with m.If(looked):
            with m.If(was_admitted):
                m.d.sync += admitted.bit_select(looked_at, 1).eq(1)
            with m.If(was_there & ~did_fit & (looked_at <= n_tags)):
                m.d.sync += self.shed.eq(1)
            with m.Switch(looked_at):
                with m.Case(0):
                    for does_fit, family in ((did_fit, "announced"), (~did_fit, "shed")):
                        with m.If(was_there & does_fit):
                            m.d.sync += [
                                decided[f"{family}_psi_minus"].eq(self.psi_minus),
                                decided[f"{family}_psi_plus"].eq(self.psi_plus),
                            ]
                for c in range(n_tags):
                    with m.Case(1 + c):
                        with m.If(was_there & ~did_fit):
                            m.d.sync += decided[f"tags_shed_{c}"].eq(self.tag_counts[c])
                with m.Case(hist):
                    with m.If(was_there & ~did_fit):
                        m.d.sync += [hist_given_up.eq(1), skipped.eq(1)]
                with m.Case(heartbeat):
                    with m.If(was_there & ~did_fit):
                        m.d.sync += skipped.eq(skipped + 1)
        with m.FSM():
            with m.State("QUIET"):
                m.d.comb += self.writing.eq(0)
                with m.If(self.decide):
                    m.d.sync += [
                        fill.eq(self.fill),
                        free.eq(g.link_words - self.fill),
                        clear.eq(1),
                        temperature.eq(self.temperature),
                    ]
                    with m.If(ended.active):
                        ticks = Mux(ended.first, 0, cut_ps)
                        m.d.sync += cut_ps.eq(ticks + g.tick_ps)
                    m.d.comb += advance.eq(1)
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.comb += advance.eq(1)
                # What is lost in this tick shows only now.
                m.d.comb += there.eq(Mux(kind == loss, self.loss_ended, is_there))
                m.d.comb += [
                    self.loss_look.eq(kind == loss),
                    self.loss_told.eq(fits),
                ]
                m.d.sync += looked.eq(1)
                with m.If(there & fits):
                    m.d.sync += free.eq(free - (payload + OVERHEAD_WORDS))
                with m.If(kind == kinds - 1):
                    m.d.comb += self.decide_over.eq(1)
                    m.d.sync += upcoming.eq(0)
                    m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += self.walk.eq(walks)
                with m.If(selects):
                    m.d.comb += advance.eq(1)
                    m.next = "SELECT"
            with m.State("SELECT"):
                m.d.sync += self.hist_skipped.eq((kind == hist) & hist_given_up)
                with m.If(chosen):
                    m.d.sync += [
                        position.eq(0),
                        item.eq(-HEADER_WORDS - heads),
                        payload_words.eq(payload),
                        left.eq(payload + HEADER_WORDS),
                        is_last.eq(0),
                    ]
                    m.next = "FRAME"
                with m.Else():
                    m.d.comb += advance.eq(1)
                    with m.If(kind == kinds - 1):
                        m.d.sync += upcoming.eq(0)
                        m.next = "QUIET"
            with m.State("FRAME"):
                m.d.comb += in_frame.eq(1)
                m.d.sync += [
                    position.eq(position + 1),
                    item.eq(item + 1),
                    left.eq(left - 1),
                    is_last.eq(left == 1),
                ]
                with m.If(is_last):
                    m.d.sync += sequence.eq(sequence + 1)
                    m.d.comb += advance.eq(1)
                    m.next = "SELECT"
                    with m.If(kind == kinds - 1):
                        m.d.sync += upcoming.eq(0)
                        m.next = "QUIET"

        # --- a word's way: what it is, its address, the memories' clock and a register, its body
        step = data.StructLayout(
            {
                "in_frame": 1,
                "in_payload": 1,
                "is_last": 1,
                "kind": kind.shape(),
                "position": range(HEADER_WORDS + 1),
                "place": range(most_head + 1),
                "odd": 1,
                "item": 18,
            }
        )
        now, place = Signal(step), Signal(18)
        m.d.comb += [
            now.in_frame.eq(in_frame),
            now.in_payload.eq(in_frame & (position >= HEADER_WORDS) & ~is_last),
            now.is_last.eq(is_last),
            now.kind.eq(kind),
            now.position.eq(Mux(position < HEADER_WORDS, position, HEADER_WORDS)),
            place.eq(position - HEADER_WORDS),
            now.place.eq(Mux(place < most_head, place, most_head)),
            now.odd.eq(place[0]),
            now.item.eq(item),
        ]
        addressed = delayed(m, now, 1, "addressed")
        reading = delayed(m, addressed, 2, "reading")
        answered = delayed(m, reading, 1, "memory")
        worded = delayed(m, answered, 1, "worded")
        finished = delayed(m, worded, 1, "finished")
        sent = now.is_last & now.in_frame
        for out, which in ((self.hist_sent, hist), (self.answered, response)):
            m.d.comb += out.eq(delayed(m, sent & (kind == which), WORD_CLOCKS, f"sent_{which}"))

        loss_index = Array(loss_addresses)
        double = Signal(17)
        taken = (addressed.kind == 0) & addressed.in_payload & (addressed.place >= 4)
        read = (addressed.kind == hist) & addressed.in_payload & (addressed.place >= 6)
        m.d.comb += double.eq(addressed.item >> 1)
        m.d.sync += [
            self.tag_addr.eq(double),
            self.counter_addr.eq(
                Mux(
                    addressed.kind == heartbeat,
                    double,
                    loss_index[double[: len(self.counter_addr)]],
                )
            ),
            self.response_addr.eq(addressed.item),
            self.hist_read_bin.eq(self.hist_chunk.first_bin + addressed.item),
            self.hist_read.eq(read),
            self.announce_take.eq(taken),
        ]

        # --- words of the frames, kind by kind
        place, odd = answered.place, answered.odd
        counter_word = Mux(odd, self.counter_data[32:], self.counter_data[:32])

        def words_of(name: str, head: list[Value], rest: Value) -> Signal:
            """Words of a head one by one, then others."""
            # Of the head, eight words to a group, the group's word is picked a clock ahead.
            word = Signal(32, name=f"word_{name}")
            groups = []
            for first in range(0, len(head), 8):
                group = Signal(32, name=f"head_{name}_{first}")
                with m.Switch(reading.place[:3]):
                    for at, value in enumerate(head[first : first + 8]):
                        with m.Case(at):
                            m.d.sync += group.eq(value)
                groups.append(group)
            m.d.sync += word.eq(rest)
            with m.If(place < len(head)):
                m.d.sync += word.eq(Array(groups)[place >> 3])
            return word

        def split(value: Value) -> list[Value]:
            return [value[i : i + 32] for i in range(0, len(value), 32)]

        tag = Signal(64)
        with m.Switch(answered.kind):
            for c in range(n_tags):
                with m.Case(1 + c):
                    m.d.comb += tag.eq(Cat(self.tag_data[c], Const(c, 8)))
        chunk = self.hist_chunk
        channel, first_bin = Signal(16), Signal(16)
        m.d.comb += [channel.eq(chunk.channel), first_bin.eq(chunk.first_bin)]
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
        beat_words = []
        for f in beat:
            if f.name in values:
                beat_words += [values[f.name][32 * w : 32 * w + 32] for w in range(f.words)]
        assert len(beat_words) == beat_head
        bodies = {
            0: words_of("announcements", split(Cat(ended.cut_tick, self.base_slot)), self.record),
            hist: words_of(
                "histogram",
                split(Cat(chunk.period, channel, first_bin, chunk.start_tick, chunk.end_tick)),
                self.hist_read_data,
            ),
            loss: words_of(
                "loss", split(Cat(self.loss_begin_tick, self.loss_end_tick)), counter_word
            ),
            response: words_of(
                "response",
                [
                    self.response.tag,
                    Cat(self.response.status, self.response.kind),
                    self.response.command,
                ],
                self.response_data,
            ),
            heartbeat: words_of("heartbeat", beat_words, counter_word),
        }
        tag_words = words_of("tags", split(cut_ps), Mux(odd, tag[32:], tag[:32]))

        # --- the word: of the header, of the body, or a CRC
        types = {
            0: FrameType.ANNOUNCEMENTS,
            hist: FrameType.HISTOGRAM,
            loss: FrameType.LOSS,
            response: FrameType.RESPONSE,
            heartbeat: FrameType.HEARTBEAT,
        }
        frame_type, body = Signal(8), Signal(32)
        m.d.comb += [frame_type.eq(FrameType.TAGS), body.eq(tag_words)]
        with m.Switch(worded.kind):
            for which, name in types.items():
                with m.Case(which):
                    m.d.comb += [frame_type.eq(name), body.eq(bodies[which])]
        word, is_crc, starts, in_body = Signal(32), Signal(), Signal(), Signal()
        m.d.sync += [
            starts.eq(worded.position == 0),
            in_body.eq(worded.in_frame & (worded.position == HEADER_WORDS)),
        ]
        m.d.sync += is_crc.eq(worded.is_last | (worded.position == HEADER_WORDS - 1))
        with m.Switch(worded.position):
            with m.Case(0):
                m.d.sync += word.eq(MAGIC)
            with m.Case(1):
                m.d.sync += word.eq(Cat(frame_type, Const(PROTOCOL_VERSION, 8), payload_words))
            with m.Case(2):
                m.d.sync += word.eq(sequence)
            with m.Case(3):
                m.d.sync += word.eq(ended.acquisition)
            with m.Default():
                m.d.sync += word.eq(body)
        for crc, valid in ((header_crc, finished.in_frame), (payload_crc, in_body)):
            m.d.comb += [crc.start.eq(starts), crc.valid.eq(valid), crc.data.eq(word)]
        leaving = delayed(m, finished, 1, "leaving")
        held = Signal(32)
        is_crc_now = Signal()
        m.d.sync += [held.eq(word), is_crc_now.eq(is_crc)]
        m.d.comb += [self.push.eq(leaving.in_frame), self.word.eq(held)]
        with m.If(is_crc_now):
            m.d.comb += self.word.eq(Mux(leaving.is_last, payload_crc.crc, header_crc.crc))
        return m
