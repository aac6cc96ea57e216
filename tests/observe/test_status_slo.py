"""`bellrelay status --slo` and `--report`, asked of a real Prometheus that has a month behind it.

With BELLRELAY_PICTURES set to a folder, the picture of the documentation is written there.
"""

import asyncio
import contextlib
import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from backfilled_prometheus import (
    DOWN_S,
    OUTAGE_S,
    SOURCE,
    STEP_S,
    BackfilledPrometheus,
    slo_file,
)
from health_pages import HealthPages, recorded

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.cli.run_processes import free_port
from bellrelay.control.calibration_records import Records
from bellrelay.observe.prometheus_api import PrometheusApi, PrometheusRefused
from bellrelay.observe.report_data import Span, gather
from bellrelay.observe.slo_status import RulesMissing, slo_status

pytestmark = pytest.mark.needs_server
LONGEST_S = 120.0
WEEK_S = 7 * 86400


@pytest.fixture(scope="module")
def prometheus(requires_program, tmp_path_factory):
    program = requires_program("prometheus", "apt-get install prometheus")
    promtool = requires_program("promtool", "apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with BackfilledPrometheus(program, promtool, folder, free_port()) as running:
        # Every rule was evaluated, and what it recorded can be asked for.
        end = time.monotonic() + LONGEST_S
        while len(running.server.query("bellrelay:slo_budget_left:ratio")) < 4 or not (
            running.server.query('ALERTS{alertname="RelayAvailabilityBurn", alertstate="firing"}')
        ):
            assert time.monotonic() < end, running.server.ask("rules")
            time.sleep(0.5)
        yield running


def asked(prometheus, question):
    async def ask():
        async with PrometheusApi(prometheus.url, LONGEST_S) as api:
            return await question(api)

    return asyncio.run(ask())


@pytest.fixture
def status(tmp_path, capsys, prometheus):
    """Call it with options and changes of the files: exit code, stdout, stderr."""

    def run(*words, slo=None, **values):
        file, objectives = tmp_path / "status.yaml", tmp_path / "slo.yaml"
        objectives.write_text(yaml.safe_dump({**yaml.safe_load(SOURCE.read_text()), **(slo or {})}))
        server = {"url": prometheus.url}
        base = {"prometheus": server, "slo": str(objectives), "timeout_s": LONGEST_S / 2}
        file.write_text(yaml.safe_dump({**base, **values}))
        ended = 0
        try:
            main(["status", "--config", str(file), *map(str, words)])
        except SystemExit as error:
            ended = int(error.code or 0)
        said = capsys.readouterr()
        return ended, said.out, said.err

    return run


# ----------------------------------------------------------------------------- objectives


def test_what_is_kept_what_burns_and_what_fires(status):
    code, printed, _ = status("--slo", "--json")
    said = json.loads(printed)
    assert code == ExitCode.CHECK_FAILED
    assert not said["well"]
    found = {one["slo"]: one for one in said["slos"]}
    relay = found["relay-availability"]
    assert relay["labels"] == {"relay": "charlie-1"}
    assert relay["target"] == 0.995
    assert relay["window"] == "30d"
    # Six hours of nine days, at least, when 3.6 may be missed in a month.
    assert relay["reached"] < 1 - 6 / (9 * 24)
    assert relay["budget_left"] == pytest.approx(1 - (1 - relay["reached"]) / 0.005, abs=0.02)
    assert not relay["kept"]
    # It is down since ten minutes: all of the shortest window.
    assert relay["burn"]["5m"] == pytest.approx(200.0)
    assert list(relay["burn"]) == ["5m", "30m", "1h", "6h", "3d"]
    assert relay["runbook"] == "https://runbooks.example.net/relay-down.md"
    link = found["link-up"]
    assert link["kept"]
    assert link["reached"] == 1.0
    # The rules of today are younger than what they are about, and that is told.
    assert 0.0 < link["recorded"] < 0.01
    firing = {(a["name"], a["labels"].get("window")): a for a in said["alerts"]}
    alert = firing["RelayAvailabilityBurn", "1h"]
    assert alert["severity"] == "page"
    assert alert["labels"]["relay"] == "charlie-1"
    assert alert["runbook"] == "https://runbooks.example.net/relay-down.md"
    # Pages come first.
    assert [a["severity"] for a in said["alerts"]] == sorted(a["severity"] for a in said["alerts"])


def test_no_data_is_no_data(status):
    _, printed, _ = status("--slo", "--json")
    for one in json.loads(printed)["slos"]:
        if one["slo"] in ("key-requests", "key-latency", "sync-jitter"):
            assert one["labels"] == {}
            assert one["reached"] is one["budget_left"] is None
            assert set(one["burn"].values()) == {None}
            # Nobody asked for key: no promise was broken.
            assert one["kept"]


def test_objectives_as_a_table(status, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, printed, _ = status("--slo")
    assert code == ExitCode.CHECK_FAILED
    assert max(map(len, printed.split("│")[0].splitlines())) <= 80
    assert printed.count("no data") == 6
    assert "relay-availability of charlie-1: its error budget is spent" in printed
    assert re.search(r"page: RelayAvailabilityBurn .*relay-down\.md", printed)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        # Rules that were never loaded, and rules of a file that said something else.
        (lambda v: v["slos"][0].update(name="relay-up"), "of relay-up"),
        (lambda v: v["slos"][0].update(target=0.99), "RelayAvailabilityBurn, as the file has it"),
        (lambda v: v["gauges"][0].update(title="Gone"), "RelayDown, as the file has it"),
        (lambda v: v["recordings"][0].update(name="bellrelay:x:y"), "bellrelay:x:y"),
    ],
)
def test_rules_that_prometheus_does_not_have_are_named(status, change, named):
    values = yaml.safe_load(SOURCE.read_text())
    change(values)
    values["gauges"][0]["silences"] = []
    code, _, said = status("--slo", slo=values)
    assert code == ExitCode.CONFIGURATION
    assert named in said
    assert "rule_files" in said


