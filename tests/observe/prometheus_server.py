"""Real Prometheus servers of a test, and what they answer."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

START_S = 60.0


class PrometheusServer:
    """A context; `config`: of prometheus.yml. `agent`: scrapes and sends on, keeps nothing else."""

    def __init__(
        self, program, folder, config, port, *, agent=False, receives=False, retention=None
    ):
        folder.mkdir(exist_ok=True)
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self._command = [program, f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}"]
        if agent:
            self._command += ["--enable-feature=agent", f"--storage.agent.path={folder / 'wal'}"]
        else:
            self._command.append(f"--storage.tsdb.path={folder / 'data'}")
        if retention is not None:
            self._command.append(f"--storage.tsdb.retention.time={retention}")
        if receives:
            self._command.append("--web.enable-remote-write-receiver")
        self._process = None

    def __enter__(self):
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + START_S
        while not self._ready():
            alive = self._process.poll() is None and time.monotonic() < end
            assert alive, self._log.read_text()[-2000:]
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            # An agent whose collector is away waits for it.
            self._process.kill()
            self._process.wait(10)

    def _ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=2).status == 200
        except OSError:
            return False

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def query(self, expr):
        """Series of an instant query: (labels, value)."""
        found = self.ask("query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def targets(self):
        return {t["labels"]["instance"]: t["health"] for t in self.ask("targets")["activeTargets"]}
