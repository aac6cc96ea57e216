"""Whether a sender's settings stand to one another as they are declared, by what was measured.

Two ways to measure it. A power monitor gives readings by setting. At the relay, tracking slots do,
whose settings are never key: clicks per slot grow with the intensity sent, by a slope that is the
same for all settings, on top of what is not this sender's (the other's light, dark counts). So of
the settings s, mu, nu, o the ratios

    (rate_k - rate_o) / (rate_s - rate_o)

must be those of ``(x_k - x_o) / (x_s - x_o)``, whatever the losses are. Where there is so much
light that a detector would often click twice in a slot, strong settings show less of it than weak
ones: rates r are looked at as they are (nothing hidden), and as ``-log(1 - r)`` (all but one click
of a slot hidden). The truth lies between, and a verdict is one if both give it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DecoyCheck", "DecoyRatio", "DecoyVerdict", "check_clicks", "check_readings"]

_SETTINGS = ("s", "mu", "nu", "o")
_SIGMAS = 3.0


class DecoyVerdict(StrEnum):
    """What the ratios say; the worst of them counts."""

    CONFIRMED = "confirmed"
    OPEN = "not decided: too few counts, or too much light"
    DEVIATES = "deviates"


@dataclass(frozen=True)
class DecoyRatio:
    """One setting against the signal.

    off : measured over declared, less 1. sigma : error of measured. unhidden : measured, had every
    slot no more than one click to show; as measured where nothing can be hidden.
    """

    setting: str
    declared: float
    measured: float
    sigma: float
    verdict: DecoyVerdict
    unhidden: float

    @property
    def off(self) -> float:
        """Relative deviation from the declaration."""
        return self.measured / self.declared - 1.0


@dataclass(frozen=True)
class DecoyCheck:
    """All ratios of one sender.

    allowed : relative deviation of each intensity, as declared. vacuum : light in the setting o in
    photons per pulse, and its standard error; None where it cannot be told from the background.
    """

    way: str
    allowed: float
    ratios: tuple[DecoyRatio, ...]
    vacuum: tuple[float, float] | None
    verdict: DecoyVerdict

    def as_json(self) -> dict[str, Any]:
        """Everything, plain."""
        return {
            "way": self.way,
            "allowed": self.allowed,
            "ratios": [{**asdict(r), "verdict": str(r.verdict), "off": r.off} for r in self.ratios],
            "vacuum": self.vacuum and {"value": self.vacuum[0], "sigma": self.vacuum[1]},
            "verdict": str(self.verdict),
        }

    def line(self) -> str:
        """For people."""
        each = ", ".join(
            f"{r.setting}/s {r.measured:.4f} +- {r.sigma:.4f} (declared {r.declared:.4f})"
            for r in self.ratios
        )
        return f"{self.verdict} by {self.way}: {each}"


def check_clicks(
    slots: ArrayLike, clicks: ArrayLike, intensities: ArrayLike, allowed: float
) -> DecoyCheck:
    """By clicks in tracking slots.

    Parameters
    ----------
    slots, clicks
        (4,) each, settings s, mu, nu, o: slots in which it was sent, and clicks in those.
    intensities
        (4,) declared.
    allowed
        Relative deviation of each intensity that was declared.

    Raises
    ------
    ValueError
        A setting that was not sent, no light of the signal's above the vacuum's, or a click per
        slot and more: detectors' dead time, not light, would be measured.
    """
    n = np.asarray(slots, np.float64)
    k = np.asarray(clicks, np.float64)
    x = np.asarray(intensities, np.float64)
    if n.shape != (4,) or k.shape != (4,) or (n <= 0).any() or (k < 0).any():
        raise ValueError("slots and clicks of each of the four settings are needed")
    if (k >= n).any():
        raise ValueError("a click in every slot: that is no light, but dead time")
    rate, variance = k / n, (k + 1.0) / n**2
    way = "clicks in tracking slots"
    seen = _check(way, rate, variance, x, allowed, above=True)
    hidden = _check(way, -np.log1p(-rate), variance / (1.0 - rate) ** 2, x, allowed, above=True)
    pairs = zip(seen.ratios, hidden.ratios, strict=True)
    return _of(way, allowed, [_between(*pair) for pair in pairs])


def check_readings(
    readings: ArrayLike, means: ArrayLike, relative_variance: ArrayLike, intensities: ArrayLike,
    allowed: float, *, calibration: float = 0.0
) -> DecoyCheck:  # fmt: skip
    """By a power monitor's readings; its own calibration drops out of a ratio.

    Parameters
    ----------
    readings, means, relative_variance
        (4,) each: number, mean in photons per pulse, variance of a reading over its square.
    intensities, allowed
        As :func:`check_clicks`.
    calibration
        Relative error of the monitor, for the vacuum's light alone.

    Raises
    ------
    ValueError
        A setting without readings.
    """
    n = np.asarray(readings, np.float64)
    mean = np.asarray(means, np.float64)
    spread = np.asarray(relative_variance, np.float64)
    x = np.asarray(intensities, np.float64)
    if n.shape != (4,) or (n < 2).any() or not np.isfinite(mean).all():
        raise ValueError("two readings of each of the four settings are needed")
    if not np.isfinite(spread[:3]).all():
        raise ValueError("how much the readings scatter is not known yet")
    # Of the vacuum it is of what was declared, 0 perhaps: then it is not known.
    variance = np.nan_to_num(spread, nan=0.0, posinf=0.0) * mean**2 / n
    check = _check("power monitor", mean, variance, x, allowed, above=False)
    dark = (float(mean[3]), math.hypot(math.sqrt(variance[3]), calibration * float(mean[3])))
    return DecoyCheck(check.way, check.allowed, check.ratios, dark, check.verdict)


def _check(
    way: str,
    level: NDArray[np.float64],
    variance: NDArray[np.float64],
    declared: NDArray[np.float64],
    allowed: float,
    *,
    above: bool,
) -> DecoyCheck:
    """Ratios to the signal; `above`: of what each setting has beyond the vacuum."""
    base, x_base = (level[3], declared[3]) if above else (0.0, 0.0)
    base_variance = float(variance[3]) if above else 0.0
    signal, x_signal = float(level[0] - base), float(declared[0] - x_base)
    signal_error = math.sqrt(float(variance[0]) + base_variance)
    if signal <= _SIGMAS * signal_error or x_signal <= 0.0:
        raise ValueError("no light of the signal's above the vacuum's")
    ratios = []
    for at in (1, 2):
        ratio = float(level[at] - base) / signal
        # d(ratio) of each level; the vacuum's is in both.
        error = (
            math.sqrt(
                float(variance[at])
                + ratio**2 * float(variance[0])
                + (1.0 - ratio) ** 2 * base_variance
            )
            / signal
        )
        want = float(declared[at] - x_base) / x_signal
        # Both the setting and the signal may be off by as much, in opposite ways.
        bound = want * 2.0 * allowed / (1.0 - allowed)
        verdict = _verdict(ratio - want, error, bound)
        ratios.append(DecoyRatio(_SETTINGS[at], want, ratio, error, verdict, ratio))
    return _of(way, allowed, ratios)


def _of(way: str, allowed: float, ratios: list[DecoyRatio]) -> DecoyCheck:
    """The worst of them counts."""
    worst = max((r.verdict for r in ratios), key=list(DecoyVerdict).index)
    return DecoyCheck(way, allowed, tuple(ratios), None, worst)


def _between(seen: DecoyRatio, hidden: DecoyRatio) -> DecoyRatio:
    """Decided is what both say: too much by one and too little by the other says nothing."""
    same = seen.verdict is hidden.verdict and (
        seen.verdict is not DecoyVerdict.DEVIATES or seen.off * hidden.off > 0.0
    )
    verdict = seen.verdict if same else DecoyVerdict.OPEN
    return replace(seen, verdict=verdict, unhidden=hidden.measured)


def _verdict(off: float, sigma: float, bound: float) -> DecoyVerdict:
    if abs(off) - _SIGMAS * sigma > bound:
        return DecoyVerdict.DEVIATES
    if abs(off) + _SIGMAS * sigma <= bound:
        return DecoyVerdict.CONFIRMED
    return DecoyVerdict.OPEN
