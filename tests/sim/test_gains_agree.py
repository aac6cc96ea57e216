"""Simulated gains and error rates against the closed forms, outcome by outcome, within 4 sigma.

Coincidences are counted with a window rule of this file's own: exactly two cells of a slot hit, one
per mode, as DESIGN's edges say. Dead times equal the window, so that a cell is hit at most once and
neighbouring windows do not know of each other, except where the blind variant is meant.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from bellrelay.physics import Basis, delayed_overlap, gains
from bellrelay_sim.channel import Arm
from bellrelay_sim.choices import BASIS_X, BASIS_Z, Party
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.detector import polarisation_detectors, time_bin_detectors
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.source import Setting, Source, four_intensity, three_intensity

NO_DELAY = (0, 0, 0, 0)
FAST = {"dead_time_ps": 1000, "jitter_ps": 20.0, "afterpulse_probability": 0.0}


def detectors(kind: str, **changes: object):
    values = {**FAST, **changes}
    if kind == "polarisation":
        return polarisation_detectors(cable_delays_ps=NO_DELAY, **values)
    return time_bin_detectors(int(kind), cable_delays_ps=NO_DELAY, **values)


def strong(mu: float, nu: float) -> Source:
    """Two intensities, each in either basis, so that every pair of settings is measured in both."""
    return Source((Setting("mu", mu, 0.7, 0.5), Setting("nu", nu, 0.3, 0.5)))


LINKS = {
    "two detectors, low loss, perfect overlap": SimulatedLink(
        alice=strong(0.5, 0.1), bob=strong(0.5, 0.1), arm_a=Arm(0.6), arm_b=Arm(0.6),
        mode_overlap=1.0, misalignment_z=0.0, misalignment_x=0.0,
        detectors=detectors("2", dark_rate_hz=100.0), seed=101,
    ),
    "four detectors, asymmetric, bright, poor overlap": SimulatedLink(
        alice=strong(0.9, 0.3), bob=strong(1.5, 0.2), arm_a=Arm(0.5), arm_b=Arm(0.25),
        mode_overlap=0.8, misalignment_z=0.02, misalignment_x=0.04,
        detectors=detectors("4", dark_rate_hz=1e3), seed=102,
    ),
    "polarisation, many dark counts": SimulatedLink(
        encoding="polarisation",
        alice=strong(0.4, 0.1), bob=strong(0.6, 0.1), arm_a=Arm(0.3), arm_b=Arm(0.3),
        mode_overlap=0.95, misalignment_z=0.01, misalignment_x=0.015,
        detectors=detectors("polarisation", dark_rate_hz=5e6), seed=103,
    ),
    "polarisation, low loss, no interference": SimulatedLink(
        encoding="polarisation",
        alice=strong(0.6, 0.3), bob=strong(0.6, 0.3), arm_a=Arm(0.5), arm_b=Arm(0.5),
        mode_overlap=0.0, misalignment_z=0.0, misalignment_x=0.01,
        detectors=detectors("polarisation", dark_rate_hz=0.0), seed=104,
    ),
    "two detectors, 10 dB each, four intensities, dark": SimulatedLink(
        alice=four_intensity(), bob=four_intensity(), arm_a=Arm(0.1), arm_b=Arm(0.1),
        mode_overlap=0.98, detectors=detectors("2", dark_rate_hz=1e5), seed=105,
    ),
    "four detectors of unequal efficiency, three intensities": SimulatedLink(
        alice=three_intensity(), bob=three_intensity(), arm_a=Arm(0.4), arm_b=Arm(0.3),
        mode_overlap=0.9,
        detectors=tuple(
            replace(d, efficiency=e)
            for d, e in zip(detectors("4", dark_rate_hz=2e5), (1.0, 0.7, 0.9, 0.8), strict=True)
        ),
        seed=106,
    ),
    "four detectors, blind for the late window": SimulatedLink(
        slot_period_ps=50_000,
        alice=strong(0.8, 0.4), bob=strong(0.8, 0.4), arm_a=Arm(0.5), arm_b=Arm(0.5),
        mode_overlap=0.9, misalignment_z=0.01, misalignment_x=0.01,
        detectors=detectors("4", dead_time_ps=10_000, dark_rate_hz=1e4), seed=107,
    ),
}  # fmt: skip


def announced(link: SimulatedLink, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """(slot, is psi-minus) of exact two-cell slots, by windows on the deskewed times."""
    n, polarised = link.n_detectors, link.encoding == "polarisation"
    found = []
    for clicks in ClickStream(link, slots).chunks(slots):
        slot, position = np.divmod(clicks.t, link.slot_period_ps)
        cell = np.full(slot.size, -1)
        for b, (start, end) in enumerate(link.windows()):
            inside = (position >= start) & (position < end)
            cell[inside] = clicks.channel[inside].astype(int) + n * b
        slot, cell = slot[cell >= 0], cell[cell >= 0]
        slot, first, hits = np.unique(slot, return_index=True, return_counts=True)
        pairs = first[hits == 2]
        i, j = cell[pairs], cell[pairs + 1]
        mode_i, mode_j = (i % 2, j % 2) if polarised else (i // n, j // n)
        good = mode_i != mode_j
        port_i, port_j = (i % n) // (n // 2), (j % n) // (n // 2)
        found.append((slot[hits == 2][good], (port_i != port_j)[good]))
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def four_sigma(count: int, n: float, p: float) -> bool:
    return abs(count - n * p) <= 4.0 * np.sqrt(max(n * p * (1.0 - p), 1.0))


@pytest.mark.parametrize("name", LINKS)
def test_gains_and_error_rates(name: str) -> None:
    link = LINKS[name]
    slots = 100_000_000 if link.arm_a.eta < 0.2 else 15_000_000
    slot, is_minus = announced(link, slots)
    alice = link.source_log(Party.ALICE).choices_at(slot)
    bob = link.source_log(Party.BOB).choices_at(slot)
    model = link.relay_model()
    compared = events = 0
    for (i, a), (j, b), basis in itertools.product(
        enumerate(link.alice.settings), enumerate(link.bob.settings), Basis
    ):
        code = BASIS_Z if basis is Basis.Z else BASIS_X
        odds = [s.z_probability if basis is Basis.Z else 1 - s.z_probability for s in (a, b)]
        sent = slots * a.probability * b.probability * odds[0] * odds[1]
        if sent == 0.0:
            continue
        theory = gains(model, basis, a.intensity, b.intensity)
        here = (alice.intensity == i) & (bob.intensity == j)
        here &= (alice.basis == code) & (bob.basis == code)
        for minus, expected in ((True, theory.psi_minus), (False, theory.psi_plus)):
            chosen = here & (is_minus == minus)
            flip = 1 if basis is Basis.Z or minus else 0
            count = int(chosen.sum())
            wrong = int((alice.bit[chosen] ^ bob.bit[chosen] ^ flip).sum())
            where = f"{name}: {a.name}-{b.name} {basis} {'psi-minus' if minus else 'psi-plus'}"
            q, e = float(expected.gain), float(expected.error_rate)
            # Numbers sent are Poisson-like within their own binomial; slots as trials covers both.
            p = q * sent / slots
            assert four_sigma(count, slots, p), f"{where}: {count} of {slots * p:.1f}"
            if count:
                assert four_sigma(wrong, count, e), f"{where}: {wrong} of {count * e:.1f} errors"
            compared += 1
            events += count
    assert compared >= 16
    assert events > 5_000


def test_pulses_apart_interfere_less() -> None:
    """Two standard deviations apart, M falls by exp(-1); without that the test fails by far."""
    link = SimulatedLink(
        alice=strong(0.4, 0.1), bob=strong(0.4, 0.1),
        arm_a=Arm(0.5, delay_ps=80.0), arm_b=Arm(0.5, delay_ps=-120.0),
        misalignment_x=0.0, detectors=detectors("2"), seed=9,
    )  # fmt: skip
    slot, is_minus = announced(link, 5_000_000)
    alice = link.source_log(Party.ALICE).choices_at(slot)
    bob = link.source_log(Party.BOB).choices_at(slot)
    chosen = (alice.basis == BASIS_X) & (bob.basis == BASIS_X)
    chosen &= (alice.intensity == 0) & (bob.intensity == 0)
    wrong = (alice.bit ^ bob.bit ^ is_minus)[chosen]
    model = link.relay_model()
    for overlap, agrees in ((delayed_overlap(0.98, 200.0, 100.0), True), (0.98, False)):
        theory = gains(replace(model, mode_overlap=overlap), Basis.X, 0.4, 0.4).both
        assert four_sigma(int(wrong.sum()), wrong.size, float(theory.error_rate)) == agrees


def test_psi_plus_needs_two_detectors_where_one_is_blind() -> None:
    link = SimulatedLink(
        slot_period_ps=50_000, alice=strong(0.8, 0.4), bob=strong(0.8, 0.4),
        arm_a=Arm(0.5), arm_b=Arm(0.5),
        detectors=detectors("2", dead_time_ps=10_000, dark_rate_hz=0.0), seed=8,
    )  # fmt: skip
    _, is_minus = announced(link, 500_000)
    assert is_minus.size > 1000
    assert is_minus.all()


def test_no_closed_form_is_offered_where_there_is_none() -> None:
    def made(dead: int) -> SimulatedLink:
        return SimulatedLink(detectors=detectors("4", dead_time_ps=dead))

    assert made(4_000).relay_model().same_detector
    assert not made(6_000).relay_model().same_detector
    for dead, why in ((4_500, "neither"), (500, "span a window")):
        with pytest.raises(ValueError, match=why):
            made(dead).relay_model()
