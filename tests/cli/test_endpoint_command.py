"""`bellrelay endpoint` as an operator starts it."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import yaml

from bellrelay.cli.run_certificates import expire_certificate
from bellrelay.cli.run_endpoints import prepare_endpoints
from bellrelay.cli.run_processes import free_port
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.block import Cause
from bellrelay.endpoint.block_store import BlockStore
from bellrelay.endpoint.key_pool import KeyPool
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
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, **values}))


def endpoint(folder, *arguments):
    command = [sys.executable, "-m", "bellrelay", "endpoint", "--config", "alice.yaml", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_check_looks_at_everything_on_this_machine(folder):
    result = endpoint(folder, "--check", "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["role"], said["peer_id"]) == ("alice", "bob")
    assert said["pool_bits"] > 0
    assert "can be used" in endpoint(folder, "--check").stdout


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"role": "carol"}, 3, "role"),
        ({"source": {"plugin": "none-such"}}, 3, "source.plugin"),
        ({"key_pool": {"file": "nowhere"}}, 7, "nowhere is no key pool"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(folder, values, code, words):
    change(folder, **values)
    result = endpoint(folder, "--check")
    assert result.returncode == code
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_move_is_asked_of_the_endpoint_that_runs_and_of_a_relay_that_is_there(folder):
    result = endpoint(folder, "--move-to", "dora")
    assert (result.returncode, "charles" in result.stderr) == (3, True)
    result = endpoint(folder, "--move-to", "charles")
    assert (result.returncode, "alice.blocks/control" in result.stderr) == (4, True)


def test_a_certificate_that_is_not_there(folder):
    (folder / "alice.crt").unlink()
    result = endpoint(folder, "--check")
    assert result.returncode == 3
    assert "peer.tls" in result.stderr


def test_a_certificate_that_has_expired(folder):
    expire_certificate(folder, "alice")
    result = endpoint(folder, "--check")
    assert result.returncode == 3
    assert "peer.tls.certificate" in result.stderr
    assert "has not expired" in result.stderr


def test_a_check_leaves_an_endpoint_that_runs_alone(folder):
    pool = KeyPool(folder / "alice.pool", Role.ALICE)
    try:
        result = endpoint(folder, "--check", "--json")
    finally:
        pool.close()
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["pool_bits"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--act", "dance", "--why", "x"], 3, "allowed: re-sync, throttle"),
        (["--act", "throttle"], 3, "--why"),
        (["--act", "contain", "--why", "x"], 3, "--relay"),
        (["--take-back", "contain", "--why", "x"], 3, "allowed: throttle"),
        (["--act", "throttle", "--why", "x"], 4, "alice.blocks/control"),
        (["--take-back", "throttle", "--why", "x"], 4, "alice.blocks/control"),
        (["--new-baseline"], 4, "alice.blocks/control"),
    ],
)
def test_what_is_no_order_is_named(folder, words, code, said):
    change(folder, watch={})
    result = endpoint(folder, *words)
    assert result.returncode == code
    assert said in result.stderr


def test_an_order_needs_a_watch(folder):
    result = endpoint(folder, "--new-baseline")
    assert (result.returncode, "watch" in result.stderr) == (3, True)


def test_a_pool_of_a_secret(folder):
    secret = folder / "secret"
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(os.urandom(256))
    change(folder, key_pool={"file": str(folder / "new")})
    assert endpoint(folder, "--create-pool", str(secret)).returncode == 0
    assert json.loads(endpoint(folder, "--check", "--json").stdout)["pool_bits"] == 1024
    again = endpoint(folder, "--create-pool", str(secret))
    assert again.returncode == 7
    assert "already" in again.stderr


def test_quarantine_ends_when_an_operator_says_so(folder):
    store = BlockStore(folder / "alice.blocks", "alice")
    store.quarantine("charles", Cause.DUPLICATE_SLOT)
    store.close()
    assert "released" in endpoint(folder, "--release-relay").stdout
    assert "was not" in endpoint(folder, "--release-relay").stdout


def test_it_starts_tells_how_it_is_and_ends(folder):
    change(folder, health={"listen": "127.0.0.1:0"})
    process = subprocess.Popen(
        [sys.executable, "-m", "bellrelay", "endpoint", "--config", "alice.yaml", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        started = json.loads(process.stdout.readline())
        assert started["state"] == "waiting"
        url = f"http://127.0.0.1:{started['health_port']}"
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"{url}/health", timeout=30)
        assert raised.value.code == 503
        health = json.load(raised.value)
        assert health["relay"]["connected"] is False
        assert health["key_pool"]["bits"] == started["key_pool"]["bits"]
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
            assert b"bellrelay_endpoint_up 0.0" in answer.read()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert all(json.loads(line) for line in errors.splitlines())
