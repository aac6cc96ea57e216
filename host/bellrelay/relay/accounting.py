"""What came over the link, held against what the board says that it sent.

Pure bookkeeping of one acquisition. A heartbeat flushes: everything that the board announced up to
its tick lies in frames before it. So every heartbeat settles exactly how much the line has lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.payloads import Announcements, Heartbeat

__all__ = ["AcquisitionAccount", "BrokenRules", "LinkLoss"]


class BrokenRules(Exception):
    """The board said what no board says: it is not to be believed further."""


@dataclass(frozen=True)
class LinkLoss:
    """What the line lost since the loss before; the CRCs and the board's counters say so."""

    frames: int
    psi_minus: int
    psi_plus: int
    tags: int
    begin_tick: int
    end_tick: int

    @property
    def announcements(self) -> int:
        """Of both outcomes."""
        return self.psi_minus + self.psi_plus


@dataclass
class AcquisitionAccount:
    """Account of one acquisition.

    Attributes
    ----------
    psi_minus, psi_plus
        Announcements that came.
    tags
        Raw tags that came, by channel.
    lost_psi_minus, lost_psi_plus, lost_tags, lost_frames
        What the line lost, settled up to the last heartbeat.
    """

    geometry: BoardGeometry
    acquisition: int
    tags_from_start: bool = False
    psi_minus: int = 0
    psi_plus: int = 0
    last_slot: int = -1
    tags: list[int] = field(default_factory=list)
    lost_psi_minus: int = 0
    lost_psi_plus: int = 0
    lost_tags: int = 0
    lost_frames: int = 0
    settled_tick: int = 0
    heartbeat: Heartbeat | None = None
    _frames: int = 0

    def __post_init__(self) -> None:
        self.tags = self.tags or [0] * self.geometry.n_channels

    def missing_frames(self, count: int) -> None:
        """The decoder found so many frames missing."""
        self._frames += count

    def announcements(self, frame: Announcements) -> None:
        """Take an ANNOUNCEMENTS frame of this acquisition.

        Raises
        ------
        BrokenRules
            Slots do not increase from frame to frame; nothing is taken.
        """
        if not len(frame.slot):
            return
        if int(frame.slot[0]) <= self.last_slot:
            raise BrokenRules(f"slot {int(frame.slot[0])} announced after slot {self.last_slot}")
        self.last_slot = int(frame.slot[-1])
        minus = int(np.count_nonzero(frame.outcome == Outcome.PSI_MINUS))
        self.psi_minus += minus
        self.psi_plus += len(frame.outcome) - minus

    def raw_tags(self, channel: int, count: int) -> None:
        """Take a TAGS frame. BrokenRules: no such channel."""
        if channel >= len(self.tags):
            raise BrokenRules(f"tags of channel {channel}")
        self.tags[channel] += count

    def settle(self, heartbeat: Heartbeat) -> LinkLoss | None:
        """Take a heartbeat whose totals are this acquisition's; what the line has newly lost.

        Raises
        ------
        BrokenRules
            More came than the board sent, a counter went back, or a slot was announced before it
            closed.
        """
        counters = heartbeat.counters
        self._check(heartbeat)
        minus = counters["announced_psi_minus"] - self.psi_minus
        plus = counters["announced_psi_plus"] - self.psi_plus
        tags = self._tags_lost(counters)
        loss = LinkLoss(
            self._frames,
            minus - self.lost_psi_minus,
            plus - self.lost_psi_plus,
            tags - self.lost_tags,
            self.settled_tick,
            heartbeat.fields["cut_tick"],
        )
        # A frame that was lost is late for nothing: less lost than before means too much came.
        if min(loss.psi_minus, loss.psi_plus, loss.tags) < 0:
            raise BrokenRules("more came over the link than the board says that it sent")
        self.lost_psi_minus, self.lost_psi_plus, self.lost_tags = minus, plus, tags
        self.lost_frames += self._frames
        self._frames = 0
        self.settled_tick = heartbeat.fields["cut_tick"]
        self.heartbeat = heartbeat
        return loss if loss.frames or loss.announcements or loss.tags else None

    def _check(self, heartbeat: Heartbeat) -> None:
        before = self.heartbeat
        if before is not None:
            back = [k for k, v in heartbeat.counters.items() if v < before.counters[k]]
            if back:
                raise BrokenRules(f"counter {back[0]} went back within the acquisition")
        if self.last_slot > heartbeat.fields["cut_slot"]:
            raise BrokenRules(
                f"slot {self.last_slot} announced at slot {heartbeat.fields['cut_slot']}"
            )

    def _tags_lost(self, counters: Mapping[str, int]) -> int:
        if not self.tags_from_start:
            return 0
        return sum(
            counters[f"clicks_{i}"]
            - counters[f"tags_lost_{i}"]
            - counters[f"tags_shed_{i}"]
            - self.tags[i]
            for i in range(len(self.tags))
        )
