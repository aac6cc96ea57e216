"""Photon detections slot by slot, by thinning: only slots that may hold one are looked at.

Given the choices and the random phase of a slot, the detections of coherent light are independent
Poisson in every (detector, mode). They are thus a thinning of a homogeneous Poisson process of the
largest mean number that any choice gives: draw the gap to its next point, look up the choices of
that slot alone, and accept the point for a (detector, mode) with the ratio of the means. Exact, and
its cost goes with the detections, not with the slots.
"""

from __future__ import annotations

import math

import numpy as np

from .channel import arm_delay
from .choices import BASIS_Z, choose
from .compiled import njit
from .interference import port_means
from .xoshiro import exponential, gaussian, uniform

# Fields of the integer state: slot of the next point, slot whose flip is drawn, that flip.
POINT_SLOT, FLIP_SLOT, FLIP = 0, 1, 2
_ALICE, _BOB = np.uint64(0), np.uint64(1)
_FAR = 10**15
_PS = 1e-12


@njit(cache=True)
def next_point(state, fraction, rng, ceiling):
    """Move to the next point of the process with `ceiling` points per slot on average."""
    x = fraction[0] + exponential(rng) / ceiling
    if x >= _FAR:
        # Further than any acquisition; the position within the slot does not matter there.
        state[POINT_SLOT] += _FAR
        fraction[0] = 0.0
        return
    whole = np.int64(x)
    state[POINT_SLOT] += whole
    fraction[0] = x - whole


@njit(cache=True)
def insert_sorted(times, channels, n, t, channel):
    """Insert (t, channel) into the first n entries, which are ordered by (time, channel)."""
    i = n
    while i > 0 and (times[i - 1] > t or (times[i - 1] == t and channels[i - 1] > channel)):
        times[i] = times[i - 1]
        channels[i] = channels[i - 1]
        i -= 1
    times[i] = t
    channels[i] = channel


@njit(cache=True)
def photon_detections(
    state,
    fraction,
    rng,
    end_slot,
    ceiling,
    seed,
    thresholds_a,
    z_thresholds_a,
    means_a,
    thresholds_b,
    z_thresholds_b,
    means_b,
    frame,
    sent_a,
    sent_b,
    overlap,
    flip_z,
    flip_x,
    ports,
    modes,
    shares,
    period,
    centres,
    sigma,
    delay_a,
    delay_b,
    times,
    channels,
    n,
):
    """Append the detections of slots below `end_slot`, ordered by (time, detector).

    means_*: arriving photons by setting. sent_*: slots of each `frame` slots in which that party
    sends, the first ones. ports, modes, shares: by detector; mode -1 sees both.
    times int64, channels uint8: filled from n on; stops early when full (state tells where).
    Returns the new n.
    """
    delays_differ = delay_a != delay_b
    p00 = p01 = p10 = p11 = 0.0
    a0 = a1 = 0.0
    b0 = b1 = 0.0
    late_a = late_b = 0.0
    known = np.int64(-1)
    while state[POINT_SLOT] < end_slot and n < times.shape[0]:
        slot = state[POINT_SLOT]
        if slot != known:
            word = np.uint64(slot)
            i, basis_a, bit_a, phase_a = choose(word, seed, _ALICE, thresholds_a, z_thresholds_a)
            j, basis_b, bit_b, phase_b = choose(word, seed, _BOB, thresholds_b, z_thresholds_b)
            if state[FLIP_SLOT] != slot:
                state[FLIP_SLOT] = slot
                odds = flip_z if basis_b == BASIS_Z else flip_x
                state[FLIP] = 1 if uniform(rng) < odds else 0
            seconds = np.float64(slot) * period * _PS
            late_a = arm_delay(delay_a, seconds)
            late_b = late_a
            slot_overlap = overlap
            if delays_differ:
                late_b = arm_delay(delay_b, seconds)
                apart = late_a - late_b
                if apart != 0.0:
                    # As bellrelay.physics.delayed_overlap.
                    slot_overlap = (
                        overlap * math.exp(-apart * apart / (4.0 * sigma * sigma))
                        if sigma > 0.0
                        else 0.0
                    )
            mean_a = means_a[i] if slot % frame < sent_a else 0.0
            mean_b = means_b[j] if slot % frame < sent_b else 0.0
            bob_bit = bit_b ^ state[FLIP]
            p00, p01, p10, p11 = port_means(
                mean_a,
                basis_a,
                bit_a,
                mean_b,
                basis_b,
                bob_bit,
                phase_b - phase_a,
                slot_overlap,
            )
            if delays_differ:
                a0, a1, _, _ = port_means(mean_a, basis_a, bit_a, 0.0, 0, 0, 0.0, 0.0)
                b0, b1, _, _ = port_means(0.0, 0, 0, mean_b, basis_b, bob_bit, 0.0, 0.0)
            known = slot
        mark = uniform(rng) * ceiling
        hit = -1
        mode = 0
        for d in range(ports.shape[0]):
            if modes[d] != 1:
                mark -= shares[d] * (p00 if ports[d] == 0 else p10)
                if mark < 0.0:
                    hit = d
                    mode = 0
                    break
            if modes[d] != 0:
                mark -= shares[d] * (p01 if ports[d] == 0 else p11)
                if mark < 0.0:
                    hit = d
                    mode = 1
                    break
        if hit >= 0:
            late = late_a
            if delays_differ:
                # Whose pulse shape it follows: the arms' shares of the light in this mode.
                from_a = a0 if mode == 0 else a1
                from_b = b0 if mode == 0 else b1
                if uniform(rng) * (from_a + from_b) >= from_a:
                    late = late_b
            offset = centres[mode] + late
            if sigma > 0.0:
                offset += sigma * gaussian(rng)
            insert_sorted(
                times, channels, n, slot * period + np.int64(math.floor(offset + 0.5)), hit
            )
            n += 1
        next_point(state, fraction, rng, ceiling)
    return n
