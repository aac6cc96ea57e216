"""Configuration of a relay: what its YAML may say, and errors that name the key."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bellrelay.settings.audit import AuditSettings
from bellrelay.settings.lab import LabDeviceSettings
from bellrelay.settings.load import check, load
from bellrelay.settings.model import (
    Address,
    ConfigError,
    FileModel,
    Health,
    Model,
    Name,
    allowed,
    between,
    is_loopback,
)
from bellrelay.settings.monitors import MonitorsSettings
from bellrelay.settings.traces import TraceSettings
from bellrelay.wire.outcomes import Encoding, pattern_table

from .nats_settings import NatsSettings
from .tracking_settings import TrackingSettings

__all__ = [
    "ConfigError",
    "Detector",
    "EverySettings",
    "FanOut",
    "FirmwareSettings",
    "Health",
    "LogSettings",
    "NatsSettings",
    "RelayConfig",
    "RelayTraceSettings",
    "load_config",
]


def _period(value: Any) -> Fraction:
    error = allowed('1000 to 16777215 ps, a number or a fraction such as "40000/3"')
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise error
    try:
        period = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise error from None
    if not 1000 <= period <= (1 << 24) - 1:
        raise error
    return period


def _window(value: Any) -> Any:
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in value)
        or not 0 <= value[0] <= value[1]
    ):
        raise allowed("[start, end] in whole ps, 0 <= start <= end")
    return tuple(value)


def _clock_window(value: Any) -> Any:
    """Minutes of the day, from and to; the end may lie past midnight."""
    error = allowed('times of day in UTC, "02:00-04:00"; the end may lie past midnight')
    found = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", value) if isinstance(value, str) else None
    if found is None:
        raise error
    h1, m1, h2, m2 = map(int, found.groups())
    if max(h1, h2) > 23 or max(m1, m2) > 59 or (h1, m1) == (h2, m2):
        raise error
    return h1 * 60 + m1, h2 * 60 + m2


def _temperatures(value: Any) -> Any:
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        or not value[0] < value[1]
    ):
        raise allowed("[lowest, highest] in degrees Celsius")
    return tuple(map(float, value))


_Ps = Annotated[int, between(-(1 << 31), (1 << 31) - 1, "ps")]
Window = Annotated[tuple[int, int], BeforeValidator(_window)]
Period = Annotated[
    Fraction,
    BeforeValidator(_period),
    WithJsonSchema({"type": "number", "description": "ps; a fraction as a string"}),
]


class Windows(Model):
    """Gate windows in a slot, half open."""

    early: Window = Field(description="ps in the slot, [start, end)")
    late: Window = Field(default=(0, 0), description="ps in the slot; empty with polarisation")


class Detector(Model):
    """One detector, in the order of the board's inputs."""

    name: str = Field(min_length=1, max_length=32, description="name in logs and metrics")
    port: Literal["c", "d"] = Field(description="output port of the beam splitter")
    deskew_ps: _Ps = Field(default=0, description="delay that is subtracted")
    dead_time_ps: Annotated[int, between(0, (1 << 31) - 1, "ps")] = Field(
        default=0, description="dead time; what comes sooner is suppressed and counted"
    )
    dead_time: Literal["extending", "non-extending"] = Field(
        default="non-extending",
        description="whether a suppressed click makes the detector dead anew",
    )
    gate_delay_ps: Annotated[int, between(0, (1 << 24) - 1, "ps")] = Field(
        default=0, description="detector gate output: start in the slot"
    )
    gate_width_ps: Annotated[int, between(0, (1 << 24) - 1, "ps")] = Field(
        default=0, description="detector gate output: width, 0 off"
    )


class Sync(Model):
    """The sync input."""

    name: str = Field(
        default="sync", min_length=1, max_length=32, description="name in logs and metrics"
    )
    deskew_ps: _Ps = Field(default=0, description="delay that is subtracted")


class RawTags(Model):
    """Streaming of raw tags beside the announcements."""

    stream: bool = Field(default=False, description="whether the board sends raw tags")
    directory: Path | None = Field(
        default=None, description="where they are kept as u64 words; none: counted only"
    )
    file_mb: Annotated[int, between(1, 4096, "MB")] = Field(
        default=64, description="size of one file"
    )
    retention_mb: Annotated[int, between(1, 10_000_000, "MB")] = Field(
        default=1024, description="size of all files; the oldest go first"
    )


