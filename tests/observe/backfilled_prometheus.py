"""A real Prometheus that has a month of a relay and a link behind it, without waiting.

History, seen from `end`: nothing was recorded but for the last eight days, and for a day in the
fourth week before (two hours are a block on disk, and that takes its time). The relay was down for
six hours three days ago, and is down since ten minutes. Detectors click at 1000, 2000, ... per
second, one per second of them outside the windows. Every hour a block becomes 3600 bits of key;
every tenth, another ends without: no-bound. Errors are 1 % in Z, 26 % in X. Nobody asked a KME.
"""

import copy
import http.server
import subprocess
import threading
import time
from pathlib import Path

import yaml
from prometheus_server import PrometheusServer

from bellrelay.observe.slo_file import check_slo_file
from bellrelay.observe.slo_rules import rules_yaml

SOURCE = Path(__file__).resolve().parents[2] / "deploy" / "slo.yaml"
STEP_S = 300
DAY_S = 86400
DAYS = (*range(8), 25)
"""Those of which there is a record, by how many days they end before the end."""
BEGIN_S = 26 * DAY_S
OUTAGE_S = (3 * 86400, 3 * 86400 - 6 * 3600)
"""Before the end: when it began, when it was over."""
DOWN_S = 600
DETECTORS = 2
RELAY = {"relay": "charlie-1", "job": "bellrelay-relay", "instance": "charlie-1"}
LINK = {"link": "alice-1--bob-1", "endpoint": "alice-1"}
ENDPOINT = {**LINK, "job": "bellrelay-endpoint", "instance": "alice-1"}


def slo_file(evaluate, **changes):
    """deploy/slo.yaml, evaluated as often as this."""
    values = copy.deepcopy(yaml.safe_load(SOURCE.read_text()))
    return check_slo_file({**values, "evaluate": evaluate, **changes}, "slo.yaml")


def is_down(before_end_s):
    """Whether the relay was, so long before the end."""
    begin, end = OUTAGE_S
    return end <= before_end_s < begin or before_end_s < DOWN_S


def _series(name, labels):
    inner = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
    return f"{name}{{{inner}}}"


class History:
    """Until `end_s`."""

    def __init__(self, end_s):
        self._end_s = end_s

    def _up(self, at):
        return float(not is_down(self._end_s - at))

    def _counted(self, per_s):
        """A counter that stands still while the relay is down."""
        counts, total = {}, 0.0
        for at in range(self._end_s - BEGIN_S, self._end_s + 1, STEP_S):
            total += self._up(at) * per_s * STEP_S
            counts[at] = total
        return counts.__getitem__

    def series(self):
        """Name, labels, value at a time; None where there is none."""

        def hours(at):
            return (at - self._end_s + BEGIN_S) // 3600

        def down(at):
            return 1.0 if is_down(self._end_s - at) else None

        yield "bellrelay_relay_up", RELAY, self._up
        yield "up", RELAY, lambda _at: 1.0
        yield "bellrelay_relay_simulated", RELAY, lambda _at: 1.0
        overdue = "bellrelay_relay_calibration_overdue"
        yield overdue, RELAY, lambda at: float(self._end_s - at > 2 * DAY_S)
        name = "bellrelay_relay_calibration_last_success_timestamp_seconds"
        yield name, {**RELAY, "step": "hom"}, lambda _at: self._end_s - DAY_S
        for d in range(DETECTORS):
            dark = {**RELAY, "detector": f"D{d}", "bound": "rate"}
            yield "bellrelay_relay_dark_counts_per_second", dark, lambda _at: 90.0
        rates = {"slots": 80e6, "slots_not_live": 8e6}
        for d in range(DETECTORS):
            rates |= {f"early_{d}": 1000.0 * (d + 1) - 1.0, f"outside_{d}": 1.0}
        for counter, rate in rates.items():
            yield "bellrelay_board_total", {**RELAY, "counter": counter}, self._counted(rate)
        yield "bellrelay_endpoint_up", ENDPOINT, lambda _at: 1.0
        yield "up", ENDPOINT, lambda _at: 1.0
        ended = "bellrelay_endpoint_blocks_ended_total"
        yield ended, {**ENDPOINT, "state": "stored", "cause": ""}, hours
        labels = {**ENDPOINT, "state": "aborted", "cause": "no-bound"}
        yield ended, labels, lambda at: hours(at) // 10
        yield "bellrelay_endpoint_key_bits_total", ENDPOINT, lambda at: 3600 * hours(at)
        for basis, share in (("Z", 0.01), ("X", 0.26)):
            labels = {**ENDPOINT, "basis": basis}
            yield "bellrelay_endpoint_error_ratio", labels, lambda _at, share=share: share
        # What the rules recorded meanwhile.
        bad, own = "bellrelay:slo_bad:now", {"relay": "charlie-1", "slo": "relay-availability"}
        yield bad, own, lambda at: 1.0 - self._up(at)
        yield bad, {**LINK, "slo": "link-up"}, lambda _at: 0.0
        yield bad, {**LINK, "slo": "qber"}, lambda _at: 0.0
        yield "bellrelay:slo_budget_left:ratio", own, lambda at: (self._end_s - at) / BEGIN_S
        alert = {"alertname": "RelayDown", "alertstate": "firing", "severity": "page", **RELAY}
        yield "ALERTS", alert, down
        yield "ALERTS", {**alert, "alertname": "SomebodyElsesAlert"}, down

    def days(self):
        """OpenMetrics of every day of which there is a record."""
        every = list(self.series())
        for day in DAYS:
            until = self._end_s - day * DAY_S
            lines = []
            for name, labels, value in every:
                head = _series(name, labels)
                for at in range(until - DAY_S + STEP_S, until + 1, STEP_S):
                    if (number := value(at)) is not None:
                        lines.append(f"{head} {number:.10g} {at}")
            yield "\n".join([*lines, "# EOF", ""])


PAGES = {
    "/relay": "bellrelay_relay_up 0\n",
    "/endpoint": 'bellrelay_endpoint_up 1\nbellrelay_endpoint_error_ratio{basis="Z"} 0.01\n',
}


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(PAGES[self.path].encode())

    def log_message(self, *_):
        pass


class BackfilledPrometheus:
    """A context.

    Attributes
    ----------
    url : str
    end_s : int
        Until when there is history.
    """

    def __init__(self, program, promtool, folder, port):
        self._folder = folder
        self._promtool = promtool
        self._page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
        target = f"127.0.0.1:{self._page.server_port}"

        def job(labels, path):
            labels = {k: v for k, v in labels.items() if k != "job"}
            static = {"targets": [target], "labels": labels}
            return {"metrics_path": path, "static_configs": [static]}

        (folder / "rules.yml").write_text(rules_yaml(slo_file("1s")))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": "bellrelay-relay", **job(RELAY, "/relay")},
                {"job_name": "bellrelay-endpoint", **job(ENDPOINT, "/endpoint")},
            ],
        }
        # Its default would forget half of a month.
        self.server = PrometheusServer(program, folder, config, port, retention="60d")
        self.url = self.server.url

    def __enter__(self):
        self.end_s = int(time.time()) // STEP_S * STEP_S
        text = self._folder / "day.txt"
        words = [self._promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
        # A day each: for every block, the whole of its file is read.
        for day in History(self.end_s).days():
            text.write_text(day)
            done = subprocess.run(
                [*words, text, self._folder / "data"], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
        threading.Thread(target=self._page.serve_forever, daemon=True).start()
        self.server.__enter__()
        return self

    def __exit__(self, *exception):
        self.server.__exit__(*exception)
        self._page.shutdown()
        self._page.server_close()
