"""A KME whose key-encryption key never leaves an HSM."""

import subprocess
import sys

import pytest
import yaml
from running_kmes import RunningKmes
from two_sites import TwoSites


@pytest.mark.needs_server
def test_keys_from_a_kme_with_an_hsm(tmp_path, softhsm):
    sites = TwoSites(tmp_path, [("bank", "sae-alice", "sae-bob", 1)])
    config = sites.config("kme-a")
    values = yaml.safe_load(config.read_text())
    values["kek"] = {
        "pkcs11": {
            "module": str(softhsm.module),
            "token": softhsm.token_label,
            "key": "kek-of-kme-a",
            "pin_file": str(softhsm.pin_file),
        }
    }
    config.write_text(yaml.safe_dump(values))
    line = [sys.executable, "-m", "bellrelay", "kme", "--config", str(config)]
    subprocess.run([*line, "--create-kek"], check=True, capture_output=True)
    told = subprocess.run([*line, "--check"], check=True, capture_output=True, text=True)
    assert f"pkcs11:{softhsm.token_label}/kek-of-kme-a" in told.stdout
    blocks = sites.add_blocks(1, 40)
    with RunningKmes(sites) as kmes:
        for master, site, slave, other in (
            ("sae-alice", "kme-a", "sae-bob", "kme-b"),
            ("sae-bob", "kme-b", "sae-alice", "kme-a"),
        ):
            code, container = kmes.enc_keys(master, site, slave, number=3, size=512)
            assert code == 200
            ids = [key["key_ID"] for key in container["keys"]]
            assert kmes.dec_keys(slave, other, master, *ids) == (200, container)
    stored = b"".join(p.read_bytes() for p in (tmp_path / "kme-a" / "store").iterdir())
    assert all(blocks[0][1][i : i + 32] not in stored for i in range(0, 40 * 32, 32))
