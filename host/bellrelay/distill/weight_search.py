"""The weights whose guaranteed sum is largest: a convex program and its interior-point method.

Only how good a bound is hangs on what is found here; whether it holds is checked elsewhere
(`weighted_counts`). For a fixed scale t the program is

    maximise  sum_c w_c n_c - log(1/failure) / t
    over      log( sum_c P(c | class) exp(t (w_c - worth of the class, in cells of key)) ) <= 0,

for every class of events, and, where the worths are free, over those whose sum never exceeds what
the events of key are worth: pair and wrong pair with (2^pair + 2^wrong) / 2 <= 1, and vacuum 1.
All of these are convex; the best scale is where the derivative by t vanishes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from .event_classes import Worths

__all__ = ["WeightSearch", "Weights"]

Floats = NDArray[np.float64]
_LN2 = math.log(2.0)
# The optimum is found to so much of log(1/failure) / t.
_GAP = 1e-3
_STEPS = 100
# Most that an exponent, or a worth, moves in one step.
_REACH = 2.0
# Beyond, one event decides: there is no bound to be had.
_LARGEST_SCALE = 1.0


@dataclass(frozen=True, eq=False)
class Weights:
    """weights: (cells,). worths: what they are weighed against. scale: t."""

    weights: Floats
    worths: Worths
    scale: float

    def lowered(self, by: float) -> Weights:
        """The same, every weight less by so much."""
        return Weights(self.weights - by, self.worths, self.scale)


class WeightSearch:
    """A search for one set of counts that are expected.

    counts: (cells,) expected, above 0. key_cells: which make key. log_failure: log(1/failure) > 0.
    worths: fixed, or None to choose them too.
    """

    def __init__(
        self, counts: Floats, key_cells: NDArray[np.intp], log_failure: float, worths: Worths | None
    ) -> None:
        self._counts = counts
        self._key = key_cells
        self._log_failure = log_failure
        self._free = worths is None
        self._rows = np.empty((0, len(counts)))
        self._unseen = np.empty(0)
        self._worth_of = np.empty((0, 3))
        self._price = np.empty(0)
        start = worths or Worths(1.0 + math.log2(0.75) - 0.05, 1.0 + math.log2(0.25) - 0.05, 1.0)
        lowest = min(0.0, *start)
        self._x = np.concatenate([np.full(len(counts), lowest - 0.1), start])
        self._scale = math.sqrt(2.0 * log_failure / (25.0 * counts[key_cells].sum() + 1.0))

    def add(self, rows: Floats, worths: NDArray[np.intp]) -> None:
        """Demand more: odds (r, cells), and the worth (r,) of their class."""
        self._rows = np.concatenate([self._rows, rows])
        self._unseen = np.clip(1.0 - self._rows.sum(axis=1), 0.0, 1.0)
        one_hot = np.zeros((len(rows), 4))
        one_hot[np.arange(len(rows)), worths] = 1.0
        self._worth_of = np.concatenate([self._worth_of, one_hot[:, 1:]])

    def ascend(self) -> Weights:
        """The best weights at the present scale, for what has been demanded so far.

        Raises ArithmeticError where the arithmetic broke down.
        """
        # Whatever overflows has diverged, and is no bound.
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            self._ascend(_GAP * self._log_failure / self._scale)
        cells = len(self._counts)
        return Weights(self._x[:cells].copy(), Worths(*self._x[cells:].tolist()), self._scale)

    def rescale(self, tolerance: float = 0.05) -> bool:
        """Go to a better scale; False if this one is good enough, or there is nothing to gain."""
        better = self._better_scale()
        if abs(math.log(better / self._scale)) < tolerance or better > _LARGEST_SCALE:
            return False
        self._scale = better
        return True

    # ----------------------------------------------------------------------------- what is demanded

    def _sides(self, x: Floats) -> tuple[Floats, Floats]:
        """(demands,) left-hand sides over t, <= 0 where met; (rows, cells) odds as factors tilt."""
        cells = len(self._counts)
        mass = self._rows * np.exp(self._scale * x[:cells])
        mass[:, self._key] *= np.exp(-self._scale * (self._worth_of @ x[cells:]))[:, None]
        total = mass.sum(axis=1) + self._unseen
        sides = np.log(total) / self._scale
        if self._free:
            sides = np.append(sides, self._overrun(x)[0])
        return sides, mass / total[:, None]

    @staticmethod
    def _overrun(x: Floats) -> tuple[float, Floats]:
        """log2((2^pair + 2^wrong) / 2), <= 0 where the worths may be credited; its gradient."""
        pair, wrong = float(x[-3]), float(x[-2])
        top = max(pair, wrong)
        parts = np.array([2.0 ** (pair - top), 2.0 ** (wrong - top)])
        return top + math.log2(float(parts.sum()) / 2.0), parts / parts.sum()

    def _slopes(self, x: Floats, tilted: Floats) -> Floats:
        """(demands, variables) gradients of the left-hand sides."""
        cells, rows = len(self._counts), len(tilted)
        slopes = np.zeros((rows + int(self._free), len(x)))
        slopes[:rows, :cells] = tilted
        slopes[:rows, cells:] = -self._worth_of * tilted[:, self._key].sum(axis=1)[:, None]
        if self._free:
            slopes[-1, cells : cells + 2] = self._overrun(x)[1]
        return slopes

    def _curvature(self, tilted: Floats, slopes: Floats, price: Floats) -> Floats:
        """Hessian of the left-hand sides, each times its price."""
        cells, rows = len(self._counts), len(tilted)
        paid = self._scale * price[:rows]
        # Of a log-sum-exp: t (mean of outer products - product of the means).
        curvature: Floats = -(slopes[:rows] * paid[:, None]).T @ slopes[:rows]
        diagonal = np.arange(len(curvature))
        curvature[diagonal[:cells], diagonal[:cells]] += paid @ tilted
        for key in self._key:
            cross = (paid * tilted[:, key]) @ self._worth_of
            curvature[key, cells:] -= cross
            curvature[cells:, key] -= cross
            curvature[diagonal[cells:], diagonal[cells:]] += cross
        if self._free:
            part = slopes[-1, cells : cells + 2]
            spread = np.diag(part) - np.outer(part, part)
            curvature[cells : cells + 2, cells : cells + 2] += price[-1] * _LN2 * spread
        return curvature

    # -------------------------------------------------------------------------------- how it is met

    def _ascend(self, gap: float) -> None:
        """Go to the optimum at this scale, to within `gap`.

        Predictor and corrector of S. Mehrotra, SIAM J. Optim. 2, 575 (1992), with slacks, so that a
        step may leave what is demanded and come back.
        """
        # The worth of vacuum stays: more of it is always better, and 1 is all there is.
        moved = len(self._counts) + (2 if self._free else 0)
        aim = np.concatenate([self._counts, np.zeros(2)])[:moved]
        total = float(self._counts.sum())
        sides, tilted = self._sides(self._x)
        # At the optimum prices sum to all counts.
        slack = np.maximum(-sides, 0.1)
        price = np.full(len(sides), total / len(sides))
        for _ in range(_STEPS):
            slopes = self._slopes(self._x, tilted)
            inner = slopes[:, :moved]
            short = sides + slack
            apart = float(slack @ price)
            residual = float(np.abs(inner.T @ price - aim).max())
            settled = residual < 1e-4 * float(aim.max()) and float(short.max()) * total < gap
            if apart < gap and settled:
                break
            curvature = self._curvature(tilted, slopes, price)[:moved, :moved]
            curvature += (inner * (price / slack)[:, None]).T @ inner
            if not np.all(np.isfinite(curvature)):
                raise ArithmeticError("the search for weights diverged")
            system = _NewtonSystem(curvature, inner, slack, price, short, aim)
            step = system.towards(np.zeros(len(sides)))
            far, far_price = _longest(slack, step.slack), _longest(price, step.price)
            ahead = float((slack + far * step.slack) @ (price + far_price * step.price))
            # Never closer to the edge than is wanted, so that what is short can be made up.
            centre = max(1e-3 * apart, ahead**3 / apart**2, 0.1 * gap) / len(sides)
            step = system.towards(centre - far * far_price * step.slack * step.price)
            far = min(0.99 * _longest(slack, step.slack), self._reach(step.along))
            self._x[:moved] += far * step.along
            slack = slack + far * step.slack
            price = price + 0.99 * _longest(price, step.price) * step.price
            sides, tilted = self._sides(self._x)
        self._price = price

    def _reach(self, along: Floats) -> float:
        """How far a step may go: beyond, the exponentials are not what their slopes say."""
        cells = len(self._counts)
        exponents = self._scale * float(np.abs(along[:cells]).max())
        worths = float(np.abs(along[cells:]).max(initial=0.0))
        return _REACH / max(exponents, worths, _REACH)

    def _better_scale(self) -> float:
        """The scale at which the derivative of the optimum vanishes, as far as it shows here."""
        cells = len(self._counts)
        sides, tilted = self._sides(self._x)
        exponent = (tilted * self._x[:cells]).sum(axis=1)
        exponent -= tilted[:, self._key].sum(axis=1) * (self._worth_of @ self._x[cells:])
        rows = len(tilted)
        strain = float(self._price[:rows] @ (exponent - sides[:rows]))
        if not math.isfinite(strain):
            raise ArithmeticError("the search for weights diverged")
        if strain <= 0.0:
            return self._scale
        factor = math.sqrt(self._log_failure / (self._scale * strain))
        return self._scale * min(3.0, max(1.0 / 3.0, factor))


class _Step(NamedTuple):
    """Changes of the variables, of the slacks and of the prices."""

    along: Floats
    slack: Floats
    price: Floats


class _NewtonSystem:
    """The linear system of one iteration, factored once for predictor and corrector."""

    def __init__(
        self,
        curvature: Floats,
        slopes: Floats,
        slack: Floats,
        price: Floats,
        short: Floats,
        aim: Floats,
    ) -> None:
        self._slopes, self._slack, self._price = slopes, slack, price
        self._short, self._aim = short, aim
        self._unit = 1.0 / np.sqrt(curvature.diagonal() + 1e-300)
        scaled = curvature * np.outer(self._unit, self._unit) + 1e-13 * np.eye(len(curvature))
        try:
            self._factor = cho_factor(scaled)
        except LinAlgError as error:
            raise ArithmeticError("the search for weights lost its curvature") from error

    def towards(self, centre: Floats) -> _Step:
        """The step after which slack times price is `centre`."""
        force = self._aim - self._slopes.T @ ((centre + self._price * self._short) / self._slack)
        along = self._unit * cho_solve(self._factor, self._unit * force)
        slack = -self._short - self._slopes @ along
        return _Step(along, slack, (centre - self._price * slack) / self._slack - self._price)


def _longest(values: Floats, change: Floats) -> float:
    """Longest step up to 1 that keeps all values >= 0."""
    falling = change < 0.0
    return min(1.0, float((-values[falling] / change[falling]).min())) if falling.any() else 1.0
