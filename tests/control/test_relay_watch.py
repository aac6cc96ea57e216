"""The watch over one relay: when what counts say of light that has just come is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from simulated_link import SimulatedLink
from simulated_statuses import BLOCK_SLOTS, ObservedLink, Statuses

from bellrelay.control.baseline_file import BaselineFile
from bellrelay.control.fault_baseline import measure_baseline
from bellrelay.control.relay_watch import RelayWatch

SETTLE_S = 5.0


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baseline") / "baseline.yaml"
    BaselineFile(path).save("diana", measure_baseline(ObservedLink(seed=1).run(600)), 600.0)
    return path


def told_after(learnt: Path, locked: list[bool | None], well_s: int = 0) -> int | None:
    """Rounds from when light came until a cut is told that is there after well_s; None: it is not.

    locked : what the relay says of its slot clock, round by round; None: nothing.
    """
    carrier = SimpleNamespace(carry_out=lambda _order: None, pass_over=lambda _order, _why: None)
    watch = RelayWatch("diana", BLOCK_SLOTS, BaselineFile(learnt), 600.0, SETTLE_S, carrier)
    link, statuses = SimulatedLink(seed=3), Statuses()
    watch.observe([statuses.first()])
    watch.activate()
    for number, state in enumerate(locked, 1):
        if number > well_s:
            link.state = replace(link.state, light=(0.0, 1.0))
        (seen,) = link.run(1)
        said = statuses.of(seen)
        assert said.relay is not None
        if state is not None:
            tracking = {**said.relay["tracking"], "locked": state}
            said = replace(said, relay={**said.relay, "tracking": tracking})
        _, notices = watch.observe([said])
        if notices:
            return number
    return None


def test_counts_of_light_that_has_just_come_are_believed_once_the_slot_clock_holds(
    learnt: Path,
) -> None:
    quick = told_after(learnt, [None] * 15)
    assert quick is not None
    assert SETTLE_S < quick <= SETTLE_S + 5.0
    assert told_after(learnt, [True] * 15) == quick
    assert told_after(learnt, [False] * 25) is None
    pulled_in = told_after(learnt, [False] * 15 + [True] * 10)
    assert pulled_in is not None
    assert 15 < pulled_in <= 20


def test_a_slot_clock_that_is_never_pulled_in_hides_nothing_for_long(learnt: Path) -> None:
    told = told_after(learnt, [False] * 50)
    assert told is not None
    assert 30 < told <= 36


def test_a_slot_clock_that_is_lost_later_hides_nothing(learnt: Path) -> None:
    told = told_after(learnt, [True] * 10 + [False] * 15, well_s=10)
    assert told is not None
    assert 10 < told <= 15
