"""`bellrelay endpoint --propose`, `--changes`, `--roll-back`: intensities that change under way.

They write into the directory of versions, and read it; the running endpoint follows it.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bellrelay.control.ladder_versions import LadderVersion, propose_ladders
from bellrelay.control.versions import Version, Versions
from bellrelay.control.versions_diff import differences
from bellrelay.endpoint.agreement import Agreement, agreement_of
from bellrelay.settings.model import ConfigError

if TYPE_CHECKING:
    from bellrelay.endpoint.config import EndpointConfig

__all__ = ["list_changes", "propose", "roll_back"]


def propose(
    settings: EndpointConfig, path: Path, share: float, why: str | None, as_json: bool
) -> None:
    """Write down a candidate.

    Raises
    ------
    ConfigError
        The file or the share cannot be used, there is no reason, or this is Bob's endpoint.
    ChangeUnderWay, VersionsError
    """
    versions = _versions(settings)
    if settings.role != "alice":
        raise settings.error("role", settings.role, "--propose at the endpoint of alice, who leads")
    if not why:
        raise ConfigError(["--propose needs --why: what the change is for"])
    try:
        wanted = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError([f"{path}: cannot be read: {reason}"]) from None
    agreement = agreement_of(settings)
    try:
        version = propose_ladders(versions, agreement, wanted, share, why)
    except ValueError as error:
        raise ConfigError([f"{path}: {error}"]) from None
    if as_json:
        print(json.dumps(_told(versions, version, agreement)))
        return
    print(f"version {version.number} is a candidate; the running endpoints try it in {share:.0%}")
    for line in _changed(versions, version, agreement):
        print(f"  {line}")


def list_changes(settings: EndpointConfig, as_json: bool) -> None:
    """All versions, what each changes, and what became of it.

    Raises
    ------
    ConfigError, VersionsError
    """
    versions, agreement = _versions(settings), agreement_of(settings)
    history = versions.history()
    current = versions.current()
    if as_json:
        told = [_told(versions, version, agreement) for version in history[1:]]
        print(json.dumps({"current": current.number, "versions": told}))
        return
    for version in history[1:]:
        mark = "*" if version is current or version.number == current.number else " "
        print(f"{mark} version {version.number}, {version.state}, of {version.author}")
        for line in _changed(versions, version, agreement):
            print(f"      {line}")
        for decision in version.decisions:
            step = decision.state or "note"
            print(f"      {_utc(decision.utc_ns)} {step}: {decision.reason} ({decision.author})")
    if current.number == 0:
        print("* version 0: the configuration file")


def roll_back(settings: EndpointConfig, why: str | None, as_json: bool) -> None:
    """Take back what is on trial, or else what was promoted last.

    Raises
    ------
    ConfigError
        There is no reason.
    NoSuchStep, VersionsError
    """
    versions = _versions(settings)
    if not why:
        raise ConfigError(["--roll-back needs --why: what is wrong"])
    held = versions.roll_back(why)
    if as_json:
        print(json.dumps({"current": held.number}))
        return
    name = "the configuration file" if held.number == 0 else f"version {held.number}"
    print(f"{name} holds again; the running endpoints follow within some blocks")


def _versions(settings: EndpointConfig) -> Versions:
    if settings.changes is None:
        raise settings.error("changes", None, "a section with the directory of versions")
    return Versions(settings.changes.directory)


def _told(versions: Versions, version: Version, agreement: Agreement) -> dict[str, Any]:
    return {
        "version": version.number,
        "parent": version.parent,
        "state": str(version.state),
        "author": version.author,
        "utc_ns": version.utc_ns,
        "reason": version.reason,
        "share": LadderVersion.of(version, agreement).share,
        "changes": {d.key: [d.before, d.after] for d in _differences(versions, version, agreement)},
        "decisions": [
            {
                "utc_ns": d.utc_ns,
                "state": None if d.state is None else str(d.state),
                "author": d.author,
                "reason": d.reason,
                "evidence": dict(d.evidence),
            }
            for d in version.decisions
        ],
    }


def _differences(versions: Versions, version: Version, agreement: Agreement) -> list[Any]:
    parent = versions.get(version.parent or 0)
    before, after = (LadderVersion.of(v, agreement).parameters for v in (parent, version))
    return differences(before.values(), after.values())


def _changed(versions: Versions, version: Version, agreement: Agreement) -> list[str]:
    return [str(d) for d in _differences(versions, version, agreement)]


def _utc(utc_ns: int) -> str:
    at = datetime.datetime.fromtimestamp(utc_ns / 1e9, datetime.UTC)
    return at.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
