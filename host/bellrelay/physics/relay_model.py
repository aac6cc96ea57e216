"""The relay as the closed forms see it: what interferes, where it lands, what else clicks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Encoding(StrEnum):
    """How a photon carries its bit."""

    TIME_BIN = "time-bin"
    POLARISATION = "polarisation"


class Basis(StrEnum):
    """Z: early/late or H/V; X: relative phase 0/pi or +/-."""

    Z = "Z"
    X = "X"


class Cell(NamedTuple):
    """One window of one detector: the smallest thing that clicks or does not.

    `port` 0 is port c of the beam splitter, 1 is port d; `mode` 0 is early or H, 1 late or V;
    `share` is the part of the light of (port, mode) that this cell detects.
    """

    detector: int
    port: int
    mode: int
    share: float
    dark: float


@dataclass(frozen=True)
class RelayModel:
    """Parameters of a Bell-state measurement of two phase-randomised weak coherent pulses.

    encoding: time-bin, or polarisation (detectors D0H, D0V, D1H, D1V, one window each).
    eta_a, eta_b: from source to click, 0..1; floats, or arrays that broadcast with the intensities.
    detectors_per_port: time-bin only: 1, or 2 behind another 50:50 splitter each.
    detector_efficiency: factor 0..1 on eta for each detector; empty: 1 for all.
    dark_count_probability: per detector and window (of a cell), 0 <= p < 1; or one per detector.
    misalignment_z, misalignment_x: probability 0..1 that an announced bit of this basis is flipped.
    mode_overlap: `M = |<psi_a|psi_b>|^2` of the two pulses, 0..1. The interference term of two
        coherent states scales with sqrt(M); the Hong-Ou-Mandel visibility of weak coherent pulses
        is M / 2.
    same_detector: time-bin only. True: a detector can fire in both windows of a slot (its dead time
        is shorter than their distance). False: a click in the early window makes it blind for the
        late one, so one detector alone never announces psi-plus, and what would have hit it late
        is not seen.

    Detectors are threshold detectors: a window counts as hit once, however many photons came.
    Raises ValueError naming the parameter that is out of range.
    """

    encoding: Encoding = Encoding.TIME_BIN
    eta_a: ArrayLike = 0.1
    eta_b: ArrayLike = 0.1
    detectors_per_port: int = 1
    detector_efficiency: tuple[float, ...] = ()
    dark_count_probability: float | tuple[float, ...] = 0.0
    misalignment_z: float = 0.0
    misalignment_x: float = 0.0
    mode_overlap: float = 1.0
    same_detector: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", Encoding(self.encoding))
        if self.encoding is Encoding.TIME_BIN and self.detectors_per_port not in (1, 2):
            raise ValueError(f"detectors_per_port must be 1 or 2, got {self.detectors_per_port}")
        if self.encoding is Encoding.POLARISATION and self.detectors_per_port != 1:
            raise ValueError(
                "detectors_per_port must be 1 with polarisation (one detector per port and "
                f"polarisation), got {self.detectors_per_port}"
            )
        for name in ("eta_a", "eta_b", "misalignment_z", "misalignment_x", "mode_overlap"):
            _require_unit(name, getattr(self, name))
        for name in ("detector_efficiency", "dark_count_probability"):
            value = getattr(self, name)
            _require_unit(name, value)
            if isinstance(value, tuple) and len(value) not in (0, self.n_detectors):
                raise ValueError(
                    f"{name} must name {self.n_detectors} detectors, got {len(value)} values"
                )
        if np.any(np.asarray(self.dark_count_probability) >= 1.0):
            raise ValueError("dark_count_probability must be below 1")

    @property
    def n_detectors(self) -> int:
        """2 or 4."""
        return 4 if self.encoding is Encoding.POLARISATION else 2 * self.detectors_per_port

    def misalignment(self, basis: Basis) -> float:
        """Flip probability of an announced bit of this basis."""
        return self.misalignment_z if basis is Basis.Z else self.misalignment_x

    def cells(self) -> tuple[Cell, ...]:
        """All cells: those of mode 0 in detector order, then those of mode 1."""
        n = self.n_detectors
        efficiency = self.detector_efficiency or (1.0,) * n
        dark = self.dark_count_probability
        darks = dark if isinstance(dark, tuple) and dark else (float(np.asarray(dark).sum()),) * n
        if self.encoding is Encoding.POLARISATION:
            order = [(mode, d) for mode in (0, 1) for d in range(n) if d % 2 == mode]
        else:
            order = [(mode, d) for mode in (0, 1) for d in range(n)]
        port_of = 2 if self.encoding is Encoding.POLARISATION else self.detectors_per_port
        return tuple(
            Cell(d, d // port_of, mode, efficiency[d] / self.detectors_per_port, darks[d])
            for mode, d in order
        )


def _require_unit(name: str, value: ArrayLike) -> None:
    array = np.asarray(value, np.float64)
    if not np.all((array >= 0.0) & (array <= 1.0)):
        raise ValueError(f"{name} must lie in 0..1, got {value!r}")
