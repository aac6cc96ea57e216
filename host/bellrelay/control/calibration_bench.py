"""A relay's board as calibration steps see it: tags, counters, histograms over a time of the board.

Times are the board's own: on a simulated one they have little to do with those on the wall.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.relay.board import BoardSession, NotAcquiring, Phase
from bellrelay.relay.config import RelayConfig
from bellrelay.wire.access import NoAnswer
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Heartbeat, PayloadError, Tags

from .lab import Lab

__all__ = ["Bench", "BenchError", "Counted", "TagRecording", "TagTap"]

_POLL_S = 0.01
_SILENT_S = 20.0
"""So long on the wall a board's time may stand still."""
_TRIES_S = 5.0
_SETTLE_S = 0.05
_SETTLE_LOOKS = 40
_PS = 10**12


class BenchError(Exception):
    """The board does not do its part: it stopped, or its time stands still."""


@dataclass(frozen=True)
class TagRecording:
    """Raw tags between two of the board's flushes, before any deskew.

    Attributes
    ----------
    times : by channel, (n,) int64 ps since the acquisition's start, ascending
    begin_ps, end_ps : of the board's time; every tag in between that the link has brought
    lost : tags of that time that the board lost or shed, all channels
    trims : (time in ps, register ``trim``) of the slot clock, by heartbeats of that time
    """

    times: dict[int, NDArray[np.int64]]
    begin_ps: int
    end_ps: int
    lost: int
    trims: tuple[tuple[int, int], ...] = ()

    @property
    def seconds(self) -> float:
        """Of the board's time."""
        return (self.end_ps - self.begin_ps) / _PS

    def of(self, channel: int) -> NDArray[np.int64]:
        """(n,) int64 ps."""
        return self.times.get(channel, np.empty(0, np.int64))


@dataclass(frozen=True)
class Counted:
    """What the board counted in some time of its own: by counter, and the slots' arrival times.

    histogram : (channels, bins) uint64, of the periods that ended meanwhile.
    """

    counters: dict[str, int]
    histogram: NDArray[np.uint64]
    begin_ps: int
    end_ps: int

    @property
    def seconds(self) -> float:
        """Of the board's time."""
        return (self.end_ps - self.begin_ps) / _PS


