"""What dead time costs: the part of the slots in which every detector could have fired.

The relay announces live slots only. Whether a slot is live was settled by clicks of earlier slots,
whose settings were drawn independently of its own: every gain is multiplied by the live fraction,
and no error rate changes. Within a slot dead time acts through `RelayModel.same_detector`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import i0

from .gains import _cell_light
from .relay_model import Basis, Floats, RelayModel


@dataclass(frozen=True)
class SentSetting:
    """One of the things a party sends: its basis, mean photon number and probability per slot."""

    basis: Basis
    intensity: float
    probability: float


@dataclass(frozen=True)
class DeadTime:
    """Dead time against the slot scheme; all times in ps.

    dead_time_ps: of every detector, >= 0. slot_period_ps: > 0. bin_distance_ps: from early to late,
    less than the period; 0 with polarisation. extending: whether a click that is suppressed makes
    the detector dead anew. Raises ValueError naming the parameter that is out of range.
    """

    dead_time_ps: float
    slot_period_ps: float
    bin_distance_ps: float = 0.0
    extending: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.dead_time_ps) and self.dead_time_ps >= 0.0):
            raise ValueError(f"dead_time_ps must be >= 0, got {self.dead_time_ps}")
        if not (math.isfinite(self.slot_period_ps) and self.slot_period_ps > 0.0):
            raise ValueError(f"slot_period_ps must be above 0, got {self.slot_period_ps}")
        if not 0.0 <= self.bin_distance_ps < self.slot_period_ps:
            raise ValueError(
                f"bin_distance_ps must lie in 0..{self.slot_period_ps}, got {self.bin_distance_ps}"
            )

    @property
    def same_detector(self) -> bool:
        """Whether a detector that fired early can fire late in the same slot."""
        return self.dead_time_ps <= self.bin_distance_ps

    def blinded_slots(self) -> tuple[int, int]:
        """How many later slots a click blinds: one in the early window, one in the late.

        Slot s + j is blind while j T < D, counted from the opening of the window.
        """
        early, late = (
            max(0, math.ceil((self.dead_time_ps + offset) / self.slot_period_ps) - 1)
            for offset in (0.0, self.bin_distance_ps)
        )
        return early, late


def live_fraction(
    model: RelayModel,
    dead_time: DeadTime,
    alice: Sequence[SentSetting],
    bob: Sequence[SentSetting],
) -> float:
    """Part of the slots that are live, 0..1, when these settings are sent to this relay.

    Every click in a window starts a dead time, announced or not. Per detector this is a renewal
    process: 1 / (1 + k p) of the slots are live if a click, of probability p per slot, blinds k
    later ones; extending, all of the last k slots must have been dark: (1 - p)^k. Detectors are
    taken as independent of one another, which is wrong by the order of p squared.
    model.eta_a and model.eta_b must be floats.
    """
    early, late, either = click_probabilities(model, alice, bob)
    early_blinds, late_blinds = dead_time.blinded_slots()
    if dead_time.extending:
        live = (1.0 - either) ** early_blinds * (1.0 - late) ** (late_blinds - early_blinds)
    else:
        # The click that the dead time counts from: the last, or the first if that blinds the rest.
        from_early, from_late = (
            (either - late, late) if model.same_detector else (early, either - early)
        )
        live = 1.0 / (1.0 + early_blinds * from_early + late_blinds * from_late)
    return float(np.prod(live))


def click_probabilities(
    model: RelayModel, alice: Sequence[SentSetting], bob: Sequence[SentSetting]
) -> tuple[Floats, Floats, Floats]:
    """Per slot and detector, of a detector that is live: a click early, late, in either window.

    Three float64 arrays (detectors,), averaged over settings, bits and phases. With polarisation a
    detector has one window, early for H and late for V.
    """
    n = model.n_detectors
    cells = model.cells()
    early, late, either = np.zeros(n), np.zeros(n), np.zeros(n)
    for one in alice:
        for other in bob:
            weight = one.probability * other.probability
            mean, swing = _cell_light(model, one.basis, other.basis, one.intensity, other.intensity)
            for d in range(n):
                mine = [c for c, cell in enumerate(cells) if cell.detector == d]
                for chosen, total in (
                    ([c for c in mine if cells[c].mode == 0], early),
                    ([c for c in mine if cells[c].mode == 1], late),
                    (mine, either),
                ):
                    dark = math.prod(1.0 - cells[c].dark for c in chosen)
                    light = np.exp(-mean[:, :, chosen].sum(axis=2))
                    silent = dark * light * i0(swing[:, :, chosen].sum(axis=2))
                    total[d] += weight * (1.0 - float(silent.mean()))
    return early, late, either
