"""The settings of a relay that change while it runs: its YAML, and a version laid over it.

What an engineer tunes (windows, phase, deskew, dead time, gate outputs) has versions in the
directory of `calibration:`. A version holds what differs from the YAML, and nothing else of the
relay's configuration. Calibration and the live view both change settings here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bellrelay.relay.config import RelayConfig, check_config
from bellrelay.settings.load import read_values
from bellrelay.settings.model import ConfigError

from .versions import Version, Versions, VersionState

__all__ = ["TUNABLE", "RelaySettings", "overlaid", "tunable_of"]

TUNABLE = ("windows", "phase_ps", "detectors")
"""Keys of a version."""
TUNABLE_OF_DETECTOR = ("deskew_ps", "dead_time_ps", "dead_time", "gate_delay_ps", "gate_width_ps")


def tunable_of(config: RelayConfig) -> dict[str, Any]:
    """What may be changed, as a configuration has it; plain values."""
    return {
        "windows": {
            "early": list(config.windows.early),
            "late": list(config.windows.late),
        },
        "phase_ps": config.phase_ps,
        "detectors": [
            {key: getattr(detector, key) for key in TUNABLE_OF_DETECTOR}
            for detector in config.detectors
        ],
    }


def overlaid(
    values: Mapping[str, Any], overlay: Mapping[str, Any], origin: str = "configuration"
) -> RelayConfig:
    """The configuration that a version makes of a YAML's values.

    Raises
    ------
    ConfigError
        The overlay has keys that are none of a version's, or the whole is wrong; naming `origin`.
    """
    _refuse_others(overlay, origin)
    merged = {**values, **{k: v for k, v in overlay.items() if k in ("windows", "phase_ps")}}
    if "windows" in overlay and isinstance(overlay["windows"], Mapping):
        merged["windows"] = {**values.get("windows", {}), **overlay["windows"]}
    if "detectors" in overlay:
        merged["detectors"] = _detectors(values.get("detectors", ()), overlay["detectors"], origin)
    return check_config(merged, origin)


class RelaySettings:
    """One relay's; from any thread.

    Parameters
    ----------
    path
        Of its YAML, read once.
    bring_into_force
        Called with a new configuration, and raises if that cannot be used; none: no relay runs.

    Attributes
    ----------
    config : RelayConfig
        In force.
    versions : Versions or None
        None where the YAML has no ``calibration.directory``: nothing can be changed.

    Raises
    ------
    ConfigError, VersionsError
        The YAML, or the version that is in force, cannot be used.
    """

    def __init__(
        self, path: Path, bring_into_force: Callable[[RelayConfig], None] | None = None
    ) -> None:
        self._values = read_values(path)
        self._origin = str(path)
        self._lock = threading.RLock()
        self.bring_into_force = bring_into_force
        self.config = check_config(self._values, self._origin)
        self.versions: Versions | None = None
        if self.config.calibration is not None:
            self.versions = Versions(self.config.calibration.directory)
            self.config = self._config_of(self.versions.in_force())

    def tunable(self) -> dict[str, Any]:
        """What may be changed, as it is in force; plain values."""
        return tunable_of(self.config)

    def history(self) -> list[dict[str, Any]]:
        """Versions, oldest first; plain values."""
        if self.versions is None:
            return []
        return [
            {
                "number": v.number,
                "parent": v.parent,
                "author": v.author,
                "utc_ns": v.utc_ns,
                "reason": v.reason,
                "state": str(v.state),
                "values": dict(v.values),
            }
            for v in self.versions.history()
        ]

    def change(
        self, values: Mapping[str, Any], reason: str, author: str, *, trial: bool = False
    ) -> Version:
        """Lay values over what is in force; those that are not given stay.

        Parameters
        ----------
        values
            Keys of :data:`TUNABLE`; ``detectors`` has an entry for every detector, each with what
            changes of it.
        trial
            Bring them into force on trial: somebody promotes the version or rolls it back.

        Raises
        ------
        ConfigError
            By key, value and what is allowed; nothing has changed.
        ChangeUnderWay, VersionsError
            Another change is under way, or the directory cannot be used; nothing has changed.
        AccessError, OSError
            The board does not take it; the version is rolled back.
        """
        with self._lock:
            versions = self._versions()
            before = versions.in_force()
            overlay = _joined(before.values, values)
            config = overlaid(self._values, overlay, f"{self._origin}, changed")
            if before.state is VersionState.CANARY:
                # What comes on top of a trial is judged together with it: see take_back.
                versions.promote(
                    before.number, f"goes on with the next: {reason}", author, {"unproved": True}
                )
            version = versions.propose(overlay, reason or "no reason given", author)
            if trial:
                version = versions.begin_trial(version.number, reason, author)
            try:
                self._bring(config)
            except BaseException as error:
                versions.roll_back(
                    f"not brought into force: {error}", author, number=version.number
                )
                raise
            if not trial:
                version = versions.promote(version.number, reason, author)
            return version

    def undo(self, reason: str, author: str) -> Version:
        """Back to what was before the last change; returns the version that holds then.

        Raises
        ------
        NoSuchStep
            There was none.
        ConfigError, AccessError, OSError
            The board does not take it; the version is rolled back all the same.
        """
        with self._lock:
            version = self._versions().roll_back(reason or "undone", author)
            self._bring(self._config_of(version))
            return version

    def catch_up(self) -> None:
        """Bring into force what the directory says is: after one that the board had not taken.

        Raises
        ------
        ConfigError, AccessError, OSError, VersionsError
            It cannot be; the next call tries again.
        """
        with self._lock:
            if self.versions is None:
                return
            config = self._config_of(self.versions.in_force())
            # Configurations differ by where they came from; what is tuned alone counts here.
            if tunable_of(config) != tunable_of(self.config):
                self._bring(config)

    def settle(self, author: str) -> None:
        """Roll back what a process that was killed had begun to change; at a daemon's start."""
        left = None if self.versions is None else self.versions.under_way()
        if left is not None and left.state is VersionState.CANDIDATE:
            assert self.versions is not None
            self.versions.roll_back("its process ended before it was in force", author, None)

    def promote(
        self, number: int, reason: str, author: str, evidence: Mapping[str, Any] | None = None
    ) -> Version:
        """A version on trial has proved itself. NoSuchStep: it is not under way."""
        with self._lock:
            return self._versions().promote(number, reason, author, evidence)

    def take_back(
        self, number: int, reason: str, author: str, evidence: Mapping[str, Any] | None = None
    ) -> Version:
        """A version has not proved itself: back to the last that has, or that somebody set.

        Raises
        ------
        NoSuchStep
            It is neither on trial nor the last.
        ConfigError, AccessError, OSError
            The board does not take it; the version is rolled back all the same.
        """
        with self._lock:
            versions = self._versions()
            held = versions.roll_back(reason, author, evidence, number)
            while held.decisions and held.decisions[-1].evidence.get("unproved"):
                held = versions.roll_back(reason, author, evidence, held.number)
            self._bring(self._config_of(held))
            return held

    def _bring(self, config: RelayConfig) -> None:
        if self.bring_into_force is not None and config != self.config:
            self.bring_into_force(config)
        self.config = config

    def _config_of(self, version: Version) -> RelayConfig:
        if version.number == 0:
            return check_config(self._values, self._origin)
        assert self.versions is not None
        origin = f"{self._origin} with version {version.number} of {self.versions.directory}"
        return overlaid(self._values, version.values, origin)

    def _versions(self) -> Versions:
        if self.versions is None:
            raise ConfigError(
                [f"{self._origin}: calibration: missing; allowed: a directory to keep changes in"]
            )
        return self.versions


