"""A pod's first start on an empty volume: its scripts are run, and the daemons look at their files.

The paths of a pod lead into a folder of the test's.
"""

from __future__ import annotations

import datetime
import os
import re
import secrets
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from manifests import ROOT

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.cli.run_certificates import make_certificates
from bellrelay.endpoint.cluster.config import load_cluster_config

MOUNTED = ("/etc/bellrelay", "/run/bellrelay", "/var/lib/bellrelay", "/secrets", "/tmp/")
WAIT_S = 60.0


class Pod:
    """Folders as they are mounted, and what runs in them."""

    def __init__(self, built, root):
        self.built, self.root = built, root
        for mounted in (*MOUNTED, "/run/bellrelay/secrets", "/run/bellrelay/config"):
            self.path(mounted).mkdir(parents=True, exist_ok=True)

    def path(self, mounted):
        return self.root / mounted.strip("/")

    def moved(self, text):
        """With every path of a pod led into our folder."""
        return re.sub(rf"(?<![\w/.])({'|'.join(MOUNTED)})", lambda at: f"{self.root}{at[1]}", text)

    def configure(self, name):
        for file, text in self.built.config_maps()[name].items():
            (self.path("/etc/bellrelay") / file).write_text(self.moved(text))

    def script(self, workload, container):
        """What an init container runs."""
        (spec,) = [spec for name, spec in self.built.pods() if name == workload]
        (own,) = [each for each in spec["initContainers"] if each["name"] == container]
        return [self.moved(word) for word in own["command"]]

    def start(self, words, **more):
        folders = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": folders, **more}
        return subprocess.Popen(
            words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
        )

    def run(self, words, given=b"", **more):
        process = self.start(words, **more)
        out, _ = process.communicate(given, WAIT_S)
        assert process.returncode == 0
        return out.decode()


@pytest.fixture
def pod(built, tmp_path):
    return Pod(built, tmp_path)


def secret(pod, name, files):
    """A Secret's files as a kubelet lays them: links to links, which the group may read."""
    folder = pod.path("/secrets") / name
    (folder / "..2026").mkdir(parents=True)
    (folder / "..data").symlink_to("..2026")
    for file, data in files.items():
        (folder / "..2026" / file).write_bytes(data)
        (folder / "..2026" / file).chmod(0o440)
        (folder / file).symlink_to(f"..data/{file}")


def listed(name):
    """Files of a Secret, as the page says."""
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    (line,) = re.findall(rf"^\| `{name}` \| (.*) \|$", page, re.M)
    return re.findall(r"`([\w.-]+)`", line)


def revocations(folder):
    """A list of an authority that has revoked nobody."""
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder(
        authority.subject, now - datetime.timedelta(hours=1), now + datetime.timedelta(days=1)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def fill(pod, tmp_path):
    """The pod's Secrets, with the files that the page lists."""
    nodes, cluster = tmp_path / "nodes", tmp_path / "cluster"
    for folder, names in ((nodes, ["alice-1", "kme-alice-1"]), (cluster, ["cluster"])):
        folder.mkdir()
        make_certificates(folder, names)
    key = tmp_path / "audit.key"
    made = {
        "kme-key": (nodes / "kme-alice-1.key").read_bytes(),
        "cluster-ca.crt": (cluster / "ca.crt").read_bytes(),
        "saes-crl.pem": revocations(nodes),
        "kme-kek": secrets.token_bytes(32),
        "work.key": secrets.token_bytes(32),
    }
    audit = pod.path("/etc/bellrelay") / "audit.yaml"
    text = (pod.path("/etc/bellrelay") / "kme.yaml").read_text()
    wanted = str(pod.path("/run/bellrelay/secrets") / "kme-audit-key")
    assert wanted in text
    audit.write_text(text.replace(wanted, str(key)))
    assert bellrelay("keys", "audit", "--create-key", "--config", audit) == ExitCode.OK
    audit.unlink()
    made["kme-audit-key"] = key.read_bytes()

    for path in [*nodes.iterdir(), *cluster.iterdir()]:
        made.setdefault(path.name, path.read_bytes())
    for authority in ("relays", "endpoints", "saes", "kmes"):
        made[f"{authority}-ca.crt"] = (nodes / "ca.crt").read_bytes()
    for name in ("endpoint", "kme"):
        secret(pod, name, {file: made[file] for file in listed(f"{name}-secrets")})


def bellrelay(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_endpoint_and_kme_find_what_they_need(pod, tmp_path, capsys):
    pod.configure("endpoint-config")
    fill(pod, tmp_path)
    pod.run(pod.script("endpoint", "secrets"))
    own = pod.path("/run/bellrelay/secrets")
    files = sorted(listed("endpoint-secrets") + listed("kme-secrets"))
    assert sorted(path.name for path in own.iterdir()) == files
    assert {stat.S_IMODE(path.lstat().st_mode) for path in own.iterdir()} == {0o600}
    endpoint = pod.path("/etc/bellrelay") / "endpoint.yaml"
    # Without a pool the endpoint would end at once; so its pod waits for who makes it.
    assert bellrelay("endpoint", "--config", endpoint, "--check") == ExitCode.STORAGE
    words = [word.replace("sleep 10", "sleep 0.1") for word in pod.script("endpoint", "pool")]
    waiting = pod.start(words)
    assert b"docs/how-to/kubernetes.md" in waiting.stdout.readline()
    assert waiting.poll() is None
    # As the page has it typed.
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    (line,) = [line for line in page.splitlines() if "--create-pool" in line]
    typed = shlex.split(pod.moved(line.removesuffix(" < pre-shared")))
    said = pod.run(typed[typed.index("--") + 1 :], secrets.token_bytes(4096))
    assert "made; destroy" in said
    assert not list(pod.path("/tmp/").iterdir())
    waiting.communicate(timeout=WAIT_S)
    assert waiting.returncode == 0
    assert bellrelay("endpoint", "--config", endpoint, "--check") == ExitCode.OK
    kme = pod.path("/etc/bellrelay") / "kme.yaml"
    assert bellrelay("kme", "--config", kme, "--check") == ExitCode.OK


def test_a_worker_is_told_its_address(pod):
    pod.configure("cluster-config")
    pod.run(pod.script("cluster-worker", "address"), POD_IP="10.20.30.40")
    config = load_cluster_config(pod.path("/run/bellrelay/config") / "worker.yaml")
    assert config.worker.host == "10.20.30.40"
