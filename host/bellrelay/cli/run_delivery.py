"""The last step of a run: KMEs take the endpoints' key over, and applications fetch one of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import (
    RunFailed,
    bellrelay_command,
    free_port,
    last_words,
    process,
    stop,
)
from bellrelay.keys.kek_file import write_kek_file
from bellrelay.service.tls import client_context

__all__ = [
    "SMALLEST_KEY",
    "Delivery",
    "RunningKme",
    "application_context",
    "deliver_a_key",
    "start_kmes",
]

SMALLEST_KEY = 1024
"""Bits of key below which nothing is delivered: both KMEs give out whole units of their own."""

_SIZE_BITS = 256
_WAIT_S = 60
_KEPT_PORTS = {"alice": 8443, "bob": 8444}
_KEPT_PEER_PORT = 8445


@dataclass(frozen=True)
class Delivery:
    """A key that two applications fetched. equal : whether it is the same key on both sides."""

    key_id: str
    size_bits: int
    equal: bool


def deliver_a_key(folder: Path, keep: Path | None = None) -> Delivery:
    """Start both KMEs on the stores of endpoints that have ended, and fetch a key as ETSI 014 says.

    Parameters
    ----------
    folder
        Of the run.
    keep
        Where the KMEs' files go, an empty folder that stays: they can be started again there, with
        the key that is left. None: within ``folder``.

    Raises
    ------
    RunFailed
        A KME failed, or gave no key.
    """
    own = keep.resolve() if keep else folder / "kme"
    with contextlib.ExitStack() as stack:
        kmes = start_kmes(stack, folder, own)
        delivery = asyncio.run(_fetch(own, {role: kme.port for role, kme in kmes.items()}))
        for role, kme in kmes.items():
            stop(kme.process, own / f"{role}.log", f"{role}'s KME")
    if keep:
        _make_startable(own)
    return delivery


@dataclass(frozen=True)
class RunningKme:
    """A KME's process, and where it listens."""

    process: subprocess.Popen[str]
    port: int


def start_kmes(
    stack: contextlib.ExitStack, folder: Path, own: Path, relay: str = "charles"
) -> dict[str, RunningKme]:
    """By role, KMEs that take over what the endpoints of a folder have stored.

    Parameters
    ----------
    stack
        Ends them.
    own
        Where their files go; made if it is missing.

    Raises
    ------
    RunFailed
        One does not start.
    """
    own.mkdir(mode=0o700, exist_ok=True)
    names = [f"{kind}-{role}" for kind in ("kme", "app") for role in ROLES]
    make_certificates(own, names, {f"kme-{role}": ["localhost"] for role in ROLES})
    peer_port = free_port()
    started = {}
    for role in ROLES:
        config = own / f"{role}.yaml"
        config.write_text(yaml.safe_dump(_kme_yaml(folder, own, role, peer_port, relay)))
        write_kek_file(own / f"{role}.kek")
        command = bellrelay_command("kme", config, "--json")
        started[role] = stack.enter_context(process(command, own / f"{role}.log"))
    out = {}
    for role, running in started.items():
        assert running.stdout is not None
        line = running.stdout.readline()
        if not line:
            raise RunFailed(f"{role}'s KME does not start: {last_words(own / f'{role}.log')}")
        out[role] = RunningKme(running, int(json.loads(line)["port"]))
    return out


def _make_startable(own: Path) -> None:
    """The KMEs' files for a start without the run: no intake of its blocks, and ports that stay."""
    peer_port = _port(_KEPT_PEER_PORT)
    for role in ROLES:
        path = own / f"{role}.yaml"
        values = yaml.safe_load(path.read_text())
        del values["intake"]
        values["listen"] = f"127.0.0.1:{_port(_KEPT_PORTS[role])}"
        values["peer"]["listen" if role == "alice" else "connect"] = f"127.0.0.1:{peer_port}"
        path.write_text(yaml.safe_dump(values, sort_keys=False))


def _port(wanted: int) -> int:
    """This one, if nobody listens there now, or another one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


def _kme_yaml(folder: Path, own: Path, role: str, peer_port: int, relay: str) -> dict[str, Any]:
    peer = ROLES[1 - ROLES.index(role)]
    tls = tls_files(own, f"kme-{role}")
    way = "listen" if role == "alice" else "connect"
    return {
        "kme_id": f"kme-{role}",
        "listen": "127.0.0.1:0",
        "tls": tls,
        "peer": {
            "kme_id": f"kme-{peer}",
            way: f"127.0.0.1:{peer_port}",
            "name": f"kme-{peer}",
            "tls": dict(tls),
        },
        "pairs": [{"name": "apps", "saes": {f"kme-{each}": f"app-{each}" for each in ROLES}}],
        "store": {"directory": str(own / f"{role}.store")},
        "kek": {"file": str(own / f"{role}.kek")},
        "intake": {
            "directory": str(folder / f"{role}.blocks"),
            "endpoint_id": role,
            "relay": relay,
            "poll_s": 0.1,
        },
        "audit": {"directory": str(own / f"{role}.audit")},
    }


async def _fetch(own: Path, ports: dict[str, int]) -> Delivery:
    alice, bob = ROLES
    async with aiohttp.ClientSession() as session:

        async def ask(role: str, path: str, body: dict[str, Any]) -> dict[str, str]:
            context = application_context(own, role)
            url = f"https://127.0.0.1:{ports[role]}/api/v1/keys/{path}"
            try:
                async with session.post(
                    url, json=body, ssl=context, server_hostname=f"kme-{role}"
                ) as answer:
                    told = await answer.json()
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise RunFailed(f"{role}'s KME does not answer: {type(error).__name__}") from error
            if answer.status != 200:
                raise RunFailed(f"{role}'s KME: {answer.status} {told.get('message')}")
            key: dict[str, str] = told["keys"][0]
            return key

        wish = {"size": _SIZE_BITS, "extension_mandatory": [{"bellrelay_wait_s": _WAIT_S}]}
        mine = await ask(alice, f"app-{bob}/enc_keys", wish)
        names = {"key_IDs": [{"key_ID": mine["key_ID"]}]}
        theirs = await ask(bob, f"app-{alice}/dec_keys", names)
    return Delivery(mine["key_ID"], _SIZE_BITS, mine["key"] == theirs["key"])


def application_context(own: Path, role: str) -> ssl.SSLContext:
    """TLS of the application at a KME of :func:`start_kmes`."""
    name = f"app-{role}"
    return client_context(own / f"{name}.crt", own / f"{name}.key", own / "ca.crt")
