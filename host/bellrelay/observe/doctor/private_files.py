"""Secrets on disk: there, and nobody else's to read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bellrelay.service.credentials import unit_of_credential
from bellrelay.service.private_file import UnsafeMode, require_private_file

from .finding import Finding, failed, passed, unknown
from .needs import PrivateFile

__all__ = ["AS_THE_DAEMON", "check_private_files", "look_at_secret", "open_to_others"]

_CHECK = "private files"
AS_THE_DAEMON = "ask as the daemon's user: docs/how-to/doctor.md, under systemd"


def check_private_files(files: Iterable[PrivateFile]) -> Iterator[Finding]:
    """Each of them; none is read."""
    for file in files:
        bad = look_at_secret(_CHECK, file.key, file.path, file.remedy)
        yield bad or passed(_CHECK, f"{file.key}: {file.path} ({file.what}) is its owner's alone")


def look_at_secret(check: str, key: str, path: Path, make: str) -> Finding | None:
    """What is wrong with a secret's file, None: nothing. make : how it is made."""
    try:
        require_private_file(path)
        if not os.access(path, os.R_OK):
            return failed(
                check,
                f"{key}: {path}: this user may not read it",
                "ls -l, and its owner",
                OSError(),
            )
    except FileNotFoundError as error:
        unit = unit_of_credential(path)
        if unit is not None:
            handed = f"{key}: {path}: systemd hands it to {unit} alone, as it starts"
            return unknown(check, handed, AS_THE_DAEMON)
        return failed(check, f"{key}: {path}: it is not there", make, _unsafe(error))
    except UnsafeMode as error:
        return open_to_others(check, key, error)
    except PermissionError:
        return unknown(check, f"{key}: {path}: this user may not look there", AS_THE_DAEMON)
    except OSError as error:
        return failed(check, f"{key}: {path}: {error.strerror}", f"ls -l {path}", _unsafe(error))
    return None


def open_to_others(check: str, key: str, error: UnsafeMode) -> Finding:
    """What is told of a secret that is not our own, or not ours alone."""
    if os.geteuid() == 0 and "owned by user" in str(error):
        # Root is not the user that the daemon runs as.
        return unknown(check, f"{key}: {error}", AS_THE_DAEMON)
    return failed(check, f"{key}: {error}", "ls -l; chown to the daemon's user; chmod go=", error)


def _unsafe(error: OSError) -> UnsafeMode:
    """What a daemon that refuses it ends with."""
    return UnsafeMode(str(error))