class HistogramSettings(Model):
    """The live arrival-time histogram."""

    period_s: Annotated[float, between(0.0, 60.0, "s, 0 off")] = Field(
        default=1.0, description="time per histogram"
    )
    bin_ps: Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384] = Field(
        default=16, description="bin width, a power of two"
    )


class LogSettings(Model):
    """The announcement log."""

    directory: Path = Field(description="its own directory; made if it is missing")
    segment_mb: Annotated[int, between(1, 4096, "MB")] = Field(
        default=64, description="size of one file"
    )
    retention_mb: Annotated[int, between(1, 100_000_000, "MB")] = Field(
        default=4096, description="size of all files; the oldest go first"
    )


class Tls(Model):
    """Mutual TLS: both sides show a certificate."""

    certificate: Path = Field(description="the relay's certificate, PEM")
    key: Path = Field(description="its private key, PEM")
    clients_ca: Path = Field(description="who signs the consumers' certificates, PEM")


class FanOut(Model):
    """Where consumers get the announcements."""

    listen: Address | None = Field(default=None, description="HOST:PORT, with TLS")
    tls: Tls | None = Field(default=None, description="needed unless plain")
    plain: bool = Field(default=False, description="no TLS: allowed on a loopback address only")
    unix_socket: Path | None = Field(
        default=None, description="a socket of this machine, without TLS"
    )
    max_consumers: Annotated[int, between(1, 10000)] = Field(
        default=256, description="connections at once"
    )

    @model_validator(mode="after")
    def _way_in(self) -> FanOut:
        if self.listen is None:
            if self.tls is not None or self.plain:
                raise allowed("tls and plain need listen")
            return self
        if self.plain == (self.tls is not None):
            raise allowed("listen needs tls, or plain: true on a loopback address")
        if self.plain and not is_loopback(self.listen):
            raise allowed("plain listens on a loopback address only")
        return self


class FirmwareSettings(Model):
    """Updates of the board's gateware (`bellrelay board update`)."""

    directory: Path = Field(
        description="its own directory: the image on the board, the one before, the journal"
    )
    watch_s: Annotated[float, between(0.1, 3600.0, "s")] = Field(
        default=10.0, description="for so long a new image is watched before it is kept"
    )
    temperature_c: Annotated[tuple[float, float], BeforeValidator(_temperatures)] = Field(
        default=(-20.0, 85.0), description="degrees on the die, [lowest, highest]"
    )
    selftest: bool = Field(
        default=True, description="whether a new image must pass the board's self-test"
    )


class EverySettings(Model):
    """Calibration steps that are run again and again."""

    steps: tuple[Name, ...] = Field(min_length=1, description="in this order")
    hours: Annotated[float, between(0.01, 87600.0, "h")] = Field(
        description="after the last time that the step ended well"
    )
    window: Annotated[tuple[int, int], BeforeValidator(_clock_window)] | None = Field(
        default=None, description='only between these times of day, UTC: "02:00-04:00"'
    )


class CalibrationSettings(Model):
    """Calibrations, and the versions of what they and the live view change."""

    directory: Path = Field(description="its own directory; made if it is missing")
    at_start: tuple[Name, ...] = Field(
        default=(), description="steps that are run whenever the daemon has started, in this order"
    )
    every: tuple[EverySettings, ...] = Field(
        default=(), description="steps that are run again and again"
    )
    steps: dict[Name, dict[str, Any]] = Field(
        default={},
        description="options of steps, by the step's name: docs/reference/calibration.md",
    )
    trial_minutes: Annotated[float, between(0.0, 1440.0, "min, 0 off")] = Field(
        default=5.0,
        description="healthy minutes in which what a step has changed must announce as before; "
        "else it is taken back",
    )
    announce_s: Annotated[float, between(0.0, 86400.0, "s")] = Field(
        default=60.0, description="so long before steps that disturb key generation it is announced"
    )
    defer_above_per_s: Annotated[float, between(0.0, 1e9, "announcements/s")] | None = Field(
        default=None,
        description="with more announcements per second, steps that disturb wait; none: never",
    )
    defer_hours: Annotated[float, between(0.0, 8760.0, "h")] = Field(
        default=24.0, description="but not longer than this after they were due"
    )


