"""A relay's daemon with its live view, on a twin's event board in real time, as processes."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from bellrelay.cli.run_processes import free_port
from bellrelay.cli.run_system import relay_yaml
from bellrelay_sim.link import SimulatedLink

TOKEN = "not-a-secret-but-long-enough-for-a-test"
START_S = 60.0
BIN_PS = 64
LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}


class ViewedRelay:
    """A context.

    calibrate : whether linearity and a delay scan are measured before the relay starts, for
    pictures: that takes a minute.

    Attributes
    ----------
    url : str
        Of the page.
    """

    def __init__(self, folder: Path, changes=None, writable=True, calibrate=False):
        self.folder = folder
        self.calibrated = calibrate
        self.link = SimulatedLink()
        self.health = free_port()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        values = relay_yaml(self.link, folder, self.health)
        values["histogram"] = {"period_s": 0.1, "bin_ps": BIN_PS}
        values["calibration"] = {"directory": str(folder / "calibration")}
        if calibrate:
            line = {"plugin": "simulation", "kind": "delay-line", "sender": "alice"}
            values["lab"] = {"delay": {**line, "conditions": str(folder / "conditions")}}
            hom = {"device": "delay", "seconds": 0.3, "points": 15, "alice": LADDER, "bob": LADDER}
            values["calibration"]["steps"] = {"hom": hom}
        values["view"] = {"listen": f"127.0.0.1:{port}"}
        self.readings = folder / "readings"
        self.readings.touch()
        each = {
            "arm-a": {"kind": "power", "stale_s": 3600},
            "laser": {
                "kind": "wavelength",
                "stale_s": 3600,
                "limits": {"wavelength_nm": [1550.0, 1551.0]},
            },
        }
        values["monitors"] = {"files": [str(self.readings)], "each": each}
        if writable:
            token = folder / "token"
            token.write_text(f"ada {TOKEN}\n")
            token.chmod(0o600)
            values["view"]["token_file"] = str(token)
        (folder / "relay.yaml").write_text(yaml.safe_dump({**values, **(changes or {})}))

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self._processes = {}
        twin = ["-m", "bellrelay_sim.twin", "--realtime", "--seconds", "3600"]
        twin += ["--port-link", str(self.folder / "port")]
        self._start("twin", [*twin, "--conditions", str(self.folder / "conditions")])
        self._until(lambda: (self.folder / "port").exists(), "twin")
        if self.calibrated:
            steps = [sys.executable, "-m", "bellrelay", "calibrate", "tdc", "hom"]
            subprocess.run([*steps, "--config", str(self.folder / "relay.yaml")], check=True)
        relay = ["-m", "bellrelay", "relay", "--config", str(self.folder / "relay.yaml"), "--view"]
        self._start("relay", relay)
        self._until(lambda: self.status()["state"] == "running", "relay")
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _start(self, name, arguments):
        log = self._stack.enter_context((self.folder / f"{name}.log").open("w"))
        process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log)
        self._processes[name] = process
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.terminate)

    def _until(self, there, name):
        end = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                if there():
                    return
            alive = self._processes[name].poll() is None and time.monotonic() < end
            assert alive, (self.folder / f"{name}.log").read_text()[-2000:]
            time.sleep(0.1)

    def status(self):
        address = f"http://127.0.0.1:{self.health}/health"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)

    def measure(self, *lines):
        """Monitors say this."""
        with self.readings.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def on_record(self):
        """The audit log of the view."""
        files = sorted((self.folder / "log" / "audit").glob("audit-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def versions(self):
        with urllib.request.urlopen(f"{self.url}/changes", timeout=5) as answer:
            return json.load(answer)

    def post(self, path, body, token=TOKEN):
        """Code and JSON of the answer."""
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
