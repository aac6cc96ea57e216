"""`bellrelay status` of a whole running link, well and with a cut fibre.

With BELLRELAY_HEALTH set to a folder, what its daemons say is written there; tests/data/health is
made so: BELLRELAY_HEALTH=tests/data/health pytest -m soak tests/observe/test_status_running.py
"""

import json
import os
import time
from pathlib import Path

import pytest

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.gameday_delivery import deliver_everything
from bellrelay.cli.gameday_files import RELAYS, SHAPES, write_files
from bellrelay.cli.gameday_system import running_system
from bellrelay.cli.main import main

pytestmark = pytest.mark.soak
LONGEST_S = 300.0
RELAY_FILES = {relay: f"{relay}/relay.yaml" for relay in RELAYS}


@pytest.fixture
def asked(capsys):
    """Call it with files: exit code, and what --json printed."""

    def ask(files):
        names = [*(files.folder / path for path in RELAY_FILES.values())]
        names += [files.yaml_of(n) for n in ("alice", "bob", "kme-alice", "kme-bob")]
        words = [word for name in names for word in ("--config", str(name))]
        capsys.readouterr()
        ended = 0
        try:
            main(["status", *words, "--json"])
        except SystemExit as error:
            ended = int(error.code or 0)
        return ended, json.loads(capsys.readouterr().out)

    return ask


def keep(when, said, folder):
    """What every daemon said, without where this was run."""
    target = os.environ.get("BELLRELAY_HEALTH")
    if target:
        for daemon in said["daemons"]:
            text = json.dumps(daemon["health"], indent=1).replace(str(folder), "/run/gameday")
            Path(target, f"{when}-{daemon['name']}.json").write_text(text + "\n")


def test_a_link_that_is_well_and_is_cut(tmp_path, asked):
    files = write_files(tmp_path, SHAPES["event", "bright"], kmes=True)
    with running_system(files) as system:

        def until(true):
            end = time.monotonic() + LONGEST_S
            while True:
                deliver = system.waiting_keys("alice") and system.waiting_keys("bob")
                if deliver:
                    deliver_everything(files)
                code, said = asked(files)
                if true(code, said):
                    return said
                wrong = {d["name"]: [d["wrong"], d["faults"]] for d in said["daemons"]}
                assert time.monotonic() < end, wrong
                time.sleep(1.0)

        # Well, but for the pool of keys: applications take all that there is.
        def well(_code, said):
            return all(
                not d["wrong"] and {f["name"] for f in d["faults"]} <= {"key-shortage"}
                for d in said["daemons"]
            ) and all(_learnt(d["health"]) for d in said["daemons"] if d["kind"] == "endpoint")

        said = until(well)
        keep("healthy", said, tmp_path)
        assert {d["name"] for d in said["daemons"] if d["simulated"]} == set(RELAYS)
        assert all(d["since_utc_ns"] > 0 for d in said["daemons"])
        system.change(RELAYS[0], {"arm_a": {"eta": 0.0}})
        said = until(lambda _c, s: "fibre-cut" in {f["name"] for f in s["faults"]})
        keep("cut", said, tmp_path)
        assert said["condition"] == "degraded"
        system.kill("bob")
        code, said = asked(files)
        assert code == ExitCode.UNREACHABLE


def _learnt(health):
    return any(r["baseline"]["state"] == "known" for r in health["faults"]["relays"].values())
