"""Every unit that is delivered passes systemd's own checks: none is added without."""

from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.stem)
def test_systemd_finds_no_fault_in_a_unit_and_little_exposure(unit, unit_instance, systemd_passes):
    systemd_passes(unit_instance(unit, "alice-1"))


def test_there_is_nothing_but_services_and_their_timers():
    """Timers: tests/observe/test_report_deploy.py."""
    services = {path.stem for path in UNITS.glob("*.service")}
    assert len(services) >= 6
    for path in UNITS.iterdir():
        assert path.suffix == ".service" or (path.suffix == ".timer" and path.stem in services)
