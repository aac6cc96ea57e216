"""Configuration of an endpoint: what Alice's or Bob's YAML may say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bellrelay.distill.ladder import MAX_DEVIATION, Ladder
from bellrelay.relay.tracking_settings import TrackingSlotsSettings
from bellrelay.settings.lab import LabDeviceSettings
from bellrelay.settings.load import check, load
from bellrelay.settings.model import (
    Address,
    FileModel,
    Health,
    Model,
    MutualTls,
    Name,
    allowed,
    between,
    is_loopback,
)
from bellrelay.settings.monitors import MonitorsSettings
from bellrelay.settings.nats import BrokerName, BrokerServers
from bellrelay.settings.peer import PeerSettings
from bellrelay.settings.plugins import PluginSettings
from bellrelay.settings.traces import TraceSettings

from .cluster.settings import ClusterSettings

__all__ = [
    "BlockSettings",
    "ChangeSettings",
    "EndpointConfig",
    "IntensityMonitorSettings",
    "KeyPoolSettings",
    "LadderSettings",
    "PeerSettings",
    "RandomHealthSettings",
    "ReconcileSettings",
    "RelayBrokerSettings",
    "RelayChoiceSettings",
    "RelaySettings",
    "SecondarySettings",
    "SecuritySettings",
    "SenderSettings",
    "SourceSettings",
    "StoreSettings",
    "TimetableSettings",
    "TrackingSettings",
    "TrackingSlotsSettings",
    "WatchActions",
    "WatchSettings",
    "check_endpoint_config",
    "load_endpoint_config",
]

_MAX_SLOTS = 10**15


def _slots(value: Any) -> Any:
    error = allowed(f"1000 to {_MAX_SLOTS} slots, a whole number, also as 1.0e+10")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise error
    if not 1000 <= value <= _MAX_SLOTS or value != int(value):
        raise error
    return int(value)


Slots = Annotated[int, BeforeValidator(_slots), WithJsonSchema({"type": "integer"})]
_Epsilon = between(1e-30, 0.01)
_Intensity = between(0.0, 3.0, "photons per pulse")
_Probability = between(0.0, 1.0)


class RelayBrokerSettings(BrokerServers):
    """A NATS broker that the relay's announcements are taken from."""

    stream: BrokerName | None = Field(
        default=None, description="the relay's stream; none: its id, with `_` for dots"
    )
    consumer: BrokerName | None = Field(
        default=None,
        description="name of our consumer, and of what the broker answers to; none: endpoint_id, "
        "with `_` for dots",
    )
    max_pending: Annotated[int, between(1, 1024, "messages")] = Field(
        default=64, description="handed out before the first of them is acknowledged"
    )


class RelaySettings(Model):
    """The relay whose announcements are processed."""

    id: Name = Field(description="its relay_id; another one's announcements are refused")
    connect: Address | None = Field(default=None, description="HOST:PORT of its fan-out")
    tls: MutualTls | None = Field(default=None, description="needed with connect unless plain")
    name: str | None = Field(
        default=None, description="name in its certificate; none: the host of connect"
    )
    plain: bool = Field(default=False, description="no TLS: to a loopback address only")
    unix_socket: Path | None = Field(
        default=None, description="instead of connect: its socket on this machine"
    )
    nats: RelayBrokerSettings | None = Field(
        default=None, description="instead of connect: a broker that it publishes to"
    )

    @model_validator(mode="after")
    def _one_way(self) -> RelaySettings:
        ways = (self.connect, self.unix_socket, self.nats)
        if sum(way is not None for way in ways) != 1:
            raise allowed("either connect, unix_socket or nats")
        if self.connect is None:
            if self.tls is not None or self.plain:
                raise allowed("tls and plain need connect")
            return self
        if self.plain == (self.tls is not None):
            raise allowed("connect needs tls, or plain: true to a loopback address")
        if self.plain and not is_loopback(self.connect):
            raise allowed("plain connects to a loopback address only")
        return self


