"""`bellrelay keys` as an operator uses it, on stores that hold keys in all states."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from audit_lines import actions, records, segments
from https_kms import HttpsKms
from kme_certificates import Authority
from store_pairs import RECORD, Records
from two_sites import SITES, TwoSites

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.keys import _COMMANDS
from bellrelay.cli.main import main
from bellrelay.keys.bridge_intake import take_owed
from bellrelay.keys.bridge_service import open_backlog
from bellrelay.keys.kek_file import write_kek_file
from bellrelay.keys.key_requests import FetchRequest, ReserveRequest
from bellrelay.keys.key_store import KeyStore
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.open_store import open_store
from bellrelay.keys.provenance import FinishedKey, Provenance

UNITS = 16
Run = Callable[..., tuple[int, Any]]


@dataclass
class Site:
    """kme-b as its operator has it; keys were made and given out together with kme-a."""

    sites: TwoSites
    blocks: dict[str, str]
    material: list[bytes]

    @property
    def config(self) -> Path:
        return self.sites.config("kme-b")

    @property
    def audit(self) -> Path:
        return self.sites.folder / "kme-b" / "audit"

    def change(self, site: str = "kme-b", **sections: Any) -> None:
        path = self.sites.config(site)
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))

    @contextlib.contextmanager
    def stores(self) -> Iterator[tuple[KeyStore, KeyStore]]:
        opened = [open_store(load_kme_config(self.sites.config(s)), Records()) for s in SITES]
        yield opened[0], opened[1]
        for store in opened:
            store.close()

    def give(self, number: int, fetch: int = 0) -> list[str]:
        """Keys of alice's, of which bob has fetched some."""
        with self.stores() as (a, b):
            (got,) = a.reserve([ReserveRequest("bank", "alice", ("bob",), number, 256)])
            assert isinstance(got, list)
            b.adopt(got)
            names = [r.key_id for r in got]
            a.deliver(names)
            b.fetch([FetchRequest("bob", "alice", (name,)) for name in names[:fetch]])
        return names


@pytest.fixture
def site(tmp_path: Path) -> Site:
    sites = TwoSites(tmp_path, [("bank", "alice", "bob", 1)])
    site = Site(sites, {}, [])
    with site.stores() as stores:
        for number, relay in enumerate(("charlie-1", "charlie-2")):
            name, bits = str(uuid.uuid4()), os.urandom(32 * UNITS)
            made = time.time_ns() - 10**9
            facts = Provenance(name, relay, 1, number, made - 10**9, made, 256 * UNITS, RECORD)
            for store in stores:
                store.add_block(FinishedKey(facts, bits))
            site.blocks[relay] = name
            site.material.append(bits)
        for store in stores:
            store.peer_has(site.blocks.values())
    return site


@pytest.fixture
def keys(site: Site, capsys: pytest.CaptureFixture[str]) -> Run:
    """`bellrelay keys ... --config kme-b.yaml --json`: exit code, and what was printed."""

    def run(*words: str) -> tuple[int, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["keys", *words, "--config", str(site.config), "--json"])
        assert isinstance(ended.value.code, int)
        printed = capsys.readouterr()
        for bits in site.material:
            assert bits[:32].hex() not in printed.out + printed.err
        return ended.value.code, json.loads(printed.out) if printed.out else printed.err

    return run


# ----------------------------------------------------------------------------------------- looking


