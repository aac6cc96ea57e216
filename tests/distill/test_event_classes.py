"""Classes of events hold every pulse, with odds that no intensity within its interval leaves."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from bellrelay.distill.event_classes import Cells, EventClasses, Worth
from bellrelay.distill.ladder import Ladder, S
from bellrelay.distill.photon_classes import photon_classes
from bellrelay.distill.sender import Kind, Sender

LADDERS = [
    Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3),
    Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, deviation=0.02, vacuum_limit=1e-3),
    Ladder(0.9, 0.8, 0.5, 0.01, 0.45, 0.1, 0.3, deviation=0.05),
]
# Two decoys in Z and one in X, as double scanning was compared with elsewhere.
OTHER = Sender(
    (Kind.Z, Kind.Z, Kind.X, Kind.VACUUM),
    np.array([0.6, 0.15, 0.15, 0.1]),
    *[np.array([0.5, 0.08, 0.09, 0.0])] * 3,
)


def cells(settings: int = 4) -> Cells:
    reported = np.ones((settings, settings), bool)
    split, key = np.zeros_like(reported), np.zeros_like(reported)
    split[1:3, 1:3] = True
    key[S, S] = True
    return Cells(reported, split, key)


def odds_of(sender: Sender, mean: np.ndarray, photons: int, kind: Kind | None) -> np.ndarray:
    chance = np.exp(-mean) * mean**photons / math.factorial(photons)
    members = np.ones(sender.settings, bool) if kind is None else sender.of_basis(kind)
    return sender.probabilities * np.where(members, chance, 0.0)


@pytest.mark.parametrize("sender", [*(ladder.sender() for ladder in LADDERS), OTHER])
def test_every_photon_number_is_in_a_class(sender: Sender) -> None:
    """Whatever the intensities within their intervals, up to a common factor."""
    rng = np.random.default_rng(1)
    classes = photon_classes(sender)
    for photons, _ in product(range(25), range(20)):
        at = np.where(rng.random(sender.settings) < 0.5, 0.0, 1.0)
        at = np.where(rng.random(sender.settings) < 0.5, at, rng.random(sender.settings))
        mean = sender.low + (sender.high - sender.low) * at
        for kind in (None,) if photons < 2 else (Kind.Z, Kind.X):
            odds = odds_of(sender, mean, photons, kind)
            if not odds.any():
                continue
            assert any(
                _within(c.low, c.high, odds)
                for c in classes
                if c.basis is kind and (c.photons == photons or (kind and photons >= 2))
            ), (photons, kind)


def _within(low: np.ndarray, high: np.ndarray, odds: np.ndarray) -> bool:
    """Whether some factor brings the odds between low and high."""
    seen = odds > 0.0
    if np.any(high[seen] <= 0.0):
        return False
    least = np.max(low[seen] / odds[seen])
    most = np.min(high[seen] / odds[seen])
    return bool(least <= most * (1 + 1e-9)) and not np.any(low[~seen] > 0.0)


@pytest.mark.parametrize("ladder", LADDERS)
def test_the_worst_odds_are_the_worst(ladder: Ladder) -> None:
    """No odds within the intervals give a positive mean where the corner says that none do."""
    classes = EventClasses(ladder.sender(), ladder.sender(), cells())
    rng = np.random.default_rng(2)
    for _ in range(4):
        values = rng.normal(size=classes.cells.count) - 0.3
        key_values = rng.normal(size=(4, 1)) - 0.3
        means, rows = classes.worst(values, key_values)
        assert np.allclose(rows.sum(axis=1), 1.0)
        own = rows @ values
        key = classes.cells.key_cells[0]
        own += rows[:, key] * (key_values[classes.worth, 0] - values[key])
        assert np.allclose(own, means)
        for _ in range(20):
            for k in range(len(classes)):
                odds = []
                c = classes._classes[k]
                for side in (classes._alice[c.a], classes._bob[c.b]):
                    odds.append(side.low + (side.high - side.low) * rng.random(side.low.shape))
                row = classes._rows(classes._error[[k]], *(o[None] for o in odds))[0]
                mean = row @ values + row[key] * (key_values[classes.worth[k], 0] - values[key])
                assert mean <= 1e-12 or means[k] > 0.0


def test_worths_and_errors_of_classes() -> None:
    ladder = LADDERS[0]
    classes = EventClasses(ladder.sender(), ladder.sender(), cells())
    seen = set()
    for c, worth in zip(classes._classes, classes.worth, strict=True):
        a, b = classes._alice[c.a], classes._bob[c.b]
        seen.add(Worth(worth))
        if a.photons == 0:
            assert worth == Worth.VACUUM
        elif a.photons == b.photons == 1:
            assert worth == (Worth.WRONG_PAIR if c.error else Worth.PAIR)
        else:
            assert worth == Worth.NOTHING
        if a.photons == 0 or b.photons == 0:
            # Nobody's bit without a photon: a coin, wherever errors could be seen at all.
            assert c.error in (0.5, 0.0)
    assert seen == set(Worth)


def test_unseen_cells_lose_their_events() -> None:
    reported = np.ones((4, 4), bool)
    reported[0, 1:] = reported[1:, 0] = False
    split, key = np.zeros_like(reported), np.zeros_like(reported)
    split[1:3, 1:3] = True
    key[S, S] = True
    ladder = LADDERS[0]
    classes = EventClasses(ladder.sender(), ladder.sender(), Cells(reported, split, key))
    _, rows = classes.typical_rows()
    assert rows.shape[1] == 14
    assert rows.sum(axis=1).min() < 0.5
    assert rows.sum(axis=1).max() <= 1.0 + 1e-12


def test_counts_go_into_their_cells() -> None:
    n = np.arange(16).reshape(4, 4) + 10
    m = np.arange(16).reshape(4, 4)
    counts = cells().counts(n, m)
    assert counts.sum() == n.sum()
    assert counts[16:].tolist() == [5, 6, 9, 10]
    assert counts[5] == n[1, 1] - m[1, 1]
    right, wrong = cells().spread(counts)
    assert wrong[1, 2] == 6
    assert right[0, 0] == wrong[0, 0] == 10


@pytest.mark.parametrize("wrong", ["split", "key", "both"])
def test_cells_that_contradict_themselves_are_refused(wrong: str) -> None:
    reported = np.ones((4, 4), bool)
    split, key = np.zeros_like(reported), np.zeros_like(reported)
    split[1, 1] = key[0, 0] = True
    if wrong == "both":
        key[1, 1] = True
    else:
        reported[(1, 1) if wrong == "split" else (0, 0)] = False
    with pytest.raises(ValueError, match="key"):
        Cells(reported, split, key)
