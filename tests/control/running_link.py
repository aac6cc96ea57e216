"""A whole link in processes of its own: twin, relay, endpoints, with what an operator writes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bellrelay.cli.run_endpoints import ROLES, prepare_endpoints
from bellrelay.cli.run_link import DEFAULT_LINK
from bellrelay.cli.run_processes import (
    bellrelay_command,
    free_port,
    last_words,
    process,
    stop,
    watch,
)
from bellrelay.cli.run_system import relay_yaml
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay_sim.link_config import load_link

_POOL_BYTES = 1 << 20


@dataclass
class RunningLink:
    """Processes by name, and the ports of their health servers."""

    folder: Path
    health: dict[str, int]
    processes: dict[str, Any] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self, name: str) -> None:
        """Start one of the processes, (again)."""
        started = process(self.commands[name], self.folder / f"{name}.log")
        self.processes[name] = self.stack.enter_context(started)
        _listen(self.processes[name], self.said.setdefault(name, []))

    def stop(self, name: str) -> None:
        """Ask it to end, and wait."""
        stop(self.processes.pop(name), self.folder / f"{name}.log", name)

    def status(self, name: str) -> dict[str, Any]:
        """What /health says; empty if nobody answers."""
        try:
            url = f"http://127.0.0.1:{self.health[name]}/health"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except (OSError, ValueError):
            return {}

    def faults(self, role: str = "alice") -> dict[str, Any]:
        """What the watch says; asked for again while a busy machine lets nobody answer."""
        for _ in range(10):
            faults = self.status(role).get("faults")
            if faults and faults["relays"]:
                return dict(faults)
            time.sleep(0.2)
        return {"active": [], "orders": [], "notices": [], "rounds": 0, "relays": {}}

    def until(self, met: Callable[[], Any], seconds: float, what: str) -> Any:
        """Until it is so, in seconds of wall time; all must live meanwhile."""
        end = time.monotonic() + seconds
        while True:
            found = met()
            if found:
                return found
            for name, running in self.processes.items():
                watch(running, self.folder / f"{name}.log", name)
            assert time.monotonic() < end, f"{what}: {self.faults()}"
            time.sleep(0.1)


@contextlib.contextmanager
def running_link(
    folder: Path, slots: float, block_slots: int, watched: dict[str, Any], **options: Any
) -> Iterator[RunningLink]:
    """options: of the link, over those of `bellrelay run`."""
    link_file = folder / "link.yaml"
    link_file.write_text(yaml.safe_dump({**DEFAULT_LINK, **options}))
    link, _ = load_link(link_file)
    running = RunningLink(folder, {name: free_port() for name in ("relay", *ROLES)})
    (folder / "relay.yaml").write_text(
        yaml.safe_dump(relay_yaml(link, folder, running.health["relay"]))
    )
    prepare_endpoints(folder, link, link_file, None, block_slots, free_port(), 0.02)
    secret = os.urandom(_POOL_BYTES)
    for role, other in (ROLES, ROLES[::-1]):
        path = folder / f"{role}.yaml"
        values = yaml.safe_load(path.read_text())
        values["key_pool"]["file"] = str(folder / f"{role}.deep-pool")
        KeyPool.create(folder / f"{role}.deep-pool", secret)
        values["block"]["settle_s"] = 1.0
        values["health"] = {"listen": f"127.0.0.1:{running.health[role]}"}
        values["watch"] = {
            "relays": {"charles": f"http://127.0.0.1:{running.health['relay']}"},
            "peer": f"http://127.0.0.1:{running.health[other]}",
            **watched,
        }
        path.write_text(yaml.safe_dump(values))
    twin = [sys.executable, "-m", "bellrelay_sim.twin", "--board", "event", "--halt"]
    twin += ["--port-link", str(folder / "port"), "--slots", str(int(slots))]
    twin += ["--config", str(link_file), "--conditions", str(folder / "conditions")]
    commands = {
        "twin": twin,
        "relay": bellrelay_command("relay", folder / "relay.yaml"),
        **{role: bellrelay_command("endpoint", folder / f"{role}.yaml") for role in ROLES},
    }
    with contextlib.ExitStack() as stack:
        running.stack, running.commands = stack, commands
        for name in commands:
            running.start(name)
            if name == "twin":
                running.until((folder / "port").exists, 60.0, last_words(folder / "twin.log"))
            if name == "relay":
                running.until(lambda: running.status("relay"), 60.0, "the relay does not answer")
        yield running


def _listen(started: Any, lines: list[str]) -> None:
    """A pipe that nobody reads would stop who writes."""

    def read() -> None:
        with contextlib.suppress(ValueError):
            lines.extend(started.stdout)

    threading.Thread(target=read, daemon=True).start()
