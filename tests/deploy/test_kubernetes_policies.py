"""Who may speak to whom, by the network policies as a cluster reads them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from manifests import WITH_PODS, Manifests


@dataclass(frozen=True)
class Party:
    """A pod, by its labels and those of its namespace, or an address outside."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    address: str = ""


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "another kind of selector: teach this test"
    return selector.get("matchLabels", {}).items() <= labels.items()


def is_peer(rule: dict[str, Any], own: str, party: Party) -> bool:
    """Whether an entry of `from` or `to` of a policy in the namespace `own` means this party."""
    if "ipBlock" in rule:
        assert set(rule) == {"ipBlock"}
        assert set(rule["ipBlock"]) == {"cidr"}
        inside = ipaddress.ip_network(rule["ipBlock"]["cidr"])
        return bool(party.address) and ipaddress.ip_address(party.address) in inside
    if party.address:
        return False
    if "namespaceSelector" in rule:
        marks = {"kubernetes.io/metadata.name": party.namespace, **party.marks}
        if not selected(rule["namespaceSelector"], marks):
            return False
    elif party.namespace != own:
        return False
    return selected(rule.get("podSelector", {}), party.labels)


class Network:
    """Policies of all overlays in one cluster."""

    def __init__(self, built: Manifests) -> None:
        self._policies = built.of("NetworkPolicy")
        self.marks = {d["metadata"]["name"]: d["metadata"]["labels"] for d in built.of("Namespace")}

    def pod(self, namespace: str, name: str, **more: str) -> Party:
        labels = {"app.kubernetes.io/name": name}
        if name.startswith("cluster-"):
            labels["bellrelay/cluster"] = "node"
        return Party(namespace, labels, {**self.marks.get(namespace, {}), **more})

    def _passes(self, way: str, at: Party, other: Party, port: int, protocol: str) -> bool:
        """Whether the policies at one end let it: each adds, and without any all may pass."""
        if at.address:
            return True
        kind = {"to": "Egress", "from": "Ingress"}[way]
        mine = [
            d["spec"]
            for d in self._policies
            if d["metadata"]["namespace"] == at.namespace
            and kind in d["spec"]["policyTypes"]
            and selected(d["spec"]["podSelector"], at.labels)
        ]
        return not mine or any(
            any(is_peer(peer, at.namespace, other) for peer in rule[way])
            and (
                "ports" not in rule
                or any((p["protocol"], p["port"]) == (protocol, port) for p in rule["ports"])
            )
            for spec in mine
            for rule in spec.get(kind.lower(), [])
        )

    def passes(self, source: Party, target: Party, port: int, protocol: str = "TCP") -> bool:
        return self._passes("to", source, target, port, protocol) and self._passes(
            "from", target, source, port, protocol
        )


PEER, RELAY, FAR_RELAY = "203.0.113.17", "203.0.113.40", "198.51.100.7"
STRANGER = "192.0.2.9"


@pytest.fixture(scope="module")
def network(built) -> Network:
    return Network(built)


@pytest.fixture(scope="module")
def parties(network) -> dict[str, Party]:
    """By name; where two sites are of one cluster, the other's begin with `bob's`."""
    site = {
        name: network.pod("alice-1", name, **{"bellrelay/announcements": "true"})
        for name in ("endpoint", "cluster-scheduler", "cluster-worker", "prometheus")
    }
    return {
        **site,
        "bob's worker": network.pod("bob-1", "cluster-worker"),
        "nats-0": network.pod("bellrelay-network", "nats"),
        "nats-1": network.pod("bellrelay-network", "nats"),
        "names": Party("kube-system", {"k8s-app": "kube-dns"}),
        "application": Party("shop", {}, {"bellrelay/applications": "true"}),
        "somebody": Party("elsewhere", {}),
        "alertmanager": Party("observers", {}, {"bellrelay/observers": "true"}),
        "keda": Party("keda", {}, {"bellrelay/observers": "true"}),
        "peer": Party(address=PEER),
        "relay": Party(address=RELAY),
        "far relay": Party(address=FAR_RELAY),
        "stranger": Party(address=STRANGER),
    }


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("endpoint", "relay", 7410),
        ("endpoint", "peer", 7420),
        ("endpoint", "peer", 8444),
        ("peer", "endpoint", 7420),
        ("peer", "endpoint", 8444),
        ("endpoint", "nats-0", 4222),
        ("endpoint", "relay", 4222),
        ("far relay", "nats-0", 4222),
        ("nats-0", "nats-1", 6222),
        ("application", "endpoint", 8443),
        ("endpoint", "cluster-scheduler", 8786),
        ("cluster-worker", "cluster-scheduler", 8786),
        ("cluster-scheduler", "cluster-worker", 41234),
        ("endpoint", "prometheus", 9090),
        ("prometheus", "cluster-scheduler", 9430),
        ("prometheus", "cluster-worker", 9431),
        ("prometheus", "alertmanager", 9093),
        ("keda", "prometheus", 9090),
    ],
)
def test_what_has_to_speak_may(network, parties, source, target, port):
    assert network.passes(parties[source], parties[target], port)


def test_all_find_names(network, parties, built):
    for document in built.of(*WITH_PODS):
        labels = document["spec"]["template"]["metadata"]["labels"]
        pod = Party(document["metadata"]["namespace"], labels)
        assert network.passes(pod, parties["names"], 53, "UDP"), labels


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        # Keys: to applications that are marked, and nobody who is only outside.
        ("somebody", "endpoint", 8443),
        ("peer", "endpoint", 8443),
        ("stranger", "endpoint", 7420),
        ("relay", "endpoint", 7420),
        ("application", "endpoint", 7420),
        # /health and metrics ask nobody for a certificate.
        ("application", "endpoint", 9420),
        ("somebody", "endpoint", 9091),
        ("somebody", "prometheus", 9090),
        ("somebody", "cluster-worker", 9431),
        # A cluster is one endpoint's.
        ("bob's worker", "cluster-scheduler", 8786),
        ("cluster-worker", "bob's worker", 41234),
        ("somebody", "cluster-scheduler", 8786),
        # Workers have key in hand, and nothing to say to anybody else.
        ("cluster-worker", "stranger", 443),
        ("cluster-worker", "endpoint", 7420),
        ("cluster-worker", "prometheus", 9090),
        ("endpoint", "stranger", 443),
        # The broker.
        ("somebody", "nats-0", 4222),
        ("stranger", "nats-0", 4222),
        ("far relay", "nats-0", 6222),
        ("far relay", "nats-0", 8222),
        ("nats-0", "endpoint", 7420),
    ],
)
def test_and_nothing_else(network, parties, source, target, port):
    assert not network.passes(parties[source], parties[target], port)


def test_an_endpoints_namespace_that_is_not_marked_has_no_broker(network, parties):
    endpoint = network.pod("alice-1", "endpoint")
    assert not network.passes(endpoint, parties["nats-0"], 4222)


def test_every_pod_is_under_the_policy_that_lists_nothing(built):
    for name in built:
        policies = {
            d["metadata"]["name"]: d["spec"] for d in built[name] if d["kind"] == "NetworkPolicy"
        }
        assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        # Addresses of the base are nobody's; an overlay must have put in its own.
        assert "192.0.2.0/24" not in yaml.safe_dump(policies)