def test_a_prometheus_that_is_away_or_none(status):
    with HealthPages(recorded("cut")) as pages:
        for url in (f"http://127.0.0.1:{free_port()}", f"{pages.url}/alice"):
            for words in (["--slo"], ["--report", "week", "--out", "x.html"]):
                code, _, said = status(*words, prometheus={"url": url})
                assert code == ExitCode.UNREACHABLE
                assert f"{url}: no Prometheus" in said
    assert not Path("x.html").exists()


def test_alerts_are_in_the_table_of_status(status):
    with HealthPages(recorded("healthy")) as pages:
        kmes = {"kme-alice": f"{pages.url}/kme-alice"}
        code, printed, _ = status("--json", kmes=kmes)
    said = json.loads(printed)
    assert code == ExitCode.CHECK_FAILED
    assert "RelayAvailabilityBurn" in {alert["name"] for alert in said["alerts"]}
    assert said["prometheus"] == ""
    # It measures how long key lasts, and nobody took any.
    assert "nobody took any" in said["daemons"][0]["says"]["pair apps"]


def test_a_wrong_question_is_told(prometheus):
    with pytest.raises(PrometheusRefused, match="parse error"):
        asked(prometheus, lambda api: api.query("no )"))


def test_an_evaluation_of_other_rules_is_no_silence(prometheus):
    with pytest.raises(RulesMissing):
        asked(prometheus, lambda api: slo_status(api, slo_file("1s", window="20d")))


# ----------------------------------------------------------------------------- reports


def span_of(prometheus, name):
    return getattr(Span, name)(float(prometheus.end_s))


def gathered(prometheus, name="week"):
    file = slo_file(f"{STEP_S}s")
    return asked(prometheus, lambda api: gather(api, file, span_of(prometheus, name)))


