"""A Hong-Ou-Mandel scan: how well two senders' pulses overlap at the relay, and at which delay.

Coincidences of the two output ports within one bin dip where the pulses meet. Of phase-randomised
coherent states with intensities u and v at the beam splitter, in the limit of few photons,

    C(delay) = <(u + v)^2> / 4 - <u v> |overlap(delay)|^2 / 2,

so that the dip is ``2 <u> <v> / (<u^2> + <v^2> + 2 <u> <v>)`` deep at best: 1/2 of equal
intensities that do not change, less where they do (decoy states, bits in Z), since pairs of one
sender, which do not interfere, are then more frequent.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .visibility import DipFit, dip_visibility_fit

__all__ = [
    "HomScan",
    "HomVerdict",
    "LightOfBin",
    "analyse_scan",
    "draw_scan",
    "most_visibility",
    "scan_delays",
]

_SIGMAS = 3.0
_SHARP = 0.1
"""Error of the overlap above which nothing is called good."""
_WORST_CHANCE = 1e-4


@dataclass(frozen=True)
class LightOfBin:
    """A sender's light in one bin, over everything that it sends: mean, and mean square."""

    mean: float
    square: float

    @classmethod
    def constant(cls, intensity: float = 1.0) -> LightOfBin:
        """The same in every slot."""
        return cls(intensity, intensity**2)

    @classmethod
    def of_ladder(cls, intensities: ArrayLike, probabilities: ArrayLike) -> LightOfBin:
        """Time bins, settings s, mu, nu, o: s is sent in Z, in one bin of two; the rest in both."""
        x = np.asarray(intensities, np.float64)
        p = np.asarray(probabilities, np.float64)
        half = 0.5 * x[1:]
        mean = 0.5 * p[0] * x[0] + p[1:] @ half
        square = 0.5 * p[0] * x[0] ** 2 + p[1:] @ half**2
        return cls(float(mean), float(square))


def most_visibility(a: LightOfBin, b: LightOfBin) -> float:
    """Depth of the dip of pulses that overlap wholly, in the limit of few photons.

    Parameters
    ----------
    a, b
        As they arrive at the beam splitter; a common factor does not matter.

    Raises
    ------
    ValueError
        One of them sends nothing.
    """
    if a.mean <= 0.0 or b.mean <= 0.0:
        raise ValueError("a sender that sends nothing interferes with nobody")
    both = 2.0 * a.mean * b.mean
    return both / (a.square + b.square + both)


def scan_delays(centre_ps: float, span_ps: float, points: int) -> NDArray[np.float64]:
    """(points,) ps, evenly over ``centre +/- span / 2``; ValueError below seven points."""
    if points < 7:
        raise ValueError(f"a scan takes seven points at least, got {points}")
    return np.linspace(centre_ps - span_ps / 2, centre_ps + span_ps / 2, points)


class HomVerdict(StrEnum):
    """What a scan says."""

    GOOD = "good"
    WEAK = "visibility too low"
    OPEN = "not decided: more pairs are needed"
    UNSEEN = "no dip"
    MISFIT = "not a dip's shape"
    IMPOSSIBLE = "deeper than light of lasers can"


@dataclass(frozen=True)
class HomScan:
    """A scan, and what it says.

    Attributes
    ----------
    delay_ps, coincidences, exposure
        (n,) each, as measured.
    fit
        The dip; None where there is none to be seen.
    most
        Visibility of pulses that overlap wholly.
    overlap, sigma_overlap
        Visibility over that: the squared overlap of the modes.
    """

    delay_ps: NDArray[np.float64]
    coincidences: NDArray[np.float64]
    exposure: NDArray[np.float64]
    fit: DipFit | None
    most: float
    overlap: float
    sigma_overlap: float
    verdict: HomVerdict

    def as_json(self) -> dict[str, Any]:
        """Everything, plain."""
        return {
            "delay_ps": self.delay_ps.tolist(),
            "coincidences": self.coincidences.tolist(),
            "exposure": self.exposure.tolist(),
            "fit": None if self.fit is None else asdict(self.fit),
            "most_visibility": self.most,
            "overlap": self.overlap,
            "sigma_overlap": self.sigma_overlap,
            "verdict": str(self.verdict),
        }

    def line(self) -> str:
        """For people."""
        if self.fit is None:
            return f"{self.verdict}; {self.most:.3f} is the most"
        f = self.fit
        return (
            f"{self.verdict}: visibility {f.visibility:.3f} +- {f.sigma_visibility:.3f} (most "
            f"{self.most:.3f}), centre {f.centre_ps:.1f} +- {f.sigma_centre_ps:.1f} ps, width "
            f"{f.width_ps:.1f} +- {f.sigma_width_ps:.1f} ps"
        )


