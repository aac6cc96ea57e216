"""A cluster of real processes: a scheduler, workers, certificates of an authority of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.cli.run_processes import free_port
from bellrelay.endpoint.cluster.executor import ClusterExecutor
from bellrelay.endpoint.cluster.settings import ClusterSettings
from bellrelay.endpoint.cluster.work_key import read_work_key
from bellrelay.endpoint.key_files import write_new_secret

OWNER = "alice"


class RunningCluster:
    """A context; `start` begins a process of a name, `kill` ends it as a power cut does."""

    def __init__(self, folder, **changes):
        self.folder = folder
        make_certificates(folder, ["node", "endpoint"])
        write_new_secret(folder / "work.key", 32)
        self.scheduler = f"127.0.0.1:{free_port()}"
        self.values = {
            "endpoint_id": OWNER,
            "scheduler": self.scheduler,
            "tls": tls_files(folder, "node"),
            "key_file": str(folder / "work.key"),
            "worker": {"directory": str(folder)},
            **changes,
        }
        self.processes = {}
        self._stack = contextlib.ExitStack()
        self.home = self._stack.enter_context(ThreadPoolExecutor(2))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Whoever has work for the cluster leaves before it goes.
        self._stack.close()
        for name in list(self.processes):
            self.kill(name, signal.SIGTERM)

    def start(self, name, verb=None, **changes):
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**self.values, **changes}))
        verb = verb or ("scheduler" if name == "scheduler" else "worker")
        command = [sys.executable, "-m", "bellrelay", "cluster", verb, "--config", str(path)]
        # Work of tests is found by name there.
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
        with (self.folder / f"{name}.log").open("a") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=environment
            )

    def kill(self, name, number=signal.SIGKILL):
        process = self.processes.pop(name)
        os.killpg(process.pid, number)
        process.wait(60)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def settings(self, **changes):
        return ClusterSettings.model_validate(
            {
                "scheduler": self.scheduler,
                "tls": tls_files(self.folder, "endpoint"),
                "key_file": str(self.folder / "work.key"),
                "patience_s": 120.0,
                **changes,
            }
        )

    def executor(self, **changes):
        """Ended with this context."""
        settings = self.settings(**changes)
        key = read_work_key(settings.key_file, OWNER)
        executor = ClusterExecutor(settings, key, self.home)
        self._stack.callback(executor.shutdown)
        return executor


def until(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def until_workers(executor, number):
    until(lambda: executor.status()["workers"] == number)
