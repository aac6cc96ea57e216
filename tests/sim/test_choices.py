"""Source choices: the generator by its published vectors, the choices by their distribution."""

import numpy as np
import pytest

from bellrelay_sim.choices import BASIS_X, BASIS_Z, Party, SourceLog
from bellrelay_sim.philox import philox_words
from bellrelay_sim.source import Setting, Source, four_intensity, three_intensity

# Random123, tests/kat_vectors, "philox4x32 10": counter, key, result.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def _words(text: str) -> np.ndarray:
    return np.array([int(w, 16) for w in text.split()], np.uint64)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: str, key: str, result: str) -> None:
    out = np.empty((1, 4), np.uint64)
    philox_words(_words(counter)[None, :], _words(key), out)
    np.testing.assert_array_equal(out[0], _words(result))


def test_the_documented_use_of_a_block() -> None:
    """Words: setting, basis, phase, bit. Counter (low, high, purpose, 0), key (seed, party)."""
    slot = (7 << 32) + 123
    words = np.empty((1, 4), np.uint64)
    philox_words(np.array([[123, 7, 0, 0]], np.uint64), np.array([42, 1], np.uint64), words)
    source = three_intensity()
    got = SourceLog(source, 42, Party.BOB).choices_at(np.array([slot], np.uint64))
    w = [int(x) for x in words[0]]
    assert got.intensity[0] == np.searchsorted([0.5, 0.8], w[0] / 2**32, side="right")
    assert got.basis[0] == (BASIS_Z if w[1] < 2**31 else BASIS_X)
    assert got.phase[0] == pytest.approx(2 * np.pi * w[2] / 2**32)
    assert got.bit[0] == w[3] >> 31


def test_access_is_random_and_parties_and_seeds_differ() -> None:
    log = SourceLog(four_intensity(), 5, Party.ALICE)
    slots = np.arange(10_000, dtype=np.uint64)
    whole = log.choices_at(slots)
    order = np.random.default_rng(1).permutation(slots)
    some = log.choices_at(order)
    for name in ("basis", "bit", "intensity", "phase"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[order])
    for other in (
        SourceLog(four_intensity(), 5, Party.BOB),
        SourceLog(four_intensity(), 6, Party.ALICE),
    ):
        assert np.mean(other.choices_at(slots).bit == whole.bit) == pytest.approx(0.5, abs=0.03)


def _within_4_sigma(count: int, n: int, p: float) -> bool:
    return abs(count - n * p) <= 4.0 * np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("source", [four_intensity(), three_intensity(z_probability=0.7)])
def test_distribution(source: Source) -> None:
    n = 400_000
    far = np.uint64(30 * 86400 * 10**9)  # a month of slots at 1 GHz
    got = SourceLog(source, 2024, Party.ALICE).choices_at(np.arange(n, dtype=np.uint64) + far)
    for i, setting in enumerate(source.settings):
        for basis, p in ((BASIS_Z, setting.z_probability), (BASIS_X, 1 - setting.z_probability)):
            for bit in (0, 1):
                count = np.count_nonzero(
                    (got.intensity == i) & (got.basis == basis) & (got.bit == bit)
                )
                assert _within_4_sigma(count, n, setting.probability * p / 2)
    octants = np.bincount((got.phase / (np.pi / 4)).astype(int), minlength=8)
    assert octants.size == 8
    assert all(_within_4_sigma(c, n, 1 / 8) for c in octants)
    # No choice follows from another, or from its own past.
    for a, b in (
        (got.bit, got.basis),
        (got.bit, got.phase),
        (got.intensity, got.bit),
        (got.intensity, got.phase),
        (got.bit[1:], got.bit[:-1]),
        (got.phase[1:], got.phase[:-1]),
    ):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4.0 / np.sqrt(n)


def test_sources_check_what_they_are_given() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Source((Setting("s", 0.4, 0.5, 1.0),))
    with pytest.raises(ValueError, match="names"):
        Source((Setting("s", 0.4, 0.5, 1.0), Setting("s", 0.3, 0.5, 1.0)))
    with pytest.raises(ValueError, match="mu: intensity"):
        Setting("mu", -0.1, 0.5, 1.0)
    with pytest.raises(ValueError, match="z_probability"):
        Setting("mu", 0.1, 0.5, 1.5)
    with pytest.raises(ValueError, match="more than 1"):
        four_intensity(p_s=0.9)
    with pytest.raises(ValueError, match="seed"):
        SourceLog(four_intensity(), 2**32, Party.ALICE)
    assert four_intensity().index("nu") == 2
    with pytest.raises(KeyError):
        four_intensity().index("omega")
