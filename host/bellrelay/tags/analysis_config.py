"""The YAML that sets the analysis of recorded tags, and errors that say what is wrong in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bellrelay.wire.outcomes import Encoding

from .gate import Window, check_windows
from .recorded_settings import (
    MAX_DETECTORS,
    MAX_SLOT_PERIOD_PS,
    RecordedDetector,
    RecordedSettings,
)

__all__ = [
    "AnalysisConfig",
    "AnalysisConfigError",
    "DetectorConfig",
    "SyncConfig",
    "WindowsConfig",
    "load_analysis",
]

_LONGEST_PS = 1 << 50
_Channel = Annotated[int, Field(ge=0, le=254)]
_Delay = Annotated[int, Field(ge=-_LONGEST_PS, le=_LONGEST_PS)]
_Edge = Annotated[int, Field(ge=0, le=MAX_SLOT_PERIOD_PS)]


class AnalysisConfigError(Exception):
    """A file of settings that cannot be used; the text names file, key, value and what is allowed.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: Path, reasons: list[str]) -> None:
        self.path = path
        super().__init__(f"{path}: " + "; ".join(reasons))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SyncConfig(_Strict):
    """Where slots are counted from: a channel of sync tags, or time 0 (`clock: true`)."""

    channel: _Channel | None = None
    slots_per_pulse: Annotated[int, Field(ge=1, le=_LONGEST_PS)] | None = None
    deskew_ps: _Delay = 0
    clock: bool = False
    phase_ps: Annotated[int, Field(ge=0, le=MAX_SLOT_PERIOD_PS)] = 0


class WindowsConfig(_Strict):
    """Gate windows in the slot, half open; polarisation needs no late one."""

    early: tuple[_Edge, _Edge]
    late: tuple[_Edge, _Edge] = (0, 0)


class DetectorConfig(_Strict):
    """One detector."""

    name: Annotated[str, Field(min_length=1)]
    channel: _Channel
    port: str | int = "c"
    deskew_ps: _Delay = 0
    dead_time_ps: Annotated[int, Field(ge=0, le=_LONGEST_PS)] = 0
    dead_time: Annotated[str, Field(pattern="^(non-extending|extending)$")] = "non-extending"


class AnalysisConfig(_Strict):
    """The whole file."""

    sync: SyncConfig
    slot_period_ps: Annotated[int, Field(ge=1, le=MAX_SLOT_PERIOD_PS)]
    windows: WindowsConfig
    detectors: Annotated[list[DetectorConfig], Field(min_length=1, max_length=MAX_DETECTORS)]
    encoding: Encoding = "time-bin"
    reorder_ps: Annotated[int, Field(ge=0, le=_LONGEST_PS)] = 1_000_000

    def faults(self) -> list[str]:
        """What no single value shows: one line per fault, empty if the settings can be used."""
        out = []
        sync, period = self.sync, self.slot_period_ps
        if sync.clock == (sync.channel is not None):
            out.append(f"sync is {_set(sync)}; allowed: either a channel or clock: true")
        if sync.clock and (sync.slots_per_pulse is not None or sync.deskew_ps):
            out.append(f"sync is {_set(sync)}; allowed beside clock: phase_ps")
        if not sync.clock and sync.slots_per_pulse is None:
            out.append(f"sync.slots_per_pulse is missing; allowed: 1 to {_LONGEST_PS // period}")
        if sync.slots_per_pulse is not None and sync.slots_per_pulse > _LONGEST_PS // period:
            out.append(
                f"sync.slots_per_pulse is {sync.slots_per_pulse}; allowed: "
                f"1 to {_LONGEST_PS // period} (2**50 ps per frame)"
            )
        if sync.phase_ps and (not sync.clock or sync.phase_ps >= period):
            out.append(f"sync.phase_ps is {sync.phase_ps}; allowed: 0 to {period - 1}, with clock")
        try:
            check_windows(self.windows.early, self.windows.late, period)
        except ValueError as error:
            out.append(f"windows.{error}")
        return out + self._detector_faults()

    def _detector_faults(self) -> list[str]:
        out = []
        names = [d.name for d in self.detectors]
        channels = [d.channel for d in self.detectors]
        ports = list(dict.fromkeys(d.port for d in self.detectors))
        for i, detector in enumerate(self.detectors):
            if names.index(detector.name) < i:
                out.append(f"detectors.{i}.name is {detector.name!r}; allowed: each name once")
            if channels.index(detector.channel) < i or detector.channel == self.sync.channel:
                out.append(f"detectors.{i}.channel is {detector.channel}; allowed: each once")
        if len(ports) > 2:
            out.append(f"detectors: ports are {ports}; allowed: at most two")
        by_port = [ports.index(d.port) for d in self.detectors]
        if self.encoding == "polarisation" and by_port != [0, 0, 1, 1]:
            out.append(
                "detectors: polarisation needs four, in the order D0H, D0V, D1H, D1V: two on one "
                "port, then two on the other"
            )
        return out

    def settings(self) -> RecordedSettings:
        """The settings of the analysis; needs `faults()` to be empty."""
        ports = list(dict.fromkeys(d.port for d in self.detectors))
        early: Window = self.windows.early
        late: Window = self.windows.late
        return RecordedSettings(
            detectors=tuple(
                RecordedDetector(
                    name=d.name,
                    channel=d.channel,
                    port=ports.index(d.port),
                    deskew_ps=d.deskew_ps,
                    dead_time_ps=d.dead_time_ps,
                    extending=d.dead_time == "extending",
                )
                for d in self.detectors
            ),
            slot_period_ps=self.slot_period_ps,
            early=early,
            late=late,
            sync_channel=self.sync.channel,
            slots_per_pulse=self.sync.slots_per_pulse or 1,
            sync_deskew_ps=self.sync.deskew_ps,
            phase_ps=self.sync.phase_ps,
            encoding=self.encoding,
            reorder_ps=self.reorder_ps,
        )


def load_analysis(path: str | os.PathLike[str]) -> RecordedSettings:
    """Read the settings of an analysis.

    Raises
    ------
    AnalysisConfigError
        The file cannot be read, is no YAML mapping, or a value is not allowed.
    """
    file = Path(path)
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnalysisConfigError(file, [error.strerror or str(error)]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AnalysisConfigError(file, [" ".join(str(error).split())]) from error
    if not isinstance(content, dict):
        raise AnalysisConfigError(file, ["no mapping of keys to values"])
    try:
        config = AnalysisConfig.model_validate(content)
    except ValidationError as error:
        raise AnalysisConfigError(file, [_reason(dict(e)) for e in error.errors()]) from error
    faults = config.faults()
    if faults:
        raise AnalysisConfigError(file, faults)
    return config.settings()


def _reason(error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "extra_forbidden":
        return f"{key} is no known key"
    return f"{key} is {error['input']!r}; allowed: {error['msg']}"


def _set(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(exclude_unset=True)
