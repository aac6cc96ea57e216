"""The script that gives `bellrelay doctor` as a daemon's unit would see things."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from real_systemd import RealSystemd, why_not

from bellrelay.cli.run_certificates import make_certificates

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


@pytest.mark.needs_server
def test_a_unit_of_what_is_asked_sees_what_the_daemon_s_would(tmp_path: Path) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    words = asked(tmp_path, "relay", "charlie", "--json")
    machine = RealSystemd(tmp_path)
    make_certificates(tmp_path, ["charlie"])
    for name in ("charlie.crt", "ca.crt"):
        machine.etc(name, (tmp_path / name).read_bytes(), 0o644)
    machine.etc("charlie.key", (tmp_path / "charlie.key").read_bytes())
    tls = {
        "certificate": "/etc/bellrelay/charlie.crt",
        "key": "/run/credentials/bellrelay-relay@charlie.service/key",
        "clients_ca": "/etc/bellrelay/ca.crt",
    }
    values = {
        "relay_id": "charlie",
        "port": "/dev/none-such",
        "slot_period_ps": 10_000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
        "log": {"directory": "/var/lib/bellrelay/charlie"},
        "fan_out": {"listen": "127.0.0.1:7410", "tls": tls},
    }
    machine.etc("charlie.yaml", yaml.safe_dump(values), 0o644)
    properties = [w.removeprefix("--property=") for w in words if w.startswith("--property=")]
    # The virtual environment may lie where a unit sees no homes.
    properties = [each for each in properties if not each.startswith("ProtectHome")]
    command = [sys.executable, "-m", "bellrelay", *words[words.index("doctor") :]]
    unit = "\n".join(
        [
            *("[Unit]", "DefaultDependencies=no", "[Service]", "Type=oneshot"),
            *(*properties, f"ExecStart={' '.join(command)}"),
            *("StandardOutput=file:/run/test/doctor.json", "SuccessExitStatus=4"),
        ]
    )
    (tmp_path / "units" / "doctor.service").write_text(unit + "\n")
    done = machine.run(["doctor.service"], "systemctl start doctor.service\n")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "doctor.json").read_text())["files"]
    wrong = [f for f in found["findings"] if f["state"] == "failed"]
    assert [f["check"] for f in wrong] == ["board"], wrong
    details = [f["detail"] for f in found["findings"] if f["state"] == "passed"]
    for said in ("key: fits the certificate", "charlie: writable, locks hold", "4096 open files"):
        # The key by the command's own credentials, the directory as the unit's own user.
        assert any(said in detail.replace("/key:", " key:") for detail in details), details
