"""Independent clients of ETSI GS QKD 014 from PyPI, at two KMEs that run as operators run them."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from etsi_qkd_014_client.client import QKD014Client
from jsonschema import Draft202012Validator
from kme_processes import kme_processes, wait_until
from openapi_spec_validator import validate
from qkdsec.client import ETSI014Client
from qkdsec.doctor import run_all
from two_sites import TwoSites

SIDES = [
    ("sae-alice", "kme-a", "sae-bob", "kme-b"),
    ("sae-bob", "kme-b", "sae-alice", "kme-a"),
]


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    sites = TwoSites(
        tmp_path_factory.mktemp("kmes"),
        [("bank", "sae-alice", "sae-bob", 1), ("other", "sae-alice", "sae-carol", 1)],
    )
    sites.add_blocks(2, 800)
    with kme_processes(sites):
        for sae, site, other, _ in SIDES:
            client = plain(sites, sae, site)
            wait_until(lambda c=client, o=other: c.get_status(o)[1].stored_key_count == 400)
        yield sites


def plain(sites, sae, site):
    """etsi-qkd-014-client, as it is."""
    certificate, key = map(str, sites.certificate(sae))
    host = sites.url(site).removeprefix("https://")
    return QKD014Client(host, certificate, key, str(sites.authority.ca))


@pytest.mark.parametrize(("master", "site", "slave", "other"), SIDES)
def test_etsi_qkd_014_client_by_library(sites, master, site, slave, other):
    ours, theirs = plain(sites, master, site), plain(sites, slave, other)
    code, status = ours.get_status(slave)
    assert (code, status.master_sae_id, status.target_kme_id) == (200, master, other)
    for wish in ({}, {"number": 3, "size": 512}, {"extension_optional": [{"abc_x": 1}]}):
        code, got = ours.get_key(slave, **wish)
        assert code == 200
        code, same = theirs.get_key_with_key_IDs(master, [key.key_id for key in got.keys])
        assert code == 200
        assert [k.key for k in same.keys] == [k.key for k in got.keys]
        assert {len(base64.b64decode(k.key)) * 8 for k in got.keys} == {wish.get("size", 256)}
    code, error = theirs.get_key_with_key_IDs(master, [got.keys[0].key_id])
    assert code == 400
    assert "one or more keys specified are not found on KME" in str(error)
    code, error = ours.get_key(slave, size=257)
    assert code == 400
    assert "size shall be a multiple of 8" in str(error)


def test_etsi_qkd_014_client_is_told_401_with_a_body(sites):
    alice, carol = plain(sites, "sae-alice", "kme-a"), plain(sites, "sae-carol", "kme-b")
    code, got = alice.get_key("sae-bob")
    assert code == 200
    # Its library reads the message of every answer that is no 200.
    code, error = carol.get_key_with_key_IDs("sae-alice", [got.keys[0].key_id])
    assert code == 401
    assert "not named" in str(error)
    code, _ = carol.get_status("sae-bob")
    assert code == 401


def test_etsi_qkd_014_client_by_command(sites):
    program = Path(sys.executable).parent / "qkd014-client"

    def run(sae, site, *words):
        certificate, key = map(str, sites.certificate(sae))
        host = sites.url(site).removeprefix("https://")
        line = [program, "-H", host, "-c", certificate, "-k", key, "-r", str(sites.authority.ca)]
        done = subprocess.run([*line, *words], capture_output=True, text=True, check=True)
        return done.stdout

    assert "stored_key_count" in run("sae-alice", "kme-a", "get_status", "sae-bob")
    said = run("sae-alice", "kme-a", "get_key", "sae-bob")
    key_id, key = (
        next(x.split(":", 1)[1].strip() for x in said.splitlines() if x.startswith(name))
        for name in ("Key id", "Key :")
    )
    same = run("sae-bob", "kme-b", "get_key_with_id", key_id, "sae-alice")
    assert key in same


class TwoSided(ETSI014Client):
    """qkdsec's probes ask for the slave's keys with the master's certificate, which clause 5.4
    forbids: here they do it with the slave's, at the slave's KME. All else is qkdsec's."""

    master = ""
    slave_side: ETSI014Client

    def get_dec_keys(self, _slave, *, key_ids, **more):
        return self.slave_side.get_dec_keys(self.master, key_ids=key_ids, **more)


