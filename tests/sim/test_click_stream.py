"""Clicks: the same whatever the chunks, in order, at the right place, with all their fates."""

from dataclasses import replace

import numpy as np
import pytest

from bellrelay_sim.channel import Arm
from bellrelay_sim.choices import Party
from bellrelay_sim.clicks import Clicks, ClickStream
from bellrelay_sim.detector import polarisation_detectors, time_bin_detectors
from bellrelay_sim.link import SimulatedLink, SyncChannel
from bellrelay_sim.source import Setting, Source

QUIET = {"dark_rate_hz": 0.0, "jitter_ps": 0.0, "afterpulse_probability": 0.0, "dead_time_ps": 0}


def one_setting(intensity: float, z_probability: float = 1.0) -> Source:
    return Source((Setting("s", intensity, 1.0, z_probability),))


def all_of(stream: ClickStream, chunk: int = 10_000_000) -> Clicks:
    parts = list(stream.chunks(chunk))
    return Clicks(np.concatenate([p.t for p in parts]), np.concatenate([p.channel for p in parts]))


BUSY = SimulatedLink(
    arm_a=Arm(eta=0.6, delay_ps=300.0, drift_ps_per_s=4e7),
    arm_b=Arm(eta=0.5, drift_amplitude_ps=500.0, drift_period_s=1e-4),
    detectors=time_bin_detectors(
        4, dark_rate_hz=1e6, dead_time_ps=12_000, afterpulse_probability=0.2, jitter_ps=300.0
    ),
    sync=SyncChannel(slots_per_tag=7, jitter_ps=20.0),
    seed=11,
)


@pytest.mark.parametrize("chunk", [1, 997, 20_000, 333_333])
def test_chunks_do_not_matter(chunk: int) -> None:
    slots = 20_000 if chunk == 1 else 400_000
    whole, cut = ClickStream(BUSY, slots), ClickStream(BUSY, slots)
    expected, got = all_of(whole), all_of(cut, chunk)
    np.testing.assert_array_equal(got.t, expected.t)
    np.testing.assert_array_equal(got.channel, expected.channel)
    assert cut.fates.by_name() == whole.fates.by_name()
    assert expected.t.size > slots // 4


