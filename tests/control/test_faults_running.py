"""Faults of a whole link, in processes as operators start them: twin, relay, Alice, Bob.

What is held against 5 s is link time: of the relay's slots, and of the wall where there is none.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_link import RunningLink, running_link

from bellrelay.endpoint.key_pool import KeyPool

SLOTS, BLOCK = 1e12, 20_000_000
HARD_S = 5.0
SLOT_S = 10e-9
SLOW_S = {"dark-count-ageing": 15.0, "phase-misaligned": 15.0}


def tell(link: RunningLink, **condition: Any) -> None:
    """What happens to the simulated link from the next slot on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
        way.sendto(json.dumps(condition).encode(), str(link.folder / "conditions"))


def link_time(link: RunningLink, role: str = "alice") -> float:
    return float(link.faults(role)["relays"]["charles"]["link_time_s"])


class Stopwatch:
    """From now on: link time, which is that of the slots while the relay runs, else the watch's.

    A busy machine makes the watch's rounds longer than the second that they are of.
    """

    def __init__(self, link: RunningLink) -> None:
        self._link = link
        self.begun_s, self._rounds = link_time(link), link.faults()["rounds"]
        self._slots = self._closed() or 0

    def _closed(self) -> int | None:
        return (self._link.status("relay").get("counters") or {}).get("slots")

    def held(self, raised_s: float, within_s: float = HARD_S) -> bool:
        """Whether a fault was told within so long: asked for as soon as it was."""
        closed = self._closed()
        if closed is not None and (closed - self._slots) * SLOT_S < within_s:
            return True
        rounds = self._link.faults()["rounds"] - self._rounds
        return raised_s - self.begun_s < within_s or rounds <= within_s


def until_raised(link: RunningLink, since_s: float, role: str = "alice") -> dict[str, Any]:
    """The first notice of a fault since then."""

    def first() -> Any:
        notices = link.faults(role)["notices"]
        return [n for n in notices if n["turn"] == "raised" and n["link_time_s"] > since_s][:1]

    (notice,) = link.until(first, 60.0, "no fault is told")
    return dict(notice)


def blocks(link: RunningLink) -> dict[str, int]:
    return dict(link.status("alice").get("pipeline", {}).get("blocks", {}))


def until_learnt(link: RunningLink) -> None:
    def known() -> bool:
        relays = link.faults().get("relays") or {"charles": {"baseline": {"state": ""}}}
        return bool(relays["charles"]["baseline"]["state"] == "known")

    link.until(known, 120.0, "no baseline")


def until_steady(link: RunningLink) -> None:
    """Until light has been directed to the relay for so long that its counts are believed."""
    link.until(lambda: link_time(link) > 12.0, 60.0, "link time stands still")


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[RunningLink]:
    """A link with its baseline learnt, which nothing is wrong with."""
    watched = {"learn_s": 10.0, "baseline": str(tmp_path / "baseline.yaml")}
    with running_link(tmp_path, SLOTS, BLOCK, watched) as link:
        until_learnt(link)
        yield link


@pytest.mark.soak  # a gameday does it in every run of the tests
def test_a_cut_fibre_and_then_a_dead_relay(learning: RunningLink) -> None:
    link = learning
    assert link.faults()["active"] == []
    kept = yaml.safe_load((link.folder / "baseline.yaml").read_text())
    assert kept["relays"]["charles"]["baseline"]["announced"] > 0.0
    clock = Stopwatch(link)
    tell(link, arm_a={"eta": 0.0})
    notice = until_raised(link, clock.begun_s)
    assert clock.held(notice["link_time_s"])
    # Nobody measures light here: which arm it is, blocks tell.
    assert notice["fault"] in ("fibre-cut", "source-dark")
    link.until(
        lambda: (
            [(f["fault"], f["subject"]) for f in link.faults()["active"]]
            == [("fibre-cut", "alice")]
        ),
        30.0,
        "not ranked first",
    )
    link.until(lambda: link.faults()["orders"], 30.0, "nothing is ordered")
    order = link.faults()["orders"][0]
    assert (order["action"], order["outcome"]) == ("fail-over", "failed")
    assert order["what"] == "no other relay is configured"
    assert order["runbook"] == "docs/runbooks/fibre-cut.md"

    link.processes.pop("relay").send_signal(signal.SIGKILL)
    clock = Stopwatch(link)
    for role in ("alice", "bob"):
        told = link.until(
            lambda role=role: [
                f for f in link.faults(role)["active"] if f["fault"] == "relay-down"
            ],
            60.0,
            "the relay is not missed",
        )
        if role == "alice":
            assert clock.held(told[0]["raised_s"])


