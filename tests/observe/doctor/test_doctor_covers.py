"""Everything that a file names on disk or in the network is looked at by `bellrelay doctor`."""

import re
from pathlib import Path

import pytest
import yaml

from bellrelay.endpoint.cluster.config import ClusterConfig
from bellrelay.endpoint.config import EndpointConfig
from bellrelay.keys.kme_config import KmeConfig
from bellrelay.observe.doctor.cluster_needs import cluster_needs
from bellrelay.observe.doctor.endpoint_needs import endpoint_needs
from bellrelay.observe.doctor.kme_needs import kme_needs
from bellrelay.observe.doctor.relay_needs import relay_needs
from bellrelay.relay.config import RelayConfig
from bellrelay.settings.load import check

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
TLS = {"certificate": "/c/own.crt", "key": "/c/own.key", "ca": "/c/ca.crt"}
TRACES = {"otlp": "https://collector:4318/v1/traces", **TLS}
AUDIT = {
    "directory": "/var/audit",
    "signing_key": "/c/audit.key",
    "forward": [
        {"name": "one", "address": "syslog:6514", "tls": TLS},
        {"name": "two", "transport": "unix", "path": "/run/syslog"},
    ],
}
BROKER = {"servers": ["broker:4222"], "tls": TLS}
MONITORS = {
    "unix_socket": "/run/m/socket",
    "listen": "0.0.0.0:7500",
    "tls": TLS,
    "each": {"arm": {"kind": "power"}},
}

# Keys that are looked at elsewhere, or can be missing while all is well.
ELSEWHERE = {
    "port": "the board's check opens it",
    "tracking.reference.file": "comes and goes with the reference",
    "view.token_file": "read as the view reads it",
    "view.endpoints": "the page says itself who does not answer",
    "source.directory": "the plugin's own, which is called",
    "intensity_monitor.file": "the monitor makes it",
    "monitors.files": "followed as they come",
    "timetable.file": "read as the endpoint reads it",
    "store.url": "the database is asked",
    "kek.pkcs11.module": "the KEK's check loads it",
    "audit.checkpoint_copies": "on other machines",
    "worker.host": "where others reach it",
}
RICH = {
    "relay": (
        RelayConfig,
        relay_needs,
        {
            "nats": BROKER,
            "traces": {**TRACES, "block_slots": 10**6},
            "monitors": MONITORS,
            "raw_tags": {"stream": True, "directory": "/var/tags"},
            "view": {
                "listen": "0.0.0.0:8010",
                "tls": {"certificate": "/c/view.crt", "key": "/c/view.key"},
                "token_file": "/c/tokens",
                "audit": AUDIT,
            },
        },
    ),
    "endpoint": (
        EndpointConfig,
        endpoint_needs,
        {
            "traces": TRACES,
            "cluster": {"scheduler": "cluster:8786", "tls": TLS, "key_file": "/c/work"},
            "sender": {"plugin": "lab"},
            "monitors": {
                **MONITORS,
                "each": {"laser": {"kind": "spectrum"}},
            },
            "secondaries": [
                {"id": "diana", "nats": BROKER, "source": {"plugin": "files", "directory": "/s"}},
                {
                    "id": "dora",
                    "unix_socket": "/run/dora",
                    "source": {"plugin": "files", "directory": "/t"},
                },
            ],
        },
    ),
    "kme": (
        KmeConfig,
        kme_needs,
        {
            "traces": TRACES,
            "audit": AUDIT,
            "kek": {
                "pkcs11": {
                    "module": "/usr/lib/hsm.so",
                    "token": "t",
                    "key": "k",
                    "pin_file": "/c/pin",
                },
                "previous": [{"file": "/c/kek"}],
            },
            "bridges": [
                {
                    "name": "vault",
                    "sae": "vpn-alice",
                    "https": {
                        "url": "https://vault:8200",
                        "tls": TLS,
                        "tenant": "t",
                        "token_file": "/c/token",
                    },
                },
                {
                    "name": "kmip",
                    "sae": "sae-alice-1",
                    "kmip": {"address": "hsm:5696", "tls": TLS},
                },
            ],
        },
    ),
    "cluster": (ClusterConfig, cluster_needs, {}),
}


def named(value, key=""):
    """Paths, addresses and URLs of a configuration, by where they stand."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from named(each, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from named(each, key)
    elif isinstance(value, Path) or (
        isinstance(value, str) and re.fullmatch(r"(/|https?://).+|\S+:\d+", value)
    ):
        yield key, str(value)


@pytest.mark.parametrize("kind", RICH)
def test_what_is_named_is_looked_at(kind):
    model, needs_of, more = RICH[kind]
    values = {**yaml.safe_load((DEPLOY / f"{kind}.example.yaml").read_text()), **more}
    config = check(model, values)
    told = repr(needs_of(config))
    found = dict(named(config.model_dump(exclude_unset=True)))
    assert len(found) > 5
    missed = {key: value for key, value in found.items() if not _told(value, told)}
    assert [key for key in missed if re.sub(r"secondaries\.", "", key) not in ELSEWHERE] == []


def _told(value, told):
    # Of a socket the directory is looked at, of a URL the server.
    parts = {value, str(Path(value).parent), re.sub(r"https?://|/.*", "", value)}
    return any(f"'{part}'" in told for part in parts if part not in (".", "/", ""))
