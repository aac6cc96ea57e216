"""Rules and routes of deploy/slo.yaml, checked by Prometheus' and Alertmanager's own tools."""

import copy
import json
import math
import subprocess
from pathlib import Path

import pytest
import yaml
from rule_cases import GAUGES, INDICATORS, RECORDS

from bellrelay.keys.kme_metrics import request_metrics
from bellrelay.keys.request_tally import RequestTally
from bellrelay.observe.alert_routes import alertmanager_yaml
from bellrelay.observe.slo_file import check_slo_file, load_slo_file, seconds
from bellrelay.observe.slo_reference import reference_page
from bellrelay.observe.slo_rules import alert_name, rules, rules_yaml
from bellrelay.settings.model import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "deploy" / "slo.yaml"
RULES = ROOT / "deploy" / "prometheus" / "bellrelay.rules.yml"
ROUTES = ROOT / "deploy" / "prometheus" / "alertmanager.yml"
FILE = load_slo_file(SOURCE)
VALUES = yaml.safe_load(SOURCE.read_text())


@pytest.fixture(scope="module")
def promtool(requires_program):
    return requires_program("promtool", "apt-get install prometheus")


@pytest.fixture(scope="module")
def amtool(requires_program):
    return requires_program("amtool", "apt-get install prometheus-alertmanager")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_committed_is_what_the_slo_file_gives():
    assert RULES.read_text() == rules_yaml(FILE)
    assert ROUTES.read_text() == alertmanager_yaml(FILE)
    page = ROOT / "docs" / "reference" / "slo-file.md"
    assert page.read_text() == reference_page()


# ---------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda v: v.update(window="a month"), "window: 'a month'; allowed: a duration"),
        (lambda v: v["slos"][0].update(target=1.0), "slos.0.target: 1.0; allowed: 0.5 to 0.99999"),
        (lambda v: v["slos"][0].update(indicator={}), "allowed: one of up, events, latency, limit"),
        (lambda v: v["burn"][0].update(short="2h"), "burn.0: '1h'; allowed: short < long"),
        (lambda v: v["burn"][0].update(burn=30), "burn.0.burn: 30.0; allowed: less than 20, for"),
        (lambda v: v["gauges"][0].update(silences=["x"]), "allowed: an alert or SLO of these"),
        (lambda v: v["gauges"][1].update(name="relay-down"), "allowed: names that differ"),
        (lambda v: v.update(runbooks="https://x"), "runbooks: 'https://x'; allowed: a URL"),
        (lambda v: v["gauges"][0].update(colour="red"), "gauges.0.colour: no such key"),
    ],
)
def test_a_wrong_file_is_refused_with_key_value_and_what_is_allowed(change, line):
    values = copy.deepcopy(VALUES)
    change(values)
    with pytest.raises(ConfigError) as caught:
        check_slo_file(values, "slo.yaml")
    assert any(line in found for found in caught.value.lines), caught.value.lines


def test_every_alert_has_a_severity_and_a_runbook():
    for group in rules(FILE)["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("page", "ticket")
                assert rule["annotations"]["runbook_url"].startswith(FILE.runbooks)


def test_an_hour_at_five_times_the_budget_pages():
    """As the objective of operations demands it."""
    fast = [b for b in FILE.burn if b.severity == "page"]
    assert [(b.burn, b.long) for b in fast] == [(5.0, "1h")]


# ---------------------------------------------------------------------------------- promtool


@pytest.mark.needs_server
def test_prometheus_accepts_the_rules(promtool):
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_every_rule_has_a_firing_and_a_silent_case():
    """Rules are covered by name: one that is added without cases fails here."""
    assert set(INDICATORS) == {s.name for s in FILE.slos}
    assert set(GAUGES) == {alert_name(g.name) for g in FILE.gauges}
    assert set(RECORDS) == {r.name for r in FILE.recordings}
    known = {r.name for r in FILE.recordings}
    for group in rules(FILE)["groups"]:
        for rule in group["rules"]:
            name = rule.get("record", "")
            assert not name or name in known or name.startswith("bellrelay:slo_")


def _annotations(rule, value):
    text = rule["annotations"]
    ratio = "{{ $value | humanizePercentage }}"
    return {
        **text,
        "description": text["description"]
        .replace(ratio, value)
        .replace('{{ $value | printf "%.6g" }}', value),
    }


def _test(series, minute, **checks):
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series],
        **{
            kind: [{"eval_time": f"{minute}m", **check} for check in found]
            for kind, found in checks.items()
        },
    }


