"""`bellrelay nats`, as who administers a broker uses it: with deploy/nats and the how-to's YAML."""

import asyncio
import re
from pathlib import Path

import pytest
import yaml
from nats_servers import DEPLOY, Network, certificates, free_ports, one_server

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.cli.run_certificates import tls_files
from bellrelay.relay import nats_stream

ROOT = DEPLOY.parents[1]
DOMAIN = "example.net"


def shown(role):
    """What the how-to shows for the file of a relay or an endpoint."""
    page = (ROOT / "docs/how-to/nats.md").read_text()
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    (block,) = [b for b in blocks if ("nats" in b) == (role == "relay")]
    return block


@pytest.fixture
def file_of(tmp_path):
    """Writes the example of deploy/ with what the how-to shows; its path."""

    def write(name, **changes):
        role = "relay" if name.startswith("charlie") else "endpoint"
        values = yaml.safe_load((ROOT / f"deploy/{role}.example.yaml").read_text())
        values.update(shown(role))
        values["relay_id" if role == "relay" else "endpoint_id"] = name
        if name == "bob-1":
            values |= {"peer_id": "alice-1", "role": "bob"}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**values, **changes}))
        return path

    return write


@pytest.fixture
def nats(capsys):
    """Runs the verb; (exit code, stdout, stderr)."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["nats", *map(str, words)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


# ------------------------------------------------------------------------------- users


def plain(text):
    """Without comments, words apart by one space."""
    return " ".join(re.sub(r"#.*", "", text).split())


def accounts():
    """Entries of users of every account in deploy/nats/accounts.conf."""
    text = (DEPLOY / "accounts.conf").read_text()
    found = re.findall(r"^  ([\w-]+): \{\n.*?^    users: \[\n(.*?)^    \]", text, re.S | re.M)
    return {name: plain(users) for name, users in found}


def test_the_accounts_are_what_is_printed_of_every_node(file_of, nats):
    """As the file's head says; and nobody else is in it."""
    told = {"charlie-1": [], "charlie-2": []}
    for node, more in (
        ("charlie-1", []),
        ("alice-1", []),
        ("bob-1", []),
        ("charlie-1", ["--administrator", f"nats-admin.charlie-1.{DOMAIN}"]),
        ("charlie-2", ["--administrator", f"nats-admin.charlie-2.{DOMAIN}"]),
    ):
        code, out, _ = nats("users", "--config", file_of(node), "--name", f"{node}.{DOMAIN}", *more)
        assert code == ExitCode.OK
        account = re.match(r"# account of (\S+)\n", out)[1]
        entries = re.findall(r"^\{.*?^\}", out, re.S | re.M)
        assert len(entries) == (2 if more else 1)
        told[account] += [e for e in map(plain, entries) if e not in told[account]]
    assert accounts() == {name: " ".join(entries) for name, entries in told.items()}


def test_who_names_nobody_is_known_by_its_id(file_of, nats):
    _, out, _ = nats("users", "--config", file_of("alice-1"))
    assert 'user: "alice-1"\n' in out


def test_an_endpoint_has_no_administrator(file_of, nats):
    code, out, err = nats("users", "--config", file_of("alice-1"), "--administrator", "a")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "relay" in err


def test_who_has_no_broker_needs_no_permissions(nats):
    for role in ("relay", "endpoint"):
        code, out, err = nats("users", "--config", ROOT / f"deploy/{role}.example.yaml")
        assert (code, out) == (ExitCode.CONFIGURATION, "")
        assert "nats: missing" in err


# ------------------------------------------------------------------------------- stream


def test_a_relay_without_a_broker_has_no_stream(nats):
    code, _, err = nats("stream", "--config", ROOT / "deploy/relay.example.yaml")
    assert (code, "nats" in err) == (ExitCode.CONFIGURATION, True)


def test_a_broker_with_tls_wants_its_administrator(file_of, nats):
    code, _, err = nats("stream", "--config", file_of("charlie-1"))
    assert code == ExitCode.USAGE
    assert "--certificate" in err


