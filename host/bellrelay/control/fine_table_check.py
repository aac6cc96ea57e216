"""Whether a board's fine times are those that its delay lines were measured to have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.linearity import (
    code_times_ps,
    differential_nonlinearity,
    integral_nonlinearity,
    quantisation_rms_ps,
)

__all__ = ["FineChannel", "check_channel"]


@dataclass(frozen=True)
class FineChannel:
    """One channel.

    Attributes
    ----------
    measured
        Whether there are counts of a calibration; else the figures are those of the table, as if
        every code were as wide as its times say.
    codes
        In use.
    widest_ps
        Width of the widest code.
    differential, integral
        Largest non-linearity, in mean widths, without sign.
    quantisation_rms_ps
        RMS error of a uniform arrival.
    faults
        What is not as it should be, for people; empty: nothing.
    """

    measured: bool
    codes: int
    widest_ps: float
    differential: float
    integral: float
    quantisation_rms_ps: float
    faults: tuple[str, ...]


def check_channel(
    table: NDArray[np.int64],
    counts: NDArray[np.int64],
    clock_ps: int,
    remainders: NDArray[np.int64],
) -> FineChannel:
    """Hold table, code density and tags of one channel against each other.

    Parameters
    ----------
    table
        (2n,) ps by code, as the board has it: the second half is of the clock's second half.
    counts
        (n,) code density of the last calibration, all 0 where there was none.
    clock_ps
        Period of the relay's clock.
    remainders
        (m,) raw tags' times in the clock period.
    """
    faults = []
    if np.any(np.diff(table) < 0) or table[0] < 0 or table[-1] >= clock_ps:
        faults.append("the fine table does not grow, or leaves the clock")
    measured = bool(counts.sum() > 0)
    if measured:
        density = np.asarray(counts, np.int64)
        period = clock_ps / 2
        times = code_times_ps(density, clock_ps // 2)
        used = density > 0
        half = len(table) // 2
        if np.any(table[:half][used] != times[used]):
            faults.append("the fine table is not that of its calibration")
    else:
        density = _widths(table, clock_ps)
        period = float(clock_ps)
    strange = float(np.mean(~np.isin(remainders, table))) if len(remainders) else 0.0
    if strange > 0.0:
        faults.append(f"{100 * strange:.2g} % of the tags have times of no code")
    widest = float(density.max()) * period / float(density.sum())
    return FineChannel(
        measured,
        int(np.count_nonzero(density)),
        widest,
        float(np.nanmax(np.abs(differential_nonlinearity(density)))),
        float(np.nanmax(np.abs(integral_nonlinearity(density)))),
        quantisation_rms_ps(density, period),
        tuple(faults),
    )


def _widths(table: NDArray[np.int64], clock_ps: int) -> NDArray[np.int64]:
    """Half picoseconds from halfway to the code before to halfway to the next, of different ones.

    The clock repeats: the first code's neighbour is the last.
    """
    times = np.unique(np.clip(table, 0, clock_ps - 1))
    around = np.concatenate(([times[-1] - clock_ps], times, [times[0] + clock_ps]))
    return np.asarray(around[2:] - around[:-2], np.int64)
