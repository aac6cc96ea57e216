"""The unit of reports and its timer are what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
UNIT = UNITS / "bellrelay-report@.service"
TIMER = UNITS / "bellrelay-report@.timer"


def test_systemd_finds_no_fault_in_the_timer(requires_program, unit_instance):
    program = requires_program("systemd-analyze", "apt-get install systemd")
    timer = unit_instance(UNIT, "charlie-1").with_suffix(".timer")

    def check(text):
        timer.write_text(text)
        words = [program, "verify", "--recursive-errors=no", str(timer)]
        done = subprocess.run(words, capture_output=True, text=True)
        return done.returncode == 0 and done.stderr == ""

    assert check(TIMER.read_text())
    assert not check(TIMER.read_text().replace("Mon", "Someday"))


@pytest.mark.parametrize("module", ["report_page", "report_data", "calibration_audit"])
def test_a_report_needs_no_memory_that_is_written_and_executed(module):
    """The unit forbids it, and with it numba."""
    code = (
        f"import sys, bellrelay.observe.{module}, bellrelay.control.calibration_records; "
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
