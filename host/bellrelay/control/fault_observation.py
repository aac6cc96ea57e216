"""What relay, endpoints and KMEs report of a stretch of link time: all that the watch ever sees.

Counts are those of the stretch alone, not since the start. What nobody measures is None, and says
nothing. Nothing here is secret: settings and errors come of finished blocks, after both endpoints
held the same list of announcements.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AS_CALIBRATED",
    "PARTIES",
    "Asked",
    "BlockReading",
    "DetectorCounts",
    "EndpointReading",
    "KmeReading",
    "Measured",
    "Observation",
    "RelayReading",
]

PARTIES = ("alice", "bob")
"""Order of everything that comes in pairs: arms, endpoints, KMEs."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A mean and its standard error, above 0."""

    value: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What a sender has been asked to send, of what is calibrated.

    light: share of every intensity. slots: share of the slots. Nothing at all while it is halted.
    """

    light: float = 1.0
    slots: float = 1.0

    @property
    def calibrated(self) -> bool:
        """Whether nothing is asked of it."""
        return self.light == 1.0 and self.slots == 1.0


AS_CALIBRATED = Asked()


@dataclass(frozen=True, slots=True)
class DetectorCounts:
    """Of one detector: clicks kept, suppressed by its dead time, and kept ones in no window."""

    clicks: int
    suppressed: int
    outside: int


@dataclass(frozen=True, slots=True)
class RelayReading:
    """What a relay says of itself; diagnostics, in no bound.

    running: whether the board is acquiring. heartbeat_age_s: since its last heartbeat. slots, live:
    closed slots, and those in which every detector could have fired. psi_minus, psi_plus:
    announced. lost: frames of the board that the line lost. light, delay_ps: Alice's and Bob's arm,
    of the public tracking slots: clicks per slot in which the source sends its mean intensity, and
    arrival against where it belongs. width_ps: of the arrivals. visibility: of the Hong-Ou-Mandel
    dip. reference_locked: of the clock, where there is one to lock to. clock_locked: whether the
    slot clock is held on the pulses; None: nobody holds it. tracked: whether endpoints are told of
    clicks in their tracking slots, light or not. public_z, public_x: (errors, outcomes) of tracking
    slots, where bits are public too: both signals, and both mu or both nu. span_s: link time that
    the counts are of; None: the observation's.
    """

    running: bool
    heartbeat_age_s: float
    slots: int
    live: int
    detectors: tuple[DetectorCounts, ...]
    psi_minus: int
    psi_plus: int
    lost: int = 0
    light: tuple[Measured | None, Measured | None] = (None, None)
    delay_ps: tuple[Measured | None, Measured | None] = (None, None)
    width_ps: Measured | None = None
    visibility: Measured | None = None
    reference_locked: bool | None = None
    clock_locked: bool | None = None
    tracked: tuple[bool, bool] = (False, False)
    public_z: tuple[int, int] = (0, 0)
    public_x: tuple[int, int] = (0, 0)
    span_s: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointReading:
    """What an endpoint says of itself.

    breaches: announcements that no honest relay makes. tag_failures: tags that do not fit, and a
    peer that contradicts itself. pool_blocks: blocks that the key left for tags is enough for.
    random_alarm: a health test of the random source fails. intensities: measured over declared, of
    the settings s, mu, nu; vacuum_excess: light in the vacuum setting over what is allowed.
    laser_ghz: optical frequency against where it belongs.
    """

    relay_connected: bool
    peer_connected: bool
    breaches: int = 0
    tag_failures: int = 0
    pool_blocks: float | None = None
    random_alarm: bool | None = None
    intensities: tuple[Measured | None, Measured | None, Measured | None] = (None, None, None)
    vacuum_excess: float | None = None
    laser_ghz: Measured | None = None


@dataclass(frozen=True, slots=True)
class KmeReading:
    """What a KME says: whether its peer is there, applications refused for their certificate."""

    peer_connected: bool
    refused: int = 0
    audit_broken: bool = False


@dataclass(frozen=True, slots=True)
class BlockReading:
    """A block that has ended since the last observation.

    begin_s: link time of its first slot. n, m: (4, 4), announced events by (Alice's, Bob's)
    setting, and the errors among those that were disclosed; None if it ended before that. sifted,
    corrected: bits of key before correction, and errors found in them. lists_differ: whether the
    endpoints had been told different announcements. uncorrected: whether it had more errors than
    could be corrected.
    """

    begin_s: float
    n: NDArray[np.int64] | None = field(default=None, repr=False)
    m: NDArray[np.int64] | None = field(default=None, repr=False)
    sifted: int = 0
    corrected: int = 0
    lists_differ: bool = False
    uncorrected: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """A stretch of link time that ends at `time_s` and is `span_s` long.

    relay_reachable: None if nobody asked. endpoints, kmes, asked: Alice's, Bob's. slow_z, slow_x:
    what :class:`~.error_drift.ErrorDrift` makes of the blocks so far; 1 is beyond noise.
    calibrating: whether the relay runs a calibration that disturbs what it counts.
    """

    time_s: float
    span_s: float
    relay: RelayReading | None = None
    relay_reachable: bool | None = None
    endpoints: tuple[EndpointReading | None, EndpointReading | None] = (None, None)
    kmes: tuple[KmeReading | None, KmeReading | None] = (None, None)
    blocks: tuple[BlockReading, ...] = ()
    asked: tuple[Asked, Asked] = (AS_CALIBRATED, AS_CALIBRATED)
    slow_z: float | None = None
    slow_x: float | None = None
    calibrating: bool = False