class ViewTls(Model):
    """The page by HTTPS."""

    certificate: Path = Field(description="the relay's certificate, PEM")
    key: Path = Field(description="its private key, PEM")


class ViewSettings(Model):
    """The live view, a page for the bench; with `--view`, or where this section is."""

    listen: Address = Field(default="127.0.0.1:8010", description="HOST:PORT")
    tls: ViewTls | None = Field(
        default=None, description="needed to change anything but on a loopback address"
    )
    token_file: Path | None = Field(
        default=None,
        description="who has a token of this file may change settings: a line per person, NAME "
        "TOKEN, mode 0600; none: read-only",
    )
    audit: AuditSettings | None = Field(
        default=None,
        description="where every change and every attempt is on record; none: in `audit` below "
        "log.directory",
    )
    every_s: Annotated[float, between(0.02, 10.0, "s")] = Field(
        default=0.1, description="time between updates"
    )
    endpoints: tuple[str, ...] = Field(
        default=(), description="URLs of endpoints' health servers: key rate, QBER, alarms"
    )
    runbooks: str | None = Field(
        default=None,
        pattern=r"^https?://\S+/$",
        description="where docs/runbooks is read, a URL that ends in /: alarms link there; none: "
        "they name their page",
    )

    @model_validator(mode="after")
    def _token_needs_tls(self) -> ViewSettings:
        if self.token_file is not None and self.tls is None and not is_loopback(self.listen):
            raise allowed("token_file with tls, or on a loopback address only")
        return self


class RelayTraceSettings(TraceSettings):
    """Traces of blocks, to a collector of OpenTelemetry; none: off."""

    block_slots: Annotated[int, between(1000, 10**15, "slots")] = Field(
        description="`block.slots` of the endpoints: how the relay knows where blocks end"
    )