@pytest.mark.soak
def test_tags_of_another_pool_are_told_and_a_new_session_begins(tmp_path: Path) -> None:
    """Bob's pool is put back from elsewhere: his tags fit nothing any more."""
    with running_link(tmp_path, SLOTS, BLOCK, {}) as link:
        link.until(lambda: blocks(link).get("aborted"), 60.0, "no block ends")
        assert link.faults()["active"] == []
        link.stop("bob")
        path = tmp_path / "bob.yaml"
        values = yaml.safe_load(path.read_text())
        values["key_pool"]["file"] = str(tmp_path / "other-pool")
        KeyPool.create(tmp_path / "other-pool", os.urandom(1 << 16))
        path.write_text(yaml.safe_dump(values))
        begun_s = link_time(link)
        link.start("bob")
        notice = link.until(
            lambda: [n for n in link.faults()["notices"] if n["fault"] == "tags-refused"], 60.0, "?"
        )[0]
        assert notice["link_time_s"] > begun_s
        orders = link.until(
            lambda: [o for o in link.faults()["orders"] if o["action"] == "re-authenticate"],
            30.0,
            "nothing is ordered",
        )
        assert orders[0]["outcome"] == "done", orders
        assert "a new session" in orders[0]["what"]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("condition", "fault", "subject"),
    [
        ({"arm_a": {"eta": 1.0}, "arm_b": {"eta": 1.0}}, "saturation", "link"),
        (
            {"sender": "alice", "factors": {"mu": 1.3}}, "decoy-misconfigured", "alice",
        ),
        ({"sender": "bob", "factors": {"nu": 2.0}}, "decoy-misconfigured", "bob"),
        ({"misalignment_x": 0.5}, "phase-misaligned", "link"),
        ({"detectors": {"D2": {"dark_rate_hz": 1e6}}}, "dark-count-ageing", "detector 2"),
        ({"detectors": {"D1": {"efficiency": 0.0}}}, "dead-detector", "detector 1"),
    ],
)  # fmt: skip
def test_a_fault_of_the_link_is_told_in_time(
    learning: RunningLink, condition: dict[str, Any], fault: str, subject: str
) -> None:
    link = learning
    clock = Stopwatch(link)
    tell(link, **condition)
    notice = until_raised(link, clock.begun_s)
    assert (notice["fault"], notice["subject"]) == (fault, subject)
    assert clock.held(notice["link_time_s"], SLOW_S.get(fault, HARD_S))
    link.until(
        lambda: (
            (link.faults()["active"][0]["fault"], link.faults()["active"][0]["subject"])
            == (fault, subject)
        ),
        20.0,
        "not ranked first",
    )


@pytest.mark.soak
def test_nothing_is_told_of_a_healthy_link(learning: RunningLink) -> None:
    """Five minutes, of both endpoints."""
    link = learning
    begun_s = link_time(link)
    link.until(lambda: link_time(link) - begun_s > 300.0, 550.0, "link time stands still")
    for role in ("alice", "bob"):
        faults = link.faults(role)
        assert faults["active"] == []
        told = [n for n in faults["notices"] if n["link_time_s"] > begun_s]
        assert told == []
        assert faults["failed"] == ""