def test_a_week_is_what_it_was(prometheus):
    data = gathered(prometheus)
    assert not data.empty
    assert data.simulated == {"charlie-1"}
    (relay,) = [k for k in data.kept if k.slo.name == "relay-availability"]
    away = OUTAGE_S[0] - OUTAGE_S[1] + DOWN_S
    assert relay.bad == pytest.approx(away / WEEK_S, rel=0.02)
    # Of 3.6 hours in a month.
    assert relay.spent == pytest.approx(away / (0.005 * 30 * 86400), rel=0.02)
    (measured,) = data.measured["relay-availability"]
    assert len(measured.values) == 7 * 24
    assert min(measured.values) == 0.0
    (recorded_share,) = data.recorded["relay-availability"]
    assert recorded_share.value == pytest.approx(1.0, abs=0.01)
    ended = {(s.labels["state"], s.labels.get("cause", "")): s.value for s in data.ended}
    assert ended["stored", ""] == pytest.approx(7 * 24, abs=1)
    assert ended["aborted", "no-bound"] == pytest.approx(7 * 24 / 10, abs=1)
    (key,) = data.key_bits
    assert key.value == pytest.approx(7 * 24 * 3600, rel=0.01)
    running = {t.labels["detector"]: max(t.values) for t in data.clicks}
    assert running == {
        "0": pytest.approx(1000.0, rel=0.01),
        "1": pytest.approx(2000.0, rel=0.01),
    }
    assert [max(t.values) for t in data.outside] == pytest.approx([1.0, 1.0], rel=0.01)
    assert {v for t in data.dark for v in t.values} == {90.0}
    assert {round(v, 3) for t in data.live for v in t.values} == {0.9}
    errors = {t.labels["basis"]: t.values[0] for t in data.errors}
    assert errors == {"Z": pytest.approx(0.01), "X": pytest.approx(0.26)}
    (overdue,) = data.overdue
    assert overdue.value == pytest.approx(5 / 7, rel=0.01)


def test_alerts_that_fired_and_how_long(prometheus):
    # Those of before the end: since then, the rules themselves have begun to fire.
    found = {a.name: a for a in gathered(prometheus).alerts}
    # What is no alert of ours is no business of the report.
    assert "SomebodyElsesAlert" not in found
    down = found["RelayDown"]
    outage = OUTAGE_S[0] - OUTAGE_S[1]
    assert down.severity == "page"
    assert down.labels == {"relay": "charlie-1"}
    assert down.seconds == pytest.approx(outage + DOWN_S, abs=STEP_S)
    assert len(down.times) == 2
    begin, end = down.times[0]
    assert begin == pytest.approx(prometheus.end_s - OUTAGE_S[0], abs=STEP_S)
    assert end - begin == pytest.approx(outage, abs=STEP_S)


def test_a_month_with_holes_says_so(prometheus):
    data = gathered(prometheus, "month")
    (share,) = data.recorded["link-up"]
    assert share.value == pytest.approx(9 / 30, abs=0.01)
    (measured,) = data.measured["link-up"]
    steps = 30 * 24 / 4
    # What was not recorded is not there: no 100 %.
    assert len(measured.values) == pytest.approx(0.3 * steps, abs=3)
    relay = next(k for k in data.kept if k.slo.name == "relay-availability")
    assert relay.bad == pytest.approx((6 * 3600 + DOWN_S) / (9 * 86400), rel=0.02)


def test_days_of_which_there_is_nothing(status, tmp_path):
    code, _, said = status("--report", "week", "--out", tmp_path, "--until", "2020-01-01")
    # In a folder it has the name of its days.
    out = tmp_path / "week-2020-01-01.html"
    assert code == ExitCode.CHECK_FAILED
    assert "no data" in said
    page = out.read_text()
    assert "Prometheus has no data of these days" in page
    assert "100.0 %" not in page


