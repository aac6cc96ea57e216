"""The unit, the rule, the example and the reference are what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bellrelay.cli.exits import ExitCode
from bellrelay.relay.config import load_config
from bellrelay.relay.config_reference import reference_page
from bellrelay.relay.register_values import register_values
from bellrelay.wire.geometry import BoardGeometry

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "bellrelay-relay@.service"
RULES = ROOT / "deploy" / "udev" / "70-bellrelay.rules"
EXAMPLE = ROOT / "deploy" / "relay.example.yaml"


@pytest.fixture
def systemd_analyze(requires_program):
    return requires_program("systemd-analyze", "apt-get install systemd")


@pytest.fixture
def unit(unit_instance):
    """An instance of the unit whose program is there."""
    return unit_instance(UNIT, "charlie")


def test_systemd_finds_no_fault_in_the_unit(systemd_analyze, unit):
    # With an unknown key it says so, and yet exits 0: both must be right.
    check = [systemd_analyze, "verify", "--recursive-errors=no", str(unit)]
    run = subprocess.run(check, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    unit.write_text(unit.read_text() + "ProtectSytem=strict\n")
    run = subprocess.run(check, capture_output=True, text=True)
    assert run.returncode or "ProtectSytem" in run.stderr


def test_the_unit_exposes_little(systemd_analyze, unit):
    check = [systemd_analyze, "security", "--offline=true", "--threshold=20", str(unit)]
    run = subprocess.run(check, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert subprocess.run(check, capture_output=True).returncode != 0


def test_what_needs_a_person_is_not_tried_again():
    (codes,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.M)
    wanted = (ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.BOARD_VERSION)
    assert [int(c) for c in codes.split()] == [int(c) for c in wanted]


def test_the_daemon_needs_no_memory_that_is_written_and_executed():
    """The unit forbids it, and with it numba."""
    code = "import sys, bellrelay.relay.daemon, bellrelay.cli.relay; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr


def test_the_rule_has_keys_and_operators_that_udev_knows():
    keys = r"ACTION|SUBSYSTEMS?|ATTRS?\{[a-z/_]+\}|DRIVERS|ENV\{[A-Z_]+\}"
    keys += "|GOTO|LABEL|GROUP|MODE|TAG|SYMLINK"
    for line in RULES.read_text().splitlines():
        if line and not line.startswith("#"):
            for term in re.split(r",\s*", line):
                assert re.fullmatch(rf'({keys})(==|!=|=|\+=)"[^"]*"', term), term


def test_the_example_can_be_used():
    config = load_config(EXAMPLE)
    values = register_values(config, BoardGeometry(n_detectors=4))
    assert values["dead_extend"] == (8,)
    assert set(yaml.safe_load(EXAMPLE.read_text())) >= {"relay_id", "detectors", "log", "fan_out"}


def test_the_reference_is_that_of_the_model():
    page = ROOT / "docs" / "reference" / "relay-config.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.relay.config_reference > docs/reference/relay-config.md"
    )
