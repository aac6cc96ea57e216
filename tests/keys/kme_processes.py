"""KMEs in processes of their own, as an operator starts them, to be killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time


class KmeProcess:
    """`bellrelay kme` on a configuration."""

    def __init__(self, config):
        self.config = config
        self.log = config.with_suffix(".log")
        self._process = None

    def start(self, timeout_s=60):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bellrelay", "kme", "--config", str(self.config), "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self.log.read_text()[-3000:])
        return json.loads(line)

    def kill(self):
        """No last words."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def stop(self, timeout_s=60):
        """As systemd does; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        finally:
            if self._process.poll() is None:
                self.kill()
            self._process.stdout.close()

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None


@contextlib.contextmanager
def kme_processes(sites):
    """Both, by kme_id."""
    processes = {site: KmeProcess(sites.config(site)) for site in sites.ports}
    try:
        for process in processes.values():
            process.start()
        yield processes
    finally:
        for process in processes.values():
            if process.running:
                process.kill()


def wait_until(true, timeout_s=30.0):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)
