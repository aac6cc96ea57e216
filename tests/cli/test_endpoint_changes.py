"""Changes of intensities as an operator makes them."""

import json

import pytest
import yaml
from typer.testing import CliRunner
from verb_calls import app_of

from bellrelay.cli.endpoint import register
from bellrelay.cli.errors import explain
from bellrelay.cli.run_endpoints import prepare_endpoints
from bellrelay.control.versions import Versions
from bellrelay_sim.link import SimulatedLink

APP = app_of(register)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoints")
    (folder / "link.yaml").write_text("{}\n")
    prepare_endpoints(folder, SimulatedLink(), folder / "link.yaml", None, 10**6, 1, 0.01)
    return folder


@pytest.fixture
def folder(prepared, tmp_path):
    for role in ("alice", "bob"):
        values = yaml.safe_load((prepared / f"{role}.yaml").read_text())
        values["changes"] = {"directory": str(tmp_path / f"{role}.versions")}
        (tmp_path / f"{role}.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "brighter.yaml").write_text("alice: {s: 0.45}\nbob: {mu: 0.31, p_mu: 0.11}\n")
    return tmp_path


def call(folder, role, *arguments, code=0):
    config = ["endpoint", "--config", str(folder / f"{role}.yaml")]
    result = CliRunner().invoke(APP, [*config, *arguments])
    if code == 0:
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output
    explained = explain(result.exception)
    assert explained is not None
    assert explained[1] == code
    return explained[0]


def propose(folder, *arguments, **options):
    file = str(folder / "brighter.yaml")
    return call(folder, "alice", "--propose", file, *arguments, **options)


def test_a_change_is_proposed_listed_and_taken_back(folder):
    said = propose(folder, "--share", "0.2", "--why", "new laser")
    assert "version 1 is a candidate; the running endpoints try it in 20%" in said
    assert "  alice.s: 0.4 -> 0.45" in said
    listed = json.loads(call(folder, "alice", "--changes", "--json"))
    assert listed["current"] == 0
    (version,) = listed["versions"]
    assert version["changes"] == {
        "alice.s": [0.4, 0.45],
        "bob.mu": [0.3, 0.31],
        "bob.p_mu": [0.1, 0.11],
    }
    assert (version["state"], version["share"], version["reason"]) == (
        "candidate",
        0.2,
        "new laser",
    )
    said = call(folder, "alice", "--roll-back", "--why", "looks wrong")
    assert "the configuration file holds again" in said
    listed = call(folder, "alice", "--changes")
    assert "  version 1, rolled-back, of " in listed
    assert "rolled-back: looks wrong" in listed
    assert "* version 0" in listed


def test_keys_that_are_not_named_stay_as_they_were_promoted(folder):
    propose(folder, "--why", "new laser")
    Versions(folder / "alice.versions").promote(1)
    (folder / "brighter.yaml").write_text("alice: {nu: 0.06}\n")
    said = json.loads(propose(folder, "--why", "more decoy", "--json"))
    assert said["changes"] == {"alice.nu": [0.05, 0.06]}
    assert said["parent"] == 1
    assert "* version 1, good" in call(folder, "alice", "--changes")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice: {mu: 0.01}", "alice: intensities must fall"),
        ("alice: {sigma: 0.01}", "alice.sigma: no such key"),
        ("carol: {mu: 0.01}", "allowed: alice, bob"),
        ("alice: {s: 0.4}", "nothing is changed"),
        ("alice: {s: bright}", "alice.s: 'bright' is no number"),
        ("[", "cannot be read"),
    ],
)
def test_what_cannot_be_proposed_names_the_key(folder, text, why):
    (folder / "brighter.yaml").write_text(text)
    assert why in propose(folder, "--why", "x", code=3)
    assert Versions(folder / "alice.versions").under_way() is None


def test_who_proposes_what_and_why(folder):
    assert "--propose needs --why" in propose(folder, code=3)
    assert "a share of 1.5" in propose(folder, "--why", "x", "--share", "1.5", code=3)
    file = str(folder / "brighter.yaml")
    assert "at the endpoint of alice" in call(
        folder, "bob", "--propose", file, "--why", "x", code=3
    )
    assert "nothing was ever promoted" in call(folder, "bob", "--roll-back", "--why", "x", code=8)
    assert "--roll-back needs --why" in call(folder, "bob", "--roll-back", code=3)
    propose(folder, "--why", "x")
    assert "version 1 is candidate" in propose(folder, "--why", "y", code=8)


def test_an_endpoint_without_a_directory_says_so(folder):
    values = yaml.safe_load((folder / "alice.yaml").read_text())
    del values["changes"]
    (folder / "alice.yaml").write_text(yaml.safe_dump(values))
    assert "changes: None; allowed: a section" in call(folder, "alice", "--changes", code=3)
