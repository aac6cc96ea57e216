import numpy as np
import pytest

from bellrelay.physics import (
    Basis,
    DeadTime,
    RelayModel,
    SentSetting,
    click_probabilities,
    live_fraction,
)

LADDER = (
    SentSetting(Basis.Z, 0.5, 0.5),
    SentSetting(Basis.X, 0.3, 0.2),
    SentSetting(Basis.X, 0.0, 0.3),
)


def test_blinded_slots_follow_the_definition() -> None:
    """Slot s + j is not live if j T + w < v + D."""
    scheme = DeadTime(25_000, 10_000, 5_000)
    assert scheme.blinded_slots() == (2, 2)
    assert DeadTime(26_000, 10_000, 5_000).blinded_slots() == (2, 3)
    assert DeadTime(10_000, 10_000, 0.0).blinded_slots() == (0, 0)
    assert DeadTime(0.0, 10_000, 5_000).blinded_slots() == (0, 0)
    assert DeadTime(5_000, 10_000, 5_000).same_detector
    assert not DeadTime(5_001, 10_000, 5_000).same_detector


@pytest.mark.parametrize("extending", [False, True])
@pytest.mark.parametrize(("dead_ps", "same"), [(36_000, False), (11_000, False), (5_000, True)])
def test_against_clicks_drawn_at_random(extending: bool, dead_ps: float, same: bool) -> None:
    scheme = DeadTime(dead_ps, 10_000, 6_000, extending)
    model = RelayModel(
        eta_a=0.4,
        eta_b=0.25,
        detectors_per_port=2,
        detector_efficiency=(1.0, 0.8, 0.9, 0.7),
        same_detector=scheme.same_detector,
    )
    assert scheme.same_detector is same
    early, late, either = click_probabilities(model, LADDER, LADDER)
    n_slots, rng = 200_000, np.random.default_rng(7)
    live = np.ones(n_slots, bool)
    for d in range(4):
        # Joint law of a detector's two windows from the three probabilities.
        u = rng.random(n_slots)
        both = early[d] + late[d] - either[d]
        fires_early = u < early[d]
        fires_late = (u < both) | ((u >= early[d]) & (u < either[d]))
        busy = -1.0
        for slot in np.flatnonzero(fires_early | fires_late):
            if busy > slot * 10_000:
                live[slot] = False
            for offset, fires in ((0, fires_early[slot]), (6_000, fires_late[slot])):
                t = slot * 10_000 + offset
                if not fires:
                    continue
                if t >= busy or extending:
                    busy = t + dead_ps
                    first = slot + 1
                    live[first : first + int(np.ceil((busy - first * 10_000) / 10_000))] = False
    expected = live_fraction(model, scheme, LADDER, LADDER)
    assert live.mean() == pytest.approx(expected, abs=6e-3)
    assert expected < 1.0 or dead_ps == 5_000


def test_clicks_of_one_polarisation_window() -> None:
    model = RelayModel("polarisation", 0.2, 0.2, dark_count_probability=1e-4)  # type: ignore[arg-type]
    early, late, either = click_probabilities(model, LADDER, LADDER)
    np.testing.assert_allclose(either, early + late, rtol=1e-12)
    assert early[1] == late[0] == 0.0


def test_click_probability_of_weak_light() -> None:
    model = RelayModel(eta_a=1e-3, eta_b=1e-3)
    _, _, either = click_probabilities(model, LADDER, LADDER)
    mean = 0.5 * 0.5 + 0.2 * 0.3
    assert either.sum() == pytest.approx(2 * mean * 1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((-1.0, 10.0), "dead_time_ps"),
        ((1.0, 0.0), "slot_period_ps"),
        ((1.0, 10.0, 10.0), "bin_distance_ps"),
    ],
)
def test_bad_schemes_are_named(values: tuple[float, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        DeadTime(*values)
