"""Manifests as kubectl builds them, against Kubernetes' schemas and our own readers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from manifests import ROOT, WITH_PODS, containers

from bellrelay.endpoint.cluster.config import load_cluster_config
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.keys.kme_config import load_kme_config

KUBERNETES = "1.31"
"""Old enough that clusters in use have it; a later one takes it, too."""


def test_every_document_is_one_of_kubernetes(built):
    for documents in built.values():
        for document in documents:
            if document["kind"] != "ScaledObject":  # KEDA's: test_kubernetes_scaling.py
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
    wrong = dict(built.of("Deployment")[0])
    wrong["spec"] = {**wrong["spec"], "replica": 1}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_no_pod_is_root_or_writes_its_root_or_may_do_more(built):
    assert len(built.pods()) == 5
    for name, spec in built.pods():
        assert spec["automountServiceAccountToken"] is False, name
        security = spec["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["runAsUser"] > 1000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for each in containers(spec):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, each["name"]
            assert "memory" in each["resources"]["limits"], each["name"]
    for namespace in built.of("Namespace"):
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_images_are_named_by_digest(built):
    for _, spec in built.pods():
        for each in containers(spec):
            assert re.search(r"@sha256:[0-9a-f]{64}$", each["image"]), each["image"]


def test_the_image_is_built_of_what_there_is_and_is_not_root():
    text = (ROOT / "deploy/images/Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    # One base, whose digest is the builder's to name.
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${BASE} AS build",
        "FROM ${BASE}",
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (extras,) = re.findall(r"pip install .*'\.\[([\w,]+)\]'", text)
    assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"])
    copied = {w for line in lines if line.startswith("COPY ") for w in line.split()[1:-1]}
    packages = {
        Path(p).parts[0] for p in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    }
    assert packages | {"pyproject.toml", "README.md", "LICENSE"} <= copied
    (user,) = [line.split()[1] for line in lines if line.startswith("USER")]
    assert user == "64000:64000"


def test_what_serves_is_probed(built):
    for _, spec in built.pods():
        for each in spec["containers"]:
            assert {"livenessProbe", "readinessProbe"} <= set(each), each["name"]
            # Over HTTP it is the kubelet that asks, from outside the pod: by a port that is told.
            ports = {port["name"] for port in each.get("ports", [])}
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                if "httpGet" in each.get(kind, {}):
                    assert each[kind]["httpGet"]["port"] in ports, each["name"]


def test_there_is_no_secret_in_a_manifest_and_every_one_that_is_named_is_told(built):
    assert not built.of("Secret")
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    named = {
        volume["secret"]["secretName"]
        for _, spec in built.pods()
        for volume in spec["volumes"]
        if "secret" in volume
    }
    assert len(named) == 4
    for name in named:
        assert f"| `{name}` |" in page


def test_every_workload_has_a_budget_and_selectors_find_pods(built):
    for documents in built.values():
        labels = {
            d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"]
            for d in documents
            if d["kind"] in WITH_PODS
        }
        found = set()
        for each in documents:
            if each["kind"] == "PodDisruptionBudget":
                wanted = each["spec"]["selector"]["matchLabels"].items()
                hits = {n for n, own in labels.items() if wanted <= own.items()}
                assert len(hits) == 1
                found |= hits
            if each["kind"] == "Service":
                wanted = each["spec"]["selector"].items()
                assert any(wanted <= own.items() for own in labels.values())
        assert found == set(labels) - {"prometheus"}


def test_the_daemons_read_the_configurations_in_them(built, tmp_path):
    maps = built.config_maps()
    for name in ("endpoint-config", "cluster-config"):
        for file, text in maps[name].items():
            (tmp_path / file).write_text(text)
    endpoint = load_endpoint_config(tmp_path / "endpoint.yaml")
    kme = load_kme_config(tmp_path / "kme.yaml")
    scheduler = load_cluster_config(tmp_path / "scheduler.yaml")
    worker = load_cluster_config(tmp_path / "worker.yaml")
    assert kme.intake is not None
    assert kme.intake.directory == endpoint.store.directory
    assert kme.intake.endpoint_id == endpoint.endpoint_id
    assert endpoint.cluster is not None
    assert endpoint.cluster.scheduler == worker.scheduler
    owners = {endpoint.endpoint_id, scheduler.endpoint_id, worker.endpoint_id}
    assert owners == {"alice-1"}
    assert worker.worker.host == "POD_IP"
    # What they name must be there: in a Secret that the page lists, or on the volume.
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    for text in [*maps["endpoint-config"].values(), *maps["cluster-config"].values()]:
        for path in re.findall(r"^[^#\n]*?(/(?:run|var|etc)/[\w./-]+)", text, re.M):
            if path.startswith("/run/bellrelay/secrets/"):
                assert f"`{Path(path).name}`" in page, path
            else:
                assert path.startswith(("/var/lib/bellrelay/", "/run/bellrelay/work")), path


def test_ports_of_probes_and_services_are_those_of_the_configurations(built):
    maps = built.config_maps()
    endpoint = yaml.safe_load(maps["endpoint-config"]["endpoint.yaml"])
    kme = yaml.safe_load(maps["endpoint-config"]["kme.yaml"])
    (spec,) = [spec for name, spec in built.pods() if name == "endpoint"]
    by_name = {each["name"]: each for each in spec["containers"]}
    for name, values in (("endpoint", endpoint), ("kme", kme)):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            (code,) = by_name[name][probe]["exec"]["command"][2:]
            assert f"http://{values['health']['listen']}/" in code
    ports = {p["name"]: p["containerPort"] for c in spec["containers"] for p in c.get("ports", [])}
    listens = (endpoint["peer"]["listen"], kme["listen"], kme["peer"]["listen"])
    assert [f"0.0.0.0:{ports[n]}" for n in ("peer", "keys", "kme-peer")] == list(listens)
    agent = yaml.safe_load(maps["endpoint-agent"]["agent.yml"])
    scraped = [t for job in agent["scrape_configs"] for t in job["static_configs"][0]["targets"]]
    assert scraped == [endpoint["health"]["listen"], kme["health"]["listen"]]


def test_prometheus_takes_its_configurations(built, tmp_path, requires_program):
    promtool = requires_program("promtool", "apt-get install prometheus")
    maps = built.config_maps()
    (tmp_path / "bellrelay.rules.yml").write_text(maps["bellrelay-rules"]["bellrelay.rules.yml"])
    text = maps["prometheus-config"]["prometheus.yml"]
    text = text.replace("/etc/prometheus-rules", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "agent.yml").write_text(maps["endpoint-agent"]["agent.yml"])
    for words in (["prometheus.yml"], ["--agent", "agent.yml"]):
        check = [promtool, "check", "config", *words[:-1], str(tmp_path / words[-1])]
        run = subprocess.run(check, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr + run.stdout


def test_the_broker_takes_its_configuration(built, tmp_path, requires_program):
    from bellrelay.cli.run_certificates import make_certificates

    program = requires_program("nats-server", "apt-get install nats-server")
    make_certificates(tmp_path, ["nats-0", "nats-0-route"])
    for name in ("nodes", "routes"):
        shutil.copy(tmp_path / "ca.crt", tmp_path / f"{name}-ca.crt")
    maps = built.config_maps()
    config = tmp_path / "nats-server.conf"
    text = maps["nats-config"]["nats-server.conf"].replace("/etc/nats-secrets", str(tmp_path))
    config.write_text(text.replace("/var/lib/nats", str(tmp_path / "data")))
    (tmp_path / "accounts.conf").write_text(maps["nats-accounts"]["accounts.conf"])
    (spec,) = [spec for name, spec in built.pods() if name == "nats"]
    environment = {
        e["name"]: e["value"]
        .replace("$(POD_NAME)", "nats-0")
        .replace("/etc/nats-secrets", str(tmp_path))
        for e in spec["containers"][0]["env"]
        if "value" in e
    }
    check = [program, "-t", "--config", str(config)]
    run = subprocess.run(
        check,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment, "POD_NAME": "nats-0"},
    )
    assert run.returncode == 0, run.stderr + run.stdout
