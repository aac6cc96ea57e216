"""The cluster's units, example and reference page are what they say; wrong files are named."""

import re
from pathlib import Path

import pytest
import yaml

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.endpoint.cluster.begin import check_cluster
from bellrelay.endpoint.cluster.config import load_cluster_config
from bellrelay.endpoint.cluster.config_reference import reference_page
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.endpoint.key_files import write_new_secret
from bellrelay.settings.model import ConfigError

ROOT = Path(__file__).resolve().parents[2]
UNITS = [ROOT / "deploy/systemd" / f"bellrelay-{name}@.service" for name in ("cluster", "worker")]
EXAMPLE = ROOT / "deploy/cluster.example.yaml"


def test_the_example_of_a_cluster_can_be_used_and_agrees_with_the_unit():
    config = load_cluster_config(EXAMPLE)
    name = config.endpoint_id
    credentials = f"/run/credentials/bellrelay-cluster@{name}.service/"
    assert str(config.tls.key) == credentials + "key"
    assert str(config.key_file) == credentials + "work"
    assert str(config.worker.directory) == f"/run/bellrelay/{name}-cluster"
    text = UNITS[0].read_text()
    assert re.findall(r"^LoadCredential=(\w+):", text, re.M) == ["key", "work"]


def test_the_reference_of_a_cluster_is_that_of_the_model():
    page = ROOT / "docs/reference/cluster-config.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.endpoint.cluster.config_reference > docs/reference/cluster-config.md"
    )


@pytest.fixture
def endpoint(tmp_path):
    """An endpoint's configuration with a cluster; call it with what is another there."""
    for name in ("peer", "cluster"):
        (tmp_path / name).mkdir()
        make_certificates(tmp_path / name, ["node"])
    write_new_secret(tmp_path / "work.key", 32)

    def config(**changes):
        values = yaml.safe_load((ROOT / "deploy/endpoint.example.yaml").read_text())
        for at in (values["peer"], values["relay"]):
            at["tls"] = tls_files(tmp_path / "peer", "node")
        values["cluster"] = {
            "scheduler": "127.0.0.1:8786",
            "tls": tls_files(tmp_path / "cluster", "node"),
            "key_file": str(tmp_path / "work.key"),
            **changes,
        }
        path = tmp_path / "alice.yaml"
        path.write_text(yaml.safe_dump(values))
        return load_endpoint_config(path)

    return config


def test_a_cluster_that_is_well_has_a_key_of_its_endpoint(endpoint):
    config = endpoint()
    assert check_cluster(config, config.cluster).owner == config.endpoint_id


def test_what_is_wrong_with_a_cluster_is_named(endpoint, tmp_path):
    config = endpoint(tls=tls_files(tmp_path / "peer", "node"))
    with pytest.raises(ConfigError, match=r"cluster\.tls\.ca: .*ca\.crt.*of this cluster alone"):
        check_cluster(config, config.cluster)
    (tmp_path / "work.key").chmod(0o640)
    config = endpoint()
    with pytest.raises(ConfigError, match=r"cluster\.key_file: .*mode 0640"):
        check_cluster(config, config.cluster)
    write_new_secret(tmp_path / "short.key", 31)
    config = endpoint(key_file=str(tmp_path / "short.key"))
    with pytest.raises(ConfigError, match=r"31 bytes instead of 32"):
        check_cluster(config, config.cluster)
    config = endpoint(tls={**tls_files(tmp_path / "cluster", "node"), "key": str(EXAMPLE)})
    with pytest.raises(ConfigError, match=r"cluster\.tls"):
        check_cluster(config, config.cluster)
    with pytest.raises(ConfigError, match=r"cluster\.patience_s: 0\.5; allowed: 1 to 3600 s"):
        endpoint(patience_s=0.5)
