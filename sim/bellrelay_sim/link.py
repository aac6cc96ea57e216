"""A whole simulated link: two sources, two arms, a beam splitter, detectors and a slot scheme."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bellrelay.physics import Encoding, RelayModel, dark_count_probability, gaussian_fraction

from .channel import Arm
from .choices import Party, SourceLog, require_seed
from .detector import Detector, polarisation_detectors, time_bin_detectors
from .source import Source, four_intensity

# Crystals without any discipline stay well within it.
MAX_CLOCK_OFFSET_PPM = 500.0


@dataclass(frozen=True)
class SyncChannel:
    """A tag every `slots_per_tag` slots, the first at slot 0, on channel n_detectors.

    jitter_ps: standard deviation. A tag that jitter would put before time 0 is tagged 0.
    """

    slots_per_tag: int = 1000
    delay_ps: int = 0
    jitter_ps: float = 0.0

    def __post_init__(self) -> None:
        if self.slots_per_tag < 1:
            raise ValueError(f"slots_per_tag must be at least 1, got {self.slots_per_tag}")
        if self.delay_ps < 0:
            raise ValueError(f"sync delay_ps must not be negative, got {self.delay_ps}")
        if not (math.isfinite(self.jitter_ps) and self.jitter_ps >= 0.0):
            raise ValueError(f"sync jitter_ps must be >= 0, got {self.jitter_ps}")


@dataclass(frozen=True)
class SimulatedLink:
    """All parameters of a simulated link; the defaults are a 4-detector time-bin relay at 100 MHz.

    Times in ps. A pulse of slot k is centred at k * slot_period_ps + early_centre_ps (mode early,
    and both polarisations) or + late_centre_ps, plus its arm's delay; its arrival times have
    standard deviation pulse_sigma_ps. The windows, half open, are what the relay is expected to
    gate on: the simulation does not gate. The relay undoes a detector's cable with
    deskew = cable_delay_ps.

    mode_overlap is M = |<psi_a|psi_b>|^2 for equal delays; it falls with the arms' relative delay.
    clock_offset_ppm: how much slower the senders' common clock, and the sync channel's, runs than
    the relay's: slot k begins at k * slot_period_ps * (1 + offset / 1e6) on the relay's.
    misalignment_z, misalignment_x: probability that Bob sends the other bit than the one he logs.
    seed: 32 bits; everything random follows from it.

    Raises ValueError naming the parameter that is wrong.
    """

    encoding: Encoding = Encoding.TIME_BIN
    slot_period_ps: int = 10_000
    early_centre_ps: int = 2_500
    late_centre_ps: int = 7_500
    early_window_ps: tuple[int, int] = (2_000, 3_000)
    late_window_ps: tuple[int, int] | None = (7_000, 8_000)
    pulse_sigma_ps: float = 100.0
    alice: Source = field(default_factory=four_intensity)
    bob: Source = field(default_factory=four_intensity)
    arm_a: Arm = field(default_factory=Arm)
    arm_b: Arm = field(default_factory=Arm)
    mode_overlap: float = 0.98
    misalignment_z: float = 0.005
    misalignment_x: float = 0.005
    detectors: tuple[Detector, ...] = field(default_factory=time_bin_detectors)
    sync: SyncChannel | None = None
    clock_offset_ppm: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", Encoding(self.encoding))
        object.__setattr__(self, "detectors", tuple(self.detectors))
        require_seed(self.seed)
        if self.slot_period_ps < 1:
            raise ValueError(f"slot_period_ps must be at least 1, got {self.slot_period_ps}")
        for name in ("mode_overlap", "misalignment_z", "misalignment_x"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if not (math.isfinite(self.pulse_sigma_ps) and self.pulse_sigma_ps >= 0.0):
            raise ValueError(f"pulse_sigma_ps must be >= 0, got {self.pulse_sigma_ps}")
        if not abs(self.clock_offset_ppm) <= MAX_CLOCK_OFFSET_PPM:
            raise ValueError(
                f"clock_offset_ppm must lie within +-{MAX_CLOCK_OFFSET_PPM:g}, "
                f"got {self.clock_offset_ppm}"
            )
        self._check_slot_scheme()
        self._check_detectors()

    def _check_slot_scheme(self) -> None:
        period = self.slot_period_ps
        for name in ("early_centre_ps", "late_centre_ps"):
            if not 0 <= getattr(self, name) < period:
                raise ValueError(f"{name} must lie in 0..{period - 1}, got {getattr(self, name)}")
        for start, end in self.windows():
            if not 0 <= start < end <= period:
                raise ValueError(
                    f"windows must be [start, end) in 0..{period}, got [{start}, {end})"
                )
        if self.encoding is Encoding.TIME_BIN:
            if self.late_window_ps is None:
                raise ValueError("time-bin encoding needs a late window")
            if self.late_window_ps[0] < self.early_window_ps[1]:
                raise ValueError(
                    f"the late window {self.late_window_ps} must not start before the early one "
                    f"{self.early_window_ps} ends"
                )

    def _check_detectors(self) -> None:
        shape = tuple((d.port, d.polarisation) for d in self.detectors)
        if self.encoding is Encoding.POLARISATION:
            allowed = [tuple((d.port, d.polarisation) for d in polarisation_detectors())]
        else:
            allowed = [
                tuple((d.port, d.polarisation) for d in time_bin_detectors(n)) for n in (2, 4)
            ]
        if shape not in allowed:
            raise ValueError(
                f"detectors (port, polarisation) must be, in this order, "
                f"{' or '.join(map(str, allowed))} with {self.encoding} encoding, got {shape}"
            )

    @property
    def n_detectors(self) -> int:
        """2 or 4."""
        return len(self.detectors)

    def windows(self) -> tuple[tuple[int, int], ...]:
        """The windows in use: early and late, or early alone with polarisation."""
        if self.encoding is Encoding.POLARISATION or self.late_window_ps is None:
            return (self.early_window_ps,)
        return (self.early_window_ps, self.late_window_ps)

    def source_log(self, party: Party) -> SourceLog:
        """Random access to what this party chose."""
        source = self.alice if party is Party.ALICE else self.bob
        return SourceLog(source, self.seed, party)

    def relay_model(self) -> RelayModel:
        """The closed form's view of this link, for slots in which no detector is dead at the start.

        What pulse width and jitter push out of the windows counts as efficiency (mean over the
        windows); afterpulses and delays are left out. Raises ValueError if a detector's dead time
        neither fits between the windows nor spans them: no closed form covers that.
        """
        period_ok = []
        for d in self.detectors:
            widest = max(end - start for start, end in self.windows())
            if d.dead_time_ps < widest:
                raise ValueError(f"{d.name}: the dead time must span a window ({widest} ps)")
            if len(self.windows()) == 2:
                (early_start, early_end), (late_start, late_end) = self.windows()
                if d.dead_time_ps > late_start - early_end:
                    if d.dead_time_ps < late_end - early_start:
                        raise ValueError(
                            f"{d.name}: a dead time of {d.dead_time_ps} ps neither fits between "
                            "the windows nor spans them"
                        )
                    period_ok.append(False)
                    continue
            period_ok.append(True)
        if len(set(period_ok)) != 1:
            raise ValueError("detectors must all be able to fire in both windows, or none")
        return RelayModel(
            encoding=self.encoding,
            eta_a=self.arm_a.eta,
            eta_b=self.arm_b.eta,
            detectors_per_port=(
                1 if self.encoding is Encoding.POLARISATION else self.n_detectors // 2
            ),
            detector_efficiency=tuple(d.efficiency * self._kept(d) for d in self.detectors),
            dark_count_probability=tuple(self._dark(d) for d in self.detectors),
            misalignment_z=self.misalignment_z,
            misalignment_x=self.misalignment_x,
            mode_overlap=self.mode_overlap,
            same_detector=period_ok[0],
        )

    def _kept(self, detector: Detector) -> float:
        sigma = math.hypot(self.pulse_sigma_ps, detector.jitter_ps)
        centres = (self.early_centre_ps, self.late_centre_ps)
        kept = [
            gaussian_fraction(start, end, centre, sigma)
            for (start, end), centre in zip(self.windows(), centres, strict=False)
        ]
        return sum(kept) / len(kept)

    def _dark(self, detector: Detector) -> float:
        odds = [
            dark_count_probability(detector.dark_rate_hz, end - start)
            for start, end in self.windows()
        ]
        return sum(odds) / len(odds)
