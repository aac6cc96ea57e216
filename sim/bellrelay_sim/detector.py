"""Single-photon detectors: parameters, the two usual sets of them, fates of detections."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

PORTS = ("c", "d")
POLARISATIONS = ("H", "V")


@dataclass(frozen=True)
class Detector:
    """One detector with its cable.

    name: as in reports. port: of the beam splitter, "c" or "d". polarisation: "H" or "V" behind a
    polarising splitter, None if it sees all light of its port. efficiency: factor on both arms'
    eta, 0..1. dark_rate_hz: dark counts per second, spread evenly over time. dead_time_ps: after an
    avalanche, non-extending; what would fall into it does not happen at all. jitter_ps: standard
    deviation of the electrical pulse against the avalanche; it does not shift the dead time.
    afterpulse_probability: that a click leaves a trapped carrier, which fires the detector again
    afterpulse_tau_ps (exponential mean) later unless it is still dead. cable_delay_ps: added to all
    its clicks. Raises ValueError naming the parameter that is out of range.
    """

    name: str
    port: str
    polarisation: str | None = None
    efficiency: float = 1.0
    dark_rate_hz: float = 100.0
    dead_time_ps: int = 30_000
    jitter_ps: float = 60.0
    afterpulse_probability: float = 0.005
    afterpulse_tau_ps: float = 50_000.0
    cable_delay_ps: int = 0

    def __post_init__(self) -> None:
        if self.port not in PORTS:
            raise ValueError(f"{self.name}: port must be one of {PORTS}, got {self.port!r}")
        if self.polarisation not in (None, *POLARISATIONS):
            raise ValueError(
                f"{self.name}: polarisation must be H, V or None, got {self.polarisation!r}"
            )
        if not 0.0 <= self.efficiency <= 1.0:
            raise ValueError(f"{self.name}: efficiency must lie in 0..1, got {self.efficiency}")
        if not 0.0 <= self.afterpulse_probability <= 0.5:
            raise ValueError(
                f"{self.name}: afterpulse_probability must lie in 0..0.5, "
                f"got {self.afterpulse_probability}"
            )
        for name in ("dark_rate_hz", "dead_time_ps", "jitter_ps", "afterpulse_tau_ps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{self.name}: {name} must be >= 0, got {value}")


def time_bin_detectors(
    count: int = 4, cable_delays_ps: tuple[int, ...] = (820, 2190, 0, 1270), **parameters: Any
) -> tuple[Detector, ...]:
    """Two detectors (port c, port d) or four (two behind each port, ports c, c, d, d).

    `parameters` go to every `Detector`. Raises ValueError for another count.
    """
    if count not in (2, 4):
        raise ValueError(f"time-bin encoding takes 2 or 4 detectors, got {count}")
    return tuple(
        Detector(f"D{d}", PORTS[2 * d // count], cable_delay_ps=cable_delays_ps[d], **parameters)
        for d in range(count)
    )


def polarisation_detectors(
    cable_delays_ps: tuple[int, ...] = (820, 2190, 0, 1270), **parameters: Any
) -> tuple[Detector, ...]:
    """D0H, D0V behind port c, D1H, D1V behind port d; `parameters` go to every `Detector`."""
    return tuple(
        Detector(
            f"D{d // 2}{POLARISATIONS[d % 2]}",
            PORTS[d // 2],
            POLARISATIONS[d % 2],
            cable_delay_ps=cable_delays_ps[d],
            **parameters,
        )
        for d in range(4)
    )


@dataclass(frozen=True)
class Fates:
    """What became of every would-be detection; each an int64 array (detectors,).

    *_clicks: fired the detector. *_dead: fell into its dead time. before_start: of the clicks,
    those whose electrical pulse came before the acquisition began, so that nothing recorded them.
    Recorded clicks = photon_clicks + dark_clicks + afterpulse_clicks - before_start.
    """

    photon_clicks: NDArray[np.int64]
    photon_dead: NDArray[np.int64]
    dark_clicks: NDArray[np.int64]
    dark_dead: NDArray[np.int64]
    afterpulse_clicks: NDArray[np.int64]
    afterpulse_dead: NDArray[np.int64]
    before_start: NDArray[np.int64]

    @classmethod
    def from_table(cls, table: NDArray[np.int64]) -> Fates:
        """From (detectors, 7), columns in the order of the fields."""
        return cls(*(table[:, c].copy() for c in range(table.shape[1])))

    @property
    def clicks(self) -> NDArray[np.int64]:
        """Recorded clicks per detector."""
        fired = self.photon_clicks + self.dark_clicks + self.afterpulse_clicks
        return np.asarray(fired - self.before_start)

    def by_name(self) -> dict[str, list[int]]:
        """Plain lists, for reports."""
        return {f.name: getattr(self, f.name).tolist() for f in fields(self)}


N_FATES = len(fields(Fates))
