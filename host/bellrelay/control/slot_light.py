"""The light in the slot as calibration steps see it, and what those that look at it share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bellrelay.relay.config import RelayConfig
from bellrelay.settings.model import Model, between

from .calibration_bench import Bench
from .calibration_step import StepFailed
from .pulse_monitor import PulseMeasurement
from .pulse_positions import TooFewCounts
from .pulse_search import find_pulses

__all__ = ["ArrivalOptions", "draw_slots", "light_of", "measured_light", "middles_ps"]


class ArrivalOptions(Model):
    """Options of a step that looks at where in the slot light arrives."""

    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=2.0, description="for so long the arrival times are collected"
    )
    least_ps: Annotated[float, between(0.0, 1e6, "ps")] = Field(
        default=5.0, description="what is less wrong than this is left as it is"
    )
    error_ps: Annotated[float, between(0.1, 1e6, "ps")] = Field(
        default=20.0, description="a measurement with a larger standard error changes nothing"
    )


def measured_light(bench: Bench, seconds: float) -> tuple[NDArray[np.uint64], float]:
    """(detectors, bins) arrival times over some time of the board, and its slots, about.

    Raises
    ------
    StepFailed
        The board makes no histogram, or one that ends before the slot does.
    BenchError, InterruptedError
    """
    config = bench.config
    if config.histogram.period_s <= 0.0:
        raise StepFailed("the board makes no histogram: histogram.period_s is 0")
    # What began before is of other settings, perhaps; a whole period must lie within.
    counted = bench.counted(seconds + config.histogram.period_s)
    histogram = counted.histogram[: len(config.detectors)]
    period, bin_ps = round(config.slot_period_ps), config.histogram.bin_ps
    if histogram.shape[1] * bin_ps < period:
        raise StepFailed(
            f"a histogram of {histogram.shape[1]} bins of {bin_ps} ps ends before the slot of "
            f"{period} ps does: histogram.bin_ps"
        )
    return histogram, counted.seconds * 1e12 / float(config.slot_period_ps)


def light_of(
    histogram: NDArray[np.uint64], config: RelayConfig, near_ps: tuple[float, ...], who: str
) -> tuple[PulseMeasurement, tuple[float, ...]]:
    """As :func:`~.pulse_search.find_pulses`; StepFailed, naming whose light it is."""
    try:
        return find_pulses(
            histogram.astype(np.int64),
            bin_ps=config.histogram.bin_ps,
            period_ps=round(config.slot_period_ps),
            near_ps=near_ps,
        )
    except TooFewCounts as error:
        raise StepFailed(f"{who}: {error}") from None


def middles_ps(config: RelayConfig) -> NDArray[np.float64]:
    """Of the histogram's bins that lie in the slot."""
    bins = -(-round(config.slot_period_ps) // config.histogram.bin_ps)
    return np.asarray((np.arange(bins) + 0.5) * config.histogram.bin_ps)


def draw_slots(
    path: Path,
    config: RelayConfig,
    histogram: NDArray[np.uint64],
    title: str,
    before: list[tuple[float, float]],
    after: list[tuple[float, float]],
    moved_ps: list[float] | None = None,
) -> None:
    """Arrival times of every detector, with windows before and after, to a PNG.

    Parameters
    ----------
    before, after
        Windows.
    moved_ps
        By detector: how much earlier its light will come with the change.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = 1 if moved_ps is None else 2
    figure = Figure(figsize=(7, 2.2 + 2.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    x = middles_ps(config)
    for row, axes in enumerate(all_axes):
        for number, detector in enumerate(config.detectors):
            counts = histogram[number, : len(x)].astype(np.float64)
            if row and moved_ps is not None:
                back = round(moved_ps[number] / config.histogram.bin_ps)
                counts = np.roll(counts, -back)
            axes.step(x, np.maximum(counts, 0.5), where="mid", lw=0.8, label=detector.name)
        for windows, colour, label in ((before, "C7", "before"), (after, "C2", "after")):
            for at, (start, end) in enumerate(windows):
                if end > start:
                    axes.axvspan(
                        start, end, color=colour, alpha=0.2, label=label if not at else None
                    )
        axes.set_yscale("log")
        axes.set_ylabel("counts" if not row else "counts, changed")
        axes.grid(alpha=0.3)
    all_axes[0].legend(fontsize="small", ncols=3)
    all_axes[0].set_title(title, fontsize="small")
    all_axes[-1].set_xlabel("place in the slot (ps)")
    figure.savefig(path, dpi=120)
