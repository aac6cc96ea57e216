"""The daemon's key pool: made of a secret that is nobody else's, and old key goes."""

import asyncio
import os
import time

import pytest
import yaml

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.cli.run_certificates import make_certificates
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.endpoint.daemon import EndpointDaemon
from bellrelay.endpoint.key_pool import KeyPool

LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ("alice", "bob"))
    return folder


def write_config(folder, certificates, **key_pool):
    tls = {"certificate": "alice.crt", "key": "alice.key", "ca": "ca.crt"}
    values = {
        "endpoint_id": "alice",
        "peer_id": "bob",
        "role": "alice",
        "relay": {"id": "charles", "unix_socket": str(folder / "announcements")},
        "peer": {
            "listen": "127.0.0.1:0",
            "name": "bob",
            "tls": {key: str(certificates / name) for key, name in tls.items()},
        },
        "source": {"plugin": "simulation"},
        "alice": LADDER,
        "bob": LADDER,
        "block": {"slots": 20000},
        "store": {"directory": str(folder / "store")},
        "key_pool": {"file": str(folder / "pool"), **key_pool},
        "intensity_monitor": {"input": "none"},
        "health": {"listen": "127.0.0.1:0"},
    }
    path = folder / "alice.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_rule_21_no_pool_is_made_of_a_secret_that_others_can_read(tmp_path, certificates, capsys):
    config = write_config(tmp_path, certificates)
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(4096))
    secret.chmod(0o640)
    words = ["endpoint", "--config", str(config), "--create-pool", str(secret)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == ExitCode.STORAGE
    assert "mode 0640 lets others in" in capsys.readouterr().err
    assert not (tmp_path / "pool").exists()
    secret.chmod(0o600)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == ExitCode.OK
    assert "destroy" in capsys.readouterr().out
    with_pool = KeyPool(tmp_path / "pool", Role.ALICE)
    assert with_pool.status().send_left == 2048
    with_pool.close()


@pytest.mark.parametrize(("age_s", "left"), [(7200.0, 0), (1800.0, 2048)])
def test_old_key_is_wiped_while_the_daemon_runs(tmp_path, certificates, age_s, left):
    path = write_config(tmp_path, certificates, max_age_s=3600, reserve_bits=0)
    KeyPool.create(tmp_path / "pool", os.urandom(4096), clock=lambda: time.time() - age_s)

    async def run():
        daemon = EndpointDaemon(load_endpoint_config(path))
        await daemon.start()
        try:
            async with asyncio.timeout(0.3 if left else 20):
                while left or daemon.account.status()["bits"]:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        bits = daemon.account.status()["bits"]
        await daemon.stop()
        return bits

    assert asyncio.run(run()) == 8 * left
