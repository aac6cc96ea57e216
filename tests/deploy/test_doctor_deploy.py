"""The script that gives `bellrelay doctor` as a daemon's unit would see things."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "bellrelay-doctor"
UNITS = ROOT / "deploy" / "systemd"
SHARED = (
    *("DynamicUser=", "User=", "SupplementaryGroups=", "StateDirectory", "LoadCredential="),
    *("UMask=", "LimitNOFILE="),
)


def asked(folder: Path, *words: str) -> list[str]:
    """What the script asks of systemd-run."""
    pretended = folder / "systemd-run"
    pretended.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    pretended.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["sh", str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.splitlines()


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("relay", "x-1.yaml"),
        ("endpoint", "x-1.yaml"),
        ("kme", "kme-x-1.yaml"),
        ("cluster", "x-1-cluster.yaml"),
    ],
)
def test_it_asks_for_what_the_daemon_s_unit_has(tmp_path: Path, kind: str, config: str) -> None:
    words = asked(tmp_path, kind, "x-1", "--json")
    properties = {w.removeprefix("--property=") for w in words if w.startswith("--property=")}
    unit = (UNITS / f"bellrelay-{kind}@.service").read_text().replace("%i", "x-1").splitlines()
    wanted = {line for line in unit if line.startswith(SHARED)}
    assert wanted <= properties
    # A directory of /run would go when the command ends, a running daemon's sockets with it.
    assert not [each for each in properties if each.startswith("RuntimeDirectory")]
    assert any(f"--config /etc/bellrelay/{config}" in line for line in unit)
    at = words.index("doctor")
    ends = ["/usr/bin/bellrelay", "doctor", "--config", f"/etc/bellrelay/{config}", "--json"]
    assert words[at - 1 :] == ends


@pytest.mark.parametrize("words", [["relay"], ["daemon", "x-1"]])
def test_with_other_words_it_says_how(words: list[str]) -> None:
    ran = subprocess.run(["sh", str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert (ran.returncode, "relay" in ran.stderr) == (2, True)
