"""A `kubectl` with a cluster in the file $CLUSTER, as far as deploy/kubernetes/upgrade asks.

broken : images whose pods never get ready. refused : images that the cluster takes nobody's word
for. refused_for_good : images that only a real apply finds impossible. deleted : names of pods.

A StatefulSet waits for a pod that is not ready, whatever its template says meanwhile, as
Kubernetes' controller does; ready pods are replaced at once.
"""

import json
import os
import sys
from pathlib import Path

import yaml

FILE = Path(os.environ["CLUSTER"])
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
GROUPS = {
    "StatefulSet": "statefulset.apps",
    "Deployment": "deployment.apps",
    "NetworkPolicy": "networkpolicy.networking.k8s.io",
    "ConfigMap": "configmap",
}
UPDATE_REVISION = "jsonpath={.status.updateRevision}"
REVISIONS = 'jsonpath={range .items[*]}{.metadata.name}{" "}{.status.updateRevision}{"\\n"}{end}'
APPLIED = (
    'jsonpath={range .items[*]}{"---\\n"}{.metadata.annotations.'
    'kubectl\\.kubernetes\\.io/last-applied-configuration}{"\\n"}{end}'
)
READY = 'custom-columns=NAME:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status'


def load():
    if FILE.exists():
        return json.loads(FILE.read_text())
    return {"objects": {}, "pods": {}, "broken": [], "refused": [], "refused_for_good": [],
            "deleted": []}  # fmt: skip


def name_of(document):
    return f"{GROUPS[document['kind']]}/{document['metadata']['name']}"


def image_of(document):
    if "template" not in document.get("spec", {}):
        return None
    return document["spec"]["template"]["spec"]["containers"][0]["image"]


def documents_in(path):
    return [d for d in yaml.load_all(Path(path).read_text(), yaml.CSafeLoader) if d is not None]


def reconciled(state):
    """As controllers do, once a change has come to them."""
    for name, document in state["objects"].items():
        image = image_of(document)
        if image is None:
            continue
        pod = state["pods"].get(name)
        if pod is not None and not pod["ready"] and name.startswith("statefulset"):
            continue
        state["pods"][name] = {"image": image, "ready": image not in state["broken"]}


def apply(state, path, dry):
    code = 0
    for document in documents_in(path):
        image = image_of(document)
        if image in state["refused"] or (image in state["refused_for_good"] and not dry):
            print(f"{name_of(document)}: refused", file=sys.stderr)
            code = 1
        elif not dry:
            metadata = {**document["metadata"], "annotations": {ANNOTATION: json.dumps(document)}}
            state["objects"][name_of(document)] = {**document, "metadata": metadata}
    reconciled(state)
    return code


def get(state, words):
    if "-f" in words:
        wanted = {name_of(d) for d in documents_in(words[words.index("-f") + 1])}
        assert "--ignore-not-found" in words
    else:
        kinds = [f"{kind}.apps" for kind in words[1].split(",")]
        wanted = {name for name in state["objects"] if name.split("/")[0] in kinds}
    found = {name: o for name, o in state["objects"].items() if name in wanted}
    form = words[words.index("-o") + 1]
    if form == "name":
        print("".join(f"{name}\n" for name in found), end="")
    elif form == APPLIED:
        for document in found.values():
            applied = document["metadata"].get("annotations", {}).get(ANNOTATION, "")
            print(f"---\n{applied}")
    elif form == REVISIONS:
        for document in found.values():
            print(document["metadata"]["name"], revision(document))
    elif form == UPDATE_REVISION:
        print(revision(state["objects"][f"statefulset.apps/{words[2]}"]), end="")
    else:
        raise AssertionError(words)


def revision(document):
    return f"{document['metadata']['name']}-{image_of(document)}"


def get_pods(state, words):
    assert words[words.index("-o") + 1] == READY
    key, _, value = words[words.index("-l") + 1].partition("=")
    assert key == "controller-revision-hash"
    for name, pod in state["pods"].items():
        own = name.split("/")[1]
        if name.startswith("statefulset") and f"{own}-{pod['image']}" == value:
            print(f"{own}-0   {pod['ready']}")


def main(words):
    state = load()
    code = 0
    if words[0] == "kustomize":
        print((Path(words[1]) / "rendered.yaml").read_text())
        return 0
    if words[0] == "-n":
        words = words[2:]
    if words[0] == "apply":
        code = apply(state, words[words.index("-f") + 1], "--dry-run=server" in words)
    elif words[:2] == ["get", "pod"]:
        get_pods(state, words)
    elif words[0] == "get":
        get(state, words)
    elif words[:2] == ["rollout", "status"]:
        pod = state["pods"][words[2]]
        code = int(not pod["ready"] or pod["image"] != image_of(state["objects"][words[2]]))
    elif words[:2] == ["delete", "pod"]:
        state["deleted"].append(words[2])
        del state["pods"][f"statefulset.apps/{words[2].removesuffix('-0')}"]
        reconciled(state)
    else:
        raise AssertionError(words)
    FILE.write_text(json.dumps(state))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