def _rules_of(name):
    groups = {g["name"]: g["rules"] for g in rules(FILE)["groups"]}
    return groups[f"bellrelay-slo-{name}"]


def burn_tests(slo):
    """Every burn alert, at a time at which its long window is full, bad and good."""
    bad, good, labels = INDICATORS[slo.name]
    alerts = [r for r in _rules_of(slo.name) if "alert" in r]
    longest = max(seconds(b.long) for b in FILE.burn) // 60 + 10
    name = alerts[0]["alert"]
    fired = [
        {
            "exp_labels": {**labels, **r["labels"]},
            "exp_annotations": _annotations(r, BAD_SHARE[slo.name]),
        }
        for r in alerts
    ]
    return [
        _test(bad, longest, alert_rule_test=[{"alertname": name, "exp_alerts": fired}]),
        _test(good, longest, alert_rule_test=[{"alertname": name}]),
    ]


BAD_SHARE = {
    "relay-availability": "100%",
    "link-up": "100%",
    "blocks-stored": "50%",
    "qber": "100%",
    "sync-jitter": "100%",
    "key-requests": "50%",
    "key-latency": "50%",
}


def gauge_tests():
    rule_of = {r["alert"]: r for g in rules(FILE)["groups"] for r in g["rules"] if "alert" in r}
    out = []
    for name, case in GAUGES.items():
        rule = rule_of[name]
        expected = {
            "exp_labels": {**case.labels, **rule["labels"]},
            "exp_annotations": _annotations(rule, case.value),
        }
        checks = [{"alertname": name, "exp_alerts": [expected]}]
        out.append(_test(case.firing, case.at, alert_rule_test=checks))
        out.append(_test(case.silent, case.at, alert_rule_test=[{"alertname": name}]))
        # Not before it has lasted.
        hold = seconds(rule["for"])
        if hold >= 120:
            early = [{"alertname": name}]
            out.append(_test(case.firing, 1, alert_rule_test=early))
    return out


def record_tests():
    out = []
    for name, case in RECORDS.items():
        labels = ", ".join(f'{k}="{v}"' for k, v in sorted(case.labels.items()))
        for series, value in ((case.series, case.value), (case.other_series, case.other)):
            # promtool compares exactly: in millionths.
            check = {"expr": f"round({name} * 1e6)", "exp_samples": []}
            if value is not None and math.isnan(value):
                # It takes no NaN for equal to itself: nothing above and nothing below.
                check["expr"] = f"{name} >= -Inf"
            elif value is not None:
                check["exp_samples"] = [{"labels": f"{{{labels}}}", "value": round(value * 1e6)}]
            out.append(_test(series, case.at, promql_expr_test=[check]))
    return out


def budget_tests(slo):
    """What is left of a budget: all of it while all is good, less than none while all is bad."""
    bad, good, labels = INDICATORS[slo.name]
    shown = ", ".join(f'{k}="{v}"' for k, v in sorted({**labels, "slo": slo.name}.items()))
    left = f'bellrelay:slo_budget_left:ratio{{slo="{slo.name}"}}'
    return [
        _test(series, 300, promql_expr_test=[{"expr": expr, "exp_samples": [sample]}])
        for series, expr, sample in (
            (good, f"round({left} * 1e6)", {"labels": f"{{{shown}}}", "value": 1_000_000}),
            (bad, f"{left} < bool 0", {"labels": f"{{{shown}}}", "value": 1}),
        )
    ]


