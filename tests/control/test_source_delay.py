"""The two sources' delays, told apart by what one of them sent."""

import numpy as np
import pytest
from fast_link import BIN_PS, CENTRES_PS, INTENSITIES, PERIOD_PS, WIDTH_PS, FastLink, light_at

from bellrelay.control.pulse_positions import TooFewCounts
from bellrelay.control.source_delay import SentClicks, source_delays, tabulate_clicks
from bellrelay.tags.slot_clock import constant_slots
from bellrelay_sim.channel import Arm
from bellrelay_sim.choices import Party
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.detector import time_bin_detectors
from bellrelay_sim.link import SimulatedLink

USUAL = {"centres_ps": CENTRES_PS, "width_ps": WIDTH_PS}


def test_error_bars_are_true_for_each_and_for_the_difference():
    rng = np.random.default_rng(1)
    pulls = []
    for seed in range(120):
        late = rng.uniform(-150, 150, 2)
        link = FastLink(seed=seed, fibre_ps=list(late))
        found = source_delays(link.tracking_clicks(0), INTENSITIES, **USUAL)
        pulls.append(
            [
                (found.own_ps - late[0]) / found.sigma_own_ps,
                (found.other_ps - late[1]) / found.sigma_other_ps,
                (found.apart_ps - (late[0] - late[1])) / found.sigma_apart_ps,
            ]
        )
    pulls = np.array(pulls)
    print(f"400 000 slots: own +-{found.sigma_own_ps:.1f}, apart +-{found.sigma_apart_ps:.1f} ps")
    assert np.all(np.abs(pulls.mean(axis=0)) < 0.4)
    np.testing.assert_allclose(pulls.std(axis=0), 1.0, atol=0.25)
    assert found.sigma_own_ps < 3.0


def test_of_unequal_arms_the_dim_one_is_found_as_well():
    rng = np.random.default_rng(2)
    slots = np.array([180_000, 40_000, 120_000, 60_000]) * 5
    link = FastLink(fibre_ps=[60.0, -80.0])
    own, other = (light_at(x) for x in link.late_ps())
    expected = slots[:, None] * (0.005 * INTENSITIES[:, None] * own + 0.02 * 0.225 * other)
    clicks = SentClicks(rng.poisson(expected), slots, BIN_PS, PERIOD_PS)
    found = source_delays(clicks, INTENSITIES, **USUAL)
    assert abs(found.own_ps - 60.0) < 4 * found.sigma_own_ps
    assert abs(found.other_ps + 80.0) < 4 * found.sigma_other_ps
    assert found.own_clicks == pytest.approx(0.005 * 0.225, rel=0.2)


@pytest.mark.parametrize(("late_a", "late_b"), [(40.0, -35.0), (-120.0, 10.0)])
def test_clicks_of_a_simulated_link_say_the_same_to_both_endpoints(late_a, late_b):
    """Photon by photon, with dead times, afterpulses, interference: settings alone tell."""
    detectors = time_bin_detectors(4, cable_delays_ps=(0, 0, 0, 0))
    link = SimulatedLink(
        arm_a=Arm(eta=0.1, delay_ps=late_a),
        arm_b=Arm(eta=0.1, delay_ps=late_b),
        detectors=detectors,
        seed=5,
    )
    n = 800_000
    clicks = ClickStream(link, n).advance(n)
    slot, position = constant_slots(clicks.t, PERIOD_PS)
    for party, own, other in ((Party.ALICE, late_a, late_b), (Party.BOB, late_b, late_a)):
        log = link.source_log(party)
        sent = log.choices_at(np.arange(n)).intensity
        table = tabulate_clicks(
            position,
            sent[slot],
            np.bincount(sent, minlength=4),
            bin_ps=BIN_PS,
            period_ps=PERIOD_PS,
        )
        found = source_delays(table, log.source.intensities, **USUAL)
        print(
            f"{party.name}: own {found.own_ps:.1f} of {own}, other {found.other_ps:.1f} of {other}"
        )
        assert abs(found.own_ps - own) < 4 * found.sigma_own_ps
        assert abs(found.other_ps - other) < 4 * found.sigma_other_ps


def test_windows_add_up_and_places_outside_the_slot_are_passed_over():
    place = np.array([0, 15, 16, 9_999, 10_000, -1])
    setting = np.array([0, 0, 1, 3, 0, 0], np.uint8)
    table = tabulate_clicks(place, setting, np.array([5, 6, 7, 8]), bin_ps=16, period_ps=10_000)
    assert table.counts.sum() == 4
    assert table.counts[0, 0] == 2
    assert table.counts[1, 1] == 1
    assert table.counts[3, 624] == 1
    both = table + table
    assert both.counts.sum() == 8
    assert both.slots.tolist() == [10, 12, 14, 16]
    with pytest.raises(ValueError, match="bins"):
        table + SentClicks(table.counts, table.slots, 32, 10_000)


def test_what_tells_nothing_apart_is_refused():
    link = FastLink()
    clicks = link.tracking_clicks(0)
    with pytest.raises(TooFewCounts):
        source_delays(clicks, np.full(4, 0.3), **USUAL)
    none = SentClicks(np.zeros_like(clicks.counts), clicks.slots, BIN_PS, PERIOD_PS)
    with pytest.raises(TooFewCounts, match="clicks"):
        source_delays(none, INTENSITIES, **USUAL)
