"""A laser that drifts, from its readings to the fault."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simulated_link import SimulatedLink
from simulated_statuses import BLOCK_SLOTS, Statuses
from watched_endpoint import watched_alice

from bellrelay.control import laser_watch
from bellrelay.control.fault_baseline import UNKNOWN
from bellrelay.control.fault_watch import Notice, Watch
from bellrelay.control.laser_watch import LaserWatch
from bellrelay.control.link_observer import LinkObserver
from bellrelay.settings.model import ConfigError

GHZ = 193_400.0


def watched_laser(folder: Path, device: str = "laser") -> LaserWatch:
    lab = {"laser": {"plugin": "simulation", "kind": "laser", "conditions": str(folder / "none"),
                     "sender": "alice", "frequency_hz": GHZ * 1e9 + 2e7}}  # fmt: skip
    return LaserWatch(watched_alice(folder, lab, laser={"device": device, "ghz": GHZ}))


def test_it_reads_the_laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laser_watch, "_EVERY_S", 0.01)
    companion = watched_laser(tmp_path)
    assert companion.status()["laser_ghz"] is None

    async def scene() -> None:
        task = asyncio.ensure_future(companion.run(None))  # type: ignore[arg-type]
        while companion.status()["measured"] < 4:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(scene())
    status = companion.status()
    assert status["laser_ghz"]["value"] == pytest.approx(0.02, abs=1e-6)
    assert status["laser_ghz"]["sigma"] == 0.01
    assert [m.name for m in companion.metrics(status)] == ["bellrelay_endpoint_laser_offset_ghz"]
    with pytest.raises(ConfigError, match=r"lab\.maser"):
        watched_laser(tmp_path, "maser")


def told_of(companion: LaserWatch, offsets_ghz: list[float]) -> list[Notice]:
    """What the watch tells while Alice's laser stands so far off, a reading a second."""
    link, statuses = SimulatedLink(seed=3), Statuses()
    observer, watch = LinkObserver("charlie-1", BLOCK_SLOTS), Watch(UNKNOWN)
    observer.take(statuses.first())
    notices: list[Notice] = []
    for offset in offsets_ghz:
        companion.take((GHZ + offset) * 1e9)
        said = statuses.of(link.run(1)[0])
        alice: dict[str, Any] = {**(said.endpoints[0] or {}), "lab": dict(companion.status())}
        bob = {**(said.endpoints[1] or {}), "lab": {}}
        seen = observer.take(replace(said, endpoints=(alice, bob)))
        assert seen is not None
        notices += watch.observe([seen])
    return notices


def test_a_drift_is_a_fault_of_the_lasers(tmp_path: Path) -> None:
    """By 0.05 GHz a second, with noise: beyond half a GHz from the tenth second on."""
    noise = [0.01, -0.01, 0.015, -0.005, -0.01] * 8
    assert told_of(watched_laser(tmp_path), noise) == []
    drift = [0.05 * k + n for k, n in enumerate(noise[:30])]
    notices = told_of(watched_laser(tmp_path), drift)
    assert [(n.fault, n.subject) for n in notices[:1]] == [("laser-drift", "link")]
    assert notices[0].time_s < 25.0