class RelayConfig(FileModel):
    """Everything that a relay's YAML says."""

    relay_id: Name = Field(description="name of the relay: letters, digits, . _ -")
    port: Path = Field(description="device of the board; best by /dev/serial/by-id")
    baud: Annotated[int, between(9600, 12_000_000, "baud")] = Field(
        default=3_000_000, description="rate of the serial line"
    )
    encoding: Encoding = Field(default="time-bin", description="what the bins mean")
    slot_period_ps: Period = Field(description='slot period, also "40000/3"')
    phase_ps: Annotated[int, between(0, (1 << 24) - 1, "ps")] = Field(
        default=0, description="slot reference at the acquisition's start"
    )
    windows: Windows
    detectors: tuple[Detector, ...] = Field(description="two or four, in the order of the inputs")
    sync: Sync = Sync()
    raw_tags: RawTags = RawTags()
    histogram: HistogramSettings = HistogramSettings()
    heartbeat_ms: Annotated[float, between(1.0, 100.0, "ms")] = Field(
        default=50.0, description="time between heartbeats"
    )
    flush_ms: Annotated[float, between(0.1, 100.0, "ms")] = Field(
        default=10.0, description="longest wait of an announcement on the board"
    )
    silence_s: Annotated[float, between(1.0, 3600.0, "s")] = Field(
        default=1.0, description="without a heartbeat for so long, the port is opened anew"
    )
    announce_not_live: bool = Field(
        default=False, description="announce also slots in which a detector could not have fired"
    )
    log: LogSettings
    fan_out: FanOut = FanOut()
    nats: NatsSettings | None = None
    health: Health = Health()
    traces: RelayTraceSettings | None = None
    tracking: TrackingSettings | None = None
    calibration: CalibrationSettings | None = None
    view: ViewSettings | None = None
    firmware: FirmwareSettings | None = None
    monitors: MonitorsSettings | None = None
    lab: dict[Name, LabDeviceSettings] = Field(
        default={}, description="devices of the laboratory, by name, which calibration asks"
    )

    @property
    def ports(self) -> tuple[int, ...]:
        """Output port of every detector as a number, c is 0."""
        return tuple("cd".index(d.port) for d in self.detectors)

    @property
    def view_audit(self) -> AuditSettings:
        """Where changes that are made on the live view are on record."""
        if self.view is not None and self.view.audit is not None:
            return self.view.audit
        return AuditSettings(directory=self.log.directory / "audit")

    @property
    def pulse_centres_ps(self) -> tuple[int, ...]:
        """Where in the slot pulses belong: as tracking has it, else the middles of the windows."""
        if self.tracking is not None and self.tracking.centres_ps is not None:
            return self.tracking.centres_ps
        both = [w for w in (self.windows.early, self.windows.late) if w[1] > w[0]]
        return tuple((start + end) // 2 for start, end in both)

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        early, late = self.windows.early, self.windows.late
        # The board numbers positions in whole picoseconds of its rounded period.
        period = round(self.slot_period_ps)
        for name, window in (("early", early), ("late", late)):
            if window[1] > period:
                out.append((f"windows.{name}", list(window), f"within the slot, 0 to {period} ps"))
        if early[0] == early[1]:
            out.append(("windows.early", list(early), "a window that is not empty"))
        if self.encoding == "polarisation":
            if late[0] != late[1]:
                out.append(("windows.late", list(late), "none with polarisation"))
        elif late[0] == late[1]:
            out.append(("windows.late", list(late), "a window that is not empty with time-bin"))
        elif late[0] < early[1]:
            out.append(("windows.late", list(late), f"start at or after early's end, {early[1]}"))
        out += self._tracking_faults(period)
        if self.phase_ps >= period:
            out.append(("phase_ps", self.phase_ps, f"0 to {period - 1} ps, less than the slot"))
        try:
            pattern_table(self.encoding, self.ports)
        except ValueError as error:
            out.append(("detectors", [d.port for d in self.detectors], str(error)))
        names = [d.name for d in self.detectors] + [self.sync.name]
        if len(set(names)) != len(names):
            out.append(("detectors", names, "names that differ, the sync's included"))
        if self.log.retention_mb < 2 * self.log.segment_mb:
            out.append(
                ("log.retention_mb", self.log.retention_mb, "at least two segments (segment_mb)")
            )
        if self.raw_tags.retention_mb < 2 * self.raw_tags.file_mb:
            out.append(
                (
                    "raw_tags.retention_mb",
                    self.raw_tags.retention_mb,
                    "at least two files",
                )
            )
        return out

    def _tracking_faults(self, period: int) -> list[tuple[str, object, str]]:
        tracking = self.tracking
        if tracking is None:
            return []
        out: list[tuple[str, object, str]] = []
        seconds = self.histogram.period_s
        if not 0.01 <= seconds <= 10.0:
            out.append(("histogram.period_s", seconds, "0.01 to 10 s with tracking"))
        if self.histogram.bin_ps * 1024 < period:
            need = f"a histogram that spans the slot of {period} ps, with tracking"
            out.append(("histogram.bin_ps", self.histogram.bin_ps, need))
        centres = tracking.centres_ps
        pulses = 1 if self.encoding == "polarisation" else 2
        if centres is not None and (
            len(centres) != pulses or not all(0 <= c < period for c in centres)
        ):
            out.append(("tracking.centres_ps", list(centres), f"{pulses} in the slot of {period}"))
        if tracking.sync is not None and tracking.sync.position_ps >= period:
            value = tracking.sync.position_ps
            out.append(("tracking.sync.position_ps", value, f"0 to {period - 1} ps"))
        if tracking.slots is not None and tracking.slots.length:
            if not self.raw_tags.stream:
                out.append(("raw_tags.stream", False, "true with tracking.slots"))
            try:
                tracking.slots.schedule()
            except ValueError as error:
                out.append(("tracking.slots", tracking.slots.model_dump(), str(error)))
        return out


def check_config(values: object, source: str = "configuration") -> RelayConfig:
    """A configuration from what the YAML gave.

    Raises
    ------
    ConfigError
        One line per fault.
    """
    return check(RelayConfig, values, source)


def load_config(path: Path) -> RelayConfig:
    """Read a relay's YAML.

    Raises
    ------
    ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(RelayConfig, path)
