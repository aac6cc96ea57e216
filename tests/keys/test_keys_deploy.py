"""The script with which operators give `bellrelay keys` where systemd runs the KME.

systemd itself is not run here: what the script asks of it is compared with the KME's unit, and that
the command finds its credentials where systemd would have put them.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from two_sites import TwoSites

from bellrelay.cli.keys_opened import load_config

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "bellrelay-keys"
UNIT = ROOT / "deploy" / "systemd" / "bellrelay-kme@.service"


def asked(folder: Path, *words: str) -> list[str]:
    """What the script asks of systemd-run."""
    pretended = folder / "systemd-run"
    pretended.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    pretended.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SUDO_USER": "jane"}
    ran = subprocess.run(
        ["sh", str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.splitlines()


def test_it_asks_for_what_the_unit_of_the_kme_has(tmp_path: Path) -> None:
    words = asked(tmp_path, "alice-1", "suspend", "--relay", "charlie 1")
    properties = {w.removeprefix("--property=") for w in words if w.startswith("--property=")}
    unit = UNIT.read_text().replace("%i", "alice-1").splitlines()
    shared = ("DynamicUser=", "User=", "StateDirectory", "LoadCredential=", "UMask=")
    for line in unit:
        if line.startswith(shared):
            assert line in properties
    at = words.index("keys")
    assert words[at - 1 :] == [
        *("/usr/bin/bellrelay", "keys", "suspend"),
        *("--config", "/etc/bellrelay/kme-alice-1.yaml", "--relay", "charlie 1"),
    ]
    assert "--setenv=SUDO_USER=jane" in words


def test_without_words_it_says_how() -> None:
    ran = subprocess.run(["sh", str(SCRIPT), "x"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert re.match(r"usage: .* INSTANCE COMMAND", ran.stderr)


def test_credentials_are_found_in_the_commands_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = TwoSites(tmp_path, [("bank", "alice", "bob", 1)])
    path = sites.config("kme-a")
    values = yaml.safe_load(path.read_text())
    values["kek"] = {"file": "/run/credentials/bellrelay-kme@alice-1.service/kek"}
    path.write_text(yaml.safe_dump(values))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert load_config(path).kek.file == Path(values["kek"]["file"])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/run-u1.service")
    config = load_config(path)
    assert config.kek.file == Path("/run/credentials/run-u1.service/kek")
    assert str(config.audit.directory) == values["audit"]["directory"]
    assert config.origin == str(path)