class RelayChoiceSettings(Model):
    """When another relay is gone to. Alice decides; Bob's are used for what he tells her."""

    silence_s: Annotated[float, between(1.5, 3600.0, "s")] = Field(
        default=3.0,
        description="a relay of which nothing was heard for so long is lost; an honest one says "
        "every second where it stands",
    )
    return_after_s: Annotated[float, between(1.0, 1e6, "s")] = Field(
        default=600.0,
        description="a relay before the active one is gone back to when it was well for so long; "
        "twice as long after every time that it was lost again soon",
    )
    drain_s: Annotated[float, between(0.0, 3600.0, "s")] = Field(
        default=30.0, description="longest wait of a planned move for the end of a block"
    )


class TimetableSettings(Model):
    """When relays that are shared with other pairs serve this one."""

    file: Path = Field(
        description="made by `bellrelay plan --timetable`, the same on both sides: light goes to a "
        "relay in this pair's windows only, and slots outside of them count as not sent"
    )
    pair: tuple[Name, Name] | None = Field(
        default=None, description="its name there; none: endpoint_id and peer_id"
    )


class SourceSettings(PluginSettings):
    """Where it stands what was sent; further keys are the plugin's own."""

    plugin: Name = Field(
        description="`files`, or another entry point of the group `bellrelay.sources`"
    )


class SecondarySettings(RelaySettings):
    """A relay that the endpoints go to when those before it are lost."""

    source: SourceSettings = Field(
        description="where it stands what was sent to this relay: acquisitions of two relays have "
        "the same numbers, so that no two relays have the same source"
    )


class SenderSettings(PluginSettings):
    """What the endpoint may ask of its sender; further keys are the plugin's own."""

    plugin: Name = Field(description="an entry point of the group `bellrelay.senders`")


class LadderSettings(Model):
    """Declared intensities and probabilities of a sender; vacuum (o) takes the rest.

    The checks that a ladder must pass are :class:`~bellrelay.distill.ladder.Ladder`'s.
    """

    s: Annotated[float, _Intensity] = Field(
        description="mean photon number of the signal, sent in Z; key comes from it alone"
    )
    mu: Annotated[float, _Intensity] = Field(description="stronger decoy, sent in X")
    nu: Annotated[float, _Intensity] = Field(description="weaker decoy, sent in X")
    o: Annotated[float, _Intensity] = Field(default=0.0, description="vacuum")
    p_s: Annotated[float, _Probability] = Field(description="probability of s")
    p_mu: Annotated[float, _Probability] = Field(description="probability of mu")
    p_nu: Annotated[float, _Probability] = Field(description="probability of nu")
    deviation: Annotated[float, between(0.0, MAX_DEVIATION)] = Field(
        default=0.01,
        description="relative half-width within which every intensity is declared to lie; the "
        "bounds take the worst within it, or within what the power monitor says if that is more",
    )
    deviation_limit: Annotated[float, between(0.0, MAX_DEVIATION)] | None = Field(
        default=None,
        description="most that the power monitor may say before a block is refused; none: twice "
        "the declared deviation",
    )
    vacuum_limit: Annotated[float, between(0.0, 0.1, "photons per pulse")] = Field(
        default=0.001,
        description="most light in the vacuum setting; the bounds take anything between none and "
        "that, and the power monitor holds the sender to it",
    )
    # A declaration that leaves no choice, and nothing that bounds are made with.
    phase: Literal["uniform"] = Field(
        default="uniform",
        exclude=True,
        description="global phase of every pulse: uniformly random, of no other pulse or choice "
        "dependent. Nothing here measures that, and no bound holds without it",
    )

    @property
    def most_deviation(self) -> float:
        """With which a block may still be bounded."""
        if self.deviation_limit is None:
            return min(2.0 * self.deviation, MAX_DEVIATION)
        return self.deviation_limit

    def ladder(self) -> Ladder:
        """The ladder as it is declared; ValueError if it contradicts itself."""
        return Ladder(**self.model_dump(exclude={"deviation_limit"}))


