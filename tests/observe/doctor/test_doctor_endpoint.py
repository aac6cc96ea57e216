"""`bellrelay doctor` of an endpoint: plugins, pool, store; and that it leaves all of them alone."""

import os
import shutil

import pytest
import yaml
from found_states import contents, only

from bellrelay.cli.run_endpoints import prepare_endpoints
from bellrelay.cli.run_processes import free_port
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.key_pool import KeyPool, KeyPoolDamaged
from bellrelay.observe.doctor.directories import StorageFault
from bellrelay.observe.doctor.examine import examine
from bellrelay.service.private_file import UnsafeMode
from bellrelay.settings.model import ConfigError
from bellrelay_sim.link import SimulatedLink


@pytest.fixture
def folder(tmp_path):
    """What a run prepares for both endpoints."""
    (tmp_path / "link.yaml").write_text("{}\n")
    link = SimulatedLink()
    prepare_endpoints(tmp_path, link, tmp_path / "link.yaml", None, 10**6, free_port(), 0.01)
    return tmp_path


def change(folder, **values):
    path = folder / "alice.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def look(folder):
    return examine(folder / "alice.yaml").findings


def of(folder, check):
    return [finding for finding in look(folder) if finding.check == check]


def test_everything_is_looked_at_and_nothing_touched(folder):
    BlockStore(folder / "alice.blocks", "alice").close()
    before = contents(folder)
    found = examine(folder / "alice.yaml")
    assert contents(folder) == before
    assert (found.kind, found.name) == ("endpoint", "alice")
    checks = {finding.check for finding in found.findings}
    assert checks == {
        *("file", "daemon", "certificates", "directories", "plugins", "key pool", "block store"),
        *("clock", "limits", "addresses", "reaching"),
    }
    # The relay is not there: all else is well.
    assert {f.check for f in found.of("failed")} == {"reaching"}


def test_a_pool_says_how_much_is_left_while_it_is_used_and_after(folder):
    assert "65536 bits left for our tags, 65536 for" in of(folder, "key pool")[0].detail
    pool = KeyPool(folder / "alice.pool", Role.ALICE)
    pool.draw(32)
    before = contents(folder)
    assert "65280 bits left for our tags" in of(folder, "key pool")[0].detail
    assert only(look(folder), "it runs").state == "not known"
    assert contents(folder) == before
    pool.close()
    assert "65280 bits left for our tags" in of(folder, "key pool")[0].detail


def test_a_pool_that_is_low_missing_another_s_or_open_to_others(folder):
    change(folder, key_pool={"file": str(folder / "alice.pool"), "reserve_bits": 32768})
    assert of(folder, "key pool")[0].state == "warning"
    change(folder, key_pool={"file": str(folder / "alice.pool"), "reserve_bits": 65536})
    (found,) = of(folder, "key pool")
    assert (found.state, "tag-key-short" in found.remedy) == ("failed", True)
    change(folder, key_pool={"file": str(folder / "alice.pool"), "reserve_bits": 8192})
    ledger = folder / "alice.pool" / "ledger.sqlite"
    ledger.chmod(0o640)
    (found,) = of(folder, "key pool")
    assert (found.state, "0640 lets others in" in found.detail) == ("failed", True)
    assert isinstance(found.error, UnsafeMode)
    ledger.chmod(0o600)
    KeyPool(folder / "alice.pool", Role.BOB).close()
    (found,) = of(folder, "key pool")
    assert (found.state, "bob's key pool" in found.detail) == ("failed", True)
    shutil.rmtree(folder / "alice.pool")
    (found,) = of(folder, "key pool")
    assert (found.state, "--create-pool SECRET" in found.remedy) == ("failed", True)
    assert isinstance(found.error, KeyPoolDamaged)
    assert not (folder / "alice.pool").exists()


def test_a_store_that_is_open_of_another_or_broken(folder):
    assert "the first start makes it" in of(folder, "block store")[0].detail
    store = BlockStore(folder / "alice.blocks", "alice")
    before = contents(folder)
    assert of(folder, "block store")[0].state == "passed"
    assert contents(folder) == before
    store.close()
    shutil.rmtree(folder / "alice.blocks")
    BlockStore(folder / "alice.blocks", "carol").close()
    (found,) = of(folder, "block store")
    assert (found.state, "belongs to carol" in found.detail) == ("failed", True)
    file = folder / "alice.blocks" / "blocks.sqlite"
    file.write_bytes(os.urandom(8192))
    (found,) = of(folder, "block store")
    assert (found.state, isinstance(found.error, StorageFault)) == ("failed", True)


def test_a_plugin_that_is_not_there_or_refuses_its_options(folder):
    change(folder, source={"plugin": "none-such"}, lab={"voa": {"plugin": "none-such"}})
    found = of(folder, "plugins")
    assert [f.state for f in found] == ["failed", "failed"]
    assert all(isinstance(f.error, ConfigError) for f in found)
    change(folder, source={"plugin": "files", "directory": 7}, lab={})
    (found,) = of(folder, "plugins")
    assert (found.state, "directory must be a path" in found.detail) == ("failed", True)


def test_no_key_is_told(folder):
    told = str([finding.as_json() for finding in look(folder)])
    for path in (folder / "alice.pool").glob("*.key"):
        assert path.read_bytes()[:16].hex() not in told
    assert (folder / "alice.key").read_text().splitlines()[1] not in told