def test_order_types_and_fates() -> None:
    stream = ClickStream(BUSY, 400_000)
    clicks = all_of(stream, 50_000)
    assert clicks.t.dtype == np.int64
    assert clicks.channel.dtype == np.uint8
    assert clicks.t.min() >= 0
    later = np.diff(clicks.t)
    assert np.all((later > 0) | ((later == 0) & (np.diff(clicks.channel.astype(int)) >= 0)))
    counted = np.bincount(clicks.channel, minlength=5)
    np.testing.assert_array_equal(counted[:4], stream.fates.clicks)
    assert counted[4] == -(-400_000 // 7)
    assert all(min(v) > 0 for k, v in stream.fates.by_name().items() if k != "before_start")


def test_seed_decides() -> None:
    first, second = (all_of(ClickStream(replace(BUSY, seed=s), 10_000)) for s in (11, 12))
    again = all_of(ClickStream(replace(BUSY, seed=11), 10_000))
    np.testing.assert_array_equal(first.t, again.t)
    assert not np.array_equal(first.t[:100], second.t[:100])


def test_pulses_lie_where_the_slot_scheme_says() -> None:
    """Z only, no noise: the bin of a click is the bit, the cable and the arm's delay shift it."""
    link = SimulatedLink(
        alice=one_setting(0.5),
        bob=one_setting(0.0),
        arm_a=Arm(eta=0.5, delay_ps=40.0),
        arm_b=Arm(eta=0.5, delay_ps=40.0),
        detectors=time_bin_detectors(2, cable_delays_ps=(0, 1370), **QUIET),
        seed=3,
    )
    clicks = all_of(ClickStream(link, 200_000))
    t = clicks.t - np.array([0, 1370])[clicks.channel]
    slot, position = t // 10_000, t % 10_000
    bit = link.source_log(Party.ALICE).choices_at(slot).bit
    late = position > 5000
    np.testing.assert_array_equal(late, bit == 1)
    shift = position - np.where(late, 7500, 2500) - 40
    assert abs(shift).max() <= 600
    assert abs(shift.mean()) < 4 * 100 / np.sqrt(t.size)
    assert shift.std() == pytest.approx(100.0, rel=0.02)


def test_polarisation_detectors_see_their_own() -> None:
    link = SimulatedLink(
        encoding="polarisation",
        alice=one_setting(0.5),
        bob=one_setting(0.0),
        arm_a=Arm(eta=0.5),
        detectors=polarisation_detectors(cable_delays_ps=(0, 0, 0, 0), **QUIET),
    )
    clicks = all_of(ClickStream(link, 100_000))
    bit = link.source_log(Party.ALICE).choices_at(clicks.t // 10_000).bit
    np.testing.assert_array_equal(clicks.channel % 2, bit)
    assert np.all(abs(clicks.t % 10_000 - 2500) <= 600)


def test_delay_drift_moves_the_clicks() -> None:
    terms = {"drift_ps_per_s": 2e5, "drift_amplitude_ps": 250.0, "drift_period_s": 4e-3}
    arm = Arm(eta=0.5, delay_ps=100.0, **terms)
    link = SimulatedLink(
        alice=one_setting(0.5),
        bob=one_setting(0.5),
        arm_a=arm,
        arm_b=arm,
        pulse_sigma_ps=0.0,
        detectors=time_bin_detectors(2, cable_delays_ps=(0, 0), **QUIET),
    )
    clicks = all_of(ClickStream(link, 1_000_000), 10_000)
    seconds = (clicks.t // 10_000) * 1e-8
    expected = 100.0 + 2e5 * seconds + 250.0 * np.sin(2 * np.pi * seconds / 4e-3)
    position = clicks.t % 10_000
    shift = position - np.where(position > 5000, 7500, 2500)
    assert abs(shift - expected).max() <= 0.51
    assert arm.delay_at(1e-3) == pytest.approx(100 + 200 + 250)


def test_each_arm_keeps_its_own_delay() -> None:
    """Alice 3 ns late: her clicks, a third of all, come at 5500 and 10500; Bob's do not move."""
    link = SimulatedLink(
        alice=one_setting(0.2, 0.0),
        bob=one_setting(0.4, 0.0),
        arm_a=Arm(eta=0.5, delay_ps=3000.0),
        arm_b=Arm(eta=0.5),
        detectors=time_bin_detectors(2, cable_delays_ps=(0, 0), **QUIET),
    )
    t = all_of(ClickStream(link, 400_000)).t % 5000
    from_b, from_a = np.count_nonzero(abs(t - 2500) <= 600), np.count_nonzero(abs(t - 500) <= 600)
    assert from_b + from_a == t.size
    assert from_b / t.size == pytest.approx(2 / 3, abs=4 * np.sqrt(2 / 9 / t.size))


def test_before_start_is_counted() -> None:
    link = SimulatedLink(
        alice=one_setting(50.0),
        bob=one_setting(50.0),
        arm_a=Arm(eta=1.0, delay_ps=-9000.0),
        arm_b=Arm(eta=1.0, delay_ps=-9000.0),
        detectors=time_bin_detectors(2, cable_delays_ps=(0, 0), **QUIET),
    )
    stream = ClickStream(link, 10)
    clicks = all_of(stream, 1)
    assert stream.fates.before_start.sum() > 10
    np.testing.assert_array_equal(np.bincount(clicks.channel), stream.fates.clicks)


def test_sync_tags() -> None:
    link = SimulatedLink(
        alice=one_setting(0.0),
        bob=one_setting(0.0),
        detectors=time_bin_detectors(2, **QUIET),
        sync=SyncChannel(slots_per_tag=100),
    )
    clicks = all_of(ClickStream(link, 1001), 37)
    np.testing.assert_array_equal(clicks.t, np.arange(11) * 1_000_000)
    assert np.all(clicks.channel == 2)


def test_no_light_no_noise_no_clicks_and_no_end() -> None:
    dark = SimulatedLink(
        alice=one_setting(0.0), bob=one_setting(0.0), detectors=time_bin_detectors(2, **QUIET)
    )
    stream = ClickStream(dark)
    assert stream.advance(10**12).t.size == 0
    assert not stream.done
    with pytest.raises(ValueError, match="slots"):
        ClickStream(dark, 2**60)
    with pytest.raises(ValueError, match="negative"):
        stream.advance(-1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"slot_period_ps": 0}, "slot_period_ps"),
        ({"late_centre_ps": 10_000}, "late_centre_ps"),
        ({"early_window_ps": (3000, 2000)}, "windows"),
        ({"late_window_ps": None}, "late window"),
        ({"late_window_ps": (2500, 3500)}, "late window"),
        ({"mode_overlap": -0.1}, "mode_overlap"),
        ({"misalignment_z": 1.5}, "misalignment_z"),
        ({"pulse_sigma_ps": float("nan")}, "pulse_sigma_ps"),
        ({"encoding": "polarisation"}, "detectors"),
        ({"detectors": polarisation_detectors()}, "detectors"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_links_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(SimulatedLink(), **changes)


def test_bad_parts_are_named() -> None:
    for arm, named in (({"eta": 2.0}, "eta"), ({"drift_period_s": 0.0}, "drift_period_s"),
                       ({"drift_ps_per_s": 1e10}, "drift")):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            Arm(**arm)
    for detector, named in (({"dark_rate_hz": -1.0}, "D0: dark_rate_hz"),
                            ({"afterpulse_probability": 0.9}, "afterpulse_probability"),
                            ({"efficiency": 1.1}, "efficiency")):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            time_bin_detectors(2, **detector)
    with pytest.raises(ValueError, match="2 or 4"):
        time_bin_detectors(3)
    with pytest.raises(ValueError, match="slots_per_tag"):
        SyncChannel(slots_per_tag=0)
