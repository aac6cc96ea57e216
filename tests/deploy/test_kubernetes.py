"""Manifests as kubectl builds them, against Kubernetes' schemas and our own readers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bellrelay.endpoint.cluster.config import load_cluster_config
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.endpoint.metrics import endpoint_metrics
from bellrelay.keys.kme_config import load_kme_config

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy/kubernetes"
OVERLAYS = ("alice-1", "network")
KUBERNETES = "1.31"
"""Old enough that clusters in use have it; a later one takes it, too."""
WITH_PODS = ("StatefulSet", "Deployment")


@pytest.fixture(scope="module")
def built(requires_program) -> dict[str, list[dict[str, Any]]]:
    """Documents of each overlay."""
    kubectl = requires_program("kubectl", "https://kubernetes.io/docs/tasks/tools (1.25 or later)")
    out = {}
    for name in OVERLAYS:
        words = [kubectl, "kustomize", str(MANIFESTS / "overlays" / name)]
        run = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        out[name] = list(yaml.safe_load_all(run.stdout))
    return out


def all_of(built, *kinds):
    return [d for documents in built.values() for d in documents if d["kind"] in kinds]


def pods(built):
    """(workload's name, specification of its pods)."""
    return [
        (d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in all_of(built, *WITH_PODS)
    ]


def containers(spec):
    return [*spec.get("initContainers", []), *spec["containers"]]


def test_every_document_is_one_of_kubernetes(built):
    for documents in built.values():
        for document in documents:
            if document["apiVersion"].startswith("keda.sh/"):
                continue  # no schema of it is at hand: see the test of its query
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    wrong = dict(all_of(built, "Deployment")[0])
    wrong["spec"] = {**wrong["spec"], "replica": 1}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_no_pod_is_root_or_writes_its_root_or_may_do_more(built):
    assert len(pods(built)) == 5
    for name, spec in pods(built):
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
    for namespace in all_of(built, "Namespace"):
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_images_are_named_by_digest(built):
    for _, spec in pods(built):
        for each in containers(spec):
            assert re.search(r"@sha256:[0-9a-f]{64}$", each["image"]), each["image"]


def test_what_serves_is_probed(built):
    for _, spec in pods(built):
        for each in spec["containers"]:
            if each["name"] != "prometheus-agent":
                assert {"livenessProbe", "readinessProbe"} <= set(each), each["name"]


def test_there_is_no_secret_in_a_manifest_and_every_one_that_is_named_is_told(built):
    assert not all_of(built, "Secret")
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    named = {
        volume["secret"]["secretName"]
        for _, spec in pods(built)
        for volume in spec["volumes"]
        if "secret" in volume
    }
    assert len(named) == 4
    for name in named:
        assert f"| `{name}` |" in page


def test_nothing_passes_the_network_that_is_not_listed(built):
    for documents in built.values():
        policies = {
            d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"
        }
        nothing = policies["nothing"]
        assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        labels = [
            d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] in WITH_PODS
        ]
        for own in labels:
            assert any(
                set(spec["podSelector"].get("matchLabels", {}).items()) <= set(own.items())
                for name, spec in policies.items()
                if name not in ("nothing", "names")
            ), own
        # Addresses of the base are nobody's; an overlay must have put in its own.
        assert "192.0.2.0/24" not in yaml.safe_dump(policies)


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


def config_maps(built):
    return {
        re.sub(r"-[a-z0-9]{10}$", "", d["metadata"]["name"]): d["data"]
        for d in all_of(built, "ConfigMap")
    }


def test_the_daemons_read_the_configurations_in_them(built, tmp_path):
    maps = config_maps(built)
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
    maps = config_maps(built)
    endpoint = yaml.safe_load(maps["endpoint-config"]["endpoint.yaml"])
    kme = yaml.safe_load(maps["endpoint-config"]["kme.yaml"])
    (spec,) = [spec for name, spec in pods(built) if name == "endpoint"]
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


def test_workers_are_counted_by_metrics_that_there_are(built):
    """Names of metrics in the queries, against what an endpoint exports."""
    (scaled,) = all_of(built, "ScaledObject")
    assert set(scaled["spec"]) == {
        "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval",
        "cooldownPeriod", "fallback", "triggers",
    }  # fmt: skip
    (trigger,) = scaled["spec"]["triggers"]
    text = Path(endpoint_metrics.__code__.co_filename).read_text()
    autoscaler = yaml.safe_load((MANIFESTS / "components/hpa/autoscaler.yaml").read_text())
    kubernetes_validate.validate(autoscaler, KUBERNETES, strict=True)
    external = autoscaler["spec"]["metrics"][0]["external"]["metric"]["name"]
    names = {*re.findall(r"bellrelay_\w+", trigger["metadata"]["query"]), external}
    assert len(names) == 2
    for name in names:
        assert f'"{name.removeprefix("bellrelay_endpoint_")}"' in text
    targets = {
        scaled["spec"]["scaleTargetRef"]["name"],
        autoscaler["spec"]["scaleTargetRef"]["name"],
    }
    assert targets == {"cluster-worker"}


def test_prometheus_takes_its_configurations(built, tmp_path, requires_program):
    promtool = requires_program("promtool", "apt-get install prometheus")
    maps = config_maps(built)
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
    maps = config_maps(built)
    config = tmp_path / "nats-server.conf"
    text = maps["nats-config"]["nats-server.conf"].replace("/etc/nats-secrets", str(tmp_path))
    config.write_text(text.replace("/var/lib/nats", str(tmp_path / "data")))
    (tmp_path / "accounts.conf").write_text(maps["nats-accounts"]["accounts.conf"])
    (spec,) = [spec for name, spec in pods(built) if name == "nats"]
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


class Upgrades:
    """`upgrade` with a kubectl and a bellrelay that say what a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        self.program(
            "kubectl",
            'echo "kubectl $*" >> "$CALLS"\n'
            'case "$*" in kustomize*) printf "metadata:\\n  namespace: alice-1\\n";;\n'
            '*"get statefulset"*) '
            'printf "statefulset.apps/endpoint\\ndeployment.apps/worker\\n";;\n'
            '*"rollout status"*) [ ! -e "$NOT_UP" ] || { rm "$NOT_UP"; exit 1; };; esac\n',
        )
        # One line of the file for each time that it is asked; well when there is none left.
        self.program(
            "bellrelay",
            'code=$(head -n 1 "$CODES"); sed -i 1d "$CODES"; exit "${code:-0}"\n',
        )

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(0o755)

    def run(
        self, codes: list[int], *, up: bool = True, minutes: str = "0"
    ) -> tuple[int, list[str]]:
        (self.folder / "codes").write_text("".join(f"{c}\n" for c in codes))
        self.calls.write_text("")
        not_up = self.folder / "not-up"
        if not up:
            not_up.touch()
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "CALLS": str(self.calls),
            "CODES": str(self.folder / "codes"),
            "NOT_UP": str(not_up),
            "UPGRADE_PAUSE_S": "0.05",
        }
        words = [str(MANIFESTS / "upgrade"), "overlay", "status.yaml", minutes]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        return ran.returncode, self.calls.read_text().splitlines()


def test_an_upgrade_is_watched_and_taken_back_when_the_site_is_worse(tmp_path):
    upgrades = Upgrades(tmp_path)
    code, calls = upgrades.run([0])
    assert code == 0
    assert "kubectl apply -k overlay" in calls
    assert not any("undo" in call for call in calls)
    # Not well before: nothing is touched.
    code, calls = upgrades.run([8])
    assert code == 3
    assert not any("apply" in call or "undo" in call for call in calls)
    # Pods that do not come up.
    code, calls = upgrades.run([0], up=False)
    assert code == 1
    undone = [call for call in calls if "undo" in call]
    assert undone == [
        "kubectl -n alice-1 rollout undo statefulset.apps/endpoint",
        "kubectl -n alice-1 rollout undo deployment.apps/worker",
    ]
    # Not well for long; five times in a row are forgiven.
    code, calls = upgrades.run([0, *[8] * 6], minutes="1")
    assert code == 1
    assert sum("undo" in call for call in calls) == 2
    assert subprocess.run([MANIFESTS / "upgrade"], capture_output=True, check=False).returncode == 2
