"""A bridge that stands is brought to push again by its page, every command as it is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from https_kms import HttpsKms
from key_managers import Managers
from running_kmes import RunningKmes

from bellrelay.cli.gameday_operator import Operator
from bellrelay.control.runbook_steps import ByHand, steps_of

PAGES = Path(__file__).resolve().parents[2] / "docs/runbooks"
PAGE = PAGES / "bridge-stands.md"
UNITS = 6


class Site:
    """What somebody who follows a page needs of a system: whose YAML is where, and hands."""

    def __init__(self, managers: Managers) -> None:
        self.managers = managers
        self.files = SimpleNamespace(folder=managers.sites.folder, yaml_of=self._yaml_of)
        self.repaired = False

    def _yaml_of(self, name: str) -> Path:
        site = {"kme-alice": "kme-a", "kme-bob": "kme-b"}.get(name, name)
        return self.managers.sites.config(site)

    def look(self) -> None:
        """Nothing has to be seen meanwhile."""

    def repair(self) -> None:
        """The manager is there again, where it was."""
        away = self.managers.kms["kme-a"]
        self.managers.kms["kme-a"] = HttpsKms(self.managers.certificates, away.port)
        self.repaired = True


@pytest.fixture
def managers(tmp_path: Path) -> Iterator[Managers]:
    managers = Managers(tmp_path)
    # By itself it would not try again before this test has ended.
    words = {"name": "vault", "retry_s": 600.0, "max_retry_s": 600.0}
    managers.change("kme-a", bridges=[managers.bridge("kme-a", **words)])
    yield managers
    managers.close()


def bridge(kmes: RunningKmes) -> dict[str, Any]:
    return kmes.daemons["kme-a"].bridges.status()["vault"]


def until(met: Any) -> None:
    end = time.monotonic() + 40.0
    while not met():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.soak
def test_the_page_brings_a_bridge_to_push_again(managers: Managers) -> None:
    managers.kms["kme-a"].close()
    managers.sites.add_blocks(1, UNITS)
    site = Site(managers)
    with RunningKmes(managers.sites) as kmes:
        until(lambda: bridge(kmes)["fault"] and bridge(kmes)["waiting"] == UNITS)
        fault = {"runbook": "docs/runbooks/bridge-stands.md", "relay": "charles"}
        sight = SimpleNamespace(utc_ns=time.time_ns())
        done = Operator(site, PAGES).follow(fault, sight)  # type: ignore[arg-type]
        assert site.repaired
        until(lambda: not bridge(kmes)["fault"] and bridge(kmes)["waiting"] == 0)
        assert len(managers.both(UNITS)) == UNITS
    written = [
        step.text if isinstance(step, ByHand) else step.line for step in steps_of(PAGE.read_text())
    ]
    assert [each.get("command", each.get("by_hand")) for each in done] == written
