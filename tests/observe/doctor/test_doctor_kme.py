"""`bellrelay doctor` of a KME: store and KEK, and two that run, which it must not disturb."""

import os
import shutil

import pytest
import yaml
from found_states import contents, only
from running_kmes import RunningKmes
from two_sites import TwoSites

from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.open_store import open_store
from bellrelay.keys.sealing import SealerUnavailable
from bellrelay.observe.doctor.examine import examine
from bellrelay.service.private_file import UnsafeMode


class Unrecorded:
    def record(self, *_events):
        pass


@pytest.fixture
def sites(tmp_path):
    # There is no key at all here: that is no alarm.
    changes = {"keys": {"low_water": 0}}
    return TwoSites(tmp_path, [("vpn", "vpn-a", "vpn-b", 1)], changes=changes)


def of(sites, check, site="kme-a"):
    return [f for f in examine(sites.config(site)).findings if f.check == check]


def make_store(sites):
    open_store(load_kme_config(sites.config("kme-a")), Unrecorded()).close()


def test_before_the_first_start_and_after(sites):
    assert "the first start makes it" in of(sites, "key store")[0].detail
    assert "it is there and seals" in of(sites, "KEK")[0].detail
    make_store(sites)
    before = contents(sites.folder)
    found = examine(sites.config("kme-a"))
    assert contents(sites.folder) == before
    assert only(found.findings, "so does the KEK").state == "passed"
    assert [f.detail for f in found.of("failed")] == []


def test_another_kek_than_that_which_the_store_has_met(sites):
    make_store(sites)
    kek = sites.folder / "kme-a" / "kek"
    kept = kek.read_bytes()
    kek.unlink()
    (found,) = of(sites, "KEK")
    assert found.state == "not known"
    assert only(of(sites, "private files"), "it is not there").state == "failed"
    kek.write_bytes(kept[:31])
    kek.chmod(0o600)
    (found,) = of(sites, "KEK")
    assert (found.state, isinstance(found.error, SealerUnavailable)) == ("failed", True)
    kek.chmod(0o644)
    found = only(of(sites, "private files"), "0644 lets others in")
    assert isinstance(found.error, UnsafeMode)
    told = str([f.as_json() for f in examine(sites.config("kme-a")).findings])
    assert kept.hex() not in told


def test_a_store_that_is_another_kme_s_or_version_s_or_broken(sites):
    make_store(sites)
    path = sites.config("kme-a")
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "unit_bits": 512}))
    (found,) = of(sites, "key store")
    assert (found.state, "unit_bits 256, not 512" in found.detail) == ("failed", True)
    path.write_text(yaml.safe_dump(values))
    directory = sites.folder / "kme-a" / "store"
    (directory / "keys.sqlite").write_bytes(os.urandom(8192))
    (found,) = of(sites, "key store")
    assert (found.state, "not a database" in found.detail) == ("failed", True)
    shutil.rmtree(directory)
    assert of(sites, "key store")[0].state == "passed"


def test_two_that_run_are_asked_and_not_disturbed(sites):
    with RunningKmes(sites) as kmes:
        before = {site: daemon.link.connections for site, daemon in kmes.daemons.items()}
        for site in ("kme-a", "kme-b"):
            found = examine(sites.config(site))
            assert only(found.findings, "it is running").state == "passed"
            assert [f.detail for f in found.of("failed")] == []
        assert only(found.findings, "is connected, says the daemon").check == "reaching"
        assert only(found.findings, f"{sites.ports['kme-b']} is in use, and").state == "passed"
        assert {s: d.link.connections for s, d in kmes.daemons.items()} == before
        kmes.stop("kme-b")
        found = examine(sites.config("kme-b"))
        assert only(found.findings, "both sides take each other's").state == "passed"
        kmes.start("kme-b")
        kmes.settle()
        daemon = kmes.daemons["kme-a"]
        assert (daemon.link.connected, daemon.link.alarms) == (True, 0)
