"""A board driven as a host drives it: commands by register name, frames collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.access import RegisterClient
from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import FrameType
from bellrelay.wire.payloads import (
    Announcements,
    Heartbeat,
    Histogram,
    Loss,
    Response,
    Tags,
)

from .board import Board

__all__ = ["BoardSession", "Recording"]

_PATIENCE_TICKS = 64


@dataclass
class Recording:
    """What came over the link during one acquisition.

    link : the bytes, from the start command to the end. final : the final heartbeat.
    tags : per channel (n,) int64 ps. histogram : (n_channels, hist_bins), all periods added up.
    """

    link: bytes
    frames: list[Frame]
    final: Heartbeat
    slot: NDArray[np.uint64]
    outcome: NDArray[np.uint8]
    tags: dict[int, NDArray[np.int64]]
    histogram: NDArray[np.int64]
    heartbeats: list[Heartbeat] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    @property
    def n_ticks(self) -> int:
        """Ticks in which the board ran."""
        return self.final.fields["cut_tick"] - 1


class BoardSession:
    """One host at one board. The board's time stands still between calls."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.client = RegisterClient(self, board.geometry)
        self.decoder = FrameDecoder()
        self._bytes: list[bytes] = []
        self._frames: list[Frame] = []

    def pass_ticks(self, ticks: int) -> list[Frame]:
        """Let ticks pass; the frames that came."""
        data = self.board.run(ticks * self.board.geometry.tick_clocks)
        self._bytes.append(data)
        frames = self.decoder.feed(data)
        self._frames += frames
        return frames

    # The transport that RegisterClient wants.

    def write(self, data: bytes) -> None:
        """Hand a command to the board."""
        self.board.write(data)

    def response(self, timeout_s: float) -> Response | None:
        """The next RESPONSE; a silent board is given up after some ticks, not seconds."""
        del timeout_s
        for _ in range(_PATIENCE_TICKS):
            for frame in self.pass_ticks(1):
                if frame.type == FrameType.RESPONSE:
                    return Response.parse(frame.payload)
        return None

    def acquire(
        self,
        registers: Mapping[str, Sequence[int]],
        t: NDArray[np.int64],
        channel: NDArray[np.uint8],
        ticks: int,
        trims: Mapping[int, int] | None = None,
    ) -> Recording:
        """Configure, start, let at least ``ticks`` ticks run, stop, collect.

        Parameters
        ----------
        registers
            Values by name.
        t, channel
            Arrivals in ps since cell 0.
        trims
            Values for ``trim``, written once this many ticks have been waited for.
        """
        for name, values in registers.items():
            self.client.write(name, *values)
        self._bytes.clear()
        self._frames.clear()
        # The start command and its stimulus reach the board in the same clock.
        self._start_with(t, channel)
        for tick in range(ticks):
            if trims and tick in trims:
                self.client.write("trim", trims[tick])
            self.pass_ticks(1)
        self.client.stop()
        final = self._final()
        # The last histogram may wait for all chunks of the one before.
        geometry = self.board.geometry
        self.pass_ticks(2 * geometry.n_channels * geometry.hist_bins // geometry.hist_chunk + 4)
        return self._recording(final)

    def _start_with(self, t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
        board, write = self.board, self.write

        def write_and_stimulate(data: bytes) -> None:
            write(data)
            board.stimulate(t, channel)
            del self.write

        self.write = write_and_stimulate  # type: ignore[method-assign]
        self.client.start()

    def _final(self) -> Heartbeat:
        seen = 0
        for _ in range(_PATIENCE_TICKS):
            for frame in self._frames[seen:]:
                if frame.type == FrameType.HEARTBEAT and frame.acquisition:
                    beat = Heartbeat.parse(frame.payload, self.board.geometry)
                    if beat.final:
                        return beat
            seen = len(self._frames)
            self.pass_ticks(1)
        raise TimeoutError("no final heartbeat")

    def _recording(self, final: Heartbeat) -> Recording:
        g = self.board.geometry
        announcements, heartbeats, losses = [], [], []
        tags: dict[int, list[NDArray[np.int64]]] = {}
        histogram = np.zeros((g.n_channels, g.hist_bins), np.int64)
        for frame in self._frames:
            if frame.type == FrameType.ANNOUNCEMENTS:
                announcements.append(Announcements.parse(frame.payload))
            elif frame.type == FrameType.TAGS:
                part = Tags.parse(frame.payload)
                (of,) = set(part.channel().tolist())
                tags.setdefault(of, []).append(part.time())
            elif frame.type == FrameType.HISTOGRAM:
                chunk = Histogram.parse(frame.payload)
                place = slice(chunk.first_bin, chunk.first_bin + chunk.counts.size)
                histogram[chunk.channel, place] += chunk.counts
            elif frame.type == FrameType.HEARTBEAT:
                heartbeats.append(Heartbeat.parse(frame.payload, g))
            elif frame.type == FrameType.LOSS:
                losses.append(Loss.parse(frame.payload, g))
        none = np.empty(0, np.uint64), np.empty(0, np.uint8)
        return Recording(
            b"".join(self._bytes),
            list(self._frames),
            final,
            np.concatenate([a.slot for a in announcements] or [none[0]]),
            np.concatenate([a.outcome for a in announcements] or [none[1]]),
            {c: np.concatenate(parts) for c, parts in tags.items()},
            histogram,
            heartbeats,
            losses,
        )
