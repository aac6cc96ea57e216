"""What the live view lists as alarms, each with a runbook that there is."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bellrelay.observe.view_alarms import view_alarms
from bellrelay.observe.view_feed import ViewFeed

PAGES = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
WELL = {"state": "running", "reason": "", "temperature_c": 45.0}
STALE = {"stale": True, "age_s": 40.0, "beyond": [], "quantities": {}, "limits": {}}
BEYOND = {
    "stale": False,
    "age_s": 1.0,
    "beyond": ["power_w"],
    "quantities": {"power_w": 2e-6},
    "limits": {"power_w": [None, 1e-6]},
}
FAULT = {
    "fault": "fibre-cut",
    "title": "nothing comes from an arm",
    "subject": "bob",
    "probability": 0.97,
    "runbook": "docs/runbooks/fibre-cut.md",
}
AWAY = {"endpoints": {"http://alice:1": {"state": "not reached", "reason": "refused"}}}


@pytest.mark.parametrize(
    ("status", "links", "lost", "text", "runbook"),
    [
        ({"state": "quarantined", "reason": "slots"}, {}, {}, "broke its rules", "board-fault"),
        ({"state": "lost", "reason": "no answer"}, {}, {}, "board is lost", "board-fault"),
        ({"temperature_c": 81.0}, {}, {}, "too warm", "board-hot"),
        ({}, {}, {"psi_minus": 3}, "3 psi-minus lost", "board-line"),
        ({"tracking": {"reference_locked": False}}, {}, {}, "reference", "reference-lost"),
        ({"tracking": {"alarm": "no light"}}, {}, {}, "does not follow", "clock-drift"),
        ({"calibration": {"overdue": ["deskew"]}}, {}, {}, "overdue", "calibration-overdue"),
        ({"view": {"audit": {"fault": "full"}}}, {}, {}, "on record", "audit-broken"),
        ({"monitors": {"each": {"arm-a": STALE}}}, {}, {}, "said nothing for 40", "monitor-stale"),
        ({"monitors": {"each": {"arm-a": BEYOND}}}, {}, {}, "2e-06, outside ...", "monitor-limits"),
        ({}, {"faults": [FAULT]}, {}, "nothing comes from an arm", "fibre-cut"),
        ({}, {"faults": [{**FAULT, "runbook": None}]}, {}, "nothing comes", "README"),
        ({}, AWAY, {}, "http://alice:1 does not answer", "path-to-relay"),
    ],
)
def test_what_is_wrong_is_listed_with_its_runbook(status, links, lost, text, runbook):
    (alarm,) = view_alarms({**WELL, **status}, links, lost)
    assert text in alarm["title"]
    assert alarm["runbook"] == runbook
    assert (PAGES / f"{runbook}.md").exists()


def test_where_all_is_well_there_is_none():
    well = {**WELL, "monitors": {"each": {"a": {**BEYOND, "beyond": []}}}, "tracking": None}
    assert view_alarms(well, {"faults": [], "endpoints": {"x": {"state": "running"}}}, {}) == []
    assert view_alarms({**WELL, "state": "connecting"}, {}, {}) == []


def test_what_was_lost_is_an_alarm_for_ten_minutes():
    feed = ViewFeed(SimpleNamespace(), SimpleNamespace(), lambda: None)

    def told(now_s, frames):
        return feed._lost_of_late(now_s, {"frames": frames, "tags": 0})

    assert told(0.0, 0) == {}
    assert told(100.0, 2) == {"frames": 2}
    assert told(600.0, 5) == {"frames": 5}
    assert told(1199.0, 5) == {"frames": 5}
    assert told(1200.0, 5) == {}
    assert told(5000.0, 6) == {"frames": 1}
