"""`bellrelay doctor` as an operator types it: lines, JSON, exit codes."""

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner
from verb_calls import app_of, failure_of

from bellrelay.cli.doctor import register
from bellrelay.cli.exits import ExitCode
from bellrelay.keys.kek_file import write_kek_file

RELAY = {
    "relay_id": "charlie",
    "port": "/dev/none-such",
    "slot_period_ps": 10_000,
    "windows": {"early": [2000, 3000], "late": [7000, 8000]},
    "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
    "fan_out": {"listen": "127.0.0.1:0", "plain": True},
}


@pytest.fixture
def relay(tmp_path):
    path = tmp_path / "relay.yaml"
    path.write_text(yaml.safe_dump({**RELAY, "log": {"directory": str(tmp_path / "log")}}))
    return path


@pytest.fixture
def cluster(tmp_path):
    """A file that is all right but for its certificates, which are not there."""
    path = tmp_path / "cluster.yaml"
    write_kek_file(tmp_path / "work")
    tls = {name: str(tmp_path / name) for name in ("certificate", "key", "ca")}
    values = {
        "endpoint_id": "alice",
        "scheduler": "127.0.0.1:0",
        "tls": tls,
        "key_file": str(tmp_path / "work"),
        "worker": {"directory": str(tmp_path)},
    }
    path.write_text(yaml.safe_dump(values))
    return path


def doctor(*words):
    typed = ["doctor", *(w for path in words for w in ("--config", str(path)))]
    return CliRunner().invoke(app_of(register), typed, catch_exceptions=False)


def as_json(*words):
    typed = ["doctor", "--json", *(w for path in words for w in ("--config", str(path)))]
    ran = CliRunner().invoke(app_of(register), typed, catch_exceptions=False)
    said = json.loads(ran.stdout)
    assert said["exit_code"] == ran.exit_code
    return said


def test_each_line_says_how_it_is_and_what_to_do(relay):
    ran = doctor(relay)
    assert ran.exit_code == ExitCode.PORT_MISSING
    lines = ran.stdout.splitlines()
    assert lines[0] == f"relay charlie: {relay}"
    at = next(n for n, line in enumerate(lines) if line.startswith("FAILED"))
    assert "/dev/none-such: no such port" in lines[at]
    assert "do: ls -l /dev/serial/by-id" in lines[at + 1]
    assert any(line.startswith("ok         directories") for line in lines)
    assert ", 1 failed" in lines[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("relay_id: charlie\nport: [\n", "no YAML"),
        ("relay_id: charlie\n", "log: missing"),
        ("{relay_id: c, baud: fast}", "baud: 'fast'"),
        ("kmes: {}\n", "allowed: the file of a daemon"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_told_fault_by_fault(tmp_path, text, words):
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_text(text)
    said = as_json(path)
    assert said["exit_code"] == ExitCode.CONFIGURATION
    findings = said["files"][0]["findings"]
    assert {(f["check"], f["state"]) for f in findings} == {("file", "failed")}
    assert any(words in f["detail"] for f in findings), findings
    assert all(f["remedy"].startswith("docs/") for f in findings)


def test_several_files_are_each_told_and_the_first_failure_counts(relay, cluster):
    said = as_json(cluster, relay)
    assert [(f["kind"], f["name"]) for f in said["files"]] == [
        ("cluster", "alice"),
        ("relay", "charlie"),
    ]
    assert (said["well"], said["exit_code"]) == (False, ExitCode.CONFIGURATION)
    assert as_json(relay, cluster)["exit_code"] == ExitCode.PORT_MISSING


def test_a_key_that_others_can_read_ends_as_the_daemon_would(cluster, tmp_path):
    (tmp_path / "work").chmod(0o644)
    secret = (tmp_path / "work").read_bytes().hex()
    ran = doctor(cluster)
    assert ran.exit_code == ExitCode.STORAGE
    assert "mode 0644 lets others in" in ran.stdout
    assert secret not in ran.stdout


def test_a_package_that_is_missing_is_named_with_its_extra(cluster, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    ran = doctor(cluster)
    assert ran.exit_code == ExitCode.MISSING_EXTRA
    assert "pip install 'bellrelay[cluster]'" in ran.stdout


def test_all_is_well_is_nought(relay, monkeypatch):
    from bellrelay.observe.doctor import examine as module
    from bellrelay.observe.doctor.finding import passed, unknown, warning

    def found(*_):
        return [passed("a", "b"), warning("c", "d", "e"), unknown("f", "g")]

    monkeypatch.setattr(module, "_findings", found)
    ran = doctor(relay)
    assert (ran.exit_code, ran.stdout.splitlines()[-1]) == (0, "1 ok, 1 warning, 1 not known")


def test_the_page_shows_what_it_says(monkeypatch):
    """All but what another machine may have otherwise: its clock, its limits, its addresses."""
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "how-to" / "doctor.md").read_text()
    (shown,) = re.findall(r"^```text\n(.*?)\n```", page, re.M | re.S)
    monkeypatch.chdir(root)
    said = doctor(Path("deploy/relay.example.yaml")).stdout

    def kept(text):
        lines = re.sub(r"\n +do: ", " do: ", text).splitlines()
        return [line for line in lines if not re.match(r".{11}(clock|limits|addr)|\d+ ok", line)]

    assert len(kept(shown)) > 8
    assert kept(said) == kept(shown)


def test_without_a_file_it_says_what_it_takes(capsys):
    code, said = failure_of(capsys, "doctor")
    assert (code, "--config" in said) == (ExitCode.USAGE, True)
