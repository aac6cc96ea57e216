"""The relay's top level: everything between the front end and the byte stream of the link."""

from __future__ import annotations

from typing import Literal, get_args

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import State

from .announcement_capture import AnnouncementCapture
from .calibrator import control_layout, status_layout
from .code_density import load_layout
from .command_receiver import CommandReceiver
from .counter_bank import CounterBank
from .datapath import RelayDatapath, hits_layout
from .delay_line import delayed
from .framer import Framer
from .histogram import Histogram
from .increments import RAW_COUNTERS
from .link_buffer import LinkBuffer
from .loss_episode import LossEpisode
from .register_bank import RegisterBank
from .sequencer import Sequencer
from .tag_capture import TagCapture
from .tap_front_end import TapFrontEnd

__all__ = ["VERSION", "FrontEnd", "Relay"]

VERSION = (0, 1, 0)
"""Major, minor and patch of the gateware."""

FrontEnd = Literal["codes", "taps"]


def _delayed(m: Module, value: Value, clocks: int, name: str) -> Value:
    for i in range(clocks):
        after = Signal(name=f"{name}_{i}")
        m.d.sync += after.eq(value)
        value = after
    return value


class Relay(wiring.Component):
    """Board-independent relay.

    Parameters
    ----------
    geometry
    front_end
        ``codes``: member ``hits`` takes hits with their fine codes. ``taps``: member ``taps``
        takes samples of delay lines with ``2**code_bits`` taps. What the host sees is the same:
        the stages' strobes wait for the front end's latency here, and nowhere else.
    version, git_revision
        For the identity block.

    Members
    -------
    hits : In(hits_layout(geometry)), or taps : In(array of 2**code_bits bits per channel)
        In the clock of ``cell_start`` they are those of cell 0.
    link_in : In(stream of bytes), always ready; link_out : Out(stream of bytes)
    temperature : In(signed 32), millidegrees Celsius
    fine_control, fine_status, fine_dropped, fine_blind, fine_load, fine_load_ready, fine_swap,
    fine_read_addr, fine_read_count
        To and from :class:`~.fine_time.FineTime`, its member names without ``fine_``; all inputs
        zero on a board without it.
    acquiring, cell_start, tick_last : Out(1)
        In the clock of the cell at the pins.
    pattern_source : Out(2)
        The register: what the board around is to take for hits.
    trigger_psi_minus, trigger_psi_plus : Out(1), gate_out : Out(n_detectors)
        As the datapath gives them.
    fault : Out(1)
        A tick's frames were not out when the next tick was decided upon, or the link buffer
        overran: never, and the tests watch it.
    """

    def __init__(
        self,
        geometry: BoardGeometry,
        *,
        front_end: FrontEnd = "codes",
        version: tuple[int, int, int] = VERSION,
        git_revision: int = 0,
    ) -> None:
        if front_end not in get_args(FrontEnd):
            raise ValueError(
                f"front_end is {front_end!r}; allowed: {', '.join(get_args(FrontEnd))}"
            )
        self.geometry = g = geometry
        self.front_end = front_end
        self._version = version
        self._git_revision = git_revision
        if front_end == "codes":
            inputs = {"hits": In(hits_layout(g))}
        else:
            inputs = {"taps": In(data.ArrayLayout(1 << g.code_bits, g.n_channels))}
        super().__init__(
            {
                **inputs,
                "link_in": In(stream.Signature(8, always_ready=True)),
                "link_out": Out(stream.Signature(8)),
                "temperature": In(32),
                "fine_control": Out(control_layout()),
                "fine_status": In(status_layout(g)),
                "fine_dropped": In(data.ArrayLayout(48, g.n_channels)),
                "fine_blind": In(g.n_channels),
                "fine_load": In(load_layout(g)),
                "fine_load_ready": Out(1),
                "fine_swap": In(g.n_channels),
                "fine_read_addr": Out(range(g.n_channels << (g.code_bits - 1))),
                "fine_read_count": In(32),
                "acquiring": Out(1),
                "cell_start": Out(1),
                "tick_last": Out(1),
                "pattern_source": Out(2),
                "trigger_psi_minus": Out(1),
                "trigger_psi_plus": Out(1),
                "gate_out": Out(g.n_detectors),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        g = self.geometry
        m = Module()
        m.submodules.datapath = path = RelayDatapath(g)
        m.submodules.sequencer = sequencer = Sequencer(g)
        m.submodules.receiver = receiver = CommandReceiver()
        m.submodules.registers = bank = RegisterBank(
            g, version=self._version, git_revision=self._git_revision
        )
        m.submodules.counters = totals = CounterBank(g)
        m.submodules.announcements = announcements = AnnouncementCapture(
            [g.announce_depth] + [g.announce_depth_short] * (g.n_ports - 1)
        )
        m.submodules.histogram = histogram = Histogram(g)
        m.submodules.loss = loss = LossEpisode()
        m.submodules.framer = framer = Framer(g, version=self._version)
        m.submodules.link = link = LinkBuffer(g.link_words)
        config, ended = bank.config, sequencer.ended

        # --- front end, and the strobes that wait for it
        latency = 0
        if self.front_end == "taps":
            m.submodules.front_end = front = TapFrontEnd(g, 1 << g.code_bits)
            latency = front.latency
            m.d.comb += [front.taps.eq(self.taps), path.hits.eq(front.hits)]
        else:
            m.d.comb += path.hits.eq(self.hits)
        m.d.comb += path.blind.eq(self.fine_blind.any())
        for name in ("acquire", "cell_start", "active", "tick_last"):
            strobe = getattr(sequencer, name)
            m.d.comb += getattr(path, name).eq(_delayed(m, strobe, latency, name))
        m.d.comb += [
            self.acquiring.eq(sequencer.acquire),
            self.cell_start.eq(sequencer.cell_start),
            self.tick_last.eq(sequencer.tick_last),
            self.pattern_source.eq(config.pattern_source),
            self.trigger_psi_minus.eq(path.trigger_psi_minus),
            self.trigger_psi_plus.eq(path.trigger_psi_plus),
            self.gate_out.eq(path.gate_out),
        ]

        # --- commands
        m.d.comb += [
            receiver.link_in.payload.eq(self.link_in.payload),
            receiver.link_in.valid.eq(self.link_in.valid),
            receiver.busy.eq(bank.busy),
            receiver.read_addr.eq(bank.payload_addr),
            bank.payload_data.eq(receiver.read_data),
            bank.arrived.eq(receiver.arrived),
            bank.kind.eq(receiver.kind),
            bank.words.eq(receiver.words),
            bank.state.eq(sequencer.state),
            bank.temperature.eq(self.temperature),
            bank.tick_last.eq(sequencer.tick_last),
            bank.answered.eq(framer.answered),
            bank.response_addr.eq(framer.response_addr),
            framer.response_data.eq(bank.response_data),
            framer.response.eq(bank.response),
            sequencer.command.eq(receiver.arrived),
            sequencer.start.eq(bank.start),
            sequencer.stop.eq(bank.stop),
            sequencer.answer.eq(bank.answer),
            sequencer.heartbeat_ticks.eq(config.heartbeat_ticks),
            sequencer.acquisition.eq(config.acquisition),
            sequencer.trim.eq(config.trim),
            sequencer.ready.eq(histogram.idle),
            path.config.eq(config),
            path.derive.eq(bank.start),
            path.fine_write.eq(bank.fine_write),
            path.pattern_write.eq(bank.pattern_write),
            path.fine_read_addr.eq(bank.fine_read_addr),
            path.pattern_read_addr.eq(bank.pattern_read_addr),
            bank.fine_read_data.eq(path.fine_read_data),
            bank.pattern_read_data.eq(path.pattern_read_data),
        ]

        # --- calibration of the fine time
        control, fine = self.fine_control, self.fine_status
        m.d.comb += [
            control.start.eq(bank.calibrate[0]),
            control.deskew.eq(bank.calibrate[1] | bank.calibrate[2]),
            control.external.eq(bank.calibrate[2]),
            control.permit.eq(config.fine_permit[0]),
            control.follow.eq(config.fine_permit[1]),
            control.period.eq(config.fine_period),
            control.threshold_mdegc.eq(config.fine_threshold),
            path.fine_load.eq(self.fine_load),
            path.fine_swap.eq(self.fine_swap),
            self.fine_load_ready.eq(path.fine_load_ready),
            self.fine_read_addr.eq(bank.counts_read_addr),
            bank.counts_read_data.eq(self.fine_read_count),
            bank.status.fine_state.eq(
                Cat(
                    Cat(fine.busy, fine.due, fine.skew_valid, fine.skew_failed, Const(0, 4)),
                    (fine.calibrated | Const(0, 8))[:8],
                    (fine.failed | Const(0, 8))[:8],
                )
            ),
            bank.status.fine_runs.eq(fine.runs),
            bank.status.fine_mdegc.eq(fine.mdegc),
        ]
        for c in range(g.n_channels):
            m.d.comb += [
                bank.status.fine_skew_ps[c].eq(fine.skew_ps[c]),
                bank.status.fine_blind_lo[c].eq(fine.blind_clocks[c][:32]),
                bank.status.fine_blind_hi[c].eq(fine.blind_clocks[c][32:]),
                bank.status.fine_dropped_lo[c].eq(self.fine_dropped[c][:32]),
                bank.status.fine_dropped_hi[c].eq(self.fine_dropped[c][32:]),
            ]

        # --- raw tags: the mask that is in force for the cell, and the flush at the raw cut
        mask = Signal(g.n_channels)
        any_half = Const(0, 1)
        raw_cut, starts = Signal(), Signal()
        m.d.sync += [raw_cut.eq(path.raw_cell_last), starts.eq(raw_cut)]
        flush_tags, tag_age, tags_old = Signal(), Signal(32), Signal()
        for c in range(g.n_channels):
            m.submodules[f"tags_{c}"] = tags = TagCapture(g.capture_depth)
            m.d.comb += [
                tags.start.eq(starts),
                tags.flush.eq(flush_tags),
                tags.read_addr.eq(framer.tag_addr),
                framer.tag_data[c].eq(tags.read_data),
                framer.tag_counts[c].eq(tags.count),
            ]
            m.d.sync += totals.counting[f"tags_lost_{c}"].eq(tags.lost)
            m.d.sync += [
                tags.tag.valid.eq(path.raw_tags[c].valid & mask[c]),
                tags.tag.time.eq(path.raw_tags[c].time),
            ]
            any_half = any_half | tags.half
        # All but what the last cell may have changed is known long before the cut.
        flushable, flush_anyway = Signal(), Signal()
        m.d.comb += flush_tags.eq(flush_anyway | (flushable & any_half))
        m.d.sync += [
            tags_old.eq(tag_age + 1 >= config.flush_ticks),
            flushable.eq(ended.active),
            flush_anyway.eq(ended.active & (ended.due | tags_old)),
        ]
        with m.If(path.raw_cell_last):
            m.d.sync += mask.eq(config.stream_mask)
        tags_flushed, tags_end = Signal(), Signal()
        m.d.sync += [tags_flushed.eq(flush_tags | ~ended.active), tags_end.eq(starts)]
        with m.If(tags_end):
            m.d.sync += tag_age.eq(Mux(tags_flushed, 0, tag_age + 1))

        # --- announcements, histogram, sync: the aligned cut
        flush_announcements, announce_age, announcements_old = Signal(), Signal(32), Signal()
        announce_anyway = Signal()
        m.d.sync += [
            announcements_old.eq(announce_age + 1 >= config.flush_ticks),
            announce_anyway.eq(ended.active & (ended.due | announcements_old)),
        ]
        m.d.comb += [
            flush_announcements.eq(announce_anyway | (flushable & announcements.half)),
            announcements.announce.eq(path.announce),
            announcements.cut.eq(path.cell_last),
            announcements.flush.eq(flush_announcements),
            framer.announce_count.eq(announcements.count),
            framer.psi_minus.eq(announcements.psi_minus),
            framer.psi_plus.eq(announcements.psi_plus),
            framer.base_slot.eq(announcements.base_slot),
            announcements.take.eq(framer.announce_take),
            framer.record.eq(announcements.record),
            histogram.hist.eq(path.hist),
            histogram.cut.eq(path.cell_last & ended.active),
            histogram.first.eq(ended.first),
            histogram.final.eq(ended.final),
            histogram.cut_tick.eq(ended.cut_tick),
            histogram.hist_ticks.eq(config.hist_ticks),
            histogram.decide.eq(framer.decide_over),
            histogram.sent.eq(framer.hist_sent),
            histogram.skipped.eq(framer.hist_skipped),
            histogram.read_bin.eq(framer.hist_read_bin),
            histogram.read.eq(framer.hist_read),
            framer.hist_due.eq(histogram.due),
            framer.hist_chunk.eq(histogram.chunk),
            framer.hist_read_data.eq(histogram.read_data),
        ]
        held = framer.held
        slot, slot_now = Signal(64), Signal(64)
        pos, pos_now = Signal(24), Signal(24)
        m.d.comb += [
            slot_now.eq(Mux(path.sync.valid, path.sync.slot, slot)),
            pos_now.eq(Mux(path.sync.valid, path.sync.pos, pos)),
        ]
        m.d.sync += [slot.eq(slot_now), pos.eq(pos_now)]
        kept = Signal(held.shape())
        m.d.comb += held.eq(kept)
        with m.If(path.cell_last & ended.active):
            m.d.sync += [
                kept.cut_slot.eq(path.cut_slot),
                kept.sync_slot.eq(slot_now),
                kept.sync_pos.eq(pos_now),
            ]
            with m.If(ended.final):
                m.d.sync += [slot.eq(0), pos.eq(0)]
        announcements_flushed, announcements_end = Signal(), Signal()
        m.d.sync += [
            announcements_flushed.eq(flush_announcements),
            announcements_end.eq(path.cell_last & ended.active),
        ]
        with m.If(announcements_end):
            m.d.sync += announce_age.eq(Mux(announcements_flushed, 0, announce_age + 1))
        with m.If(sequencer.cell_start):
            m.d.sync += kept.start_utc_ns.eq(Cat(config.start_utc_lo, config.start_utc_hi))

        # --- counters and losses
        raw_names = {c.name for c in counters(g) if c.kind in RAW_COUNTERS}
        for name in path.increments.shape().members:
            # The raw ones with the tags that the captures lose, two clocks late.
            late = 2 if name in raw_names else 0
            m.d.comb += totals.counting[name].eq(
                delayed(m, path.increments[name], late, f"late_{name}")
            )
        m.d.comb += [
            totals.counting.lost_psi_minus.eq(announcements.lost_psi_minus),
            totals.counting.lost_psi_plus.eq(announcements.lost_psi_plus),
            totals.counting.commands_bad.eq(receiver.bad & sequencer.active),
            totals.counting.commands_dropped.eq(receiver.dropped & sequencer.active),
            totals.raw_cut.eq(starts),
            totals.aligned_cut.eq(path.cell_last),
            totals.board_cut.eq(sequencer.tick_last),
            totals.decided.eq(framer.decided),
            totals.walk.eq(framer.walk),
            totals.add.eq(ended.active),
            totals.clear.eq(ended.first),
            totals.read_addr.eq(framer.counter_addr),
            framer.counter_data.eq(totals.read_data),
        ]
        lost = Signal()
        m.d.sync += lost.eq(
            Cat(
                totals.tick[c.name].any()
                for c in counters(g)
                if c.kind in ("tags_lost", "lost_psi_minus", "lost_psi_plus")
            ).any()
        )
        m.d.comb += [
            loss.look.eq(framer.loss_look),
            loss.active.eq(ended.active),
            loss.first.eq(ended.first),
            loss.final.eq(ended.final),
            loss.loss.eq(lost | framer.shed),
            loss.cut_tick.eq(ended.cut_tick),
            loss.quiet_ticks.eq(config.loss_quiet_ticks),
            loss.told.eq(framer.loss_told),
            framer.loss_ended.eq(loss.ended),
            framer.loss_begin_tick.eq(loss.begin_tick),
            framer.loss_end_tick.eq(loss.end_tick),
        ]

        # --- frames to bytes
        m.d.comb += [
            framer.tick_last.eq(sequencer.tick_last),
            framer.ended.eq(ended),
            framer.temperature.eq(self.temperature),
            framer.fill.eq(link.level),
            link.push.eq(framer.push),
            link.word.eq(framer.word),
        ]
        wiring.connect(m, link.link_out, wiring.flipped(self.link_out))
        with m.If(link.overrun | (framer.decide & framer.writing)):
            m.d.sync += self.fault.eq(1)
        started = (sequencer.state == State.RUNNING) & sequencer.cell_start
        deriving = Signal()
        with m.If(bank.start):
            m.d.sync += deriving.eq(1)
        with m.Elif(path.derived):
            m.d.sync += deriving.eq(0)
        with m.If(started & deriving):
            m.d.sync += self.fault.eq(1)
        return m
