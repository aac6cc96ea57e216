"""A real Prometheus scrapes a running system: every query of every dashboard finds data."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from counting_page import CountingPage
from prometheus_server import PrometheusServer

from bellrelay.cli.gameday_delivery import deliver_everything
from bellrelay.cli.gameday_files import RELAYS, SHAPES, write_files
from bellrelay.cli.gameday_system import running_system
from bellrelay.cli.run_processes import free_port
from bellrelay.observe.dashboard_panels import DASHBOARDS

pytestmark = pytest.mark.needs_server
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
LONGEST_S = 240.0
# What only something that is wrong brings about.
ALARMS = ("bellrelay_endpoint_fault", 'sum by (alertname, severity) (ALERTS{alertstate="firing"})')

BROKEN = {"RelayDown", "ClicksMissing", "RelayQuarantined", "AuthenticationFailures", "KmeParted"}


def add_bridge(files):
    """A pair of the KMEs whose key goes to a key manager, which is away."""
    for role in ("alice", "bob"):
        path = files.yaml_of(f"kme-{role}")
        values = yaml.safe_load(path.read_text())
        saes = {f"kme-{r}": f"vault-{r}" for r in ("alice", "bob")}
        values["pairs"].append({"name": "vault", "saes": saes, "share": 1})
        tls = {k: values["tls"][k] for k in ("ca", "certificate", "key")}
        manager = {"url": f"https://127.0.0.1:{free_port()}", "tls": tls, "tenant": "t"}
        values["bridges"] = [{"name": "vault", "sae": f"vault-{role}", "https": manager}]
        path.write_text(yaml.safe_dump(values))


def add_monitors(files):
    """A power meter, a spectrum analyser and a thermometer at the first relay; gives their file."""
    readings = files.folder / "monitors.txt"
    readings.touch()
    path = files.yaml_of(RELAYS[0])
    values = yaml.safe_load(path.read_text())
    kinds = {"arm-a": "power", "laser": "spectrum", "rack": "temperature"}
    each = {name: {"kind": kind} for name, kind in kinds.items()}
    each["laser"]["limits"] = {"suppression_db": [30, None]}
    values["monitors"] = {"files": [str(readings)], "each": each}
    path.write_text(yaml.safe_dump(values))
    return readings


def measure(readings):
    """Every monitor says one line."""
    spectrum = "1550.0:-60,1550.1:-3,1550.2:0,1550.3:-4,1550.4:-60,1550.5:-42,1550.6:-60"
    with readings.open("a") as file:
        file.write(f"arm-a power -42 dBm\nlaser spectrum {spectrum} nm:dBm\n")
        file.write("rack temperature 21.5 C\nrack pressure 1013 hPa\n")


def scrape_config(files):
    """As deploy/prometheus/prometheus.example.yml has it, for the daemons of a run."""
    example = yaml.safe_load((DEPLOY / "prometheus.example.yml").read_text())

    def target(name, **labels):
        return {"targets": [f"127.0.0.1:{files.ports[name]}"], "labels": labels}

    jobs = {
        "bellrelay-relay": [target(r, relay=r) for r in RELAYS],
        "bellrelay-endpoint": [target(e, link="l", endpoint=e) for e in ("alice", "bob")],
        "bellrelay-kme": [target(f"kme-{e}", kme=f"kme-{e}") for e in ("alice", "bob")],
    }
    assert {job["job_name"] for job in example["scrape_configs"]} == set(jobs)
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "2s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": n, "static_configs": t} for n, t in jobs.items()],
    }


@pytest.mark.soak
def test_every_query_of_every_dashboard_finds_data_in_a_run(tmp_path, requires_program):
    program = requires_program("prometheus", "apt-get install prometheus")
    folder = tmp_path / "run"
    folder.mkdir()
    # Nothing is done by itself: a fault stays for as long as an alert holds off.
    shape = replace(SHAPES["event", "bright"], by_itself=False)
    files = write_files(folder, shape, kmes=True)
    server = tmp_path / "prometheus"
    server.mkdir()
    rules = (DEPLOY / "bellrelay.rules.yml").read_text()
    # Recorded every two seconds, so that nobody waits half a minute for each step.
    (server / "rules.yml").write_text(rules.replace("interval: 30s", "interval: 2s"))
    add_bridge(files)
    readings = add_monitors(files)
    queries = {q.expr for page in DASHBOARDS for p in page.panels for q in p.queries}
    healthy = queries - set(ALARMS)
    assert queries > healthy
    with (
        running_system(files) as system,
        PrometheusServer(program, server, scrape_config(files), free_port()) as prometheus,
    ):

        def without_data(wanted):
            return {expr for expr in wanted if not prometheus.query(expr)}

        wait_for(lambda: all(system.waiting_keys(r) for r in ("alice", "bob")), "no key", 120.0)
        stop = time.monotonic() + LONGEST_S
        while missing := without_data(healthy):
            assert time.monotonic() < stop, missing
            # Applications ask now and then.
            deliver_everything(files)
            measure(readings)
            time.sleep(2.0)
        assert set(prometheus.targets().values()) == {"up"}
        # What says that something is broken is silent in a healthy run.
        pages = prometheus.query('ALERTS{alertstate="firing", severity="page"}')
        assert not {labels["alertname"] for labels, _ in pages} & BROKEN
        system.change(RELAYS[0], {"arm_a": {"eta": 0.0}})
        wait_for(lambda: not without_data(ALARMS), "a cut fibre is no alarm", 90.0)
        # Another alert may have fired before the one on the cut.
        cut = 'ALERTS{alertstate="firing", alertname="Fault", fault="fibre-cut"}'
        wait_for(lambda: prometheus.query(cut), "no alert on a cut fibre", 90.0)
        groups = prometheus.ask("rules")["groups"]
    unhealthy = [r["name"] for g in groups for r in g["rules"] if r["health"] == "err"]
    assert unhealthy == []


@pytest.mark.soak
def test_what_the_collector_missed_is_sent_when_it_is_back(tmp_path, requires_program):
    """An agent beside the daemon keeps samples on disk while the collector is away."""
    program = requires_program("prometheus", "apt-get install prometheus")
    counting = tmp_path / "page"
    counting.mkdir()
    port, central_port, agent_port = free_port(), free_port(), free_port()
    example = yaml.safe_load((DEPLOY / "agent.example.yml").read_text())
    sent = example["remote_write"][0]
    sent["url"] = f"http://127.0.0.1:{central_port}/api/v1/write"
    sent.pop("tls_config", None)
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "counting", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        ],
        "remote_write": [sent],
    }
    central = {"folder": tmp_path / "central", "config": {}, "port": central_port}

    def collector():
        return PrometheusServer(program, **central, receives=True)

    with (
        CountingPage(port),
        PrometheusServer(program, tmp_path / "agent", config, agent_port, agent=True),
    ):
        with collector() as first:
            wait_for(lambda: first.query("scraped"), "no sample comes")
            began = time.time()
        # Away for a while; nobody tells the agent.
        time.sleep(8.0)
        with collector() as again:
            back = time.time()
            wait_for(lambda: covered(again, began, back + 2.0), "samples are missing", 60.0)
    shutil.rmtree(tmp_path / "central")


def covered(server, begin, end):
    """Whether the counter, which grows by one with every scrape, misses no value in between."""
    if time.time() < end:
        return False
    found = server.ask("query", query=f"scraped[{int(time.time() - begin) + 1}s]")["result"]
    if not found:
        return False
    values = [int(float(value)) for at, value in found[0]["values"] if begin <= at <= end]
    return len(values) >= 8 and values == list(range(values[0], values[0] + len(values)))


def wait_for(condition, why, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, why
        time.sleep(0.2)
