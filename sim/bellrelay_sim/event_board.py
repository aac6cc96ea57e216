"""The event board: the relay's board as a model that works per click, not per clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.counters import counters, loss_counters
from bellrelay.wire.frames import (
    OVERHEAD_WORDS,
    RESERVE_CONTROL_WORDS,
    FrameType,
    encode_frame,
    heartbeat_fields,
    loss_fields,
)
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import MODULE_ID, Control, State, pack_id

from . import event_frames as payloads
from . import event_stages as stages
from .board import LinkPace
from .event_commands import CommandReceiver, Received
from .event_link import LinkModel
from .event_pipeline import EventPipeline
from .event_registers import Answer, EventRegisters
from .event_timing import (
    ARRIVAL_CLOCKS,
    COMMAND_CLOCKS,
    FRAME_START_CLOCKS,
    RECEIVE_TIMEOUT_CLOCKS,
    SELECT_CLOCKS,
    START_CLOCKS,
    WORD_CLOCKS,
    decide_clocks,
    first_select_clocks,
)

__all__ = ["EventBoard"]

_FAR = 1 << 62


@dataclass
class _Command:
    """A command that is unanswered."""

    arrived: int
    frame_type: int
    payload: tuple[int, ...]
    answer: Answer
    completed: bool = False

    @property
    def completes(self) -> int:
        return self.arrived + COMMAND_CLOCKS


@dataclass(frozen=True)
class _Ended:
    """What is known of a tick at its boundary."""

    boundary: int
    state: State
    state_after: State
    due: bool
    answer: bool
    trim: int
    stream_mask: int
    commands_bad: int
    commands_dropped: int

    @property
    def active(self) -> bool:
        return self.state in (State.RUNNING, State.DRAINING)

    @property
    def final(self) -> bool:
        return self.state is State.DRAINING


@dataclass
class _HistogramPeriod:
    """A finished period whose chunks are going out."""

    number: int
    start_tick: int
    end_tick: int
    bins: NDArray[np.int64]
    next_chunk: int = 0


class EventBoard:
    """A board that cannot be told apart from the gateware at the host's side of the link.

    Parameters
    ----------
    geometry
        Shape of the board.
    clocks_per_byte, stalls
        When the other end of the link takes a byte, see :class:`~.board.LinkPace`.
    version, git_revision
        As built into the gateware.
    temperature_mdegc
        Temperature that it measures.

    Raises
    ------
    ValueError
        From :class:`~.board.LinkPace`.
    """

    def __init__(
        self,
        geometry: BoardGeometry,
        *,
        clocks_per_byte: int = 1,
        stalls: Sequence[tuple[int, int]] = (),
        version: tuple[int, int, int] = (0, 1, 0),
        git_revision: int = 0,
        temperature_mdegc: int = 0,
    ) -> None:
        self.geometry = geometry
        self.registers = EventRegisters(geometry, version, git_revision)
        self.temperature_mdegc = temperature_mdegc
        self._version_word = version[0] << 16 | version[1] << 8 | version[2]
        self._link = LinkModel(LinkPace(clocks_per_byte, tuple(stalls)))
        self._decide = decide_clocks(geometry)
        self._first_select = first_select_clocks(geometry)
        self._counter_names = tuple(c.name for c in counters(geometry))
        self._loss_names = tuple(c.name for c in loss_counters(geometry))
        self._heartbeat_layout = heartbeat_fields(geometry)
        self._loss_layout = loss_fields(geometry)
        self._chunks_per_channel = geometry.hist_bins // geometry.hist_chunk

        self._clock = 0
        self._next_boundary = geometry.tick_clocks
        self._state = State.IDLE
        self._stopping = False
        self._arrived = 0  # clock in which the last command arrived
        self._beat = 0
        self._sequence = 0
        self._ended: _Ended | None = None

        self._receiver = CommandReceiver(RECEIVE_TIMEOUT_CLOCKS)
        self._incoming: list[tuple[int, int]] = []  # clock in which it has an effect, byte
        self._incoming_used = 0
        self._command: _Command | None = None
        self._answered = -ARRIVAL_CLOCKS  # clock of the last word of the last response
        self._commands_bad = self._commands_dropped = 0  # in the tick that runs

        # In force in the tick that runs.
        self._heartbeat_ticks = self.registers.value("heartbeat_ticks")
        self._trim = 0
        self._stream_mask = 0

        self._stimulus_t = np.empty(0, np.int64)
        self._stimulus_channel = np.empty(0, np.uint8)
        self._stimulus_used = 0
        self._stimulus_last = 0  # time of the last arrival
        self._last_stimulus = (self._stimulus_t, self._stimulus_channel, 0)
        self._cell_zero = 0
        self._free = self._fill = self._word_clock = 0

        self._pipeline: EventPipeline | None = None
        self._acquisition = 0
        self._start_utc = 0
        self._cut_tick = 0
        self._cut_slot = 0
        self._sync = (0, 0)
        self._counts = dict.fromkeys(self._counter_names, 0)
        self._announce_since = 0
        self._tags_since = 0
        self._hist_since = 0
        self._hist_number = 0
        self._hist_begin = 0
        self._hist_out: list[_HistogramPeriod] = []
        self._loss_begin: int | None = None
        self._loss_end = 0
        self._loss_quiet = 0
        self._loss_ready = False

    # ---------------------------------------------------------------------------------- the outside

    @property
    def clock(self) -> int:
        """Clocks since reset: the number of the next clock that `run` lets pass."""
        return self._clock

    @property
    def state(self) -> State:
        """State in the current clock."""
        return self._state

    @property
    def cell_zero(self) -> int | None:
        """Clock of cell 0 while the board acquires, otherwise None."""
        return self._cell_zero if self._state is State.RUNNING else None

    @property
    def acquisition(self) -> int | None:
        """Id of the acquisition that is about to begin or runs; None where there is none."""
        if self._state not in (State.ARMED, State.RUNNING):
            return None
        # What the host wrote, which it cannot change meanwhile.
        return self.registers.value("acquisition") & 0xFFFF_FFFF

    def stall(self, clocks: int) -> None:
        """The other end of the link takes nothing in the next so many clocks."""
        self._link.stall(self._clock, self._clock + clocks)

    def write(self, data: bytes) -> None:
        """Append command bytes: one is delivered in each clock from the current one on."""
        first = self._clock + ARRIVAL_CLOCKS
        if self._incoming_used < len(self._incoming):
            first = max(first, self._incoming[-1][0] + 1)
        else:
            self._incoming.clear()
            self._incoming_used = 0
        self._incoming += [(first + i, byte) for i, byte in enumerate(data)]

    def stimulate(self, t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
        """Append arrivals at the inputs; see :meth:`.board.Board.stimulate`."""
        t = np.ascontiguousarray(t, np.int64)
        channel = np.ascontiguousarray(channel, np.uint8)
        if t.ndim != 1 or t.shape != channel.shape:
            raise ValueError(f"t and channel differ: {t.shape} and {channel.shape}")
        if t.size == 0:
            return
        if int(t[0]) < self._stimulus_last or np.any(t[1:] < t[:-1]):
            raise ValueError("t decreases, or is negative")
        if int(channel.max()) >= self.geometry.n_channels:
            raise ValueError(f"channel is not below {self.geometry.n_channels}")
        self._stimulus_last = int(t[-1])
        if self._state is State.RUNNING:
            # What lies in cells that have passed is too late for a front end.
            passed = (self._clock - self._cell_zero) * self.geometry.clock_period_ps
            late = int(np.searchsorted(t, passed, side="left"))
            t, channel = t[late:], channel[late:]
        kept = slice(self._stimulus_used, None)
        self._stimulus_t = np.concatenate((self._stimulus_t[kept], t))
        self._stimulus_channel = np.concatenate((self._stimulus_channel[kept], channel))
        self._stimulus_used = 0

    def run(self, clocks: int) -> bytes:
        """Let clocks pass; the bytes that left the link in them."""
        if clocks < 0:
            raise ValueError(f"clocks is {clocks}; allowed: at least 0")
        end = self._clock + clocks
        self._advance(end)
        self._clock = end
        return self._link.take(end)

    def run_ticks(self, ticks: int) -> bytes:
        """Run to the boundary that ends the ``ticks``-th tick from now on."""
        tick = self.geometry.tick_clocks
        return self.run((self._clock // tick + ticks) * tick - self._clock)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of frames decided upon that have not left yet."""
        return self._link.waiting

    def close(self) -> None:
        """Nothing to give back."""

    # ----------------------------------------------------------------------------- clocks and ticks

    def _advance(self, end: int) -> None:
        """Everything that happens in clocks before ``end``, in its order."""
        while True:
            boundary = self._next_boundary
            decide = self._ended.boundary + self._decide if self._ended is not None else _FAR
            arrival = (
                self._incoming[self._incoming_used][0]
                if self._incoming_used < len(self._incoming)
                else _FAR
            )
            expires = self._receiver.expires
            timeout = _FAR if expires is None else expires
            command = self._command
            completion = (
                command.completes if command is not None and not command.completed else _FAR
            )
            first = min(boundary, decide, arrival, timeout, completion)
            if first >= end:
                return
            if first == boundary:
                quiet = min(end, arrival, timeout, completion)
                self._pass_ticks(quiet)
            elif first == decide:
                ended, self._ended = self._ended, None
                assert ended is not None
                self._end_tick(ended, None)
            elif first == completion:
                self._complete()
            elif first != arrival:
                self._receiver.drop()
                self._commands_bad += 1
            else:
                clock, byte = self._incoming[self._incoming_used]
                self._incoming_used += 1
                received = self._receiver.feed(byte, clock)
                if received is not None:
                    self._receive(received)

    def _pass_ticks(self, quiet: int) -> None:
        """The next boundary; and, if nothing comes between, all up to one that needs frames.

        Nothing but boundaries and frames happens in clocks before ``quiet``.
        """
        length = self.geometry.tick_clocks
        # Ticks whose frames are decided upon before anything else happens.
        ticks = (quiet - 1 - self._decide - self._next_boundary) // length + 1
        changing = self._state is State.ARMED or self._stopping
        changing |= bool(self._commands_bad or self._commands_dropped)
        if ticks < 2 or changing or self._state is State.DRAINING or self._needs_every_tick():
            self._ended = self._boundary()
            return
        result = None
        if self._state is State.IDLE:
            skipped = min(ticks, max(1, self._heartbeat_ticks - self._beat)) - 1
        else:
            span = min(ticks, self._ticks_to_attention())
            flush = self._flush_tags_after(span)
            result = self._run_stages(span, True, True, flush, self._trim, self._stream_mask)
            skipped = result[0] - 1
            self._announce_since += skipped
            self._tags_since += skipped
            self._hist_since += skipped
            self._cut_tick += skipped
            if self._loss_begin is not None:
                self._loss_quiet += skipped
        self._beat += skipped
        self._next_boundary += skipped * length
        ended = self._boundary()
        self._end_tick(ended, None if result is None else result[1])

    def _needs_every_tick(self) -> bool:
        """Whether frames may go out at the end of every tick."""
        waits = self._command is not None
        return bool(self._hist_out) or self._loss_ready or waits

    def _ticks_to_attention(self) -> int:
        """From the running tick on: how many ticks until one surely ends with a frame or a cut."""
        flush = self.registers.value("flush_ticks")
        ticks = min(
            self._heartbeat_ticks - self._beat,
            flush - self._announce_since,
            flush - self._tags_since,
        )
        hist = self.registers.value("hist_ticks")
        if hist:
            ticks = min(ticks, hist - self._hist_since)
        if self._loss_begin is not None:
            ticks = min(ticks, self.registers.value("loss_quiet_ticks") - self._loss_quiet)
        return max(1, ticks)

    def _flush_tags_after(self, span: int) -> bool:
        """Whether the tags surely flush at the end of the ``span``-th tick from now on."""
        return (
            self._beat + span >= self._heartbeat_ticks
            or self._tags_since + span >= self.registers.value("flush_ticks")
        )

    def _boundary(self) -> _Ended:
        """Step from one tick to the next."""
        boundary, state = self._next_boundary, self._state
        self._next_boundary += self.geometry.tick_clocks
        due = state is State.DRAINING or self._beat + 1 >= self._heartbeat_ticks
        self._beat = 0 if due else self._beat + 1
        command = self._command
        answer = command is not None and command.completes < boundary
        trim, mask = self._trim, self._stream_mask
        if state is State.ARMED:
            if self._stopping:
                self._state, self._stopping = State.IDLE, False
            elif boundary >= self._arrived + START_CLOCKS and not self._hist_out:
                self._state = State.RUNNING
                self._beat = 0
        elif state is State.RUNNING and self._stopping:
            self._state, self._stopping = State.DRAINING, False
        elif state is State.DRAINING:
            self._state = State.IDLE
        self._heartbeat_ticks = self.registers.value("heartbeat_ticks")
        self._trim = self.registers.value("trim")
        self._stream_mask = self.registers.value("stream_mask")
        ended = _Ended(
            boundary,
            state,
            self._state,
            due,
            answer,
            trim,
            mask,
            self._commands_bad,
            self._commands_dropped,
        )
        self._commands_bad = self._commands_dropped = 0
        if state is State.ARMED and self._state is State.RUNNING:
            self._cell_zero = boundary
            value = self.registers.value
            self._start_utc = value("start_utc_hi") << 32 | value("start_utc_lo")
        if state is State.RUNNING and self._state is State.DRAINING:
            # What is given from now on is for the next acquisition.
            self._last_stimulus = (
                self._stimulus_t,
                self._stimulus_channel,
                self._stimulus_used,
            )
            self._stimulus_t = np.empty(0, np.int64)
            self._stimulus_channel = np.empty(0, np.uint8)
            self._stimulus_used = 0
            self._stimulus_last = 0
        return ended

    def _begin(self) -> None:
        """Clear what an acquisition starts with; registers stay as they are from here on."""
        value = self.registers.value
        self._pipeline = EventPipeline(self.geometry, self.registers)
        self._acquisition = value("acquisition") & 0xFFFF_FFFF
        self._cut_tick = self._cut_slot = 0
        self._sync = (0, 0)
        self._counts = dict.fromkeys(self._counter_names, 0)
        self._announce_since = self._tags_since = 0
        self._hist_since = self._hist_number = self._hist_begin = 0
        self._loss_begin = None
        self._loss_quiet = 0
        self._loss_ready = False

    # ------------------------------------------------------------------------------------ stages

    def _run_stages(
        self,
        ticks: int,
        accept: bool,
        accept_after: bool,
        flush_tags: bool,
        trim: int,
        stream_mask: int,
    ) -> tuple[int, int]:
        """Let the stages work; returns ticks done and why they stopped."""
        pipeline = self._pipeline
        assert pipeline is not None
        last = accept and not accept_after
        t, channel, used = (
            self._last_stimulus
            if last
            else (self._stimulus_t, self._stimulus_channel, self._stimulus_used)
        )
        done, reason, used = pipeline.run(
            t,
            channel,
            used,
            ticks,
            trim=trim,
            stream_mask=stream_mask,
            accept=accept,
            accept_after=accept_after,
            flush_tags=flush_tags,
        )
        if accept and not last:
            self._stimulus_used = used
        return done, reason

    # ------------------------------------------------------------------------------------ frames

    def _end_tick(self, ended: _Ended, reason: int | None) -> None:
        """Decide upon the frames of a tick; ``reason`` if the stages have worked it off already."""
        decided = ended.boundary + self._decide
        self._free = self.geometry.link_words - self._link.fill(decided)
        self._fill = self.geometry.link_words - self._free
        self._word_clock = decided + self._first_select
        if ended.active:
            self._end_active_tick(ended, reason)
        else:
            self._word_clock += SELECT_CLOCKS * (1 + self.geometry.n_channels)
            self._send_histogram(0, False)
            self._send_loss(0)
        acquisition = self._acquisition if ended.active else 0
        self._send_response(ended, acquisition)
        self._send_heartbeat(ended, acquisition)
        if ended.state is State.ARMED and ended.state_after is State.RUNNING:
            self._begin()

    def _end_active_tick(self, ended: _Ended, reason: int | None) -> None:
        pipeline = self._pipeline
        assert pipeline is not None
        flush_ticks = self.registers.value("flush_ticks")
        always = ended.due or ended.final
        if reason is None:
            _, reason = self._run_stages(
                1,
                ended.state is State.RUNNING,
                ended.state_after is State.RUNNING,
                always or self._tags_since + 1 >= flush_ticks,
                ended.trim,
                ended.stream_mask,
            )
        acquisition = self._acquisition
        self._cut_tick += 1
        self._announce_since += 1
        self._tags_since += 1
        self._hist_since += 1
        self._cut_slot = pipeline.open_slot
        self._sync = pipeline.sync
        self._counts.update(pipeline.counters())
        self._counts["commands_bad"] += ended.commands_bad
        self._counts["commands_dropped"] += ended.commands_dropped
        lossy = bool(reason & stages.REASON_LOSS)

        by_time = self._announce_since >= flush_ticks
        if always or by_time or reason & stages.REASON_ANNOUNCE_HALF:
            lossy |= self._flush_announcements(pipeline, acquisition)
            self._announce_since = 0
        else:
            self._word_clock += SELECT_CLOCKS
        by_time = self._tags_since >= flush_ticks
        if always or by_time or reason & stages.REASON_TAGS_HALF:
            lossy |= self._flush_tags(pipeline, acquisition)
            self._tags_since = 0
        else:
            self._word_clock += SELECT_CLOCKS * self.geometry.n_channels

        self._send_histogram(acquisition, True)
        hist_ticks = self.registers.value("hist_ticks")
        if hist_ticks and (self._hist_since >= hist_ticks or ended.final):
            bins = pipeline.histogram.copy()
            pipeline.histogram[:] = 0
            self._hist_out.append(
                _HistogramPeriod(self._hist_number, self._hist_begin, self._cut_tick, bins)
            )
            self._hist_number += 1
            self._hist_begin = self._cut_tick
            self._hist_since = 0

        if lossy:
            if self._loss_begin is None:
                self._loss_begin = self._cut_tick - 1
            self._loss_end = self._cut_tick
            self._loss_quiet = 0
            self._loss_ready = False
        elif self._loss_begin is not None:
            self._loss_quiet += 1
        if self._loss_begin is not None:
            enough = self._loss_quiet >= self.registers.value("loss_quiet_ticks")
            self._loss_ready |= enough or ended.final
        self._send_loss(acquisition)

    def _admit(self, words: int, reserve: int) -> bool:
        """Take the words of a frame with a payload of so many from what is free."""
        words += OVERHEAD_WORDS
        if self._free < words + reserve:
            return False
        self._free -= words
        return True

    def _send(self, kind: FrameType, acquisition: int, payload: bytes | Sequence[int]) -> None:
        frame = encode_frame(kind, self._sequence, acquisition, payload)
        self._sequence += 1
        self._link.push(frame, self._word_clock + FRAME_START_CLOCKS + WORD_CLOCKS)
        self._word_clock += FRAME_START_CLOCKS + len(frame) // 4

    def _flush_announcements(self, pipeline: EventPipeline, acquisition: int) -> bool:
        """Send or shed the announcements; whether any was shed."""
        slots, outcomes = pipeline.take_records()
        if slots.size == 0:
            self._word_clock += SELECT_CLOCKS
            return False
        minus = int(np.count_nonzero(outcomes == 1))
        plus = slots.size - minus
        if self._admit(4 + slots.size, RESERVE_CONTROL_WORDS):
            verb = "announced"
            payload = payloads.announcements(self._cut_tick, slots, outcomes)
            self._send(FrameType.ANNOUNCEMENTS, acquisition, payload)
        else:
            verb = "shed"
            self._word_clock += SELECT_CLOCKS
        self._counts[f"{verb}_psi_minus"] += minus
        self._counts[f"{verb}_psi_plus"] += plus
        return verb == "shed"

    def _flush_tags(self, pipeline: EventPipeline, acquisition: int) -> bool:
        """Send or shed the raw tags; whether any were shed."""
        shed = False
        for channel, times in enumerate(pipeline.take_tags()):
            if times.size and self._admit(2 + 2 * times.size, self.geometry.link_words // 2):
                cut = self._cut_tick * self.geometry.tick_ps
                self._send(FrameType.TAGS, acquisition, payloads.tags(cut, channel, times))
                continue
            self._word_clock += SELECT_CLOCKS
            self._counts[f"tags_shed_{channel}"] += times.size
            shed |= times.size > 0
        return shed

    def _send_histogram(self, acquisition: int, active: bool) -> None:
        """One chunk, if one is to go out."""
        if not self._hist_out:
            self._word_clock += SELECT_CLOCKS
            return
        period = self._hist_out[0]
        chunk = self.geometry.hist_chunk
        channel, part = divmod(period.next_chunk, self._chunks_per_channel)
        first = part * chunk
        if self._admit(6 + chunk, self.geometry.link_words // 2):
            payload = payloads.histogram_chunk(
                period.number,
                channel,
                first,
                period.start_tick,
                period.end_tick,
                period.bins[channel, first : first + chunk],
            )
            self._send(FrameType.HISTOGRAM, acquisition, payload)
        else:
            self._word_clock += SELECT_CLOCKS
            if active:
                self._counts["frames_skipped"] += 1
        period.next_chunk += 1
        if period.next_chunk == self.geometry.n_channels * self._chunks_per_channel:
            self._hist_out.pop(0)

    def _send_loss(self, acquisition: int) -> None:
        """What was lost, if an episode has ended."""
        if not self._loss_ready or not self._admit(sum(f.words for f in self._loss_layout), 0):
            self._word_clock += SELECT_CLOCKS
            return
        assert self._loss_begin is not None
        values = {name: self._counts[name] for name in self._loss_names}
        values |= {"begin_tick": self._loss_begin, "end_tick": self._loss_end}
        self._send(FrameType.LOSS, acquisition, payloads.fields(self._loss_layout, values))
        self._loss_begin = None
        self._loss_quiet = 0
        self._loss_ready = False

    def _send_response(self, ended: _Ended, acquisition: int) -> None:
        """The answer to a command that had completed at the boundary."""
        command = self._command
        if (
            not ended.answer
            or command is None
            or not self._admit(3 + len(command.answer.values), 0)
        ):
            self._word_clock += SELECT_CLOCKS
            return
        head = [
            command.payload[0] if command.payload else 0,
            int(command.answer.status) | command.frame_type << 8,
            command.payload[1] if len(command.payload) > 1 else 0,
        ]
        self._send(FrameType.RESPONSE, acquisition, [*head, *command.answer.values])
        self._answered = self._word_clock - 1 + WORD_CLOCKS
        self._command = None

    def _send_heartbeat(self, ended: _Ended, acquisition: int) -> None:
        """Where the board stands, if that is due."""
        if not ended.due:
            return
        if not self._admit(sum(f.words for f in self._heartbeat_layout), 0):
            if ended.active:
                self._counts["frames_skipped"] += 1
            return
        values = dict(self._counts)
        values |= {
            "module_id": pack_id(MODULE_ID),
            "gateware_version": self._version_word,
            "config_hash": self.geometry.config_hash,
            "state": int(ended.state) | ended.final << 8,
            "uptime_ticks": ended.boundary // self.geometry.tick_clocks,
            "cut_tick": self._cut_tick,
            "cut_ps": self._cut_tick * self.geometry.tick_ps,
            "cut_slot": self._cut_slot,
            "start_utc_ns": self._start_utc,
            "temperature_mdegc": self.temperature_mdegc,
            "link_fill": self._fill,
            "sync_slot": self._sync[0],
            "sync_pos": self._sync[1],
            "trim": ended.trim,
        }
        self._send(
            FrameType.HEARTBEAT, acquisition, payloads.fields(self._heartbeat_layout, values)
        )

    # ------------------------------------------------------------------------------------- commands

    def _receive(self, received: Received) -> None:
        """A frame has come in."""
        if received.payload is None:
            self._commands_bad += 1
            return
        if self._command is not None or received.clock <= self._answered + ARRIVAL_CLOCKS:
            self._commands_dropped += 1
            return
        self.registers.set_status("state", int(self._state))
        self.registers.set_status("temperature", self.temperature_mdegc)
        answer = self.registers.judge(
            received.frame_type, received.payload, self._state is State.IDLE
        )
        self._arrived = received.clock
        self._command = _Command(received.clock, received.frame_type, received.payload, answer)

    def _complete(self) -> None:
        """Carry out the command that is unanswered."""
        command = self._command
        assert command is not None
        command.completed = True
        self.registers.carry_out(command.answer)
        control = command.answer.control
        if Control.START in control and self._state is State.IDLE:
            self._state = State.ARMED
            self._stopping = False
        if Control.STOP in control and self._state in (State.ARMED, State.RUNNING):
            self._stopping = True
