"""Workers by backlog: what KEDA and an HPA are told, against KEDA's own schema and our metrics."""

from __future__ import annotations

import copy
import re
from os.path import relpath
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from manifests import MANIFESTS, ROOT, kustomized

from bellrelay.endpoint.metrics import endpoint_metrics

KEDA = ROOT / "tests/data/keda"


def strict(schema: Any) -> Any:
    """A schema of Kubernetes' kind that takes no keys but its own: an API server drops others."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict):
            schema.setdefault("additionalProperties", False)
    elif isinstance(schema, list):
        schema = [strict(value) for value in schema]
    return schema


def keda_takes(document: dict[str, Any]) -> None:
    """jsonschema.ValidationError: it does not."""
    definition = yaml.safe_load((KEDA / "scaledobjects.yaml").read_text())["spec"]
    (version,) = definition["versions"]
    assert document["apiVersion"] == f"{definition['group']}/{version['name']}"
    schema = strict(version["schema"]["openAPIV3Schema"])
    jsonschema.Draft7Validator(schema).validate(document)
    (trigger,) = yaml.safe_load((KEDA / "prometheus-trigger.yaml").read_text())
    known = {each["name"]: each for each in trigger["parameters"]}
    needed = [
        name for name, each in known.items() if not each.get("optional") and "default" not in each
    ]
    for told in document["spec"]["triggers"]:
        words = {
            "type": "object",
            "properties": {name: {"type": each["type"]} for name, each in known.items()},
            "required": needed,
            "additionalProperties": False,
        }
        jsonschema.validate(told["metadata"], words)
        jsonschema.validate(told["type"], {"const": trigger["type"]})


@pytest.fixture
def scaled(built) -> dict[str, Any]:
    """The one document that is KEDA's."""
    (document,) = built.of("ScaledObject")
    return document


@pytest.fixture
def autoscaler() -> dict[str, Any]:
    """The other way to scale."""
    return yaml.safe_load((MANIFESTS / "components/hpa/autoscaler.yaml").read_text())


def test_keda_takes_it(scaled):
    keda_takes(scaled)
    spec = scaled["spec"]
    # A rule of the API server's own language, which no JSON schema has.
    assert spec["minReplicaCount"] <= spec["maxReplicaCount"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "minReplicas"), 1),
        (("spec", "minReplicaCount"), "1"),
        (("spec", "maxReplicaCount"), 0),
        (("spec", "scaleTargetRef"), {}),
        (("spec", "fallback", "replicas"), None),
        (("spec", "triggers"), []),
        (("spec", "triggers", 0, "type"), "prometeus"),
        (("spec", "triggers", 0, "metadata", "threshold"), 4),
        (("spec", "triggers", 0, "metadata", "address"), "http://prometheus:9090"),
        (("spec", "triggers", 0, "metadata"), {"query": "up", "threshold": "1"}),
    ],
)
def test_what_keda_does_not_take_is_seen(scaled, path, value):
    wrong = copy.deepcopy(scaled)
    at = wrong
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        keda_takes(wrong)


def test_keda_asks_the_sites_prometheus_from_another_namespace(built, scaled):
    (trigger,) = scaled["spec"]["triggers"]
    names = {d["metadata"]["name"]: d for d in built["alice-1"] if d["kind"] == "Service"}
    (port,) = names["prometheus"]["spec"]["ports"]
    namespace = scaled["metadata"]["namespace"]
    address = f"http://prometheus.{namespace}.svc:{port['port']}"
    assert trigger["metadata"]["serverAddress"] == address


def test_workers_are_counted_by_metrics_that_there_are(scaled, autoscaler):
    (trigger,) = scaled["spec"]["triggers"]
    text = Path(endpoint_metrics.__code__.co_filename).read_text()
    external = autoscaler["spec"]["metrics"][0]["external"]["metric"]["name"]
    names = {*re.findall(r"bellrelay_\w+", trigger["metadata"]["query"]), external}
    assert len(names) == 2
    for name in names:
        assert f'"{name.removeprefix("bellrelay_endpoint_")}"' in text


def test_the_autoscaler_is_one_of_kubernetes(autoscaler):
    kubernetes_validate.validate(autoscaler, "1.31", strict=True)


@pytest.mark.parametrize("component", ["keda", "hpa"])
def test_how_many_workers_there_are_is_said_by_what_scales_them(tmp_path, component):
    """An overlay that is applied again leaves them as many as they are."""
    source = MANIFESTS / "overlays/alice-1"
    values = yaml.safe_load((source / "kustomization.yaml").read_text())
    # Kustomize takes paths that lead upwards, none that begin at the root.
    values["components"] = [relpath(MANIFESTS / "components" / component, tmp_path)]
    values["resources"] = [relpath(MANIFESTS / "site", tmp_path)]
    for generated in values["configMapGenerator"]:
        for file in generated["files"]:
            (tmp_path / file).write_text((source / file).read_text())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(values))
    documents = kustomized(tmp_path)
    kind = {"keda": "ScaledObject", "hpa": "HorizontalPodAutoscaler"}[component]
    (scaling,) = [d for d in documents if d["kind"] == kind]
    target = scaling["spec"]["scaleTargetRef"]["name"]
    (workers,) = [
        d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Deployment", target)
    ]
    assert "replicas" not in workers["spec"]
