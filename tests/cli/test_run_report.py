"""The report of a run from made-up counters, and the check from announcements made by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bellrelay.cli.run_check import SourceCheck
from bellrelay.cli.run_report import ArrivalHistogram, RunReport, plot_arrival_times, report_table
from bellrelay.distill.sift import bob_flips
from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import Outcome
from bellrelay_sim.choices import Party
from bellrelay_sim.link import SimulatedLink

COUNTS = {c.name: 0 for c in counters(BoardGeometry())} | {
    "slots": 1000,
    "slots_not_live": 100,
    "class_1": 6,
    "class_3": 4,
    "class_4": 50,
    "class_5": 10,
    "announced_psi_minus": 6,
    "announced_psi_plus": 4,
    "early_2": 7,
}
REPORT = RunReport(
    board="event",
    detectors=("D0", "D1", "D2", "D3"),
    counters=COUNTS,
    received=10,
    missing_frames=0,
    errors={"Z": (1, 100, 0.012), "X": (0, 0, 0.27)},
    slot_period_ps=10000,
    wall_seconds=2.0,
    check_passed=True,
)


def test_the_object_has_what_the_contract_says():
    r = json.loads(json.dumps(REPORT.as_json()))
    assert r["simulation"] is True
    assert r["slots"] == 1000
    assert r["live_fraction"] == pytest.approx(0.9)
    assert (r["announced"], r["psi_minus"], r["psi_plus"]) == (10, 6, 4)
    assert r["bell_success_ratio"] == pytest.approx(0.5)
    assert r["events_lost"] == 0
    assert r["error_rate"] == {"Z": 0.01, "X": None}
    assert r["detectors"]["D2"]["early"] == 7
    assert r["wall_seconds"] == 2.0


@pytest.mark.parametrize("name", ["lost_psi_plus", "shed_psi_minus", "tags_lost_0", "tags_shed_4"])
def test_every_loss_counts(name):
    lossy = replace(REPORT, counters=COUNTS | {name: 3})
    assert lossy.events_lost == 3
    assert replace(REPORT, received=8).events_lost == 2


def test_a_person_reads_that_it_is_a_simulation():
    from rich.console import Console

    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in report_table(REPORT):
        console.print(table)
    text = console.export_text()
    assert "simulation" in text
    assert "passed" in text


def test_the_picture_is_one(tmp_path):
    path = tmp_path / "arrivals.png"
    counts = np.ones((4, 1024), np.int64)
    windows = {"early": (2000, 3000), "late": (7000, 8000)}
    plot_arrival_times(ArrivalHistogram(counts, 16), windows, REPORT.detectors, 10000, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def announcements(link, n=20_000):
    """Outcomes that fit both logs perfectly."""
    slot = np.arange(n, dtype=np.uint64)
    outcome = (slot % np.uint64(2) + np.uint64(1)).astype(np.uint8)
    a = link.source_log(Party.ALICE).choices_at(slot)
    b = link.source_log(Party.BOB).choices_at(slot)
    agree = a.bit == (b.bit ^ bob_flips(outcome, a.basis))
    return slot[agree], outcome[agree]


def test_perfect_outcomes_have_no_errors_and_inverted_ones_nothing_else():
    link = SimulatedLink()
    slot, outcome = announcements(link)
    check = SourceCheck(link)
    check.add(slot, outcome)
    assert sum(check.announced.values()) == slot.size
    assert all(t.bits > 100 and t.errors == 0 for t in check.tallies.values())
    assert check.tallies["Z"].plausible
    # outcomes swapped: Z bits do not care, X bits all turn wrong
    check = SourceCheck(link)
    check.add(slot, (Outcome.PSI_MINUS + Outcome.PSI_PLUS - outcome).astype(np.uint8))
    assert check.tallies["Z"].error_rate == 0
    assert check.tallies["X"].error_rate == 1
    assert not check.tallies["X"].plausible


def test_expected_error_rates_are_those_of_the_four_intensity_protocol():
    tallies = SourceCheck(SimulatedLink()).tallies
    assert 0.004 < tallies["Z"].expected < 0.03
    assert 0.24 < tallies["X"].expected < 0.35