def test_every_command_has_help_with_an_example() -> None:
    for name, (_, example) in _COMMANDS.items():
        assert example.startswith(f"bellrelay keys {name}")
    ran = subprocess.run(
        [sys.executable, "-m", "bellrelay", "keys", "revoke", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Example: bellrelay keys revoke" in ran.stdout


def test_list(site: Site, keys: Run) -> None:
    names = site.give(4, fetch=1)
    code, said = keys("list")
    assert code == ExitCode.OK
    assert [key["key_id"] for key in said["keys"]] == sorted(names)
    assert {key["state"] for key in said["keys"]} == {"reserved", "consumed"}
    _, consumed = keys("list", "--state", "consumed")
    assert list(consumed["keys"][0]["taken"]) == ["bob"]
    assert keys("list", "--limit", "2", "--after", sorted(names)[1])[1]["keys"] == said["keys"][2:]
    assert keys("list", "--relay", "nobody")[1] == {"keys": []}
    _, one = keys("list", "--key", names[0])
    assert one["provenance"][0]["epsilon"] == 2e-10
    assert one["provenance"][0]["relay"] in site.blocks


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--state", "lost"],
        ["list", "--from", "yesterday"],
        ["list", "--from", "2026-11-25T04:00"],
        ["list", "--from", "2026-11-25T04:00Z", "--to", "2026-11-25T03:00Z"],
        ["list", "--key", "none"],
        ["suspend"],
        ["release"],
        ["revoke", "none"],
        ["revoke", "a", "--key", "b"],
        ["push", "--bridge", "none"],
        ["audit"],
        ["audit", "--verify", "--create-key"],
        ["audit", "--checkpoint", "--checkpoints", "a"],
        ["audit", "--verify", "--directory", "/nowhere"],
        ["nothing"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_a_usage_error(keys: Run, words: list[str]) -> None:
    assert keys(*words)[0] == ExitCode.USAGE


def test_status(site: Site, keys: Run) -> None:
    site.give(3)
    code, said = keys("status")
    assert code == ExitCode.OK
    assert said["kme_id"] == "kme-b"
    own, other = sorted(said["pairs"], key=lambda row: not row["own"])
    assert own["free"] + other["free"] == 2 * UNITS - 3
    assert other["reserved"] == 3
    assert said["alarms"] == []
    assert keys("status", "--check")[0] == ExitCode.OK
    site.change(keys={"low_water": 1000})
    code, said = keys("status", "--check")
    assert code == ExitCode.CHECK_FAILED
    assert said["alarms"] == [f"pair bank: {own['free']} units are left"]


def test_looking_leaves_no_audit_log(site: Site, keys: Run) -> None:
    keys("list")
    keys("status")
    assert not site.audit.exists()


def test_for_people(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = site.give(1)
    for words, expected in (
        (["status"], "audit log: 0 lines"),
        (["list"], "bank"),
        (["list", "--key", name], "epsilon 2e-10"),
        (["suspend", "--relay", "charlie-1"], "give the same command at kme-a"),
        (["status"], "ALARM: suspension"),
        (["release"], "released: "),
        (["suspend", "--relay", "charlie-1", "--no-archive"], "held back"),
        (["revoke"], "revoked: "),
        (["rotate"], "0 units and 0 keys"),
        (["expire"], "0 units and 0 keys expired"),
        (["push"], ""),
        (["audit", "--verify"], "\nwhole\n"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["keys", *words, "--config", str(site.config)])
        assert ended.value.code == ExitCode.OK
        assert expected in capsys.readouterr().out


# ---------------------------------------------------------------------------------------- incident


def test_an_incident_from_suspicion_to_release(site: Site, keys: Run) -> None:
    site.give(2)
    include = site.sites.folder / "oscilloscope.csv"
    include.write_text("t,v\n")
    code, said = keys(
        *("suspend", "--relay", "charlie-1", "--reason", "blinding suspected"),
        *("--include", str(include)),
    )
    assert code == ExitCode.OK
    assert said["scope"]["blocks"] == 1
    with site.stores() as (_, store):
        assert store.counts()["bank", store.side].suspended > 0
    manifest = said["archive"]
    archive = Path(manifest["archive"])
    assert archive.parent == site.audit / "incidents"
    assert archive.stat().st_mode & 0o777 == 0o600
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == manifest["sha256"]
    check_archive(archive, site)
    code, status = keys("status", "--check")
    assert code == ExitCode.CHECK_FAILED
    assert status["suspensions"][0]["suspension_id"] == said["suspension_id"]
    code, released = keys("release", "--reason", "false alarm")
    assert (code, released["verdict"]) == (ExitCode.OK, "released")
    with site.stores() as (_, store):
        assert store.counts()["bank", store.side].suspended == 0
    found = actions(site.audit)
    assert [a for a in found if not a.startswith("audit-")] == [
        "keys-suspended",
        "incident-archived",
        "keys-resumed",
    ]
    suspended = next(r for r in records(site.audit) if r["event.action"] == "keys-suspended")
    assert suspended["user.id"].startswith("operator:")
    assert suspended["bellrelay.reason"] == "blinding suspected"
    archived = next(r for r in records(site.audit) if r["event.action"] == "incident-archived")
    assert archived["bellrelay.archive_sha256"] == manifest["sha256"]


def check_archive(archive: Path, site: Site) -> None:
    with tarfile.open(archive) as tar:
        contents = {
            entry.name: file.read() for entry in tar if (file := tar.extractfile(entry)) is not None
        }
    assert list(contents)[-1] == "manifest.json"
    manifest = json.loads(contents.pop("manifest.json"))
    assert {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in contents.items()
    } == manifest["files"]
    assert contents["included/0-oscilloscope.csv"] == b"t,v\n"
    blocks = [json.loads(line) for line in contents["blocks.jsonl"].splitlines()]
    assert [block["block_id"] for block in blocks] == [site.blocks["charlie-1"]]
    assert blocks[0]["record"]["epsilons"]["total"] == 2e-10
    for line in contents["keys.jsonl"].splitlines():
        assert site.blocks["charlie-1"] in json.loads(line)["blocks"]
    assert any(name.startswith("audit/audit-") for name in contents)
    whole = b"".join(contents.values()).lower()
    for bits in site.material:
        for unit in (bits[32 * n : 32 * n + 32] for n in range(UNITS)):
            assert unit not in whole
            assert unit.hex().encode() not in whole


def test_an_incident_that_ends_in_revocation(site: Site, keys: Run) -> None:
    names = site.give(4)
    _, said = keys("suspend", "--from", "2020-01-01T00:00Z", "--no-archive")
    assert said["archive"] is None
    assert said["scope"]["keys_in_flight"] == 4
    _, second = keys("suspend", "--relay", "charlie-2", "--no-archive")
    code, error = keys("revoke")
    assert code == ExitCode.USAGE
    assert second["suspension_id"] in error.replace("\n", "").replace("│", "").replace(" ", "")
    code, revoked = keys("revoke", said["suspension_id"], "--reason", "confirmed")
    assert (code, revoked["verdict"]) == (ExitCode.OK, "revoked")
    _, listed = keys("list", "--state", "revoked")
    assert [key["key_id"] for key in listed["keys"]] == sorted(names)
    with site.stores() as (_, store):
        assert not any(count.free for count in store.counts().values())


def test_single_keys_are_revoked(site: Site, keys: Run) -> None:
    names = site.give(2, fetch=1)
    code, said = keys("revoke", "--key", names[0], "--key", names[1])
    assert code == ExitCode.OK
    assert said == {"revoked": [names[1]], "not_revoked": [names[0]]}


def test_an_archive_is_never_overwritten_and_the_keys_are_held_back_all_the_same(
    site: Site, keys: Run, tmp_path: Path
) -> None:
    there = tmp_path / "there.tar.gz"
    there.write_text("precious")
    code, _ = keys("suspend", "--relay", "charlie-1", "--archive", str(there))
    assert code == ExitCode.USAGE
    assert there.read_text() == "precious"
    assert len(keys("status")[1]["suspensions"]) == 1
    assert list(tmp_path.glob(".there*")) == []


def test_where_auditing_fails_nothing_is_suspended(site: Site, keys: Run) -> None:
    site.audit.parent.joinpath("audit").mkdir()
    broken = site.audit / "audit-0000000000000000.jsonl"
    broken.write_text('{"event.sequence":5,"bellrelay.audit.prev":"x"}\n')
    code, error = keys("suspend", "--relay", "charlie-1")
    assert code == ExitCode.STORAGE
    assert error.startswith("bellrelay: ")
    assert keys("status")[1]["suspensions"] == []


# ------------------------------------------------------------------------------------------- upkeep


def test_another_kek(site: Site, keys: Run, tmp_path: Path) -> None:
    old, new = tmp_path / "kme-b" / "kek", tmp_path / "kme-b" / "kek-2"
    write_kek_file(new)
    site.change(kek={"file": str(new), "previous": [{"file": str(old)}]})
    code, said = keys("rotate")
    assert code == ExitCode.OK
    assert said["units"] == 2 * UNITS
    assert said["left"] == {}
    site.change(kek={"file": str(new)})
    old.unlink()
    assert keys("status")[1]["units_by_kek"] == {said["kek"]: 2 * UNITS}


def test_key_that_is_too_old_expires(site: Site, keys: Run) -> None:
    site.change(keys={"max_age_s": 60.0, "margin_s": 0.0})
    assert keys("expire")[1]["units_expired"] == 0
    with site.stores() as (_, store):
        free = sum(count.free for count in store.counts().values())
    assert free == 2 * UNITS


@pytest.fixture
def kms(site: Site, tmp_path: Path) -> Iterator[HttpsKms]:
    """And a bridge of bob's to it, in the YAML."""
    folder = tmp_path / "kms"
    authority = Authority(folder)
    authority.issue("kms", dns=["localhost"])
    authority.issue("kme-b")
    kms = HttpsKms(folder)
    tls = {
        "ca": str(folder / "ca.crt"),
        "certificate": str(folder / "kme-b.crt"),
        "key": str(folder / "kme-b.key"),
    }
    url = kms.url.replace("127.0.0.1", "localhost")
    https = {"url": url, "tenant": "acme", "tls": tls}
    bridge = {"name": "to-kms", "sae": "bob", "settle_s": 0.0, "https": https}
    site.change(bridges=[bridge])
    yield kms
    kms.close()


def fill_backlog(site: Site) -> None:
    config = load_kme_config(site.config)
    backlog = open_backlog(config, Records())
    with site.stores() as (_, store):
        take_owed(config.bridges[0], store, backlog, 100)
    backlog.close()


def test_push(site: Site, keys: Run, kms: HttpsKms) -> None:
    names = site.give(5)
    fill_backlog(site)
    kms.moods.append(503)
    code, said = keys("push")
    assert code == ExitCode.CHECK_FAILED
    assert said["bridges"]["to-kms"]["fault"] == "HTTP 503: not now"
    code, said = keys("status", "--check")
    assert code == ExitCode.CHECK_FAILED
    assert said["alarms"] == ["bridge to-kms: HTTP 503: not now; 5 keys wait"]
    code, said = keys("push", "--even-if-early", "--bridge", "to-kms")
    assert code == ExitCode.OK
    assert said["bridges"]["to-kms"]["pushed"] == 5
    assert sorted(kms.keys()) == sorted(names)
    keys("suspend", "--from", "2020-01-01T00:00Z", "--no-archive")
    keys("revoke")
    code, said = keys("push")
    assert said["bridges"]["to-kms"]["recalled"] == 5
    assert kms.keys() == {}


def test_a_bridge_without_its_certificate_names_it(
    site: Site, keys: Run, kms: HttpsKms, tmp_path: Path
) -> None:
    (tmp_path / "kms" / "kme-b.crt").unlink()
    code, error = keys("push")
    assert code == ExitCode.CONFIGURATION
    assert "bridges.to-kms" in error


def test_the_backlog_is_sealed_anew_too(
    site: Site, keys: Run, kms: HttpsKms, tmp_path: Path
) -> None:
    site.give(5)
    fill_backlog(site)
    new = tmp_path / "kme-b" / "kek-2"
    write_kek_file(new)
    old = str(tmp_path / "kme-b" / "kek")
    site.change(kek={"file": str(new), "previous": [{"file": old}]})
    code, said = keys("rotate")
    assert (code, said["bridge_keys"]) == (ExitCode.OK, 5)
    site.change(kek={"file": str(new)})
    assert keys("push")[1]["bridges"]["to-kms"]["pushed"] == 5


# -------------------------------------------------------------------------------------------- audit


def test_the_audit_log_from_key_to_verdict(site: Site, keys: Run, tmp_path: Path) -> None:
    key, copy = tmp_path / "kme-b" / "audit.key", tmp_path / "elsewhere.jsonl"
    audit = {"directory": str(site.audit), "signing_key": str(key)}
    site.change(audit={**audit, "checkpoint_copies": [str(copy)]})
    code, made = keys("audit", "--create-key")
    assert code == ExitCode.OK
    assert key.stat().st_mode & 0o777 == 0o600
    assert keys("audit", "--create-key")[0] == ExitCode.CONFIGURATION
    keys("suspend", "--relay", "charlie-1", "--no-archive")
    keys("release")
    assert keys("audit", "--checkpoint") == (ExitCode.OK, None)
    code, report = keys("audit", "--verify", "--checkpoints", str(copy))
    assert code == ExitCode.OK
    assert report["whole"]
    assert report["signed_to"] == report["last"] - 1
    # Cut off, with everything beside it made to fit.
    path = segments(site.audit)[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    (site.audit / "checkpoints.jsonl").unlink()
    assert keys("audit", "--verify")[0] == ExitCode.OK
    code, report = keys("audit", "--verify", "--checkpoints", str(copy))
    assert code == ExitCode.CHECK_FAILED
    assert "cut off" in report["faults"][0]
    # Anywhere, with a copy of the log and the public key alone.
    words = ["--directory", str(site.audit), "--checkpoints", str(copy)]
    with pytest.raises(SystemExit) as ended:
        main(["keys", "audit", "--verify", *words])
    assert ended.value.code == ExitCode.USAGE
    with pytest.raises(SystemExit) as ended:
        main(["keys", "audit", "--verify", *words, "--public-key", made["public_key"]])
    assert ended.value.code == ExitCode.CHECK_FAILED


def test_a_key_that_others_can_read_is_refused(site: Site, keys: Run, tmp_path: Path) -> None:
    key = tmp_path / "audit.key"
    site.change(audit={"directory": str(site.audit), "signing_key": str(key)})
    keys("audit", "--create-key")
    key.unlink()
    code, error = keys("suspend", "--relay", "charlie-1", "--no-archive")
    assert code == ExitCode.STORAGE
    assert "there is no signing key" in error
    (tmp_path / "audit.key.pub").unlink()
    keys("audit", "--create-key")
    key.chmod(0o644)
    code, error = keys("suspend", "--relay", "charlie-1", "--no-archive")
    assert code == ExitCode.STORAGE
    assert "chmod go=" in error
    assert keys("status")[1]["suspensions"] == []
