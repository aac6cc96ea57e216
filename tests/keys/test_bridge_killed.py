"""Bridges of two KMEs that are killed over and over: every key gets to both managers, once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from audit_lines import actions
from test_bridge_running import Managers
from two_sites import SITES

from bellrelay.keys.audit_verify import verify_audit

UNITS = 600
KILLS = 12


class Processes:
    """Both KMEs as their operators start them."""

    def __init__(self, managers: Managers) -> None:
        self._managers = managers
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, site: str) -> None:
        config = str(self._managers.sites.config(site))
        command = [sys.executable, "-m", "bellrelay", "kme", "--config", config]
        log = (self._managers.sites.folder / f"{site}.log").open("ab")
        self._running[site] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, site: str) -> None:
        process = self._running.pop(site)
        process.kill()
        process.wait()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_killed_kmes(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    managers = Managers(tmp_path)
    for site in SITES:
        managers.change(site, bridges=[managers.bridge(site, settle_s=2.0, batch=8)])
    made = managers.sites.add_blocks(4, UNITS // 4 + 1)
    processes = Processes(managers)
    try:
        for site in SITES:
            processes.start(site)
        time.sleep(4)
        for _ in range(KILLS):
            site = draw.choice(SITES)
            processes.kill(site)
            time.sleep(draw.uniform(0, 0.5))
            processes.start(site)
            time.sleep(draw.uniform(0.5, 3.5))
        n_units = sum(len(bits) for _, bits in made) // 32
        keys = managers.both(n_units, 120.0)
        units = [bits[32 * n : 32 * n + 32] for _, bits in made for n in range(len(bits) // 32)]
        assert sorted(keys.values()) == sorted(units)
    finally:
        for site in list(processes._running):
            processes.kill(site)
        managers.close()
    for site in SITES:
        report = verify_audit(tmp_path / site / "audit")
        assert report.whole, report.faults
        assert actions_but_torn(tmp_path / site / "audit") >= n_units


def actions_but_torn(directory: Path) -> int:
    try:
        return actions(directory).count("key-pushed")
    except ValueError:
        # A torn line is kept.
        text = b"".join(path.read_bytes() for path in directory.glob("audit-*"))
        return text.count(b'"event.action":"key-pushed"')
