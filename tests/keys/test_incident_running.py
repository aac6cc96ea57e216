"""Incident mode beside running KMEs: the command of an operator, and what SAEs see of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from running_kmes import RunningKmes
from two_sites import TwoSites

from bellrelay.keys.audit_verify import verify_audit


def keys(sites: TwoSites, site: str, *words: str) -> Any:
    """`bellrelay keys` as a process of its own, as an operator has it."""
    command = [sys.executable, "-m", "bellrelay", "keys", *words, "--json"]
    ran = subprocess.run(
        [*command, "--config", str(sites.config(site))], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_one_command_holds_back_every_key_until_the_verdict(tmp_path: Path) -> None:
    sites = TwoSites(tmp_path, [("bank", "alice", "bob", 1)])
    sites.add_blocks(1, 40)
    with RunningKmes(sites) as kmes:
        code, got = kmes.enc_keys("alice", "kme-a", "bob", number=2)
        assert code == 200
        first, second = (key["key_ID"] for key in got["keys"])
        suspended = keys(sites, "kme-b", "suspend", "--relay", "charlie-1", "--reason", "blinded")
        assert suspended["scope"]["keys_in_flight"] == 2
        assert Path(suspended["archive"]["archive"]).exists()
        # What Alice has, Bob does not get; and nobody gets anything new here.
        code, said = kmes.dec_keys("bob", "kme-b", "alice", first)
        assert code in (400, 503)
        assert "key" not in said
        assert kmes.enc_keys("bob", "kme-b", "alice")[0] == 503
        # New key of that relay is held back as it comes.
        sites.add_blocks(1, 40)
        assert kmes.enc_keys("bob", "kme-b", "alice", number=1)[0] == 503
        keys(sites, "kme-b", "release", "--reason", "a loose fibre")
        code, said = kmes.dec_keys("bob", "kme-b", "alice", first)
        assert code == 200
        assert said["keys"][0]["key"] == got["keys"][0]["key"]
        # The next one ends in revocation: what is not out yet is gone.
        keys(sites, "kme-b", "suspend", "--relay", "charlie-1", "--no-archive")
        keys(sites, "kme-b", "revoke", "--reason", "blinding confirmed")
        code, said = kmes.dec_keys("bob", "kme-b", "alice", second)
        assert code == 400
        assert kmes.enc_keys("bob", "kme-b", "alice")[0] == 503
    for site in ("kme-a", "kme-b"):
        report = verify_audit(tmp_path / site / "audit")
        assert report.whole, report.faults