@pytest.fixture(scope="module")
def network(requires_program, tmp_path_factory):
    """A server as deploy/nats has it."""
    program = requires_program("nats-server", "apt-get install nats-server")
    folder = tmp_path_factory.mktemp("nats")
    tls = certificates(folder / "tls")
    server, port = one_server(program, folder, tls)
    yield Network([port], tls)
    server.stop()


def broker_section(network, tls, **changes):
    """What a relay's YAML says of it."""
    return {
        "servers": [f"localhost:{port}" for port in network.ports],
        "tls": tls_files(tls, f"charlie-1.{DOMAIN}"),
        **changes,
    }


@pytest.mark.needs_server
def test_the_stream_is_made_and_made_over(network, file_of, nats):
    files = tls_files(network.tls, f"nats-admin.charlie-1.{DOMAIN}")
    administrator = ["--certificate", files["certificate"], "--key", files["key"]]

    def made(**retention):
        section = broker_section(network, network.tls, retention=retention)
        path = file_of("charlie-1", nats=section)
        return nats("stream", "--config", path, *administrator)

    asyncio.run(network.fresh_stream())
    code, out, _ = made(mb=64, hours=24)
    assert code == ExitCode.OK
    said = "charlie-1: bellrelay.announcements.charlie-1; 0 messages, 1 replicas\n"
    assert out == said
    config = asyncio.run(network.stream_info()).config
    assert (config.max_bytes, config.max_age, config.deny_delete) == (64 << 20, 86400.0, True)
    assert made(mb=32, hours=1)[:2] == (ExitCode.OK, said)
    config = asyncio.run(network.stream_info()).config
    assert (config.max_bytes, config.max_age) == (32 << 20, 3600.0)


@pytest.mark.needs_server
def test_one_server_is_not_taken_for_three(network, file_of, nats, monkeypatch):
    """It says that it keeps a message three times."""
    monkeypatch.setattr(nats_stream, "_PEERS_S", 0.5)
    asyncio.run(network.fresh_stream())
    section = broker_section(network, network.tls, retention={"mb": 32, "replicas": 3})
    files = tls_files(network.tls, f"nats-admin.charlie-1.{DOMAIN}")
    path = file_of("charlie-1", nats=section)
    code, _, err = nats(
        "stream", "--config", path, "--certificate", files["certificate"], "--key", files["key"]
    )
    assert code == ExitCode.UNREACHABLE
    assert "3 replicas wanted, 1 servers have it" in err


@pytest.mark.needs_server
def test_no_relay_makes_its_stream_itself(network, file_of, nats, monkeypatch):
    monkeypatch.setattr(nats_stream, "_API_S", 1.0)  # for which it waits for an answer
    path = file_of("charlie-1", nats=broker_section(network, network.tls))
    files = tls_files(network.tls, f"charlie-1.{DOMAIN}")
    code, _, err = nats(
        "stream", "--config", path, "--certificate", files["certificate"], "--key", files["key"]
    )
    assert code == ExitCode.UNREACHABLE
    assert "permissions violation" in err.lower()


def test_a_broker_that_is_away_is_named(tmp_path, file_of, nats):
    [port] = free_ports(1)
    section = {"servers": [f"127.0.0.1:{port}"], "plain": True}
    code, _, err = nats("stream", "--config", file_of("charlie-1", nats=section))
    assert code == ExitCode.UNREACHABLE
    assert f"127.0.0.1:{port}" in err
    assert len(err.strip().splitlines()) == 1


def test_a_certificate_that_is_not_there_is_named(tmp_path, file_of, nats):
    missing = Path(tmp_path / "none.crt")
    words = ["--certificate", missing, "--key", missing]
    code, _, err = nats("stream", "--config", file_of("charlie-1"), *words)
    assert code == ExitCode.USAGE
    assert "none.crt" in err
