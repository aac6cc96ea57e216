"""The analysis of recorded tags stage by stage: what the chain must agree with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bitmap import slot_bitmaps
from .dead_time import kept_clicks, starts_dead_interval
from .deskew import deskewed, time_order
from .gate import Bin, first_opening, gated
from .histogram import arrival_histogram
from .recorded_result import ClickFate, RecordedResult
from .recorded_settings import RecordedSettings
from .slot_clock import constant_slots
from .sync_reference import SyncFate, slots_from_sync

__all__ = ["analyse_recorded"]

_NO_DETECTOR = 255


def analyse_recorded(
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    settings: RecordedSettings,
    histogram_bin_ps: int = 0,
) -> RecordedResult:
    """Totals of recorded tags that are all in memory.

    Parameters
    ----------
    t, channel
        (n,) int64 ps and (n,) uint8, in the order of the file.
    histogram_bin_ps
        Width of the bins of the arrival-time histogram; 0 for none.
    """
    n = settings.n_detectors
    detector = np.full(256, _NO_DETECTOR, dtype=np.uint8)
    delay = np.zeros(256, dtype=np.int64)
    for d, one in enumerate(settings.detectors):
        detector[one.channel] = d
        delay[one.channel] = one.deskew_ps
    known = detector != _NO_DETECTOR
    if settings.sync_channel is not None:
        known[settings.sync_channel] = True
        delay[settings.sync_channel] = settings.sync_deskew_ps

    ignored = ~known[channel]
    t, channel = t[~ignored], channel[~ignored]
    latest = np.maximum.accumulate(t) if t.size else t
    late = t < latest - settings.reorder_ps
    t, channel = t[~late], channel[~late]
    t = deskewed(t, channel, delay.tolist())
    order = time_order(t, channel)
    t, channel = t[order], channel[order]

    is_sync = detector[channel] == _NO_DETECTOR
    sync_t, click_t, which = t[is_sync], t[~is_sync], detector[channel[~is_sync]]
    extending = [d.extending for d in settings.detectors]
    dead_time = [d.dead_time_ps for d in settings.detectors]
    kept = kept_clicks(click_t, which, dead_time, extending)
    slot, position, start, lost = _slots(click_t, sync_t, settings)
    bins = gated(position, settings.early, settings.late)

    fate = np.choose(bins, [ClickFate.OUTSIDE, ClickFate.EARLY, ClickFate.LATE])
    fate = np.where(lost == SyncFate.BEFORE_SYNC, ClickFate.BEFORE, fate)
    fate = np.where(lost == SyncFate.PAST_FRAME, ClickFate.PAST_FRAME, fate)
    fate = np.where(~kept, ClickFate.DEAD_TIME, fate)
    fates = np.zeros((n, len(ClickFate)), dtype=np.int64)
    np.add.at(fates, (which, fate), 1)

    use = kept & (lost == SyncFate.IN_SLOT)
    bins[~use] = Bin.OUTSIDE
    bitmaps = slot_bitmaps(slot, which, bins, n)
    starting = starts_dead_interval(kept, which, extending)
    if settings.sync_channel is None:
        starting &= lost == SyncFate.IN_SLOT
    blind = _blind(bitmaps.slot, slot, click_t, start, which, starting, settings)
    slots = np.zeros((2, 2 << 2 * n), dtype=np.int64)
    np.add.at(
        slots, (blind.astype(np.intp), bitmaps.mask | bitmaps.multi.astype(np.int64) << 2 * n), 1
    )
    histogram = np.zeros((n, 0), dtype=np.int64)
    if histogram_bin_ps:
        histogram = arrival_histogram(
            position[use],
            which[use],
            bin_ps=histogram_bin_ps,
            n_bins=-(-settings.slot_period_ps // histogram_bin_ps),
            n_channels=n,
        )
    return RecordedResult(
        settings=settings,
        sync=sync_t.size,
        ignored=int(np.count_nonzero(ignored)),
        out_of_order=int(np.count_nonzero(late)),
        fates=fates,
        slots=slots,
        histogram=histogram,
    )


def _slots(
    t: NDArray[np.int64], sync_t: NDArray[np.int64], settings: RecordedSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Slot, position, start of the slot (time) and SyncFate of clicks."""
    if settings.sync_channel is None:
        slot, position = constant_slots(t, settings.slot_period_ps, settings.phase_ps)
        fate = np.where(t < 0, SyncFate.BEFORE_SYNC, SyncFate.IN_SLOT).astype(np.uint8)
    else:
        slot, position, fate = slots_from_sync(
            t, sync_t, settings.slot_period_ps, settings.slots_per_pulse
        )
    return slot, position, t - position, fate


def _blind(
    occupied: NDArray[np.int64] | NDArray[np.uint64],
    slot: NDArray[np.int64],
    t: NDArray[np.int64],
    start: NDArray[np.int64],
    detector: NDArray[np.uint8],
    starting: NDArray[np.bool_],
    settings: RecordedSettings,
) -> NDArray[np.bool_]:
    """Whether each occupied slot is not live.

    That is so if a dead interval from a click before the slot ends after the first opening of a
    window in it. Clicks before the first sync tag or past a frame blind later slots too; those
    before time 0 do not.
    """
    opening = first_opening(settings.early, settings.late) or 0
    dead_time = np.array([d.dead_time_ps for d in settings.detectors], dtype=np.int64)
    ends = t[starting] + dead_time[detector[starting]]
    times = t[starting]
    out = np.zeros(occupied.size, dtype=np.bool_)
    for i, s in enumerate(occupied.tolist()):
        begins = int(start[slot == s][0])
        out[i] = np.any(ends[times < begins] > begins + opening)
    return out
