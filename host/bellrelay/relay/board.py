"""One board on one link: brought up, watched, and held to its own counters.

Two threads meet here. The pipeline decodes what the link's reader brings, and never waits for
anything; commands, which wait for answers, are sent by whoever calls :meth:`BoardSession.bring_up`
and :meth:`BoardSession.stop`.
"""

from __future__ import annotations

import contextlib
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.access import (
    AccessError,
    BoardVersionMismatch,
    CommandRefused,
    ForeignBoard,
    Identity,
    NoAnswer,
    RegisterClient,
    identify,
)
from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import (
    COMMAND_MAX_WORDS,
    TAG_CHANNEL_SHIFT,
    FrameType,
    heartbeat_fields,
    loss_fields,
)
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import (
    Announcements,
    Heartbeat,
    Histogram,
    Loss,
    PayloadError,
    Response,
)
from bellrelay.wire.registers import Access, State

from .accounting import AcquisitionAccount, BrokenRules, LinkLoss
from .announcement_log import Tally
from .config import RelayConfig
from .histogram_periods import HistogramPeriods
from .link import LinkEvent, SerialLink
from .register_values import register_values

__all__ = ["BoardSession", "NotAcquiring", "Phase", "Sink", "Trouble"]

_HEARTBEAT_EVENT_S = 1.0
"""Between heartbeats in the log: endpoints tell by them when a block was sent, and a lost relay."""
_BUSY_BYTES = 4096
_BURST_S = 0.005
_PENDING_S = 0.5
"""A frame that pauses this long in the middle is given up."""


class Phase(Enum):
    """What a session does."""

    CONNECTING = "connecting"
    RUNNING = "running"
    LOST = "lost"
    QUARANTINED = "quarantined"
    STOPPED = "stopped"


class Trouble(Enum):
    """Why somebody has to act."""

    OPENED = "the port is back"
    RESET = "board reset"
    ENDED = "the board ended the acquisition by itself"
    QUARANTINED = "quarantined"


class NotAcquiring(AccessError):
    """A register cannot be written now; nothing was sent."""


class Sink(Protocol):
    """Where a session's results go. Called by the pipeline: must not wait."""

    def announced(
        self, acquisition: int, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]
    ) -> None:
        """Announcements, slots increasing within the acquisition."""
        ...

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        """What belongs into the log beside them."""
        ...

    def raw_tags(self, payload: bytes) -> None:
        """Payload of a TAGS frame whose length and channel are right."""
        ...


def longest_payload(geometry: BoardGeometry) -> int:
    """Words of the longest payload that a board of this geometry sends."""
    g = geometry
    announcements = 4 + g.announce_depth + (g.n_ports - 1) * g.announce_depth_short
    fields = max(
        sum(f.words for f in heartbeat_fields(g)),
        sum(f.words for f in loss_fields(g)),
    )
    return max(
        announcements, 2 + 2 * g.capture_depth, 6 + g.hist_chunk, 3 + COMMAND_MAX_WORDS, fields
    )


