"""Which fault it is, by made-up readings."""

from __future__ import annotations

import pytest
from simulated_statuses import ObservedLink

from bellrelay.control.fault_baseline import Baseline, measure_baseline
from bellrelay.control.fault_observables import Side, instances
from bellrelay.control.fault_ranking import Diagnosis, Reading, diagnose


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return measure_baseline(ObservedLink(seed=1).run(600))


def told(baseline: Baseline, alarms: dict[str, Side], usual: set[str]) -> list[Diagnosis]:
    """Of these alarms, and of what is surely as usual, each of all subjects that it has."""
    readings = [
        Reading(i, alarms.get(i.observable.name), i.reference, i.observable.name in alarms)
        for i in instances(baseline)
        if i.observable.name in usual | alarms.keys()
    ]
    return diagnose(readings, baseline.detectors)


def test_detectors_that_see_the_same_light_are_one_witness(baseline: Baseline) -> None:
    """Little of the hits is suppressed yet, and all four detectors say so: nobody lied."""
    alarms = {"live": Side.DOWN, "announced": Side.UP}
    (found,) = told(baseline, alarms, {"suppressed", "psi-minus", "breaches"})
    assert found.best.fault.name == "saturation"
    assert found.best.probability > 0.9
    said = [e.weight for e in found.best.evidence if e.observable.startswith("suppressed")]
    assert len(said) == baseline.detectors
    assert sum(said) == pytest.approx(-2.37, abs=0.01)


def test_announcements_alone_are_still_suspect(baseline: Baseline) -> None:
    usual = {"live", "light", "suppressed", "psi-minus", "breaches"}
    (found,) = told(baseline, {"announced": Side.UP}, usual)
    assert found.best.fault.name == "relay-suspect"