class BlockSettings(Model):
    """Blocks: ranges of slots that both endpoints fix in advance."""

    slots: Slots = Field(description="slots of a block")
    settle_s: Annotated[float, between(0.0, 3600.0, "s")] = Field(
        default=5.0,
        description="wait for the source's own records of a block whose announcements are in; "
        "slots that are not recorded then count as not sent",
    )
    patience_s: Annotated[float, between(1.0, 86400.0, "s")] = Field(
        default=300.0, description="wait for the peer's next word about a block; then it ends"
    )
    max_in_flight: Annotated[int, between(1, 64)] = Field(
        default=16,
        description="blocks in work at once, so that a slow line is no slow pipeline; further "
        "ones wait",
    )


class TrackingSettings(Model):
    """Where this sender's light is in the slot, and what is done about it."""

    slot_period_ps: Annotated[float, between(1000.0, (1 << 24) - 1, "ps")] = Field(
        description="slot period, as the relay has it"
    )
    centres_ps: tuple[float, ...] = Field(
        min_length=1,
        max_length=2,
        description="middle of the pulses of a slot, and of the relay's windows: one, or early and "
        "late",
    )
    width_ps: Annotated[float, between(1.0, 1e6, "ps")] = Field(
        description="standard deviation of arrival times, detectors included"
    )
    bin_ps: Annotated[int, between(1, 16384, "ps")] = Field(
        default=16, description="resolution of the histograms that delays are found in"
    )
    window_s: Annotated[float, between(0.01, 600.0, "s of link time")] = Field(
        default=5.0, description="time whose clicks make one measurement"
    )
    transmittance: Annotated[float, between(1e-9, 1.0)] | None = Field(
        default=None,
        description="clicks per photon sent that the light is compared with; none: it is not",
    )
    steer: bool = Field(
        default=False,
        description="whether the sender's delay is moved; of two endpoints behind a relay that "
        "follows the light, one only",
    )
    aim: Literal["other", "middle"] = Field(
        default="other",
        description="`other`: where the other sender's pulses are, behind a relay that follows the "
        "light; `middle`: the middle of the windows, behind one that follows a reference",
    )
    range_ps: Annotated[float, between(1.0, 1e7, "ps")] = Field(
        default=50_000.0, description="the delay stays within plus and minus this"
    )
    slew_ps_per_s: Annotated[float, between(0.1, 1e6, "ps/s")] = Field(
        default=100.0, description="it is moved no faster"
    )
    step_ps: Annotated[float, between(0.001, 1000.0, "ps")] = Field(
        default=1.0, description="smallest step of the sender's delay"
    )
    settle_s: Annotated[float, between(0.1, 600.0, "s")] = Field(
        default=10.0, description="time constant with which an offset dies out"
    )
    drift_ps_per_s: Annotated[float, between(0.001, 1000.0, "ps/s")] = Field(
        default=10.0, description="what the fibre may drift by, one standard deviation"
    )
    locked_ps: Annotated[float, between(1.0, 1e5, "ps")] = Field(
        default=100.0, description="a loop that is locked is not further off"
    )
    holdover_ps: Annotated[float, between(1.0, 1e5, "ps")] = Field(
        default=100.0,
        description="without a measurement the last rate is held until the error may be this",
    )


class SecuritySettings(Model):
    """Epsilons of every block, and rules that are fixed before any data."""

    secrecy: Annotated[float, _Epsilon] = Field(default=1e-10, description="epsilon of secrecy")
    correctness: Annotated[float, _Epsilon] = Field(
        default=1e-15, description="probability that keys differ unnoticed"
    )
    authentication: Annotated[float, _Epsilon] = Field(
        default=1e-15, description="probability that a forgery passes, all messages together"
    )
    length_rule: Literal["variable", "fixed"] = Field(
        default="variable",
        description="`variable`: length from the data; `fixed`: fixed_length_bits or no key",
    )
    fixed_length_bits: Annotated[int, between(1, 10**10, "bits")] | None = Field(
        default=None, description="needed with `fixed`"
    )
    outcomes: Literal["pooled", "separate"] = Field(
        default="pooled", description="one bound on both Bell outcomes, or one on each"
    )


