"""A relay's clicks in the tracking slots, published: raw tags in, events of the log out.

Bounded: what cannot be published in time is dropped by whole ranges of slots, and counted. Nobody
waits for it. Tags come by another thread than heartbeats do: a range is published one heartbeat
after its last tag was sent, and a click that comes later yet is counted.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.relay.histogram_periods import HistogramPeriod
from bellrelay.wire.payloads import Heartbeat, Tags
from bellrelay.wire.tracking import MAX_CLICKS, TrackingClicks, TrackingSlots

from .slot_bounds import SlotBounds
from .tag_positions import TagPositions

__all__ = ["TrackingPublisher"]

_QUEUE_BYTES = 1 << 26
_EVERY_PS = 250_000_000_000
"""Between events, unless there is much to say."""
_MOST = 16 * MAX_CLICKS
"""Clicks that are published in such a time; ranges beyond are dropped."""
_REMEMBERED = 1 << 22
"""Tags that are kept for the comparison with the board's histogram."""
_LOST = ("tags_lost_", "tags_shed_")
_EXACT_PS = 100.0
"""A slot clock of ours that was off by more was so by a trim that came between two heartbeats, as
while clocks are pulled in: what was placed by it is not published."""
_COMPARED = 2000
"""Tags that a comparison with the board's histogram needs."""