class BoardSession:
    """One board, from its port to its announcements.

    Parameters
    ----------
    config
        Of the relay.
    link
        Open.
    sink
        Gets announcements, events and tags.
    next_acquisition
        Gives an id above all before it.

    Attributes
    ----------
    phase : Phase
    identity : Identity or None
    account : AcquisitionAccount or None
        Of the acquisition that runs.
    failure : BaseException or None
        Of the pipeline, a fault of the program.
    beside_heartbeats : Mapping
        What a companion adds to the log's events of heartbeats; any thread may put another there.
    """

    def __init__(
        self,
        config: RelayConfig,
        link: SerialLink,
        sink: Sink,
        next_acquisition: Callable[[], int],
    ) -> None:
        self._config = config
        self._link = link
        self._sink = sink
        self._next_acquisition = next_acquisition
        self.decoder = FrameDecoder()
        self.phase = Phase.CONNECTING
        self.identity: Identity | None = None
        self.account: AcquisitionAccount | None = None
        self.failure: BaseException | None = None
        self.reason = ""
        self.heartbeat: Heartbeat | None = None
        self.heartbeat_at = 0.0
        self.beside_heartbeats: Mapping[str, Any] = {}
        self.histogram: NDArray[np.uint64] | None = None
        self.periods: HistogramPeriods | None = None
        self.gaps = 0
        self.start_utc_ns = 0
        self.discarded_frames = 0
        self.link_lost = {"frames": 0, "psi_minus": 0, "psi_plus": 0, "tags": 0}
        self.alive_at = time.monotonic()
        self._responses: queue.SimpleQueue[Response] = queue.SimpleQueue()
        self._troubles: queue.SimpleQueue[Trouble] = queue.SimpleQueue()
        # One command is under way at a time, whoever sends it.
        self._commands = threading.RLock()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._gap_reason = "damage"
        self._gap_begin_ns = 0
        self._stop_sent = False
        self._final = False
        self._resumable = True
        self._last_event = 0.0
        self._closing = threading.Event()
        self._pipeline = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self._pipeline.start()

    # ------------------------------------------------------------------------ commands

    def write_live(self, acquisition: int, name: str, *values: int) -> None:
        """Write a LIVE register of a board that acquires, or `fine_command`; from any thread.

        Raises
        ------
        NotAcquiring
            The board does not run this acquisition, or is being brought up.
        RegisterValueError, AccessError, OSError
            As :meth:`~bellrelay.wire.access.RegisterClient.write`.
        """
        with self._client(acquisition) as client:
            # The lines' calibration is the one command that leaves the acquisition running.
            if client.map[name].access is not Access.LIVE and name != "fine_command":
                raise NotAcquiring(f"{name} cannot be written while the board acquires")
            client.write(name, *values)

    def read(self, acquisition: int, name: str) -> tuple[int, ...]:
        """A register of a board that acquires, all its words; from any thread.

        Raises
        ------
        NotAcquiring, AccessError, OSError
            As :meth:`write_live`.
        """
        with self._client(acquisition) as client:
            return tuple(client.read(name))

    @contextlib.contextmanager
    def _client(self, acquisition: int) -> Iterator[RegisterClient]:
        if not self._commands.acquire(blocking=False):
            raise NotAcquiring("another command is under way")
        try:
            identity, account = self.identity, self.account
            if self.phase is not Phase.RUNNING or identity is None or account is None:
                raise NotAcquiring(f"the board is {self.phase.value}")
            if account.acquisition != acquisition:
                raise NotAcquiring(f"acquisition {acquisition} is over")
            yield RegisterClient(self, identity.geometry, timeout_s=0.5)
        finally:
            self._commands.release()

    def publish(self, values: Mapping[str, Any]) -> None:
        """Put an event into the log, of the acquisition that runs; from any thread.

        Nothing if none runs: an event belongs to an acquisition.
        """
        with self._lock:
            if self.account is not None:
                self._sink.event(self.account.acquisition, values)

    def write(self, data: bytes) -> None:
        """Send bytes to the board; for the register client."""
        self._link.write(data)

    def response(self, timeout_s: float) -> Response | None:
        """The next answer of the board; for the register client."""
        try:
            return self._responses.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def next_trouble(self, timeout_s: float) -> Trouble | None:
        """What has happened that :meth:`bring_up` would mend, if anything within the time."""
        try:
            return self._troubles.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def bring_up(self, tally: Tally | None = None) -> None:
        """Identify the board, then resume the acquisition, or configure and start a new one.

        Parameters
        ----------
        tally
            What the log holds of the last acquisition, where the daemon has just been started.

        Raises
        ------
        NoAnswer, ForeignBoard, BoardVersionMismatch, AccessError
            What answers is none that can be used.
        ConfigError
            The board cannot do what the configuration asks for.
        OSError
            The link is gone.
        """
        with self._commands:
            self._bring_up(tally)

    def reconfigure(self, config: RelayConfig) -> None:
        """End the acquisition, and begin another with this configuration; from any thread.

        Raises
        ------
        ConfigError
            The board cannot do what it asks for; the acquisition goes on.
        AccessError, OSError
            The board does not take it; it is brought up with the configuration before once it can.
        """
        with self._commands:
            identity = self.identity
            if identity is None or self.phase is not Phase.RUNNING:
                raise NotAcquiring(f"the board is {self.phase.value}")
            register_values(config, identity.geometry)
            self.stop()
            if self.phase is Phase.QUARANTINED:
                raise NotAcquiring(f"the board is quarantined: {self.reason}")
            before, self._config = self._config, config
            try:
                self._bring_up(None)
            except BaseException:
                self._config = before
                self._fail(Phase.LOST, Trouble.ENDED)
                raise

    def _bring_up(self, tally: Tally | None) -> None:
        identity = self._identify()
        geometry = identity.geometry
        values = register_values(self._config, geometry)
        client = RegisterClient(self, geometry)
        state = State(client.read("state")[0])
        board_acquisition = client.read("acquisition")[0]
        with self._lock:
            account = self.account
            if (
                account is not None
                and self._resumable
                and state is State.RUNNING
                and account.acquisition == board_acquisition
            ):
                # The line was away, not the board: its counters will say what was lost.
                self.phase = Phase.RUNNING
                self.reason = ""
                return
        if state is not State.IDLE:
            client.stop()
            self._wait(lambda h: h.state is State.IDLE, 5.0)
        if account is not None:
            self._end_unknown("board reset")
        elif tally is not None and not tally.ended:
            self._settle_predecessor(tally, board_acquisition)
        client.configure(values)
        self._start(client, geometry)

    def _identify(self) -> Identity:
        foreign = self.decoder.counts.foreign_versions
        frames = self.decoder.counts.frames
        while self.response(0) is not None:
            pass
        try:
            identity = identify(self, timeout_s=0.5, attempts=4)
        except NoAnswer as error:
            counts = self.decoder.counts
            if counts.foreign_versions > foreign:
                raise BoardVersionMismatch(
                    f"{self._link.path}: the board sends frames of another protocol version"
                ) from error
            if counts.frames > frames:
                raise NoAnswer(
                    f"{self._link.path}: a board sends, but does not answer commands"
                ) from error
            if self._link.connected:
                what = "bytes, but no frames" if counts.junk_bytes else "nothing"
                raise ForeignBoard(
                    f"{self._link.path}: no relay answers; the port brings {what}"
                ) from error
            raise
        except (ForeignBoard, BoardVersionMismatch) as error:
            raise type(error)(f"{self._link.path}: {error}") from error
        with self._lock:
            changed = self.identity is not None and self.identity.geometry != identity.geometry
            if self.identity is None or changed:
                self.identity = identity
                # A damaged length then costs one frame's time, not that of 64 Ki words.
                self.decoder.max_payload_words = longest_payload(identity.geometry)
            if changed and self.account is not None:
                self._end_unknown("another board")
        return identity

    def _start(self, client: RegisterClient, geometry: BoardGeometry) -> None:
        acquisition = self._next_acquisition()
        now = time.time_ns()
        client.write("acquisition", acquisition)
        client.write("start_utc_lo", now & 0xFFFF_FFFF)
        client.write("start_utc_hi", now >> 32)
        with self._lock:
            self._final = self._stop_sent = False
            self._resumable = True
            self.heartbeat = None
            self.start_utc_ns = now
            self.account = AcquisitionAccount(
                geometry, acquisition, tags_from_start=self._config.raw_tags.stream
            )
            self.histogram = np.zeros((geometry.n_channels, geometry.hist_bins), np.uint64)
            self.periods = HistogramPeriods(geometry.n_channels, geometry.hist_bins)
            self._sink.event(
                acquisition,
                {
                    "kind": "start",
                    "start_utc_ns": now,
                    "relay_id": self._config.relay_id,
                    "encoding": self._config.encoding,
                    "slot_period_ps": str(self._config.slot_period_ps),
                    "board": geometry.board,
                    "gateware": self.identity.version_text if self.identity else "",
                },
            )
            self.phase = Phase.RUNNING
            self.reason = ""
            self.heartbeat_at = time.monotonic()
        try:
            client.start()
        except CommandRefused:
            # The answer to the first attempt was lost, and the second found the board running.
            if State(client.read("state")[0]) is State.IDLE:
                raise

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the acquisition cleanly, as far as the link lets us; logs the stop."""
        account = self.account
        identity = self.identity
        if account is None or identity is None:
            return
        with self._commands, contextlib.suppress(AccessError, OSError):
            # Before it is sent: frames of a board that is idle may overtake the command's answer.
            self._stop_sent = True
            RegisterClient(self, identity.geometry, timeout_s=0.3).stop()
            with self._lock:
                self._changed.wait_for(lambda: self._final, timeout_s)
        with self._lock:
            if self.account is not None:
                self._end(account, final=self._final)
            if self.phase is not Phase.QUARANTINED:
                self.phase = Phase.STOPPED

    def stop_board(self) -> None:
        """Tell a board that is in quarantine to stop, as far as it listens."""
        if self.identity is not None:
            with self._commands, contextlib.suppress(AccessError, OSError):
                RegisterClient(self, self.identity.geometry, timeout_s=0.3).stop()

    def check_silence(self) -> None:
        """Open the port anew if the board should have sent a heartbeat long ago."""
        limit = max(self._config.silence_s, 10 * self._config.heartbeat_ms / 1000)
        with self._lock:
            if self.phase is not Phase.RUNNING or time.monotonic() - self.heartbeat_at < limit:
                return
            self._gap_reason = "board silent"
        self._link.reopen()

    def close(self) -> None:
        """End the pipeline; the link is the caller's."""
        self._closing.set()
        self._pipeline.join(timeout=5)

    def _wait(self, condition: Callable[[Heartbeat], bool], timeout_s: float) -> Heartbeat | None:
        """A heartbeat that comes from now on and meets the condition."""
        with self._lock:
            self.heartbeat = None
            self._changed.wait_for(
                lambda: self.heartbeat is not None and condition(self.heartbeat), timeout_s
            )
            return self.heartbeat

    def _settle_predecessor(self, tally: Tally, board_acquisition: int) -> None:
        """Say what the daemon before us missed of an acquisition that it never ended.

        A board that is idle goes on telling the totals of the acquisition before.
        """
        values: dict[str, Any] = {"psi_minus": None, "psi_plus": None}
        beat = self._wait(lambda h: h.state is State.IDLE, 2.0)
        if board_acquisition == tally.acquisition and beat is not None:
            minus = beat.counters["announced_psi_minus"] - tally.psi_minus
            plus = beat.counters["announced_psi_plus"] - tally.psi_plus
            if minus >= 0 and plus >= 0:
                values = {"psi_minus": minus, "psi_plus": plus}
        self.gaps += 1
        now = time.time_ns()
        self._sink.event(
            tally.acquisition,
            {
                "kind": "gap",
                "reason": "daemon restarted",
                "end_utc_ns": now,
                "frames": None,
                **values,
            },
        )
        self._sink.event(tally.acquisition, {"kind": "stop", "final": False, "utc_ns": now})

    # ------------------------------------------------------------------------ pipeline

    def _run(self) -> None:
        try:
            last = time.monotonic()
            while not self._closing.is_set():
                data, event = self._link.read(0.1)
                if len(data) >= _BUSY_BYTES and event is None:
                    # A busy line: work in bursts, and leave the interpreter to the reader between.
                    self._closing.wait(_BURST_S)
                now = self.alive_at = time.monotonic()
                frames: list[Frame] = []
                if data:
                    last = now
                    frames = self.decoder.feed(data)
                elif self.decoder.pending and now - last > _PENDING_S:
                    frames = self.decoder.flush()
                for frame in frames:
                    self._handle(frame)
                if event is LinkEvent.LOST:
                    for frame in self.decoder.flush():
                        self._handle(frame)
                    self._lost()
                elif event is LinkEvent.OPENED:
                    self._troubles.put(Trouble.OPENED)
        except BaseException as error:
            self.failure = error
            raise

    def _lost(self) -> None:
        with self._lock:
            if self.phase is Phase.RUNNING:
                self.phase = Phase.LOST
                self.reason = "the port is gone"
                if self._gap_reason == "damage":
                    self._gap_reason = "port lost"
                self._gap_begin_ns = time.time_ns()

    def _handle(self, frame: Frame) -> None:
        with self._lock:
            try:
                self._dispatch(frame)
            except (PayloadError, BrokenRules) as error:
                self.discarded_frames += 1
                if self.phase is Phase.RUNNING and self.account is not None:
                    self._quarantine(str(error))
                else:
                    # While the port was away, another board may have come: no rules broken yet,
                    # but nothing to go on with either.
                    self._resumable = False

    def _dispatch(self, frame: Frame) -> None:
        account = self.account
        kind = frame.type
        if frame.restarted:
            self._board_reset()
            account = None
        elif account is not None and frame.missing:
            account.missing_frames(frame.missing)
        if kind == FrameType.RESPONSE:
            self._responses.put(Response.parse(frame.payload))
        elif self.identity is None:
            self.discarded_frames += 1
        elif kind == FrameType.HEARTBEAT:
            self._beat(frame, Heartbeat.parse(frame.payload, self.identity.geometry))
        elif account is None or frame.acquisition != account.acquisition:
            # Of an acquisition before ours: a board that is being taken over, or in quarantine.
            self.discarded_frames += 1
            if account is not None and account.heartbeat is not None and not self._stop_sent:
                raise BrokenRules(
                    f"a frame of acquisition {frame.acquisition} within {account.acquisition}"
                )
        elif kind == FrameType.ANNOUNCEMENTS:
            block = Announcements.parse(frame.payload)
            account.announcements(block)
            if len(block.slot):
                self._sink.announced(account.acquisition, block.slot, block.outcome)
        elif kind == FrameType.TAGS:
            self._tags(account, frame.payload)
        elif kind == FrameType.HISTOGRAM:
            self._bins(Histogram.parse(frame.payload))
        elif kind == FrameType.LOSS:
            loss = Loss.parse(frame.payload, self.identity.geometry)
            totals = {name: n for name, n in loss.totals.items() if n}
            self._sink.event(
                account.acquisition,
                {
                    "kind": "loss",
                    "begin_tick": loss.begin_tick,
                    "end_tick": loss.end_tick,
                    "totals": totals,
                },
            )

    def _tags(self, account: AcquisitionAccount, payload: bytes) -> None:
        # No arrays here: millions of tags a second pass, and only their number matters.
        if len(payload) < 16 or len(payload) % 8:
            raise PayloadError("tags: not whole records")
        channel = struct.unpack_from("<Q", payload, 8)[0] >> TAG_CHANNEL_SHIFT
        account.raw_tags(channel, len(payload) // 8 - 1)
        self._sink.raw_tags(payload)

    def _bins(self, chunk: Histogram) -> None:
        assert self.histogram is not None
        channels, bins = self.histogram.shape
        end = chunk.first_bin + len(chunk.counts)
        if chunk.channel >= channels or end > bins:
            raise PayloadError(f"histogram: channel {chunk.channel}, bin {end - 1}")
        self.histogram[chunk.channel, chunk.first_bin : end] += chunk.counts
        assert self.periods is not None
        self.periods.take(chunk)

    def _beat(self, frame: Frame, beat: Heartbeat) -> None:
        before = self.heartbeat
        account = self.account
        if (
            before is not None
            and beat.fields["uptime_ticks"] < before.fields["uptime_ticks"]
            and account is not None
        ):
            self._board_reset()
            account = None
        self.heartbeat = beat
        self.heartbeat_at = time.monotonic()
        if account is not None:
            # Between the start that we have announced and the board's own, its heartbeats still
            # tell of the acquisition before.
            told = frame.acquisition == account.acquisition
            if told:
                self._settle(account, beat)
                self._final = self._final or beat.final
            elif beat.state is State.IDLE and self._stop_sent:
                # The final heartbeat was lost; an idle board still tells the totals.
                self._settle(account, beat)
                self._final = told = True
            elif beat.state is State.IDLE and account.heartbeat is not None and not self._final:
                self._settle(account, beat)
                self._end(account, final=True)
                self._fail(Phase.LOST, Trouble.ENDED)
            if told and self.heartbeat_at - self._last_event > _HEARTBEAT_EVENT_S:
                self._last_event = self.heartbeat_at
                self._sink.event(
                    account.acquisition,
                    {
                        "kind": "heartbeat",
                        "utc_ns": time.time_ns(),
                        "cut_tick": beat.fields["cut_tick"],
                        "cut_slot": beat.fields["cut_slot"],
                        "counters": {k: v for k, v in beat.counters.items() if v},
                        **self.beside_heartbeats,
                    },
                )
        self._changed.notify_all()

    def _settle(self, account: AcquisitionAccount, beat: Heartbeat) -> None:
        loss = account.settle(beat)
        reason, begin = self._gap_reason, self._gap_begin_ns
        self._gap_reason, self._gap_begin_ns = "damage", 0
        if loss is not None or reason != "damage":
            self._gap(account.acquisition, loss, reason, begin)

    def _gap(self, acquisition: int, loss: LinkLoss | None, reason: str, begin_ns: int) -> None:
        self.gaps += 1
        values: dict[str, Any] = {"frames": 0, "psi_minus": 0, "psi_plus": 0, "tags": 0}
        if loss is not None:
            values = asdict(loss)
            for name in self.link_lost:
                self.link_lost[name] += values[name]
        now = time.time_ns()
        self._sink.event(
            acquisition,
            {
                "kind": "gap",
                "reason": reason,
                "begin_utc_ns": begin_ns or now,
                "end_utc_ns": now,
                **values,
            },
        )

    def _board_reset(self) -> None:
        if self.account is not None:
            self._end_unknown("board reset")
            self._fail(Phase.LOST, Trouble.RESET)

    def _end_unknown(self, reason: str) -> None:
        """The acquisition is over, and nobody can say what came after the last heartbeat."""
        with self._lock:
            account = self.account
            if account is None:
                return
            self.gaps += 1
            now = time.time_ns()
            self._sink.event(
                account.acquisition,
                {
                    "kind": "gap",
                    "reason": reason,
                    "begin_tick": account.settled_tick,
                    "begin_utc_ns": self._gap_begin_ns or now,
                    "end_utc_ns": now,
                    "frames": None,
                    "psi_minus": None,
                    "psi_plus": None,
                },
            )
            self._gap_reason, self._gap_begin_ns = "damage", 0
            self._end(account, final=False)

    def _end(self, account: AcquisitionAccount, *, final: bool) -> None:
        beat = account.heartbeat
        self._sink.event(
            account.acquisition,
            {
                "kind": "stop",
                "final": final,
                "utc_ns": time.time_ns(),
                "received": {"psi_minus": account.psi_minus, "psi_plus": account.psi_plus},
                "link_lost": {
                    "psi_minus": account.lost_psi_minus,
                    "psi_plus": account.lost_psi_plus,
                    "tags": account.lost_tags,
                    "frames": account.lost_frames,
                },
                "counters": {k: v for k, v in beat.counters.items() if v} if beat else {},
            },
        )
        self.account = None

    def _quarantine(self, reason: str) -> None:
        acquisition = self.account.acquisition if self.account is not None else 0
        self._sink.event(acquisition, {"kind": "quarantine", "reason": reason})
        if self.account is not None:
            self._end(self.account, final=False)
        self.reason = reason
        self._fail(Phase.QUARANTINED, Trouble.QUARANTINED)

    def _fail(self, phase: Phase, trouble: Trouble) -> None:
        if self.phase is not Phase.QUARANTINED:
            self.phase = phase
            if phase is Phase.LOST:
                self.reason = trouble.value
            self._troubles.put(trouble)
