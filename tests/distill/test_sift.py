"""Bit-flip rules against the Bell states themselves, and the errors of bad input."""

import numpy as np
import pytest

from bellrelay.distill.sift import BASIS_X, BASIS_Z, bob_flips, sift
from bellrelay.wire.outcomes import Outcome

U8 = np.uint8
# Amplitudes over |00>, |01>, |10>, |11>, and single-photon states by (basis, bit).
BELL = {
    Outcome.PSI_MINUS: np.array([0, 1, -1, 0]) / np.sqrt(2),
    Outcome.PSI_PLUS: np.array([0, 1, 1, 0]) / np.sqrt(2),
}
STATES = {
    (BASIS_Z, 0): np.array([1, 0]),
    (BASIS_Z, 1): np.array([0, 1]),
    (BASIS_X, 0): np.array([1, 1]) / np.sqrt(2),
    (BASIS_X, 1): np.array([1, -1]) / np.sqrt(2),
}


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("basis", [BASIS_Z, BASIS_X])
@pytest.mark.parametrize("bit_a", [0, 1])
@pytest.mark.parametrize("bit_b", [0, 1])
def test_whatever_projects_on_the_announced_state_sifts_to_equal_bits(outcome, basis, bit_a, bit_b):
    pair = np.kron(STATES[basis, bit_a], STATES[basis, bit_b])
    possible = abs(BELL[outcome] @ pair) > 1e-9
    one = sift(*(np.array([v], U8) for v in (outcome, basis, bit_a, basis, bit_b)))
    assert (one.alice[0] == one.bob[0]) == possible


def test_slots_of_different_bases_are_dropped_and_errors_counted_by_basis():
    outcome = np.array([1, 1, 2, 2, 1], U8)
    basis_a = np.array([0, 0, 1, 1, 1], U8)
    basis_b = np.array([0, 1, 1, 1, 1], U8)
    bit_a = np.array([0, 0, 1, 1, 0], U8)
    bit_b = np.array([1, 0, 1, 0, 1], U8)
    sifted = sift(outcome, basis_a, bit_a, basis_b, bit_b)
    assert sifted.index.tolist() == [0, 2, 3, 4]
    assert sifted.errors(BASIS_Z) == (0, 1)
    assert sifted.errors(BASIS_X) == (1, 3)


def test_flips_are_bits():
    flips = bob_flips(np.array([1, 2, 1, 2], U8), np.array([0, 0, 1, 1], U8))
    assert flips.dtype == U8
    assert flips.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": np.array([3], U8)}, "outcome"),
        ({"basis_a": np.array([2], U8)}, "basis_a"),
        ({"bit_b": np.array([0, 1], U8)}, "bit_b"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    good = {
        "outcome": np.array([1], U8),
        **{k: np.array([0], U8) for k in ("basis_a", "bit_a", "basis_b", "bit_b")},
    }
    with pytest.raises(ValueError, match=message):
        sift(**{**good, **change})