class ReconcileSettings(Model):
    """Correction of errors."""

    method: Literal["auto", "ldpc", "cascade"] = Field(
        default="auto", description="`auto`: cascade up to ten million bits, ldpc for longer blocks"
    )
    error_rate: Annotated[float, between(0.001, 0.25)] = Field(
        default=0.02,
        description="assumed in Z until a block was corrected, and then what was corrected there",
    )


class StoreSettings(Model):
    """State of blocks and keys that wait for delivery."""

    directory: Path = Field(description="its own directory; made if it is missing")


class KeyPoolSettings(Model):
    """One-time key that authenticates the channel between the endpoints."""

    file: Path = Field(description="the pool; both endpoints begin with the same")
    reserve_bits: Annotated[int, between(0, 10**9, "bits")] = Field(
        default=65536, description="kept back; below it no block begins"
    )
    refill_share: Annotated[float, between(0.0, 1.0)] = Field(
        default=0.1, description="share of every produced key that goes into the pool"
    )
    max_age_s: Annotated[float, between(3600.0, 1e9, "s")] = Field(
        default=90 * 86400.0,
        description="key that has lain in the pool for so long is wiped, if it can be spared",
    )


class RandomHealthSettings(Model):
    """Tests of the sender's random choices, NIST SP 800-90B section 4.4 and more."""

    slots_per_block: Annotated[int, between(0, 10**12, "slots, 0 all")] = Field(
        default=1 << 20, description="slots tested in a block, in one piece at a place drawn anew"
    )
    alpha: Annotated[float, between(2.0**-80, 2.0**-20)] = Field(
        default=2.0**-40, description="false alarms per sample of the continuous tests"
    )
    bit_min_entropy: Annotated[float, between(0.1, 1.0, "bits")] = Field(
        default=1.0, description="claimed per bit sent"
    )
    setting_min_entropy: Annotated[float, between(0.01, 2.0, "bits")] | None = Field(
        default=None, description="claimed per setting; none: of the declared probabilities"
    )
    share_alpha: Annotated[float, between(1e-15, 0.01)] = Field(
        default=1e-9, description="false alarms per block of the test of declared probabilities"
    )


class IntensityMonitorSettings(Model):
    """What a power monitor says of this sender's intensities."""

    input: Literal["file", "source", "monitors", "none"] = Field(
        description="`file`: a text file that the monitor appends to; `source`: the source's "
        "plugin; `monitors`: a monitor of `intensity` in `monitors`; `none`: the declared "
        "deviation is taken on trust"
    )
    file: Path | None = Field(default=None, description="needed with `file`")
    calibration: Annotated[float, between(0.0, 0.1)] = Field(
        default=0.002, description="relative uncertainty of the monitor's own calibration"
    )
    window_s: Annotated[float, between(1.0, 86400.0, "s")] = Field(
        default=600.0, description="readings of so long a time enter a bound"
    )
    max_age_s: Annotated[float, between(0.1, 86400.0, "s")] = Field(
        default=10.0, description="without a reading for so long, no block is accepted"
    )
    min_readings: Annotated[int, between(2, 1_000_000)] = Field(
        default=20, description="readings per setting that a bound needs"
    )
    coverage: Annotated[float, between(0.5, 0.999999)] = Field(
        default=0.9999, description="share of readings that the bound holds for"
    )
    epsilon: Annotated[float, between(1e-15, 0.05)] = Field(
        default=1e-10, description="probability that it does not, per setting"
    )
    stability: Annotated[float, between(0.0001, 0.1)] = Field(
        default=0.01, description="deviation up to which a setting is called stable"
    )


def _url(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^/\s]+", value):
        raise allowed("http://HOST:PORT, without a path")
    return value


Url = Annotated[str, BeforeValidator(_url), WithJsonSchema({"type": "string"})]