def _refuse_others(overlay: Mapping[str, Any], origin: str) -> None:
    lines = [
        f"{origin}: {key}: {value!r}; allowed: {', '.join(TUNABLE)} change while a relay runs"
        for key, value in overlay.items()
        if key not in TUNABLE
    ]
    if lines:
        raise ConfigError(lines)


def _detectors(
    values: Sequence[Mapping[str, Any]], overlay: Any, origin: str
) -> list[dict[str, Any]]:
    if not isinstance(overlay, Sequence) or len(overlay) != len(values):
        raise ConfigError([f"{origin}: detectors: {overlay!r}; allowed: {len(values)} entries"])
    out = []
    for at, (one, changed) in enumerate(zip(values, overlay, strict=True)):
        if not isinstance(changed, Mapping):
            raise ConfigError([f"{origin}: detectors.{at}: {changed!r}; allowed: keys and values"])
        for key in changed:
            if key not in TUNABLE_OF_DETECTOR:
                allowed = ", ".join(TUNABLE_OF_DETECTOR)
                raise ConfigError([f"{origin}: detectors.{at}.{key}: allowed: {allowed}"])
        out.append({**one, **changed})
    return out


def _joined(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """One overlay of two, the later above; what is no mapping or list is left for the check."""
    out = {**before, **values}
    windows = values.get("windows")
    if isinstance(windows, Mapping):
        out["windows"] = {**before.get("windows", {}), **windows}
    if "detectors" in values and "detectors" in before:
        out["detectors"] = _each_joined(before["detectors"], values["detectors"])
    return out


def _each_joined(before: Any, values: Any) -> Any:
    lists = isinstance(before, list) and isinstance(values, list) and len(before) == len(values)
    if not lists or not all(isinstance(one, dict) for one in values):
        return values
    return [{**a, **b} for a, b in zip(before, values, strict=True)]
