"""The endpoint's unit, example and reference page are what they say."""

import re
from pathlib import Path

from bellrelay.cli.exits import ExitCode
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.endpoint.config_reference import reference_page

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "bellrelay-endpoint@.service"
EXAMPLE = ROOT / "deploy" / "endpoint.example.yaml"


def test_what_needs_a_person_at_an_endpoint_is_not_tried_again():
    (codes,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.M)
    assert [int(c) for c in codes.split()] == [int(ExitCode.USAGE), int(ExitCode.CONFIGURATION)]


def test_the_example_of_an_endpoint_can_be_used_and_agrees_with_the_unit():
    config = load_endpoint_config(EXAMPLE)
    assert config.own_ladder == config.alice.ladder()
    own = f"/var/lib/bellrelay/{config.endpoint_id}"
    for path in (config.store.directory, config.key_pool.file, config.source.options["directory"]):
        assert str(path).startswith(own + "/")
    assert str(config.intensity_monitor.file).startswith(f"/run/bellrelay/{config.endpoint_id}/")
    credentials = f"/run/credentials/bellrelay-endpoint@{config.endpoint_id}.service/key"
    assert str(config.peer.tls.key) == str(config.relay.tls.key) == credentials
    # It has every group of keys that people change.
    groups = {"security", "reconcile", "random_health", "intensity_monitor", "health"}
    assert config.model_fields_set >= groups


def test_the_example_with_two_relays_can_be_used():
    config = load_endpoint_config(EXAMPLE.with_name("endpoint-two-relays.example.yaml"))
    assert [relay.id for relay in config.relays] == ["charlie-1", "charlie-2"]
    directories = [str(source.options["directory"]) for _, source in config.sources]
    assert len(set(directories)) == 2
    assert config.timetable is not None
    assert config.model_fields_set >= {"relay_choice", "secondaries", "sender"}


def test_the_endpoint_reference_is_that_of_the_model():
    page = ROOT / "docs" / "reference" / "endpoint-config.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.endpoint.config_reference > docs/reference/endpoint-config.md"
    )