class ChangeSettings(Model):
    """Changes of intensities while the link runs: on trial in a share of the blocks first."""

    directory: Path = Field(
        description="where versions are kept, with who, when, why and what became of them"
    )
    lead_blocks: Annotated[int, between(1, 1_000_000, "blocks")] = Field(
        default=4,
        description="blocks from a decision to the first block that it is about: so long at most "
        "may the sender need to be told, and the announcements to come",
    )
    min_blocks: Annotated[int, between(3, 100_000, "blocks")] = Field(
        default=8, description="blocks of the candidate, and of the others, before any comparison"
    )
    key_rate_tolerance: Annotated[float, between(0.0, 0.5)] = Field(
        default=0.02,
        description="relative: a candidate must be shown to lose less than this of the key per "
        "pulse, and goes when it is shown to lose more",
    )
    qber_tolerance: Annotated[float, between(0.0, 0.1)] = Field(
        default=0.002, description="the same of the error rate in Z, absolute"
    )
    false_decision: Annotated[float, between(1e-9, 0.1)] = Field(
        default=1e-3,
        description="probability that a candidate within both tolerances is taken back for them, "
        "and that one beyond them is promoted, over a whole trial",
    )
    most_aborts: Annotated[int, between(0, 1000, "blocks")] = Field(
        default=2,
        description="blocks of the candidate that may end without key for a cause that may be its "
        "own; one more, and it goes",
    )
    patience_s: Annotated[float, between(1.0, 365 * 86400.0, "s")] = Field(
        default=86400.0, description="a candidate that is not promoted within this time goes"
    )


class WatchActions(Model):
    """What may be done about a fault without asking anybody; false: it is told, and left to people.

    Their names are those of the actions in faults.md.
    """

    resynchronise: bool = Field(default=True, description="set clock and delays anew")
    hold_over: bool = Field(default=True, description="hold the clock's rate")
    throttle: bool = Field(default=True, description="send in fewer slots")
    attenuate: bool = Field(default=True, description="more attenuation; blocks then make no key")
    recalibrate: bool = Field(default=True, description="run the calibration that a fault names")
    fail_over: bool = Field(default=True, description="move to the next relay")
    roll_back: bool = Field(default=True, description="go back to the last good parameters")
    reauthenticate: bool = Field(default=True, description="end the session, begin a new one")
    halt_sender: bool = Field(default=True, description="stop the sender")
    contain: bool = Field(default=True, description="suspend a relay's keys, and leave it")


class LaserSettings(Model):
    """The sender's laser, whose frequency the laboratory or a monitor measures."""

    device: Name | None = Field(default=None, description="a laser of `lab`, or else")
    monitor: Name | None = Field(
        default=None, description="one of `monitors`, of `wavelength` or `spectrum`"
    )
    ghz: Annotated[float, between(1e4, 1e6, "GHz")] = Field(
        description="optical frequency where it belongs"
    )

    @model_validator(mode="after")
    def _one_that_measures(self) -> LaserSettings:
        if (self.device is None) == (self.monitor is None):
            raise allowed("either device or monitor")
        return self


class WatchSettings(Model):
    """The watch over the link: whom it asks, and what it may do."""

    relays: dict[Name, Url] = Field(
        default={}, description="by relay_id, where its health is asked for: `http://HOST:PORT`"
    )
    peer: Url | None = Field(default=None, description="the same of the other endpoint")
    kmes: tuple[Url, ...] = Field(
        default=(), max_length=2, description="the same of Alice's KME, and of Bob's"
    )
    timeout_s: Annotated[float, between(0.1, 2.0, "s")] = Field(
        default=0.8, description="after which one that does not answer is not there"
    )
    baseline: Path | None = Field(
        default=None,
        description="YAML with what the link shows while it is healthy: learnt if it is missing; "
        "none: faults that need it are not told",
    )
    learn_s: Annotated[float, between(10.0, 86400.0, "s of link time")] = Field(
        default=600.0, description="time without a fault that a baseline is learnt from"
    )
    settle_s: Annotated[float, between(1.0, 600.0, "s of link time")] = Field(
        default=10.0,
        description="after light was directed to a relay: so long its counts are not believed",
    )
    hold_s: Annotated[float, between(1.0, 3600.0, "s")] = Field(
        default=30.0,
        description="after a fault is over, what was asked of the sender against it stands for so "
        "long; longer each time that it comes back",
    )
    laser: LaserSettings | None = None
    actions: WatchActions = WatchActions()
    recalibrate: tuple[str, ...] = Field(
        default=(),
        description="command that runs calibration steps at the relay, a list of words; `{steps}` "
        "(several words), `{relay}` and `{reason}` are put in",
    )
    contain: tuple[str, ...] = Field(
        default=(),
        description="command that suspends a relay's keys at the KME, a list of words; `{relay}`, "
        "`{since}`, `{reason}` and `{evidence}` (a file) are put in",
    )


