"""`bellrelay run` to the end: two endpoint processes, one key, or why there is none."""

import json
import subprocess
import sys

import pytest

CONTRACT = {"key_bits", "keys_equal", "key_rate_per_pulse", "epsilon"}

# Short arms: many events in little time, so that a key comes of few slots.
LADDER = "{s: 0.3, mu: 0.25, nu: 0.05, p_s: 0.5, p_mu: 0.055, p_nu: 0.405}"
SHORT = f"""
arm_a: {{eta: 0.3}}
arm_b: {{eta: 0.3}}
alice: {LADDER}
bob: {LADDER}
mode_overlap: 1.0
misalignment_x: 0.0
"""


def run(tmp_path, *arguments, link=None, as_json=True):
    if link is not None:
        (tmp_path / "link.yaml").write_text(link)
        arguments = ("--config", str(tmp_path / "link.yaml"), *arguments)
    command = [sys.executable, "-m", "bellrelay", "run", "--no-compare", *arguments]
    command += ["--plot", str(tmp_path / "plot.png"), *(["--json"] if as_json else [])]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout) if as_json else result.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return run(tmp_path_factory.mktemp("run"), "--slots", "2e8", link=SHORT)


def test_a_run_ends_with_the_same_key_on_both_sides(report):
    assert report.keys() >= CONTRACT
    assert report["check_passed"]
    assert report["keys_equal"] is True
    assert report["key_bits"] > 1000
    assert report["key_rate_per_pulse"] == pytest.approx(report["key_bits"] / 2e8)
    assert report["epsilon"] == pytest.approx(1e-10, rel=0.01)
    assert report["no_key_cause"] is None


def test_applications_fetch_a_key_on_both_sides(report):
    assert report["delivered"].keys() == {"key_id", "size_bits", "equal"}
    assert report["delivered"]["size_bits"] == 256
    assert report["delivered"]["equal"] is True


def test_it_says_what_a_paper_would(report):
    (block,) = report["blocks"]
    assert block["state"] == "stored"
    assert block["pulses"] == 2e8
    assert block["announced"] <= report["announced"]
    assert block["sifted_bits"] == report["sifted_bits"]["Z"]
    assert block["error_rate_z"] == pytest.approx(report["error_rate"]["Z"], abs=1e-4)
    assert block["length"] == report["key_bits"]
    assert block["length"] < block["private_bits"] - block["leak_ec"]
    assert 0.9 < block["leak_ec"] / (block["sifted_bits"] * 0.0454) < 1.4
    secrecy = block["epsilons"]["smoothing"] + block["epsilons"]["amplification"]
    assert secrecy == pytest.approx(1e-10)


def test_a_table_of_it(report):
    from rich.console import Console

    from bellrelay.cli.run_key_table import key_tables

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in key_tables(report):
        console.print(table)
    text = console.export_text()
    for words in ("pulse pairs N", "epsilon, secrecy", "disclosed by error correction", "yes"):
        assert words in text


def test_too_few_slots_are_no_key_and_no_failure(tmp_path):
    report = run(tmp_path, "--slots", "3e5")
    assert report.keys() >= CONTRACT
    assert (report["key_bits"], report["keys_equal"], report["epsilon"]) == (0, None, None)
    assert report["no_key_cause"].startswith(("no-bound", "no-key"))
    assert "no key" in run(tmp_path, "--slots", "3e5", as_json=False)


def test_without_keys_as_before(tmp_path):
    assert not CONTRACT & run(tmp_path, "--slots", "3e5", "--no-keys").keys()


def test_senders_of_another_protocol_make_none(tmp_path):
    link = "alice: {three_intensity: {mu: 0.4}}\nbob: {three_intensity: {mu: 0.4}}\n"
    assert not CONTRACT & run(tmp_path, "--slots", "3e5", link=link).keys()
