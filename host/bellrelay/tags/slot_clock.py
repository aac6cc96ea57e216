"""The slot clock: from a time to a slot and the position in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRACTION_BITS", "TRIM_SHIFT", "SlotClock", "constant_slots"]

FRACTION_BITS = 48
TRIM_SHIFT = 16
_HALF = FRACTION_BITS // 2
_HALF_MASK = (1 << _HALF) - 1


def constant_slots(
    t: NDArray[np.int64], slot_period_ps: int, phase_ps: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Slot and position for a slot period of a whole number of picoseconds.

    Parameters
    ----------
    t
        (n,) int64 ps.
    slot_period_ps
        T, at least 1.
    phase_ps
        Reference time of t = 0.

    Returns
    -------
    slot, position
        (n,) int64 each: `(t + phase) // T`, negative before the acquisition's first slot, and the
        rest in ps.
    """
    slot, position = np.divmod(t + phase_ps, slot_period_ps)
    return slot, position


class SlotClock:
    """The board's slot clock: a phase accumulator with 48 fraction bits, trimmed by tick.

    The reference time of the start of cell c is `u(c) = A(c) >> 48` with `A(0) = phase << 48` and
    `A(c+1) = A(c) + (P << 48) + rate + (trim << 16)`.

    Parameters
    ----------
    slot_period_ps, phase_ps
        T in ps and the reference time of cell 0, `0 <= phase_ps < T`.
    clock_period_ps, tick_clocks
        P in ps and cells per tick.
    rate
        Signed, unit 2**-48 ps per clock, `|rate| < 4 << 48`.
    trims
        Trim in force in every tick from 0 on, unit 2**-32 ps per clock; the last one stays. Empty
        is all zero.
    n_ticks
        Ticks that will be asked about.

    Raises
    ------
    ValueError
        Phase outside the slot, rate or trim out of range.
    """

    def __init__(
        self,
        *,
        slot_period_ps: int,
        phase_ps: int,
        clock_period_ps: int,
        tick_clocks: int,
        n_ticks: int,
        rate: int = 0,
        trims: Sequence[int] = (),
    ) -> None:
        if not 0 <= phase_ps < slot_period_ps:
            raise ValueError(f"phase_ps is {phase_ps}; allowed: 0 to {slot_period_ps - 1}")
        if abs(rate) >= 4 << FRACTION_BITS:
            raise ValueError(f"rate is {rate}; allowed: below 4 << 48 in size")
        if any(not -(1 << 31) <= trim < 1 << 31 for trim in trims):
            raise ValueError("trim: signed 32 bits")
        self.slot_period_ps = slot_period_ps
        self.clock_period_ps = clock_period_ps
        self.tick_clocks = tick_clocks
        steady = (clock_period_ps << FRACTION_BITS) + rate
        trim = trims[-1] if trims else 0
        steps = [steady + (v << TRIM_SHIFT) for v in trims[: n_ticks + 1]]
        steps += [steady + (trim << TRIM_SHIFT)] * (n_ticks + 1 - len(steps))
        starts = [phase_ps << FRACTION_BITS]
        for step in steps[:-1]:
            starts.append(starts[-1] + tick_clocks * step)
        # Three limbs each (whole ps, upper and lower 24 fraction bits), so that int64 holds every
        # product with a number of cells.
        self._start = _limbs(starts)
        self._step = _limbs(steps)

    def _reference(self, tick: NDArray[np.int64], cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reference time `cells` after the start of `tick`, at the steps of that tick."""
        lower = self._start[2][tick] + cells * self._step[2][tick]
        upper = self._start[1][tick] + cells * self._step[1][tick] + (lower >> _HALF)
        whole: NDArray[np.int64] = self._start[0][tick] + cells * self._step[0][tick]
        reference: NDArray[np.int64] = whole + (upper >> _HALF)
        return reference

    def reference_ps(self, cell: NDArray[np.int64]) -> NDArray[np.int64]:
        """u(c): reference time of the start of cells.

        Parameters
        ----------
        cell
            (n,) int64, from 0 to `n_ticks * tick_clocks`.

        Returns
        -------
        (n,) int64 ps.
        """
        return self._reference(cell // self.tick_clocks, cell % self.tick_clocks)

    def place(
        self, t: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """Slot, position and reference time of tags.

        Parameters
        ----------
        t
            (n,) int64 ps, not negative.

        Returns
        -------
        slot
            (n,) uint64.
        position
            (n,) int64 ps in the slot.
        v
            (n,) int64 ps, `slot * T + position`.
        """
        cell, offset = np.divmod(t, self.clock_period_ps)
        tick, within = np.divmod(cell, self.tick_clocks)
        here = self._reference(tick, within)
        after = self._reference(tick, within + 1)
        v = here + np.minimum(offset, after - here - 1)
        slot, position = np.divmod(v, self.slot_period_ps)
        return slot.astype(np.uint64), position, v

    def closed_slots(self, end_cell: int) -> int:
        """Slots that close in the cells before `end_cell`; they are numbered from 0."""
        end = self.reference_ps(np.array([end_cell], dtype=np.int64))
        return int(end[0]) // self.slot_period_ps


def _limbs(values: Sequence[int]) -> tuple[NDArray[np.int64], ...]:
    return (
        np.array([v >> FRACTION_BITS for v in values], dtype=np.int64),
        np.array([v >> _HALF & _HALF_MASK for v in values], dtype=np.int64),
        np.array([v & _HALF_MASK for v in values], dtype=np.int64),
    )
