"""The stream of clicks that a simulated link puts on the board's inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from bellrelay.physics import Encoding

from . import avalanches as av
from . import photons as ph
from .arrival_delay import ArrivalDelay
from .choices import Party
from .conditions import FRAME_SLOTS, Conditions
from .detector import N_FATES, Fates
from .link import SimulatedLink
from .sender_clock import SenderClock
from .xoshiro import GAUSSIAN_CUT, seeded

# Purposes of the sequential generators; 0 and 1 are the parties' own.
_PHOTONS, _DARK, _DETECTORS, _SYNC = 16, 17, 18, 19
_MAX_TIME = 2**62
_FIRST_BUFFER = 1 << 16
DEFAULT_CHUNK = 10_000_000
MAX_STEP_PS = 100_000
"""Furthest that a party's light is moved at once; what is further goes in steps."""
_Item = TypeVar("_Item", bound=np.generic)


class Clicks(NamedTuple):
    """t: int64 (n,), ps since the acquisition's start, ordered by (t, channel), >= 0.

    channel: uint8 (n,), detector index, or n_detectors for the sync channel.
    """

    t: NDArray[np.int64]
    channel: NDArray[np.uint8]


class ClickStream:
    """Clicks of a link, in time order, for as many slots at a time as is wanted.

    Deterministic from `link.seed`; what has been returned in total does not depend on how it was
    cut. `slots`: length of the acquisition, after which dark counts and sync tags end and all that
    is still on its way is returned; None for no end. `changing`: conditions may change under way;
    clicks are then held back for longer. What is returned depends on the slots at which they do,
    and on nothing else. Raises ValueError if the acquisition is longer than the time axis
    (2**62 ps, 53 days).
    """

    def __init__(
        self, link: SimulatedLink, slots: int | None = None, *, changing: bool = False
    ) -> None:
        longest = _MAX_TIME // link.slot_period_ps // 2
        if slots is not None and not 0 <= slots <= longest:
            raise ValueError(f"slots must lie in 0..{longest}, got {slots}")
        self.link = link
        self.slots = longest if slots is None else slots
        self.slot = 0
        """Slots simulated so far."""
        detectors = link.detectors
        self._conditions = Conditions(link)
        self._shape_detectors()
        self._shape_light()
        self._clock = SenderClock(link.slot_period_ps, link.clock_offset_ppm)
        self._delays = tuple(ArrivalDelay(link, party, self._clock) for party in Party)
        self._reserve_ps = MAX_STEP_PS if changing else 0
        # So far apart that light of a step back comes after all that is certain by then.
        self._step_slots = -(-MAX_STEP_PS // link.slot_period_ps) + 1
        self._step_due = [0, 0]

        self._photon_rng = seeded(link.seed, _PHOTONS)
        self._dark_rng = seeded(link.seed, _DARK)
        self._detector_rng = seeded(link.seed, _DETECTORS)
        self._sync_rng = seeded(link.seed, _SYNC)

        self._point = np.array([0, -1, 0], np.int64)
        self._point_fraction = np.zeros(1)
        self._draw_point()
        self._photon_times: NDArray[np.int64] = np.empty(_FIRST_BUFFER, np.int64)
        self._photon_detectors: NDArray[np.uint8] = np.empty(_FIRST_BUFFER, np.uint8)
        self._n_photons = 0

        self._state = np.zeros(av.N_STATE, np.int64)
        self._dark_fraction = np.zeros(1)
        av.next_dark(self._state, self._dark_fraction, self._dark_rng, self._cumulative_dark)
        self._fired_last = np.full(len(detectors), av.LONG_AGO, np.int64)
        self._pending_times: NDArray[np.int64] = np.empty(64, np.int64)
        self._pending_detectors: NDArray[np.uint8] = np.empty(64, np.uint8)
        self._times: NDArray[np.int64] = np.empty(_FIRST_BUFFER, np.int64)
        self._channels: NDArray[np.uint8] = np.empty(_FIRST_BUFFER, np.uint8)
        self._fates = np.zeros((len(detectors), N_FATES), np.int64)

    def _shape_detectors(self) -> None:
        """Parameters as the compiled loops take them."""
        link, detectors = self.link, self.link.detectors
        polarised = link.encoding is Encoding.POLARISATION
        self._splits = 1 if polarised else len(detectors) // 2
        self._ports = np.array([d.port == "d" for d in detectors], np.int64)
        self._modes = np.array(
            [-1 if d.polarisation is None else int(d.polarisation == "V") for d in detectors],
            np.int64,
        )
        late = link.early_centre_ps if polarised else link.late_centre_ps
        self._centres = np.array([link.early_centre_ps, late], np.float64)
        self._dead_time = np.array([d.dead_time_ps for d in detectors], np.int64)
        self._jitter = np.array([d.jitter_ps for d in detectors], np.float64)
        self._afterpulse = np.array([d.afterpulse_probability for d in detectors], np.float64)
        self._tau = np.array([d.afterpulse_tau_ps for d in detectors], np.float64)
        self._cable = np.array([d.cable_delay_ps for d in detectors], np.int64)
        shifts = [d.cable_delay_ps - GAUSSIAN_CUT * d.jitter_ps for d in detectors]
        if link.sync is not None:
            shifts.append(link.sync.delay_ps - GAUSSIAN_CUT * link.sync.jitter_ps)
        self._earliest_shift = math.floor(min(shifts)) - 1

    def _shape_light(self) -> None:
        """What may change under way, as the compiled loops take it."""
        now = self._conditions
        detectors = now.link.detectors
        self._shares = np.array([d.efficiency / self._splits for d in detectors])
        self._cumulative_dark = np.cumsum([d.dark_rate_hz * 1e-12 for d in detectors])
        self._means_a = now.arriving(Party.ALICE, self.slot)
        self._means_b = now.arriving(Party.BOB, self.slot)
        self._sources = tuple(now.source(party, self.slot) for party in Party)
        self._ladder_due = now.next_ladder(self.slot)
        self._sent = tuple(now.orders(party).sent_of_frame for party in Party)
        # The beam splitter keeps the number of photons, so the most efficient (port, mode) bounds
        # what is detected of the brightest pulses, whatever their phase.
        best = max(
            sum(
                self._shares[d]
                for d in range(len(detectors))
                if self._ports[d] == port and self._modes[d] in (-1, mode)
            )
            for port in (0, 1)
            for mode in (0, 1)
        )
        # Rounding must not lift a mean above the ceiling.
        self._ceiling = float((self._means_a.max() + self._means_b.max()) * best) * (1.0 + 1e-12)

    def _draw_point(self) -> None:
        """The next point of the process that photons are thinned from, after where it stands."""
        if self._ceiling > 0.0:
            ph.next_point(self._point, self._point_fraction, self._photon_rng, self._ceiling)
        else:
            self._point[ph.POINT_SLOT] = _MAX_TIME

    @property
    def done(self) -> bool:
        """Whether the whole acquisition has been returned."""
        return self.slot >= self.slots

    @property
    def fates(self) -> Fates:
        """Counts up to now; complete once `done`."""
        return Fates.from_table(self._fates)

    @property
    def conditions(self) -> Conditions:
        """What is in force from the next slot on."""
        return self._conditions

    @property
    def dark(self) -> bool:
        """Whether no light comes from the next slot on, as far as is known."""
        return self._ceiling == 0.0

    def change(self, conditions: Conditions) -> None:
        """Have other conditions from the next slot to be simulated on.

        Light that is to come earlier or later by more than `MAX_STEP_PS` moves there in steps, a
        few slots apart. Dark counts are of the new rate from where no click is certain yet.

        Raises
        ------
        ValueError
            The stream's conditions do not change.
        """
        if not self._reserve_ps:
            raise ValueError("the conditions of this stream do not change")
        before, self._conditions = self._conditions, conditions
        darks, ceiling = self._cumulative_dark, self._ceiling
        self._shape_light()
        self._begin_anew_if_not(ceiling)
        if not np.array_equal(self._cumulative_dark, darks):
            certain = self._photon_horizon(self.slot) if self.slot else 0
            self._state[av.DARK_TIME] = max(certain, 0)
            self._dark_fraction[0] = 0.0
            av.next_dark(self._state, self._dark_fraction, self._dark_rng, self._cumulative_dark)
        if conditions.link.clock_offset_ppm != before.link.clock_offset_ppm:
            self._clock.run_at(conditions.link.clock_offset_ppm, self.slot)
        for party, arm in (
            (Party.ALICE, conditions.link.arm_a),
            (Party.BOB, conditions.link.arm_b),
        ):
            self._delays[party].drift_at(arm.drift_ps_per_s, self.slot)
        self._step()

    def _begin_anew_if_not(self, ceiling: float) -> None:
        """Draw the next point anew, from the next slot on, unless the ceiling is still this one."""
        if self._ceiling != ceiling:
            # The process has no memory.
            self._point[ph.POINT_SLOT] = self.slot
            self._point_fraction[0] = 0.0
            self._draw_point()

    def _take_ladders(self) -> None:
        """Send by the ladders that begin in the next slot."""
        if self.slot >= self._ladder_due:
            ceiling = self._ceiling
            self._shape_light()
            self._begin_anew_if_not(ceiling)

    def _step(self) -> None:
        """Move the parties' light towards where it is to be, as far as goes in this slot."""
        for party in Party:
            left = self._conditions.later_ps(party) - self._delays[party].later_ps
            if left and self.slot >= self._step_due[party]:
                if abs(left) <= MAX_STEP_PS:
                    self._delays[party].later_ps = self._conditions.later_ps(party)
                else:
                    self._delays[party].later_ps += math.copysign(MAX_STEP_PS, left)
                self._step_due[party] = self.slot + self._step_slots

    def _next_step(self) -> int:
        """Slot in which light moves next, or is of another ladder; beyond all slots if it stays."""
        moves = min(
            (
                self._step_due[party]
                for party in Party
                if self._conditions.later_ps(party) != self._delays[party].later_ps
            ),
            default=_MAX_TIME,
        )
        return min(moves, self._ladder_due)

    def slots_before(self, time_ps: int) -> int:
        """Slots of the senders that begin before a time on the relay's clock, delays aside."""
        return self._clock.slots_before(time_ps)

    def arrival_delay_ps(self, party: Party) -> float:
        """How late a sender's light is now, without what the clocks differ by."""
        return self._delays[party].at(self.slot)

    def advance(self, slots: int) -> Clicks:
        """Simulate the next `slots` slots (as many as are left) and return what is now certain.

        Clicks of the last few slots may be held back until the next call: they are returned once
        nothing earlier can follow.
        """
        if slots < 0:
            raise ValueError(f"slots must not be negative, got {slots}")
        target = min(self.slot + slots, self.slots)
        parts = []
        while (step := self._next_step()) < target:
            parts.append(self._advance(max(step, self.slot)))
            self._take_ladders()
            self._step()
        parts.append(self._advance(target))
        if len(parts) == 1:
            return parts[0]
        return Clicks(
            np.concatenate([part.t for part in parts]),
            np.concatenate([part.channel for part in parts]),
        )

    def _advance(self, target: int) -> Clicks:
        while self._point[ph.POINT_SLOT] < target:
            self._detect_photons(target)
            if self._point[ph.POINT_SLOT] < target:
                # The photon buffer is full: use it up before going on.
                self._run_detectors(self._photon_horizon(int(self._point[ph.POINT_SLOT])))
        self.slot = target
        if self.done:
            self._run_detectors(int(av.NEVER))
            return self._take(int(av.NEVER))
        horizon = self._photon_horizon(target)
        self._run_detectors(horizon)
        return self._take(horizon + self._earliest_shift)

    def chunks(self, slots_per_chunk: int = DEFAULT_CHUNK) -> Iterator[Clicks]:
        """All that is left of the acquisition, chunk by chunk."""
        while not self.done:
            yield self.advance(slots_per_chunk)

    def _photon_horizon(self, slot: int) -> int:
        """No photon of `slot` or later is detected before this."""
        late = min(d.behind(slot) for d in self._delays)
        offset = self._centres.min() + late - GAUSSIAN_CUT * self.link.pulse_sigma_ps
        offset -= self._reserve_ps
        return slot * self.link.slot_period_ps + math.floor(offset) - 1

    def _detect_photons(self, end_slot: int) -> None:
        # Up to where the delays' terms change, at most: `advance` comes again.
        link, now = self.link, self._conditions.link
        alice, bob = (d.terms(int(self._point[ph.POINT_SLOT])) for d in self._delays)
        end_slot = min(end_slot, alice[1], bob[1])
        if self._n_photons > self._photon_times.size // 2:
            self._photon_times = _grown(self._photon_times)
            self._photon_detectors = _grown(self._photon_detectors)
        self._n_photons = ph.photon_detections(
            self._point,
            self._point_fraction,
            self._photon_rng,
            end_slot,
            self._ceiling,
            np.uint64(link.seed),
            self._sources[Party.ALICE].setting_thresholds(),
            self._sources[Party.ALICE].z_thresholds(),
            self._means_a,
            self._sources[Party.BOB].setting_thresholds(),
            self._sources[Party.BOB].z_thresholds(),
            self._means_b,
            FRAME_SLOTS,
            *self._sent,
            now.mode_overlap,
            now.misalignment_z,
            now.misalignment_x,
            self._ports,
            self._modes,
            self._shares,
            link.slot_period_ps,
            self._centres,
            float(link.pulse_sigma_ps),
            alice[0],
            bob[0],
            self._photon_times,
            self._photon_detectors,
            self._n_photons,
        )

    def _run_detectors(self, horizon: int) -> None:
        """Detector physics up to `horizon`; keeps the photons that come later."""
        sync = self.link.sync
        done = False
        while not done:
            done = av.avalanches(
                self._photon_times,
                self._photon_detectors,
                self._n_photons,
                horizon,
                self.slots * self.link.slot_period_ps,
                self._state,
                self._dark_fraction,
                self._dark_rng,
                self._cumulative_dark,
                self._detector_rng,
                self._dead_time,
                self._jitter,
                self._afterpulse,
                self._tau,
                self._cable,
                self._fired_last,
                self._pending_times,
                self._pending_detectors,
                self._sync_rng,
                0 if sync is None else sync.slots_per_tag * self.link.slot_period_ps,
                self._clock.offset_ppm * 1e-6,
                self._clock.shift_ps,
                0 if sync is None else sync.delay_ps,
                0.0 if sync is None else float(sync.jitter_ps),
                self._times,
                self._channels,
                self._fates,
            )
            if self._state[av.N_OUT] >= self._times.size:
                self._times, self._channels = _grown(self._times), _grown(self._channels)
            if self._state[av.N_PENDING] >= self._pending_times.size:
                self._pending_times = _grown(self._pending_times)
                self._pending_detectors = _grown(self._pending_detectors)
        used, n = int(self._state[av.N_USED]), self._n_photons
        self._photon_times[: n - used] = self._photon_times[used:n].copy()
        self._photon_detectors[: n - used] = self._photon_detectors[used:n].copy()
        self._n_photons = n - used
        self._state[av.N_USED] = 0

    def _take(self, before: int) -> Clicks:
        """Remove and return the clicks before a time."""
        n = int(self._state[av.N_OUT])
        cut = int(np.searchsorted(self._times[:n], before, side="left"))
        taken = Clicks(self._times[:cut].copy(), self._channels[:cut].copy())
        self._times[: n - cut] = self._times[cut:n].copy()
        self._channels[: n - cut] = self._channels[cut:n].copy()
        self._state[av.N_OUT] = n - cut
        return taken


def _grown(buffer: NDArray[_Item]) -> NDArray[_Item]:
    """Twice as long, with the same content first."""
    larger = np.empty(2 * buffer.size, buffer.dtype)
    larger[: buffer.size] = buffer
    return larger