class EndpointConfig(FileModel):
    """Everything that an endpoint's YAML says."""

    endpoint_id: Name = Field(description="name of this endpoint: letters, digits, . _ -")
    peer_id: Name = Field(description="endpoint_id of the other one")
    role: Literal["alice", "bob"] = Field(description="which of the two; Bob flips and corrects")
    relay: RelaySettings
    secondaries: tuple[SecondarySettings, ...] = Field(
        default=(),
        max_length=15,
        description="further relays in the order in which they are gone to, the same on both sides",
    )
    relay_choice: RelayChoiceSettings = RelayChoiceSettings()
    timetable: TimetableSettings | None = None
    peer: PeerSettings
    source: SourceSettings
    sender: SenderSettings | None = None
    alice: LadderSettings
    bob: LadderSettings
    block: BlockSettings
    tracking_slots: TrackingSlotsSettings = TrackingSlotsSettings()
    tracking: TrackingSettings | None = None
    security: SecuritySettings = SecuritySettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    store: StoreSettings
    key_pool: KeyPoolSettings
    random_health: RandomHealthSettings = RandomHealthSettings()
    intensity_monitor: IntensityMonitorSettings
    workers: Annotated[int, between(1, 256)] = Field(
        default=2, description="threads that compute: estimation, correction, amplification"
    )
    warm_up: bool = Field(
        default=True,
        description="whether these threads take a made-up block first: what computes is loaded, or "
        "compiled, before the first block is there",
    )
    cluster: ClusterSettings | None = None
    health: Health = Health()
    traces: TraceSettings | None = None
    changes: ChangeSettings | None = None
    watch: WatchSettings | None = None
    monitors: MonitorsSettings | None = None
    lab: dict[Name, LabDeviceSettings] = Field(
        default={}, description="devices of the laboratory, by name, which calibration asks"
    )

    @property
    def relays(self) -> tuple[RelaySettings, ...]:
        """The primary, and those after it."""
        return self.relay, *self.secondaries

    @property
    def sources(self) -> tuple[tuple[str, SourceSettings], ...]:
        """Of every relay, where it stands in the file, and where it stands what was sent to it."""
        others = (
            (f"secondaries.{n}.source", each.source) for n, each in enumerate(self.secondaries)
        )
        return ("source", self.source), *others

    @property
    def own_settings(self) -> LadderSettings:
        """Of this endpoint's sender."""
        return self.alice if self.role == "alice" else self.bob

    @property
    def own_ladder(self) -> Ladder:
        """What this endpoint's sender is declared to send."""
        return self.own_settings.ladder()

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        if self.peer_id == self.endpoint_id:
            out.append(("peer_id", self.peer_id, "another than endpoint_id"))
        for party in ("alice", "bob"):
            settings: LadderSettings = getattr(self, party)
            try:
                ladder = settings.ladder()
            except ValueError as error:
                out.append((party, settings.model_dump(), str(error)))
                continue
            most = settings.most_deviation
            key = f"{party}.deviation_limit"
            if most < settings.deviation:
                out.append((key, most, "not less than deviation"))
                continue
            try:
                replace(ladder, deviation=most)
            except ValueError as error:
                out.append((key, most, str(error)))
        out += self._tracking_faults()
        out += self._relay_faults()
        out += self._monitor_faults()
        fixed = self.security.length_rule == "fixed"
        if fixed != (self.security.fixed_length_bits is not None):
            out.append(
                (
                    "security.fixed_length_bits",
                    self.security.fixed_length_bits,
                    "a number of bits with length_rule fixed, and only then",
                )
            )
        monitor = self.intensity_monitor
        if (monitor.input == "file") != (monitor.file is not None):
            out.append(
                (
                    "intensity_monitor.file",
                    monitor.file and str(monitor.file),
                    "a file with input: file, and only then",
                )
            )
        if monitor.max_age_s > monitor.window_s:
            out.append(("intensity_monitor.max_age_s", monitor.max_age_s, "at most window_s"))
        if monitor.input != "none":
            own = self.own_settings
            if own.most_deviation <= monitor.calibration:
                out.append(
                    (
                        f"{self.role}.deviation_limit",
                        own.most_deviation,
                        "more than intensity_monitor.calibration, or no reading could ever hold it",
                    )
                )
            if own.o == own.vacuum_limit == 0.0:
                out.append(
                    (
                        f"{self.role}.vacuum_limit",
                        own.vacuum_limit,
                        "more than 0 where light is measured: no reading shows that there is none",
                    )
                )
        return out

    def _monitor_faults(self) -> list[tuple[str, object, str]]:
        out: list[tuple[str, object, str]] = []
        kinds = {} if self.monitors is None else {n: m.kind for n, m in self.monitors.each.items()}
        laser = self.watch.laser if self.watch is not None else None
        named = None if laser is None else laser.monitor
        if named is not None and kinds.get(named) not in ("wavelength", "spectrum"):
            need = "one of monitors.each, of wavelength or spectrum"
            out.append(("watch.laser.monitor", named, need))
        if self.intensity_monitor.input == "monitors":
            if "intensity" not in kinds.values():
                need = "file, source or none without a monitor of intensity in monitors.each"
                out.append(("intensity_monitor.input", "monitors", need))
            elif self.monitors is not None and self.monitors.open_to_all:
                # Bounds stand on what it says: not any user of this machine may say it.
                need = "tls, or socket_mode 0600 or 0660, with intensity_monitor.input: monitors"
                out.append(("monitors", "open to every user of this machine", need))
        return out

    def _relay_faults(self) -> list[tuple[str, object, str]]:
        out: list[tuple[str, object, str]] = []
        ids = [relay.id for relay in self.relays]
        for n, secondary in enumerate(self.secondaries):
            if secondary.id in ids[: n + 1]:
                out.append((f"secondaries.{n}.id", secondary.id, "another than of relays before"))
        seen: list[SourceSettings] = []
        for key, source in self.sources:
            if source in seen:
                out.append((key, source.model_dump(), "another than that of a relay before it"))
            seen.append(source)
        if self.secondaries and self.sender is None:
            out.append(
                ("sender", None, "a sender that can be directed to a relay, with secondaries")
            )
        if self.timetable is not None and self.sender is None:
            out.append(("sender", None, "a sender that can be halted, with a timetable"))
        return out

    def _tracking_faults(self) -> list[tuple[str, object, str]]:
        out: list[tuple[str, object, str]] = []
        slots, tracking = self.tracking_slots, self.tracking
        try:
            slots.schedule()
        except ValueError:
            out.append(("tracking_slots.length", slots.length, "at most half of every"))
        if tracking is None:
            return out
        if not slots.length:
            out.append(("tracking_slots.length", 0, "more than 0 with tracking"))
        inside = [0.0 <= c < tracking.slot_period_ps for c in tracking.centres_ps]
        if not all(inside) or list(tracking.centres_ps) != sorted(set(tracking.centres_ps)):
            out.append(
                ("tracking.centres_ps", list(tracking.centres_ps), "places in the slot, in order")
            )
        if tracking.steer and self.sender is None:
            out.append(("tracking.steer", True, "false without a sender"))
        return out


def check_endpoint_config(values: object, origin: str = "configuration") -> EndpointConfig:
    """A configuration from what the YAML gave.

    Raises
    ------
    ConfigError
        One line per fault.
    """
    return check(EndpointConfig, values, origin)


def load_endpoint_config(path: Path) -> EndpointConfig:
    """Read an endpoint's YAML.

    Raises
    ------
    ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(EndpointConfig, path)
