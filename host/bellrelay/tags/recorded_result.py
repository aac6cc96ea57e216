"""What the analysis of recorded tags finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.outcomes import SlotClass

from .bsm import BELL_CLASSES
from .recorded_settings import RecordedSettings

__all__ = ["ClickFate", "RecordedResult"]


class ClickFate(IntEnum):
    """What becomes of a click of a detector; causes in the order in which they are asked."""

    DEAD_TIME = 0
    BEFORE = 1
    """Before the first sync tag, or, without sync, before time 0."""
    PAST_FRAME = 2
    OUTSIDE = 3
    EARLY = 4
    LATE = 5


@dataclass(frozen=True)
class RecordedResult:
    """Totals of recorded tags.

    Attributes
    ----------
    settings : RecordedSettings
    sync, ignored, out_of_order : int
        Sync tags; tags of channels that the settings do not name; tags too far back.
    fates : (n_detectors, 6) int64
        Clicks by ClickFate.
    slots : (2, 2**(2 n_detectors + 1)) int64
        Slots with a click in a window, by (live, not live) and `mask | multi << 2N`; column 0
        is 0.
    histogram : (n_detectors, bins) int64
        Kept clicks that have a slot, by `position // bin`; no bins if none were asked for.
    """

    settings: RecordedSettings
    sync: int
    ignored: int
    out_of_order: int
    fates: NDArray[np.int64]
    slots: NDArray[np.int64]
    histogram: NDArray[np.int64]

    @property
    def masks(self) -> dict[int, int]:
        """Cell mask to number of slots, whether a cell was hit twice or not; only what occurs."""
        both = self.slots.sum(axis=0)
        by_mask = both[: both.size // 2] + both[both.size // 2 :]
        return {int(mask): int(by_mask[mask]) for mask in np.flatnonzero(by_mask)}

    def class_count(self, slot_class: SlotClass, live_only: bool = False) -> int:
        """Slots whose pattern is of this class, or the live ones of them."""
        codes = np.asarray(self.settings.table)
        slots = self.slots[0] if live_only else self.slots.sum(axis=0)
        return int(slots[codes == slot_class].sum())

    @property
    def occupied(self) -> int:
        """Slots with a click in a window."""
        return int(self.slots.sum())

    @property
    def not_live(self) -> int:
        """Occupied slots in which a detector could not have fired."""
        return int(self.slots[1].sum())

    def as_dict(self) -> dict[str, object]:
        """The object that `bellrelay tags bsm --json` prints."""
        clock = self.settings.sync_channel is None
        before = "before_start" if clock else "before_sync"
        names = [before if f is ClickFate.BEFORE else f.name.lower() for f in ClickFate]
        counts = {
            detector.name: {"clicks": sum(row), **dict(zip(names, row, strict=True))}
            for detector, row in zip(self.settings.detectors, self.fates.tolist(), strict=True)
        }
        more = self.class_count(SlotClass.MORE_THAN_TWO)
        twice = self.class_count(SlotClass.MULTI_CLICK)
        classes = {c.name.lower(): self.class_count(c) for c in BELL_CLASSES}
        return {
            "counts": counts,
            "masks": {str(mask): number for mask, number in self.masks.items()},
            **classes,
            "single": self.class_count(SlotClass.SINGLE),
            "same_bin": self.class_count(SlotClass.SAME_BIN),
            "multi": more + twice,
            "more_than_two": more,
            "multi_click": twice,
            "occupied_slots": self.occupied,
            "live": {
                "slots_not_live": self.not_live,
                **{c.name.lower(): self.class_count(c, live_only=True) for c in BELL_CLASSES},
            },
            "sync_tags": self.sync,
            "ignored_tags": self.ignored,
            "out_of_order_tags": self.out_of_order,
        }
