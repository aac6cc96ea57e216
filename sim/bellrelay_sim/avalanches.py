"""Detector physics in time order: dark counts, dead time, afterpulses, jitter, cables, sync."""

from __future__ import annotations

import math

import numpy as np

from .compiled import njit
from .photons import insert_sorted
from .xoshiro import exponential, gaussian, uniform

# Fields of the integer state.
DARK_TIME, DARK_DETECTOR, SYNC_TAG, N_PENDING, N_OUT, N_USED = 0, 1, 2, 3, 4, 5
N_STATE = 6
NEVER = np.int64(2**62)
LONG_AGO = np.int64(-(2**62))

# Kinds of events in order of precedence at equal time and detector; fate columns 2 kind (+ 1).
PHOTON, DARK, AFTERPULSE, SYNC = 0, 1, 2, 3
BEFORE_START = 6


@njit(cache=True)
def next_dark(state, fraction, rng, cumulative_rates):
    """Draw the next dark count of all detectors; rates in counts per ps, summed up by detector."""
    total = cumulative_rates[-1]
    if total <= 0.0:
        state[DARK_TIME] = NEVER
        return
    gap = fraction[0] + exponential(rng) / total
    if gap >= 4e18:
        state[DARK_TIME] = NEVER
        return
    whole = np.int64(gap)
    fraction[0] = gap - whole
    if whole >= NEVER - state[DARK_TIME]:
        state[DARK_TIME] = NEVER
        return
    state[DARK_TIME] += whole
    mark = uniform(rng) * total
    d = 0
    while mark >= cumulative_rates[d]:
        d += 1
    state[DARK_DETECTOR] = d


@njit(cache=True)
def jittered(rng, sigma):
    """Gaussian shift in whole ps."""
    if sigma == 0.0:
        return np.int64(0)
    return np.int64(math.floor(sigma * gaussian(rng) + 0.5))


@njit(cache=True)
def avalanches(
    photon_times,
    photon_detectors,
    n_photons,
    horizon,
    end_time,
    state,
    dark_fraction,
    dark_rng,
    cumulative_dark,
    detector_rng,
    dead_time,
    jitter,
    afterpulse_probability,
    afterpulse_tau,
    cable_delay,
    fired_last,
    pending_times,
    pending_detectors,
    sync_rng,
    sync_period,
    sync_stretch,
    sync_shift,
    sync_delay,
    sync_jitter,
    times,
    channels,
    fates,
):
    """Process all events before `horizon`; clicks go to times, channels, by (time, channel).

    sync_period in ps, 0 for no sync channel; its clock's relative offset is sync_stretch, and
    sync_shift ps what other offsets before have left. Dark
    counts and sync tags end at `end_time`. Returns True when done, False when a buffer is full:
    call again with larger ones.
    """
    n_detectors = dead_time.shape[0]
    while True:
        # The earliest event: photons, dark counts, afterpulses, sync tags.
        t = horizon
        kind = -1
        detector = n_detectors + 1
        used = state[N_USED]
        if used < n_photons and photon_times[used] < t:
            t = photon_times[used]
            detector = np.int64(photon_detectors[used])
            kind = PHOTON
        dark = state[DARK_TIME]
        if dark < end_time and (
            dark < t or (dark == t and kind >= 0 and state[DARK_DETECTOR] < detector)
        ):
            t = dark
            detector = state[DARK_DETECTOR]
            kind = DARK
        if state[N_PENDING] > 0:
            after = pending_times[0]
            if after < t or (after == t and kind >= 0 and pending_detectors[0] < detector):
                t = after
                detector = np.int64(pending_detectors[0])
                kind = AFTERPULSE
        if sync_period > 0:
            tag = state[SYNC_TAG] * sync_period
            tag += np.int64(math.floor(sync_shift + tag * sync_stretch + 0.5))
            if tag < end_time and tag < t:
                t = tag
                detector = n_detectors
                kind = SYNC
        if kind < 0:
            return True
        if state[N_OUT] >= times.shape[0] or state[N_PENDING] >= pending_times.shape[0]:
            return False

        if kind == SYNC:
            state[SYNC_TAG] += 1
            shown = max(t + sync_delay + jittered(sync_rng, sync_jitter), 0)
            insert_sorted(times, channels, state[N_OUT], shown, n_detectors)
            state[N_OUT] += 1
            continue
        if kind == PHOTON:
            state[N_USED] += 1
        elif kind == DARK:
            next_dark(state, dark_fraction, dark_rng, cumulative_dark)
        else:
            state[N_PENDING] -= 1
            for k in range(state[N_PENDING]):
                pending_times[k] = pending_times[k + 1]
                pending_detectors[k] = pending_detectors[k + 1]

        if t < fired_last[detector] + dead_time[detector]:
            fates[detector, 2 * kind + 1] += 1
            continue
        fates[detector, 2 * kind] += 1
        fired_last[detector] = t
        if (
            afterpulse_probability[detector] > 0.0
            and uniform(detector_rng) < afterpulse_probability[detector]
        ):
            wait = np.int64(afterpulse_tau[detector] * exponential(detector_rng))
            insert_sorted(pending_times, pending_detectors, state[N_PENDING], t + wait, detector)
            state[N_PENDING] += 1
        shown = t + cable_delay[detector] + jittered(detector_rng, jitter[detector])
        if shown < 0:
            fates[detector, BEFORE_START] += 1
            continue
        insert_sorted(times, channels, state[N_OUT], shown, detector)
        state[N_OUT] += 1
