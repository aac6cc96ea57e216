"""A Kubernetes API server, as far as a real kubectl asks it for deploy/kubernetes/upgrade.

Objects are what was applied last. A StatefulSet waits for a pod that is not ready, whatever its
template says meanwhile, as Kubernetes' controller does; ready pods are replaced at once.
"""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
RESOURCES = {
    "v1": {"configmaps": "ConfigMap", "pods": "Pod", "namespaces": "Namespace"},
    "apps/v1": {"statefulsets": "StatefulSet", "deployments": "Deployment"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
}
Object = dict[str, Any]


def image_of(document: Object) -> str | None:
    """Of a workload; None: it is none."""
    template = document.get("spec", {}).get("template")
    return None if template is None else template["spec"]["containers"][0]["image"]


class PretendCluster:
    """A context.

    Attributes
    ----------
    objects : dict
        By kind and name.
    broken : set of str
        Images whose pods never get ready.
    refused : set of str
        Images with which a workload is not taken.
    refused_for_good : set of str
        Images with which it is not taken either, but a dry run does not find that.
    deleted : list of str
        Pods that somebody deleted.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.broken: set[str] = set()
        self.refused: set[str] = set()
        self.refused_for_good: set[str] = set()
        self.deleted: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self) -> PretendCluster:
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ----------------------------------------------------------------------- what is asked

    def take(self, document: Object, dry: bool) -> Object | None:
        """What was applied; None: it is refused."""
        image = image_of(document)
        if image in self.refused or (image in self.refused_for_good and not dry):
            return None
        with self._lock:
            key = document["kind"], document["metadata"]["name"]
            applied = json.dumps(document)
            metadata = {**document["metadata"], "uid": "1", "resourceVersion": "1"}
            metadata["annotations"] = {ANNOTATION: applied}
            made = {**document, "metadata": metadata}
            if not dry:
                self.objects[key] = made
                self._reconcile()
            return made

    def delete_pod(self, name: str) -> None:
        """It is gone, and its workload has another made."""
        with self._lock:
            self.deleted.append(name)
            del self.objects["Pod", name]
            self._reconcile()

    def _reconcile(self) -> None:
        for (kind, name), document in list(self.objects.items()):
            image = image_of(document)
            if image is None:
                continue
            pod = self.objects.get(("Pod", f"{name}-0"))
            stuck = kind == "StatefulSet" and pod is not None and not pod["ready"]
            if not stuck:
                ready = image not in self.broken
                pod = self.objects["Pod", f"{name}-0"] = _pod(kind, name, image, ready)
            assert pod is not None
            _tell(document, f"{name}-{image}", pod)


def _pod(kind: str, name: str, image: str, ready: bool) -> Object:
    labels = {"controller-revision-hash": f"{name}-{image}"} if kind == "StatefulSet" else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-0", "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
        "ready": ready,
        "revision": f"{name}-{image}",
    }


def _tell(document: Object, revision: str, pod: Object) -> None:
    """Put the defaults of an API server, and what a controller says, into a workload."""
    updated, ready = pod["revision"] == revision, int(pod["ready"])
    document["metadata"]["generation"] = 1
    document["spec"].setdefault("replicas", 1)
    document["spec"].setdefault("updateStrategy", {"type": "RollingUpdate"})
    document["status"] = {
        "observedGeneration": 1,
        "replicas": 1,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "updatedReplicas": int(updated),
        "currentRevision": pod["revision"],
        "updateRevision": revision,
    }


class _Handler(BaseHTTPRequestHandler):
    cluster: PretendCluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _say(self, answer: Object, code: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, code: int, reason: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        self._say({**status, "code": code, "reason": reason, "message": reason}, code)

    def _say_nothing(self) -> None:
        """Nothing changes while somebody watches: until he goes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.connection.recv(1)
        self.close_connection = True

    def _body(self) -> Object:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _place(self) -> tuple[str, list[str], dict[str, list[str]]]:
        """(version of the API, what comes after it, query)."""
        split = urlsplit(self.path)
        words = split.path.strip("/").split("/")
        size = 2 if words[0] == "api" else 3
        rest = words[size:]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        return "/".join(words[1:size]), rest, parse_qs(split.query)

    def do_GET(self) -> None:
        if self.path.startswith("/api?") or self.path == "/api":
            self._say({"kind": "APIVersions", "versions": ["v1"]})
            return
        if self.path.startswith("/apis?") or self.path == "/apis":
            self._say({"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups()})
            return
        if self.path.startswith("/openapi/v3"):
            self._say(_openapi(urlsplit(self.path).path.removeprefix("/openapi/v3").strip("/")))
            return
        version, rest, query = self._place()
        if version not in RESOURCES:
            self._fail(404, "NotFound")
        elif not rest:
            self._say(_resources(version))
        elif len(rest) == 1:
            self._list(version, RESOURCES[version][rest[0]], query)
        else:
            found = self.cluster.objects.get((RESOURCES[version][rest[0]], rest[1]))
            self._say(found) if found else self._fail(404, "NotFound")

    def _list(self, version: str, kind: str, query: dict[str, list[str]]) -> None:
        if "sendInitialEvents" in query:
            self._fail(400, "BadRequest")  # then it lists first
            return
        if "watch" in query:
            self._say_nothing()
            return
        wanted = dict(
            pair.split("=")
            for each in query.get("labelSelector", []) + query.get("fieldSelector", [])
            for pair in each.split(",")
        )
        name = wanted.pop("metadata.name", None)
        items = [
            document
            for (own, own_name), document in self.cluster.objects.items()
            if own == kind
            and name in (None, own_name)
            and wanted.items() <= document["metadata"].get("labels", {}).items()
        ]
        head = {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}}
        self._say({**head, "items": items})

    def do_POST(self) -> None:
        _, _, query = self._place()
        self._take(self._body(), "dryRun" in query)

    def do_PATCH(self) -> None:
        _, _, query = self._place()
        # What is applied stands whole in the annotation.
        self._take(self._body(), "dryRun" in query)

    def _take(self, body: Object, dry: bool) -> None:
        annotations = body.get("metadata", {}).get("annotations", {})
        document = json.loads(annotations[ANNOTATION])
        made = self.cluster.take(document, dry)
        self._say(made) if made else self._fail(422, "Invalid")

    def do_DELETE(self) -> None:
        _, rest, _ = self._place()
        self._body()
        assert rest[0] == "pods"
        self.cluster.delete_pod(rest[1])
        self._say({"kind": "Status", "apiVersion": "v1", "status": "Success"})


def _groups() -> list[Object]:
    found = []
    for version in RESOURCES:
        group, _, number = version.rpartition("/")
        if group:
            each = {"groupVersion": version, "version": number}
            found.append({"name": group, "versions": [each], "preferredVersion": each})
    return found


def _openapi(place: str) -> Object:
    """Of one version of the API, or the list of them: that a patch may be strict, and dry."""
    places = {"api/v1" if v == "v1" else f"apis/{v}": v for v in RESOURCES}
    if not place:
        return {"paths": {p: {"serverRelativeURL": f"/openapi/v3/{p}"} for p in places}}
    group, _, number = places[place].rpartition("/")
    paths = {
        f"/{place}/{name}": {
            "patch": {
                "parameters": [{"name": n, "in": "query"} for n in ("fieldValidation", "dryRun")],
                "responses": {},
                "x-kubernetes-group-version-kind": {
                    "group": group,
                    "version": number,
                    "kind": kind,
                },
            }
        }
        for name, kind in RESOURCES[places[place]].items()
    }
    head = {"openapi": "3.0.0", "info": {"title": "pretended", "version": "1"}}
    return {**head, "paths": paths}


def _resources(version: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "watch"]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": [
            {
                "name": name,
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": verbs,
            }
            for name, kind in RESOURCES[version].items()
        ],
    }
