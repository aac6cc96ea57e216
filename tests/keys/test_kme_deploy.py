"""The KME's unit, example and reference page are what they say."""

import re
from pathlib import Path

from bellrelay.cli.exits import ExitCode
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.kme_config_reference import reference_page

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "bellrelay-kme@.service"
EXAMPLE = ROOT / "deploy" / "kme.example.yaml"
ENDPOINT = ROOT / "deploy" / "endpoint.example.yaml"


def test_what_needs_a_person_at_a_kme_is_not_tried_again():
    (codes,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.M)
    assert [int(c) for c in codes.split()] == [int(ExitCode.USAGE), int(ExitCode.CONFIGURATION)]


def test_the_example_of_a_kme_can_be_used_and_agrees_with_unit_and_endpoint():
    config = load_kme_config(EXAMPLE)
    endpoint = load_endpoint_config(ENDPOINT)
    assert config.intake.endpoint_id == endpoint.endpoint_id
    assert config.intake.directory == endpoint.store.directory
    assert config.intake.relay == endpoint.relay.id
    own = f"/var/lib/bellrelay/{endpoint.endpoint_id}/kme/"
    assert str(config.store.directory).startswith(own)
    assert str(config.audit.directory).startswith(own)
    credentials = f"/run/credentials/bellrelay-kme@{endpoint.endpoint_id}.service"
    text = UNIT.read_text().replace("%i", endpoint.endpoint_id)
    for path in (config.tls.key, config.peer.tls.key, config.kek.file, config.audit.signing_key):
        assert str(path.parent) == credentials
        assert f"LoadCredential={path.name}:" in text
    # Its own authorities for SAEs and for KMEs: a KME's certificate is no SAE's.
    assert config.tls.ca != config.peer.tls.ca
    groups = {"tls", "delivery", "limits", "keys", "kek", "intake", "audit", "health"}
    assert config.model_fields_set >= groups


def test_the_kme_reference_is_that_of_the_model():
    page = ROOT / "docs" / "reference" / "kme-config.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.keys.kme_config_reference > docs/reference/kme-config.md"
    )