class _Page(HTMLParser):
    """What a browser would find: tags that are open, and what it would load."""

    EMPTY = {"meta", "br", "img", "use", "path", "link"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.loads, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [v for k, v in values.items() if k in ("src", "xlink:href") and v]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


EVIL = "<script>alert(1)</script> $x^2$ & co"


def calibrated(folder, end_s):
    """A relay's records: a scan that was undone, a dry run, one that failed, dark counts."""
    records = Records(folder)
    board = {"name": "twin", "simulated": True}

    def add(step, hours, **values):
        at = int((end_s - 3600 * hours) * 1e9)
        base = {
            "why": "by hand", "author": "anna", "begin_utc_ns": at, "end_utc_ns": at, "ok": True,
            "text": f"{step} is well", "figures": {}, "change": {}, "version": None,
            "before": {}, "after": {}, "devices": [], "board": board,
        }  # fmt: skip
        return records.add(step, {**base, **values})

    add("hom", 24 * 20, text="of another week")
    changed = {"before": {"phase_ps": 10}, "after": {"phase_ps": 35}}
    add("phase", 50, change={"phase_ps": 35}, version=1, **changed)
    back = {"before": {"phase_ps": 35}, "after": {"phase_ps": 10}}
    add("undo", 49, undone=2, change={"phase_ps": 10}, version=2, author="bert", **back)
    add("windows", 40, change={"windows": 1})
    add("tdc", 30, ok=False, text=EVIL)
    knob = {"device": "delay", "before": [0.0], "after": [12.5]}
    add("hom", 20, devices=[knob])
    detector = {"name": "D0", "rate_hz": 90.0, "low_hz": 71.0, "high_hz": 112.0}
    add("dark", 10, figures={"detectors": [detector]})


@pytest.fixture
def report(status, tmp_path, prometheus):
    """A week's report with calibrations: exit code, path."""
    calibrated(tmp_path / "calibration", prometheus.end_s)
    out = tmp_path / "week.html"
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(prometheus.end_s))
    folders = {"charlie-1": str(tmp_path / "calibration"), "charlie-2": str(tmp_path / "none")}
    code, printed, _ = status(
        "--report", "week", "--out", out, "--until", until,
        slo={"evaluate": f"{STEP_S // 60}m"}, calibrations=folders,
    )  # fmt: skip
    assert f"{out}: the week until" in printed
    assert code == ExitCode.OK
    return out


def test_a_report_is_one_page_with_everything(report):
    text = report.read_text()
    page = _Page(text)
    assert page.open == []
    # Nothing is fetched; pictures stand in it, and refer to themselves alone.
    assert all(address.startswith("#") for address in page.loads), page.loads
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == 12
    assert "<script>alert" not in text
    said = " ".join(" ".join(page.text).split())
    assert EVIL in said
    for wanted in (
        "Simulation. Twins, not boards: charlie-1",
        "charlie-1 detector 0 (simulation)",
        "relay-availability: The relay measures and announces",
        "no-bound",
        "phase_ps: 10 → 35",
        "undone by record 3",
        "bert",
        "a dry run: nothing",
        "device delay: [0.0] → [12.5]",
        "charlie-1 D0 (simulation) 90.0 71.0 to 112.0",
        "charlie-2: ",
        "a step was overdue for 71.4 %",
        "RelayDown",
        "6.2 h",
    ):
        assert wanted in said, wanted
    assert "of another week" not in said
    assert 'href="https://runbooks.example.net/relay-down.md"' in text


def test_a_report_in_a_browser(report, requires_program):
    """Dark and light, wide and narrow, on paper: no complaint, nothing asked for, nothing cut."""
    chromium = requires_program("chromium", "apt-get install chromium")
    from playwright.sync_api import sync_playwright

    complaints, asked_for = [], []
    with sync_playwright() as playwright, contextlib.ExitStack() as stack:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        stack.callback(browser.close)
        inks = set()
        for scheme, width in (("light", 1000), ("dark", 1000), ("light", 420)):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda said: complaints.append(said.text))
            page.on("request", lambda request: asked_for.append(request.url))
            page.goto(report.as_uri())
            # Texts of pictures take the page's colour.
            ink = "getComputedStyle(document.querySelector('svg text')).fill"
            assert page.evaluate(ink) == page.evaluate("getComputedStyle(document.body).color")
            inks.add(page.evaluate(ink))
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{scheme}: {wide}"
            folder = os.environ.get("BELLRELAY_PICTURES")
            if folder and scheme == "light" and width == 1000:
                page.screenshot(path=str(Path(folder) / "status-report.png"))
        assert len(inks) == 2
        page.emulate_media(media="print")
        assert page.pdf(format="A4").startswith(b"%PDF")
    assert complaints == []
    assert {url.partition(":")[0] for url in asked_for} == {"file"}
    assert len(set(asked_for)) == 1