def qkdsec_client(sites, kind, sae, site):
    certificate = tuple(map(str, sites.certificate(sae)))
    return kind(sites.url(site), client_cert=certificate, verify=str(sites.authority.ca))


@pytest.mark.parametrize(("master", "site", "slave", "other"), SIDES)
def test_probes_of_qkdsec_driven_from_both_sides(sites, master, site, slave, other):
    client = qkdsec_client(sites, TwoSided, master, site)
    client.master = master
    client.slave_side = qkdsec_client(sites, ETSI014Client, slave, other)
    report = run_all(client, slave_sae_id=slave)
    found = {result.name: result.status.value for result in report.results}
    # It wants a 404 for an unknown key ID; clause 6.4 wants 400.
    assert found.pop("error_contract_404") == "warn"
    assert set(found.values()) == {"pass"}, report.to_dict()
    assert len(found) == 9


def test_qkdsec_as_shipped_asks_for_what_5_4_forbids(sites):
    report = run_all(qkdsec_client(sites, ETSI014Client, "sae-alice", "kme-a"), "sae-bob")
    found = {result.name: result for result in report.results}
    assert found["dec_keys_roundtrip"].status.value == "fail"
    # It asks as the master for a key of the slave's: none of the slave's keys has this ID.
    assert "one or more keys specified are not found" in found["dec_keys_roundtrip"].summary


def test_multicast_with_qkdsec(sites):
    alice = qkdsec_client(sites, ETSI014Client, "sae-alice", "kme-a")
    (key,) = alice.get_enc_keys("sae-bob", additional_slave_sae_ids=["sae-carol"])
    for slave in ("sae-bob", "sae-carol"):
        client = qkdsec_client(sites, ETSI014Client, slave, "kme-b")
        (same,) = client.get_dec_keys("sae-alice", key_ids=[key.key_id])
        assert same.key == key.key


# ---------------------------------------------------------------------------------- OpenAPI


def test_the_openapi_document_is_one_and_describes_what_is_answered(sites):
    session = requests.Session()
    # Without the machine's own authorities.
    session.trust_env = False
    session.cert = tuple(map(str, sites.certificate("sae-alice")))
    session.verify = str(sites.authority.ca)
    url = sites.url("kme-a")
    document = session.get(url + "/api/v1/openapi.json").json()
    validate(document)
    schemas = document["components"]["schemas"]

    def fits(name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        Draft202012Validator(schema).validate(value)

    base = url + "/api/v1/keys/sae-bob/"
    fits("Status", session.get(base + "status").json())
    fits("KeyContainer", session.get(base + "enc_keys").json())
    fits("Error", session.get(base + "enc_keys?size=1").json())
    wish = {"number": 2, "extension_mandatory": [{"bellrelay_wait_s": 1}]}
    fits("KeyRequest", wish)
    answer = session.post(base + "enc_keys", json=wish)
    fits("KeyContainer", answer.json())
    for path, methods in document["paths"].items():
        for method in methods:
            target = path.replace("{slave_SAE_ID}", "sae-bob").replace("{master_SAE_ID}", "sae-bob")
            found = session.request(method, url + target, json=None if method == "get" else {})
            assert str(found.status_code) in methods[method]["responses"]
            assert found.status_code != 405


def test_the_command_prints_the_same_document(sites):
    line = [sys.executable, "-m", "bellrelay", "kme", "--config", str(sites.config("kme-a"))]
    printed = subprocess.run([*line, "--openapi"], capture_output=True, text=True, check=True)
    document = json.loads(printed.stdout)
    validate(document)
    assert document["components"]["schemas"]["KeyRequest"]["properties"]["size"]["default"] == 256