class TagTap:
    """Where TAGS payloads pass by: kept while somebody listens. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[bytes] | None = None

    def take(self, payload: bytes) -> None:
        """A payload of a TAGS frame."""
        with self._lock:
            if self._kept is not None:
                self._kept.append(payload)

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[bytes]]:
        """Payloads that come meanwhile."""
        kept: list[bytes] = []
        with self._lock:
            self._kept = kept
        try:
            yield kept
        finally:
            with self._lock:
                self._kept = None


class Bench:
    """What a step works with.

    Parameters
    ----------
    config
        In force.
    session
        Of a board that acquires.
    tap
        Gets its raw tags.
    lab
        Devices.
    tell
        Called with what happens, a line for people.
    cancelled
        Whether somebody wants it to end.
    """

    def __init__(
        self,
        config: RelayConfig,
        session: BoardSession,
        tap: TagTap,
        lab: Lab,
        tell: Callable[[str], None] = lambda _line: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config = config
        self.session = session
        self.lab = lab
        self.tell = tell
        self.cancelled = cancelled
        self._tap = tap

    def check_cancelled(self) -> None:
        """InterruptedError if somebody wants it to end."""
        if self.cancelled():
            raise InterruptedError("cancelled")

    @property
    def geometry(self) -> BoardGeometry:
        """Of the board. BenchError: none has answered yet."""
        identity = self.session.identity
        if identity is None:
            raise BenchError("the board does not acquire")
        return identity.geometry

    @contextlib.contextmanager
    def trying(self, config: RelayConfig) -> Iterator[None]:
        """Another configuration for a while: the acquisition ends, and again at the end.

        Raises
        ------
        ConfigError, AccessError, OSError
            As :meth:`~bellrelay.relay.board.BoardSession.reconfigure`.
        """
        self.session.reconfigure(config)
        try:
            yield
        finally:
            self.session.reconfigure(self.config)

    # ---------------------------------------------------------------------------- measuring

    def tags(self, seconds: float) -> TagRecording:
        """Raw tags of all channels over some time of the board.

        Streams them for that time if they are not streamed anyway.

        Raises
        ------
        BenchError, InterruptedError
        """
        with self._tap.listening() as payloads, self._streaming():
            # What was under way before the mask holds a part of the channels.
            first = self._beat_after(self._beat())
            beats = [first]
            last = self._run_for(first, seconds, beats.append)
            self._settle(payloads, last.fields["cut_ps"])
        begin, end = first.fields["cut_ps"], last.fields["cut_ps"]
        times: dict[int, list[NDArray[np.int64]]] = {}
        for payload in payloads:
            with contextlib.suppress(PayloadError):
                tags = Tags.parse(payload)
                if tags.words.size:
                    t = tags.time()
                    t = t[(t >= begin) & (t < end)]
                    times.setdefault(int(tags.channel()[0]), []).append(t)
        lost = sum(
            last.counters[name] - first.counters[name]
            for name in last.counters
            if name.startswith(("tags_lost_", "tags_shed_"))
        )
        joined = {channel: np.concatenate(parts) for channel, parts in times.items()}
        trims = tuple((beat.fields["cut_ps"], beat.fields["trim"]) for beat in beats)
        return TagRecording(joined, begin, end, lost, trims)

    @staticmethod
    def _settle(payloads: list[bytes], end_ps: int) -> None:
        """The link has brought them; the thread that hands them over may still be behind.

        It keeps their order: once one of a later flush has come, or no more do, all are there.
        """
        for _ in range(_SETTLE_LOOKS):
            before = len(payloads)
            time.sleep(_SETTLE_S)
            later = payloads and struct.unpack_from("<Q", payloads[-1])[0] > end_ps
            if later or len(payloads) == before:
                return

    def counted(self, seconds: float) -> Counted:
        """Counters and arrival times over some time of the board. BenchError, InterruptedError."""
        first = self._beat()
        before = self._histogram()
        last = self._run_for(first, seconds)
        after = self._histogram()
        counters = {name: last.counters[name] - first.counters[name] for name in last.counters}
        return Counted(counters, after - before, first.fields["cut_ps"], last.fields["cut_ps"])

    def _histogram(self) -> NDArray[np.uint64]:
        counts = self.session.histogram
        if counts is None:
            raise BenchError("the board does not acquire")
        return counts.copy()

    # ---------------------------------------------------------------------------- the board's time

    def _beat(self) -> Heartbeat:
        """The last heartbeat of the acquisition that runs; waits for one."""
        end = time.monotonic() + _SILENT_S
        while True:
            account = self.session.account
            if self.session.phase is Phase.RUNNING and account is not None and account.heartbeat:
                return account.heartbeat
            self._pause(end, "the board does not acquire")

    def _beat_after(self, before: Heartbeat) -> Heartbeat:
        end = time.monotonic() + _SILENT_S
        account = self.session.account
        while True:
            if self.session.account is not account or account is None:
                raise BenchError("the acquisition ended meanwhile")
            beat = account.heartbeat
            if beat is not None and beat is not before:
                return beat
            self._pause(end, "no heartbeat of the board's")

    def _run_for(
        self,
        first: Heartbeat,
        seconds: float,
        seen: Callable[[Heartbeat], None] = lambda _beat: None,
    ) -> Heartbeat:
        until = first.fields["cut_ps"] + round(seconds * _PS)
        beat = first
        while beat.fields["cut_ps"] < until:
            beat = self._beat_after(beat)
            seen(beat)
        return beat

    def _pause(self, end: float, why: str) -> None:
        self.check_cancelled()
        if time.monotonic() >= end:
            raise BenchError(f"{why} for {_SILENT_S:g} s")
        time.sleep(_POLL_S)

    @contextlib.contextmanager
    def _streaming(self) -> Iterator[None]:
        if self.config.raw_tags.stream:
            yield
            return
        identity, account = self.session.identity, self.session.account
        if identity is None or account is None:
            raise BenchError("the board does not acquire")
        acquisition = account.acquisition
        self._write(acquisition, (1 << identity.geometry.n_channels) - 1)
        try:
            yield
        finally:
            # An acquisition that has ended took the mask with it.
            with contextlib.suppress(NotAcquiring, NoAnswer):
                self._write(acquisition, 0)

    def _write(self, acquisition: int, mask: int) -> None:
        end = time.monotonic() + _TRIES_S
        while True:
            try:
                self.session.write_live(acquisition, "stream_mask", mask)
            except (NotAcquiring, NoAnswer):
                # Another command may be under way, the tracking's for example.
                if time.monotonic() >= end:
                    raise
                time.sleep(_POLL_S)
            else:
                return
