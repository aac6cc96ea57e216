"""Closed forms: which sums of mean counts bound pairs of single photons, and their errors.

With vacuum o, the sum over settings of Alice (rows) and Bob (columns)

    <nu nu> - r_b <nu o> - r_a <o nu> + r <o o> - w ( <mu mu> - s_b <mu o> - s_a <o mu> + s <o o> )

has no contribution above 0 of any event but pairs of single photons, and of these at most kappa
times what they contribute to <s s>: r covers at least, s at most what mu or nu hold without a
photon, and w cancels the larger one of two and one photon, or one and two (the two branches). In
the same way

    <nu nu with error> - ( r'_b <nu o> + r'_a <o nu> - r' <o o> ) / 2

contains, above 0, all errors of pairs: at least kappa' times what they contribute to phase errors
of <s s>; half of what came without a photon is an error. For exact intensities it is the bound of
F. Xu, M. Curty, B. Qi, H.-K. Lo, New J. Phys. 15, 113007 (2013); here every coefficient is the
worst one that the intervals of the intensities allow, slot by slot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .concentration import count_lower, count_upper, mean_lower, mean_upper
from .ladder import MU, NU, Ladder, O, S
from .tally import Tally

__all__ = ["INDEPENDENT_BOUNDS", "DecoyForm", "decoy_form", "independent_bounds", "require_decoys"]

Floats = NDArray[np.float64]

INDEPENDENT_BOUNDS = 13
"""Intervals that `independent_bounds` uses: of every count in the direction that it needs."""


@dataclass(frozen=True)
class DecoyForm:
    """Coefficients of the two sums; those of the text above.

    pairs: kappa. errors: kappa'. vacuum_share: q, the least that the vacuum sum of the errors may
    be of that of the pairs, r'_b <nu o> + r'_a <o nu> - r' <o o> >= q ( r_b .. ).
    """

    r_b: float
    r_a: float
    r: float
    w: float
    s_b: float
    s_a: float
    s: float
    pairs: float
    errors: float
    vacuum_share: float


def decoy_form(alice: Ladder, bob: Ladder) -> DecoyForm:
    """The coefficients for two ladders.

    Raises ValueError where the setting o may hold light: the closed form needs vacuum.
    """
    if alice.high[O] > 0.0 or bob.high[O] > 0.0:
        raise ValueError("closed forms need a vacuum without light; weighted counts do not")
    (a0, a1, a2), (b0, b1, b2) = (
        [sender.number_probability(n) for n in (0, 1, 2)]
        for sender in (alice.sender(), bob.sender())
    )

    def ratio(odds: tuple[Floats, Floats], over: int, under: int) -> tuple[float, float]:
        low, high = odds
        return float(low[over] / high[under]), float(high[over] / low[under])

    (alpha_low, alpha_high), (beta_low, beta_high) = ratio(a0, NU, O), ratio(b0, NU, O)
    w = max(
        ratio(a2, NU, MU)[1] * ratio(b1, NU, MU)[1],
        ratio(a1, NU, MU)[1] * ratio(b2, NU, MU)[1],
    )
    s_a, s_b = ratio(a0, MU, O)[0], ratio(b0, MU, O)[0]
    most = float(a1[1][NU] * b1[1][NU] - w * a1[0][MU] * b1[0][MU])
    return DecoyForm(
        r_b=beta_high,
        r_a=alpha_high,
        r=alpha_low * beta_high + alpha_high * beta_low - alpha_low * beta_low,
        w=w,
        s_b=s_b,
        s_a=s_a,
        s=s_a * s_b,
        pairs=most / float(a1[0][S] * b1[0][S]),
        errors=ratio(a1, NU, S)[0] * ratio(b1, NU, S)[0],
        vacuum_share=min(alpha_low / alpha_high, beta_low / beta_high),
    )


def require_decoys(tally: Tally) -> None:
    """Raises ValueError unless the tally reports all that closed forms are made of."""
    events = [tally.n[cell] for cell in ((MU, MU), (MU, O), (O, MU), (NU, O), (O, NU), (O, O))]
    if min(events) < 0 or tally.n[NU, NU] < 0 or tally.m[NU, NU] < 0:
        raise ValueError("closed forms need mu-mu, nu-nu with errors, and both with vacuum")


def independent_bounds(
    tally: Tally, alice: Ladder, bob: Ladder, failure: float
) -> tuple[float, float]:
    """(lower bound on the single-photon pairs of key, upper bound on their phase errors).

    Every count has an interval of its own. failure: probability that anything is wrong.
    Raises ValueError as `decoy_form` and `require_decoys` do.
    """
    require_decoys(tally)
    form = decoy_form(alice, bob)
    epsilon = failure / INDEPENDENT_BOUNDS
    n, wrong = tally.n, float(tally.m[NU, NU])

    def low(count: float) -> float:
        return mean_lower(float(count), epsilon)

    def high(count: float) -> float:
        return mean_upper(float(count), epsilon)

    vacuum = high(n[O, O]) if form.r < form.w * form.s else low(n[O, O])
    total = (
        low(n[NU, NU])
        - form.r_b * high(n[NU, O])
        - form.r_a * high(n[O, NU])
        + (form.r - form.w * form.s) * vacuum
        - form.w * (high(n[MU, MU]) - form.s_b * low(n[MU, O]) - form.s_a * low(n[O, MU]))
    )
    pairs = max(0.0, total / form.pairs) if form.pairs > 0.0 else 0.0
    without = form.r_b * low(n[NU, O]) + form.r_a * low(n[O, NU]) - form.r * high(n[O, O])
    errors = max(0.0, high(wrong) - max(0.0, form.vacuum_share * without) / 2.0) / form.errors
    return (
        min(count_lower(pairs, epsilon), float(tally.n_z)),
        count_upper(min(errors, 1e300), epsilon) if math.isfinite(errors) else math.inf,
    )
