"""What a message costs a broker's node: a NATS server of its own on this machine, with JetStream.

Processor time of the server per message that is written to disk and acknowledged, for messages of
two sizes, and per message that is handed to a consumer. Without TLS, one server, one copy.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bellrelay.cli.measured_announcements import FEW, MANY, per_batch
from bellrelay.cli.measured_pair import cpu_seconds
from bellrelay.cli.run_processes import free_port, process

__all__ = ["BrokerMissing", "broker_rates"]

_MESSAGES = 3000
_TOGETHER = 64
_CONSUMERS = 2
_ANNOUNCEMENT_BYTES = 4
_START_S = 30.0
_STREAM = "measured"


class BrokerMissing(RuntimeError):
    """There is no nats-server on PATH."""


def broker_rates() -> dict[str, Any]:
    """The part `broker` of a file of rates.

    Raises
    ------
    BrokerMissing
    """
    server = shutil.which("nats-server")
    if server is None:
        raise BrokerMissing("no nats-server on PATH; on Debian: apt-get install nats-server")
    version = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
    # Here, not where memory may pose as a disk.
    with tempfile.TemporaryDirectory(dir=".", prefix=".bellrelay-measure-") as name:
        folder = Path(name).resolve()
        port = free_port()
        command = [server, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "js")]
        with process(command, folder / "log") as running:
            few, many, deliver_s = asyncio.run(_measured(port, running.pid))
    told = (version.stdout or version.stderr).strip()
    return {
        **per_batch(few, many),
        "deliver_s": deliver_s,
        "source": f"{told}, JetStream on this disk, one copy, no TLS",
    }


async def _measured(port: int, pid: int) -> tuple[float, float, float]:
    client = await _connected(port)
    js = client.jetstream(timeout=_START_S)
    await js.add_stream(name=_STREAM, subjects=[_STREAM])
    times = {}
    for announcements in (FEW, MANY):
        payload = bytes(_ANNOUNCEMENT_BYTES * announcements)
        times[announcements] = await _published(js, payload, pid)
    deliver_s = await _delivered(client, js, pid)
    await client.close()
    return times[FEW], times[MANY], deliver_s


async def _connected(port: int) -> Any:
    import nats

    deadline = asyncio.get_running_loop().time() + _START_S
    while True:
        try:
            return await nats.connect(
                f"nats://127.0.0.1:{port}", allow_reconnect=False, connect_timeout=2
            )
        except (OSError, nats.errors.Error):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


async def _published(js: Any, payload: bytes, pid: int) -> float:
    """Processor time of the server per message that it has acknowledged."""
    before = cpu_seconds(pid)
    for _ in range(_MESSAGES // _TOGETHER):
        await asyncio.gather(*(js.publish(_STREAM, payload) for _ in range(_TOGETHER)))
    return (cpu_seconds(pid) - before) / (_MESSAGES // _TOGETHER * _TOGETHER)


async def _delivered(client: Any, js: Any, pid: int) -> float:
    """The same per message that a consumer of its own has got, the small ones and the large."""
    total = 2 * (_MESSAGES // _TOGETHER * _TOGETHER)
    before = cpu_seconds(pid)
    for _ in range(_CONSUMERS):
        subscription = await js.subscribe(_STREAM, ordered_consumer=True)
        for _ in range(total):
            await subscription.next_msg(timeout=_START_S)
        await subscription.unsubscribe()
    await client.flush()
    return (cpu_seconds(pid) - before) / total / _CONSUMERS
