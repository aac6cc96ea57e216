"""What links show while they are healthy, on disk: YAML for people, too, an entry per relay."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from .fault_baseline import Baseline

__all__ = ["BaselineFile", "BaselineFileError"]

_VERSION = 1
_HEAD = """\
# What this link shows while it is healthy, by relay: rates in 1/s of link time, shares from 0 to 1,
# pairs are Alice's and Bob's. Learnt by the running endpoint, and anew when it is told to by
# `bellrelay endpoint --new-baseline`.
"""


class BaselineFileError(OSError):
    """The file is there and cannot be used; the message names file and cause."""


class BaselineFile:
    """One endpoint's file. A relay that it does not name has no baseline yet."""

    def __init__(self, path: Path, utc: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._utc = utc

    def load(self, relay_id: str) -> Baseline | None:
        """The baseline of this relay's link. BaselineFileError: nobody can tell."""
        entry = self._entries().get(relay_id)
        if entry is None:
            return None
        try:
            return _baseline(entry["baseline"])
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineFileError(f"{self.path}: {relay_id}: {error!r}") from None

    def save(self, relay_id: str, baseline: Baseline, seconds: float) -> None:
        """Put it down; the entries of other relays stay. OSError: it could not be written."""
        try:
            entries = self._entries()
        except BaselineFileError:
            # Made anew rather than lost: what cannot be read is of no use to anybody.
            entries = {}
        entries[relay_id] = {
            "learnt_utc": self._utc().isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "baseline": _plain(asdict(baseline)),
        }
        text = _HEAD + yaml.safe_dump(
            {"version": _VERSION, "relays": entries}, sort_keys=False, width=100
        )
        fresh = self.path.with_name(self.path.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def forget(self, relay_id: str) -> bool:
        """Drop this relay's entry, so that it is learnt anew; whether there was one.

        A file that cannot be used is dropped as a whole.
        """
        try:
            entries = self._entries()
        except BaselineFileError:
            self.path.unlink()
            return True
        if entries.pop(relay_id, None) is None:
            return False
        text = yaml.safe_dump({"version": _VERSION, "relays": entries}, sort_keys=False, width=100)
        self.path.write_text(_HEAD + text, encoding="utf-8")
        return True

    def _entries(self) -> dict[str, Any]:
        try:
            values = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BaselineFileError(f"{self.path}: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict) or values.get("version") != _VERSION:
            raise BaselineFileError(f"{self.path}: not of version {_VERSION}")
        relays = values.get("relays") or {}
        if not isinstance(relays, dict):
            raise BaselineFileError(f"{self.path}: relays: allowed: a mapping by relay_id")
        return relays


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Lists instead of tuples, and no more digits than mean anything."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return [plain(v) for v in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return {name: plain(value) for name, value in values.items()}


def _baseline(values: dict[str, Any]) -> Baseline:
    known = {f.name for f in fields(Baseline)}
    if set(values) != known:
        raise ValueError(f"keys {sorted(set(values) ^ known)}")
    made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    baseline = Baseline(**made)
    per_detector = (baseline.clicks_per_s, baseline.outside_per_s, baseline.suppressed_share)
    pairs = (baseline.vacuum_share, baseline.decoy_share, baseline.light)
    if len({len(x) for x in per_detector}) != 1 or any(len(p) != 2 for p in pairs):
        raise ValueError("lists of unlike length")
    numbers = [n for v in made.values() for n in (v if isinstance(v, tuple) else (v,))]
    if any(n is not None and not (isinstance(n, int | float) and n >= 0.0) for n in numbers):
        raise ValueError("allowed: numbers from 0")
    if not baseline.known:
        raise ValueError("no detector")
    return baseline
