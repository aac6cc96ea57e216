"""Other protocols on the same bounds: three intensities in both bases, and decoys in Z."""

from __future__ import annotations

import numpy as np
import pytest
from known_blocks import draw_chances, link_yields, relay_yields, setting_chances

from bellrelay.distill.event_classes import Cells
from bellrelay.distill.sender import Kind, Sender
from bellrelay.distill.three_intensity import three_intensity_bounds, three_intensity_sender
from bellrelay.distill.tuned_bounds import TunedBounds
from bellrelay.physics import Basis, RelayModel, binary_entropy, gains
from bellrelay.wire.outcomes import Outcome

LINK = RelayModel(
    eta_a=0.1, eta_b=0.1, dark_count_probability=1e-7, misalignment_x=0.005, mode_overlap=0.98
)
ETA = 2e-21
BOTH = tuple(Outcome)


def of_both(yields: dict) -> dict:
    """Both outcomes as one, under the name of either."""
    return {key: sum(yields[outcome, *key[1:]] for outcome in Outcome) for key in yields}


def block(yields: dict, sender: Sender, pulses: int, count: int, seed: int):  # type: ignore[no-untyped-def]
    bases = tuple(Basis.Z if kind is Kind.Z else Basis.X for kind in sender.kinds)
    chances = setting_chances(
        yields,
        Outcome.PSI_PLUS,
        bases,
        (sender.probabilities,) * 2,
        (sender.declared,) * 2,
    )
    return draw_chances(np.random.default_rng(seed), chances, pulses, count)


@pytest.mark.parametrize("pulses", [10**10, 10**12])
def test_three_intensities_in_both_bases(pulses: int) -> None:
    sender = three_intensity_sender(0.4, 0.05, 0.6, 0.3, 0.5)
    events, errors, truth = block(of_both(link_yields(LINK)), sender, pulses, 5, 1)
    for k in range(5):
        bounds = three_intensity_bounds(events[k], errors[k], pulses, sender, sender, BOTH)
        private, _ = bounds.private_bits(ETA)
        assert 0.0 < private <= truth.private_bits()[k]
        assert 0.0 < bounds.pairs_lower(ETA) <= truth.pairs[k]
        assert bounds.phase_errors_upper(ETA) >= truth.phase_errors[k]


def test_a_relay_that_measures_z_leaves_no_key_there_either() -> None:
    sender = three_intensity_sender(0.4, 0.05, 0.6, 0.3, 0.5, deviation=0.01, vacuum_limit=1e-4)
    measured = of_both(relay_yields(lambda n, m: (0.005 * n * m, 0.5)))
    events, errors, truth = block(measured, sender, 10**12, 3, 2)
    for k in range(3):
        bounds = three_intensity_bounds(events[k], errors[k], 10**12, sender, sender, BOTH)
        assert bounds.private_bits(ETA)[0] <= truth.private_bits()[k]


@pytest.mark.parametrize(
    ("km", "declared", "p", "published"),
    [
        (0, (0.552, 0.081, 0.086, 0.0), (0.669, 0.119, 0.144, 0.068), 9_151_457),
        (10, (0.506, 0.082, 0.087, 0.0), (0.611, 0.149, 0.162, 0.078), 4_106_381),
    ],
)
def test_decoys_in_z_and_one_intensity_in_x(
    km: int, declared: tuple[float, ...], p: tuple[float, ...], published: int
) -> None:
    """The protocol s, v, o in Z and w, o in X of the repository Jungling-White/MDI-QKD, at its own
    intensities where both parties send alike, N 1e10: the key is longer than the published one.
    """
    intensities = np.array(declared)
    sender = Sender(
        (Kind.Z, Kind.Z, Kind.X, Kind.VACUUM), np.array(p), intensities, intensities, intensities
    )
    split, key = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    split[2, 2] = key[0, 0] = True
    cells = Cells(np.ones((4, 4), bool), split, key)
    eta = 0.4 * 10.0 ** (-0.02 * km / 2.0)
    link = RelayModel(
        eta_a=eta,
        eta_b=eta,
        dark_count_probability=1e-7,
        misalignment_z=0.015,
        misalignment_x=0.015,
    )
    signal = gains(link, Basis.Z, declared[0], declared[0]).both
    events, errors, truth = block(of_both(link_yields(link)), sender, 10**10, 3, 3)
    for k in range(3):
        counts = cells.counts(events[k], errors[k])
        bounds = TunedBounds(sender, sender, cells, counts, 10**10, BOTH)
        private, _ = bounds.private_bits(ETA)
        assert private <= truth.private_bits()[k]
        assert bounds.pairs_lower(ETA) <= truth.pairs[k]
        leak = 1.1 * events[k][0, 0] * float(binary_entropy(signal.error_rate))
        assert private - leak - 150.0 > published
