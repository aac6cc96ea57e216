"""A relay's daemon in this process, tracking a twin's event board that is a process of its own."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import yaml

from bellrelay.cli.run_processes import free_port
from bellrelay.cli.run_system import relay_yaml
from bellrelay.control.relay_tracking import RelayTracking
from bellrelay.relay.config import check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay_sim.link_config import link_and_geometry

START_S = 60.0
WAIT_S = 180.0
"""For what takes seconds of the link, on a machine that has other things to do."""


class TrackedRelay:
    """A context. `link`: of the twin's YAML; `tracking`: of the relay's."""

    def __init__(self, folder, link, tracking, changes=None, seconds=600):
        self.folder = folder
        self.link, self.geometry = link_and_geometry(link)
        (folder / "link.yaml").write_text(yaml.safe_dump(link))
        values = relay_yaml(self.link, folder, free_port())
        values["histogram"] = {"period_s": 0.1, "bin_ps": 16}
        values["tracking"] = tracking
        self.config = check_config({**values, **(changes or {})})
        self.tracking = RelayTracking(self.config)
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        log = self._stack.enter_context((self.folder / "twin.log").open("w"))
        command = [sys.executable, "-m", "bellrelay_sim.twin", "--seconds", str(self._seconds)]
        command += ["--config", str(self.folder / "link.yaml")]
        command += ["--conditions", str(self.folder / "conditions")]
        command += ["--port-link", str(self.folder / "port")]
        twin = subprocess.Popen(command, stdout=log, stderr=log)
        self._stack.callback(twin.wait, 30)
        self._stack.callback(twin.terminate)
        self.until(lambda: (self.folder / "port").exists() or twin.poll() is not None)
        assert twin.poll() is None, (self.folder / "twin.log").read_text()[-2000:]
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        self._stack.callback(thread.join, 20)
        self._stack.callback(self._loop.call_soon_threadsafe, self._loop.stop)
        self.daemon = RelayDaemon(self.config, companions=[self.tracking])
        self.call(self.daemon.start())
        self._stack.callback(lambda: self.call(self.daemon.stop()))
        return self

    def __exit__(self, *_):
        self._stack.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_S)

    def until(self, condition, seconds=WAIT_S):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, getattr(self, "daemon", None) and self.status()
            time.sleep(0.02)

    def command(self, conditions):
        """Change what nature does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(json.dumps(conditions).encode(), str(self.folder / "conditions"))

    def status(self):
        return self.tracking.status()

    def until_state(self, state):
        self.until(lambda: self.status()["state"] == state)

    def link_s(self):
        """Board seconds that have passed."""
        beat = self.daemon.session.heartbeat
        return 0.0 if beat is None else beat.fields["cut_ps"] * 1e-12

    def board_trim(self):
        beat = self.daemon.session.heartbeat
        return 0 if beat is None else beat.fields["trim"]

    def errors_ps(self, periods):
        """Of so many histograms to come: how late the light lies in the board's own slot."""
        out, last = [], None
        while len(out) < periods:
            self.until(lambda: self.daemon.session.periods.last is not last)  # noqa: B023
            last = self.daemon.session.periods.last
            out.append(late_ps(last.counts[: self.geometry.n_detectors].sum(axis=0), self.link))
        return np.array(out)


def late_ps(counts, link):
    """Mean of both pulses' offsets, without any fit: the middle of what lies within 600 ps."""
    middles = (np.arange(len(counts)) + 0.5) * 16
    out = []
    for window in link.windows():
        centre = sum(window) / 2
        near = np.abs(middles - centre) < 600
        out.append(np.average(middles[near], weights=counts[near]) - centre)
    return float(np.mean(out))