def analyse_scan(
    delay_ps: ArrayLike,
    coincidences: ArrayLike,
    exposure: ArrayLike = 1.0,
    accidental: ArrayLike = 0.0,
    *,
    most: float = 0.5,
    least_overlap: float = 0.9,
) -> HomScan:
    """Fit the dip, and say what to make of it.

    Parameters
    ----------
    delay_ps, coincidences, exposure, accidental
        As :func:`~.visibility.dip_visibility_fit`. An exposure in slots of both detectors' rates,
        ``N_c N_d / slots``, takes their drift out.
    most
        Of :func:`most_visibility`.
    least_overlap
        Squared overlap of the modes that is good enough.

    Raises
    ------
    ValueError
        As :func:`~.visibility.dip_visibility_fit`.
    """
    delay = np.asarray(delay_ps, np.float64)
    counts = np.asarray(coincidences, np.float64)
    sent = np.broadcast_to(np.asarray(exposure, np.float64), delay.shape).copy()
    fit = dip_visibility_fit(delay, counts, sent, accidental)
    overlap, sigma = fit.visibility / most, fit.sigma_visibility / most

    def scan(verdict: HomVerdict, found: DipFit | None = fit) -> HomScan:
        seen = (overlap, sigma) if found is not None else (0.0, math.inf)
        return HomScan(delay, counts, sent, found, most, *seen, verdict)

    if not math.isfinite(sigma) or overlap < _SIGMAS * sigma:
        return scan(HomVerdict.UNSEEN, None)
    if _chance(fit) < _WORST_CHANCE:
        return scan(HomVerdict.MISFIT)
    if overlap - _SIGMAS * sigma > 1.0:
        return scan(HomVerdict.IMPOSSIBLE)
    if overlap + _SIGMAS * sigma < least_overlap:
        return scan(HomVerdict.WEAK)
    if sigma > _SHARP or overlap + sigma < least_overlap:
        return scan(HomVerdict.OPEN)
    return scan(HomVerdict.GOOD)


def _chance(fit: DipFit) -> float:
    """Probability of a chi square as large as this, or larger."""
    from scipy.special import gammaincc

    return float(gammaincc(fit.degrees / 2.0, fit.chi_square / 2.0)) if fit.degrees > 0 else 1.0


def draw_scan(path: Path, scan: HomScan) -> None:
    """The dip with its fit, and the limit that light of lasers has, to a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rate = scan.coincidences / scan.exposure
    error = np.sqrt(np.maximum(scan.coincidences, 1.0)) / scan.exposure
    level = scan.fit.level if scan.fit is not None else float(np.mean(rate))
    axes.errorbar(scan.delay_ps, rate / level, error / level, fmt="o", ms=4, label="measured")
    axes.axhline(1.0 - scan.most, ls=":", color="C3", label=f"most: {scan.most:.3f}")
    if scan.fit is not None:
        f = scan.fit
        fine = np.linspace(scan.delay_ps.min(), scan.delay_ps.max(), 400)
        dip = 1.0 - f.visibility * np.exp(-0.5 * ((fine - f.centre_ps) / f.width_ps) ** 2)
        axes.plot(fine, dip, color="C1", label="fit")
        axes.axvline(f.centre_ps, color="C1", lw=0.7)
    axes.set_xlabel("delay (ps)")
    axes.set_ylabel("coincidences of the two ports, of those outside")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    axes.set_title(scan.line(), fontsize="small")
    figure.savefig(path, dpi=120)