def promtool_test(promtool, folder, groups, tests, every="1m"):
    """The outcome of these tests of these groups of rules: fewer rules, less to wait for."""
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    content = {"rule_files": ["rules.yml"], "evaluation_interval": every, "tests": tests}
    (folder / "tests.yml").write_text(yaml.safe_dump(content))
    command = [promtool, "test", "rules", str(folder / "tests.yml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.mark.needs_server
@pytest.mark.parametrize("slo", FILE.slos, ids=lambda slo: slo.name)
def test_an_objective_alarms_while_all_is_bad_and_not_while_all_is_good(slo, tmp_path, promtool):
    groups = [g for g in rules(FILE)["groups"] if g["name"] == f"bellrelay-slo-{slo.name}"]
    tests = burn_tests(slo) + budget_tests(slo)
    done = promtool_test(promtool, tmp_path, groups, tests, "5m")
    assert done.returncode == 0, done.stdout + done.stderr


def scraped(*tallies):
    """What Prometheus has of these, an hour each; `_`: no such series yet."""
    hours = [
        {
            (sample.name, tuple(sample.labels.items())): sample.value
            for family in request_metrics(tally)
            for sample in family.samples
        }
        for tally in tallies
    ]
    out = []
    for name, labels in hours[-1]:
        shown = ", ".join(f'{k}="{v}"' for k, v in (("kme", "k"), *labels))
        values = [hour.get((name, labels)) for hour in hours]
        steps = ["_x59" if value is None else f"{value:g}+0x59" for value in values]
        out.append((f"{name}{{{shown}}}", " ".join(steps)))
    return out


@pytest.mark.needs_server
@pytest.mark.parametrize(
    ("slo", "code", "seconds"), [("key-requests", 503, 0.01), ("key-latency", 200, 2.0)]
)
def test_the_first_request_that_fails_is_seen(slo, code, seconds, tmp_path, promtool):
    after = RequestTally()
    after.add("enc_keys", code, seconds)
    groups = [g for g in rules(FILE)["groups"] if g["name"] == f"bellrelay-slo-{slo}"]
    alerts = [r for r in _rules_of(slo) if "alert" in r]
    firing = [
        {"exp_labels": {"kme": "k", **r["labels"]}, "exp_annotations": _annotations(r, "100%")}
        for r in alerts
    ]

    def told(before, expected):
        check = {"alertname": alerts[0]["alert"], "exp_alerts": expected}
        test = _test(scraped(before, after), 62, alert_rule_test=[check])
        return promtool_test(promtool, tmp_path, groups, [test])

    done = told(RequestTally(), firing)
    assert done.returncode == 0, done.stdout + done.stderr
    # Of series that begin with it, nothing would be.
    nothing_yet = RequestTally()
    nothing_yet.requests.clear()
    nothing_yet.buckets.clear()
    done = told(nothing_yet, [])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs_server
@pytest.mark.parametrize("tests", [gauge_tests, record_tests])
def test_gauges_and_recordings(tests, tmp_path, promtool):
    groups = [g for g in rules(FILE)["groups"] if "-slo-" not in g["name"]]
    done = promtool_test(promtool, tmp_path, groups, tests())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs_server
def test_a_rule_that_never_fires_would_be_noticed(tmp_path, promtool):
    """The check can fail."""
    groups = [g for g in rules(FILE)["groups"] if g["name"] == "bellrelay-gauges"]
    broken = json.loads(json.dumps(groups).replace("kek_due == 1", "kek_due == 2"))
    done = promtool_test(promtool, tmp_path, broken, gauge_tests())
    assert done.returncode != 0
    assert "KekDue" in done.stdout + done.stderr


# ---------------------------------------------------------------------------------- amtool


@pytest.mark.needs_server
def test_alertmanager_accepts_the_routes(amtool):
    run(amtool, "check-config", str(ROUTES))


@pytest.mark.needs_server
@pytest.mark.parametrize(
    "rule",
    [r for g in rules(FILE)["groups"] for r in g["rules"] if "alert" in r],
    ids=lambda r: r["alert"] + r["labels"].get("window", ""),
)
def test_every_alert_reaches_whom_its_severity_names(rule, amtool):
    labels = [
        f"{k}={v}" for k, v in {**rule["labels"], "alertname": rule["alert"], "relay": "r"}.items()
    ]
    severity = rule["labels"]["severity"]
    command = [
        "config",
        "routes",
        "test",
        f"--config.file={ROUTES}",
        f"--verify.receivers={severity}",
    ]
    run(amtool, *command, *labels)