class TrackingPublisher:
    """Of one acquisition.

    Parameters
    ----------
    schedule
        Which slots.
    positions
        The slot clock.
    deskew_ps
        By detector.
    period_ps, tick_ps, bin_ps
        The slot as the board counts it; of the board; of its histogram.
    sync_deskew_ps
        Of the sync channel.

    Attributes
    ----------
    published, dropped : int
        Clicks in tracking slots that were published, and raw tags that were not looked at.
    ranges, ranges_dropped : int
        Ranges of slots that events spoke for, and that none does.
    late : int
        Clicks in tracking slots that came after their range had been published.
    """

    def __init__(
        self,
        schedule: TrackingSlots,
        positions: TagPositions,
        deskew_ps: Sequence[int],
        period_ps: int,
        tick_ps: int,
        bin_ps: int,
        sync_deskew_ps: int = 0,
    ) -> None:
        self.published = self.dropped = self.ranges = self.ranges_dropped = self.late = 0
        self._schedule = schedule
        self._positions = positions
        self._untrimmed = copy.deepcopy(positions)
        self._bounds = SlotBounds(period_ps, positions.clock_period_ps)
        self._deskew = np.array([*deskew_ps], np.int64)
        self._late = int(max(0, *(-d for d in deskew_ps)))
        self._period_ps = period_ps
        self._tick_ps = tick_ps
        self._bin_ps = bin_ps
        self._lock = threading.Lock()
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._lost = False
        self._board_lost = 0
        self._lost_until_ps = -_EVERY_PS
        self._cut_ps = 0
        self._next_slot = 0
        self._published_ps = -_EVERY_PS
        self._window = (-_EVERY_PS, 0)
        """Since when clicks are counted against `_MOST`, and how many there were."""
        # Tags that no heartbeat has come after: the trim they came under may have changed.
        self._ahead: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []
        self._held: list[tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.uint8]]] = []
        # Positions of tags lately, for the comparison: (time, position), of the detectors.
        self._lately: deque[tuple[NDArray[np.int64], NDArray[np.int32]]] = deque()
        self._remembered = 0
        # By heartbeat: cut in ps and slots, last sync tag's slot and position; and the tags.
        self._sync_deskew = sync_deskew_ps
        self._sync_told: deque[tuple[int, int, int, int]] = deque(maxlen=8)
        self._sync_tags: deque[NDArray[np.int64]] = deque(maxlen=256)

    def raw_tags(self, payload: bytes) -> None:
        """Queue a payload of a TAGS frame; any thread, never waits."""
        with self._lock:
            if self._queued + len(payload) > _QUEUE_BYTES:
                self.dropped += len(payload) // 8 - 1
                self._lost = True
                return
            self._queued += len(payload)
            self._queue.append(payload)

    def lose(self) -> None:
        """Tags may have been lost on the way to here; any thread."""
        with self._lock:
            self._lost = True

    def heartbeat(
        self, beat: Heartbeat, missing: int, publish: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Work off what came before this heartbeat, and publish what came before the last one.

        Parameters
        ----------
        missing
            Frames that the line has lost so far: tags may have been in them.
        publish
            Puts an event into the log.
        """
        before_ps, self._cut_ps = self._cut_ps, beat.fields["cut_ps"]
        self._positions.heartbeat(self._cut_ps, beat.fields["trim"])
        with self._lock:
            payloads, self._queue = list(self._queue), deque()
            self._queued, lost, self._lost = 0, self._lost, False
        board = missing + sum(n for k, n in beat.counters.items() if k.startswith(_LOST))
        if lost or board != self._board_lost:
            # Of tags up to here, and of such as were already on their way.
            self._lost_until_ps = 2 * self._cut_ps - before_ps
        self._board_lost = board
        ahead, self._ahead = self._ahead, []
        for t, channel in ahead:
            self._take(t, channel)
        for payload in payloads:
            tags = Tags.parse(payload)
            channel = tags.channel()
            if len(channel) and channel[0] < len(self._deskew):
                self._take(tags.time(), channel)
            elif len(channel):
                self._sync_tags.append(tags.time())
        self._hold_to_board(beat)
        # A tag of the next tick may still be deskewed to before this one's end.
        safe_ps = before_ps - self._late - self._tick_ps
        if safe_ps <= 0:
            return
        end = int(self._positions.place(np.array([safe_ps], np.int64))[0][0])
        held = sum(len(slot) for slot, _, _ in self._held)
        soon = held < MAX_CLICKS // 2 and safe_ps < self._published_ps + _EVERY_PS
        if end <= self._next_slot or soon:
            return
        lost = self._published_ps < self._lost_until_ps
        self._published_ps = safe_ps
        if safe_ps >= self._window[0] + _EVERY_PS:
            self._window = (safe_ps, 0)
        self._publish(end, lost, publish)

    def _hold_to_board(self, beat: Heartbeat) -> None:
        """Find the slot clock where the board says it was: to its bounds, or to a sync tag."""
        fields = beat.fields
        if not beat.counters.get("sync"):
            if "cut_slot" in fields:
                untrimmed = self._untrimmed.now_ps(self._cut_ps)
                self._bounds.heartbeat(beat, untrimmed)
                moved = self._positions.now_ps(self._cut_ps) - untrimmed
                inside = min(max(moved, self._bounds.low_ps), self._bounds.high_ps)
                self._correct(round(inside) - moved)
            return
        self._sync_told.append(
            (self._cut_ps, fields["cut_slot"], fields["sync_slot"], fields["sync_pos"])
        )
        while self._sync_told and self._sync_tags:
            cut_ps, cut_slot, slot, position = self._sync_told[0]
            if int(self._sync_tags[-1][-1]) <= cut_ps:
                # Tags come by another thread: the next heartbeat looks again.
                break
            self._sync_told.popleft()
            recent = np.concatenate(self._sync_tags)
            at = int(np.searchsorted(recent, cut_ps))
            t = recent[max(at - 3, 0) : at + 1] - self._sync_deskew
            slots, positions = self._positions.place(t[t >= 0])
            off = (slot - slots.astype(np.int64)) * self._period_ps + position - positions
            if len(off):
                # Which of the last tags the board meant, its count of slots says.
                about = self._slots_off(cut_ps, cut_slot) * self._period_ps
                self._correct(int(off[np.argmin(np.abs(off - about))]))

    def _slots_off(self, cut_ps: int, cut_slot: int) -> int:
        return cut_slot - int(self._positions.place(np.array([cut_ps], np.int64))[0][0])

    def _correct(self, by_ps: int) -> None:
        if abs(by_ps) <= _EXACT_PS:
            return
        self._positions.moved(by_ps)
        self._held.clear()
        self._lately.clear()
        self._remembered = 0
        self._lost_until_ps = self._cut_ps

    def _take(self, t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
        """Place tags up to the last heartbeat; the others wait for the next one."""
        known = t <= self._cut_ps
        if not known.all():
            self._ahead.append((t[~known], channel[~known]))
            t, channel = t[known], channel[known]
        t = t - self._deskew[channel]
        channel, t = channel[t >= 0], t[t >= 0]
        if not len(t):
            return
        slot, position = self._positions.place(t)
        self._lately.append((t, position))
        self._remembered += len(t)
        while self._remembered > _REMEMBERED:
            self._forget()
        inside = self._schedule.inside(slot)
        late = inside & (slot < self._next_slot)
        self.late += int(late.sum())
        inside &= ~late
        if inside.any():
            self._held.append((slot[inside], position[inside], channel[inside]))

    def _forget(self) -> None:
        self._remembered -= len(self._lately.popleft()[0])

    def _publish(self, end: int, lost: bool, publish: Callable[[Mapping[str, Any]], None]) -> None:
        first, self._next_slot = self._next_slot, end
        if self._held:
            slot, position, detector = (
                np.concatenate([part[k] for part in self._held]) for k in range(3)
            )
        else:
            slot = np.empty(0, np.uint64)
            position, detector = np.empty(0, np.int32), np.empty(0, np.uint8)
        now = (slot >= first) & (slot < end)
        later = slot >= end
        self._held = [(slot[later], position[later], detector[later])] if later.any() else []
        since_ps, clicks_before = self._window
        much = clicks_before + int(now.sum()) > _MOST
        if lost or much:
            self.ranges_dropped += 1
            return
        self._window = (since_ps, clicks_before + int(now.sum()))
        order = np.argsort(slot[now], kind="stable")
        slot, position, detector = (part[now][order] for part in (slot, position, detector))
        while len(slot) > MAX_CLICKS:
            # All clicks of a slot in one event.
            border = int(slot[MAX_CLICKS])
            head = int(np.searchsorted(slot, border))
            if head == 0:
                self.ranges_dropped += 1
                return
            clicks = TrackingClicks(first, border, slot[:head], position[:head], detector[:head])
            self._say(clicks, publish)
            first, slot, position, detector = border, slot[head:], position[head:], detector[head:]
        self._say(TrackingClicks(first, end, slot, position, detector), publish)

    def _say(self, clicks: TrackingClicks, publish: Callable[[Mapping[str, Any]], None]) -> None:
        publish(clicks.values())
        self.ranges += 1
        self.published += len(clicks.slot)

    def histogram(self, period: HistogramPeriod) -> float | None:
        """Hold our positions against the board's own; the correction that was made, in ps."""
        begin_ps, end_ps = (k * self._tick_ps for k in (period.start_tick, period.end_tick))
        theirs = period.counts[: len(self._deskew)].sum(axis=0).astype(np.float64)
        parts = [p[(t >= begin_ps) & (t < end_ps)] for t, p in self._lately]
        while len(self._lately) > 1 and self._lately[0][0][-1] < begin_ps:
            self._forget()
        ours = np.concatenate(parts) if parts else np.empty(0, np.int32)
        total = float(theirs.sum())
        if len(ours) < _COMPARED or not 0.9 < len(ours) / max(total, 1.0) < 1.1:
            return None
        middles = (np.arange(len(theirs)) + 0.5) * self._bin_ps
        binned = ours // self._bin_ps * self._bin_ps + 0.5 * self._bin_ps
        turn = 2j * np.pi / self._period_ps * 2.0
        # Pulses half a slot apart have no first harmonic: the second.
        phase = np.angle(np.sum(theirs * np.exp(turn * middles))) - np.angle(
            np.sum(np.exp(turn * binned))
        )
        half = self._period_ps / 2.0
        by_ps = float((phase / (2.0 * np.pi) * half + half / 2.0) % half - half / 2.0)
        self._positions.moved(by_ps)
        return by_ps
