"""`bellrelay status`: what daemons said when a link was well, and when a fibre was cut."""

import copy
import json
import ssl
import time
from pathlib import Path

import pytest
import yaml
from health_pages import KINDS, NAMES, HealthPages, recorded
from viewed_relay import ViewedRelay

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay.cli.run_certificates import make_certificates
from bellrelay.observe.daemon_status import Condition, age_text, daemon_status
from bellrelay.observe.status_file import Kind, load_status_files
from bellrelay.observe.status_reference import reference_page
from bellrelay.settings.model import ConfigError

ROOT = Path(__file__).resolve().parents[2]
HEALTHY, CUT = recorded("healthy"), recorded("cut")
# Applications had just taken all of the key.
for _name in KINDS["kmes"]:
    HEALTHY[_name]["low_water"] = []
    for _side in HEALTHY[_name]["pairs"]["apps"].values():
        _side["free"] = 100


@pytest.fixture
def status(tmp_path, capsys):
    """Call it with values of a status file and options: exit code, and what was printed."""

    def run(values, *words):
        path = tmp_path / "status.yaml"
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(SystemExit) as ended:
            main(["status", "--config", str(path), *words])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out or said.err

    return run


def kind_of(name):
    group = next(group for group, names in KINDS.items() if name in names)
    return Kind(group.removesuffix("s"))


def status_of(name, health, **more):
    return daemon_status(kind_of(name), name, "http://localhost", health, time.time_ns(), **more)


# ----------------------------------------------------------------------------- the whole command


def test_all_is_well(status):
    with HealthPages(HEALTHY) as pages:
        code, printed = status(pages.values())
    assert code == ExitCode.OK
    assert "6 well" in printed
    # Whom light is directed to, and who is in the dark and well nevertheless.
    assert "charles is active" in printed
    assert "none is directed here" in printed
    # Nobody measured how long key lasts, and nothing pretends to.
    assert "No Prometheus is named" in printed
    assert "enough for" not in printed
    assert "(simulation)" in printed


def test_a_cut_fibre_is_told_with_its_runbook(status):
    with HealthPages(CUT) as pages:
        code, printed = status(pages.values(), "--json")
    said = json.loads(printed)
    assert code == ExitCode.CHECK_FAILED
    assert said["condition"] == "degraded"
    (fault,) = [f for f in said["faults"] if f["name"] == "fibre-cut"]
    assert fault["subject"] == "alice"
    assert fault["runbook"] == "docs/runbooks/fibre-cut.md"
    daemons = {d["name"]: d for d in said["daemons"]}
    assert set(daemons) == set(NAMES)
    assert daemons["alice"]["condition"] == "degraded"
    # All of it, for who wants more.
    assert daemons["alice"]["health"] == CUT["alice"]


def test_a_fault_that_both_endpoints_tell_is_printed_once(status, tmp_path):
    said = copy.deepcopy(CUT)
    said["bob"]["faults"]["active"] = CUT["alice"]["faults"]["active"]
    slo = tmp_path / "slo.yaml"
    slo.write_text((ROOT / "deploy" / "slo.yaml").read_text())
    with HealthPages(said) as pages:
        code, printed = status(pages.values(slo=str(slo)), "--json")
    (fault,) = [f for f in json.loads(printed)["faults"] if f["name"] == "fibre-cut"]
    assert code == ExitCode.CHECK_FAILED
    assert fault["said_by"] == "alice, bob"
    # With the SLO file at hand, the page has an address.
    assert fault["runbook"] == "https://runbooks.example.net/fibre-cut.md"


def test_who_does_not_answer_is_unreachable(status):
    with HealthPages({**HEALTHY, "bob": None}) as pages:
        code, printed = status(pages.values(), "--json")
    said = json.loads(printed)
    assert code == ExitCode.UNREACHABLE
    (bob,) = [d for d in said["daemons"] if d["name"] == "bob"]
    assert bob["condition"] == "unreachable"
    assert bob["wrong"][0].startswith("no answer")
    assert bob["since_utc_ns"] is None


def test_a_prometheus_that_is_away_is_told(status):
    with HealthPages(HEALTHY) as pages:
        away = {"url": "http://127.0.0.1:1"}
        code, printed = status(pages.values(prometheus=away), "--json")
    assert code == ExitCode.UNREACHABLE
    said = json.loads(printed)
    assert "no Prometheus answers" in said["prometheus"]
    assert said["alerts"] is None


def test_over_https_only_whom_the_authority_signed_is_believed(status, tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        make_certificates(folder, ["localhost"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own / "localhost.crt", own / "localhost.key")
    with HealthPages(HEALTHY, tls) as pages:
        assert status(pages.values(ca=str(own / "ca.crt")))[0] == ExitCode.OK
        code, printed = status(pages.values(ca=str(other / "ca.crt")))
    assert code == ExitCode.UNREACHABLE
    assert "6 unreachable" in printed


# ----------------------------------------------------------------------------- what is degraded


def _set(health, path, value):
    *way, last = path.split(".")
    for key in way:
        health = health[key]
    health[last] = value


@pytest.mark.parametrize(
    ("name", "changes", "wrong"),
    [
        ("charles", {"state": "lost", "reason": "port gone"}, "lost: port gone"),
        ("charles", {"tracking.state": "holdover"}, "the slot clock is holdover"),
        ("charles", {"tracking.reference_locked": False}, "the reference clock is not locked"),
        ("charles", {"tracking.not_written": "busy"}, "the slot clock: busy"),
        (
            "charles",
            {"nats": {"stream": "s", "pending": 3, "connected": False, "reason": "refused"}},
            "no connection to the broker: refused",
        ),
        ("charles", {"trial": {"version": 2, "fault": "disk full"}}, "disk full"),
        (
            "alice",
            {"peer.connected": False, "peer.reason": "refused", "state": "waiting"},
            "no connection to bob: refused",
        ),
        ("alice", {"relay.connected": False}, "no connection to charles: not yet"),
        (
            "alice",
            {"relays.each.charles.quarantine": {"detail": "slot 7 twice", "cause": "x"}},
            "charles is in quarantine: slot 7 twice",
        ),
        ("alice", {"relays.light_fault": "switch stuck"}, "light: switch stuck"),
        (
            "alice",
            {"random_health.alarm": "repetition count"},
            "random numbers: repetition count",
        ),
        ("alice", {"faults.failed": "ValueError"}, "the watch itself fails: ValueError"),
        ("alice", {"changes": {"fault": "no such version"}}, "no such version"),
        ("bob", {"tracking.state": "silent"}, "nothing comes from tracking slots"),
        ("kme-bob", {"peer.connected": False}, "no connection to kme-alice: not yet"),
        ("kme-bob", {"store.fault": "locked"}, "store: locked"),
        ("kme-bob", {"intake.fault": "no store"}, "intake: no store"),
        ("kme-bob", {"audit.fault": "chain broken"}, "audit log: chain broken"),
        (
            "kme-bob",
            {"audit.forward": {"siem": {"fault": "refused"}}},
            "audit log to siem: refused",
        ),
    ],
)
def test_what_a_daemon_says_is_wrong_is_told(name, changes, wrong):
    health = copy.deepcopy(HEALTHY[name])
    assert status_of(name, health).condition is Condition.WELL
    for path, value in changes.items():
        _set(health, path, value)
    found = status_of(name, health)
    assert found.condition is Condition.DEGRADED
    assert wrong in found.wrong


@pytest.mark.parametrize(
    ("name", "changes", "runbook"),
    [
        (
            "charles",
            {
                "calibration": {
                    "overdue": ["hom"],
                    "running": None,
                    "announced": {"begin_utc_ns": 0, "steps": ["hom"]},
                }
            },
            "calibration-overdue",
        ),
        (
            "bob",
            {"monitors": {"each": {"power": {"stale": True, "age_s": 60.0, "beyond": []}}}},
            "monitor-stale",
        ),
        ("kme-alice", {"low_water": ["apps"]}, "key-shortage"),
        ("kme-alice", {"lifecycle.kek_due": True}, "kek-due"),
        (
            "kme-alice",
            {"bridges": {"vault": {"fault": "refused", "waiting": 3, "pushed": 0}}},
            "bridge-stands",
        ),
    ],
)
def test_what_has_a_runbook_names_it(name, changes, runbook):
    health = copy.deepcopy(HEALTHY[name])
    for path, value in changes.items():
        _set(health, path, value)
    (fault,) = status_of(name, health).faults
    assert fault.runbook == f"docs/runbooks/{runbook}.md"
    assert (ROOT / fault.runbook).is_file()


def test_a_relay_in_the_dark_needs_no_slot_clock():
    health = copy.deepcopy(HEALTHY["charles"])
    health["tracking"].update(state="acquiring", locked=False)
    assert status_of("charles", health).condition is Condition.DEGRADED
    assert status_of("charles", health, lit=True).condition is Condition.DEGRADED
    assert status_of("charles", health, lit=False).condition is Condition.WELL


def test_how_long_key_lasts_is_what_prometheus_says():
    def says(**more):
        return dict(status_of("kme-alice", HEALTHY["kme-alice"], **more).says)["pair apps"]

    bits = 100 * HEALTHY["kme-alice"]["unit_bits"]
    assert says() == f"{bits} bits left"
    assert says(key_left_s={"apps": 7201.0}) == f"{bits} bits left, enough for 2.0 h"
    assert "nobody took any" in says(key_left_s={})


def test_another_daemon_at_the_address_is_told():
    found = daemon_status(Kind.KME, "kme-alice", "http://x", HEALTHY["alice"], 0)
    assert found.condition is Condition.DEGRADED
    assert found.wrong == ("http://x: this is no kme",)
    found = daemon_status(Kind.RELAY, "diana", "http://x", HEALTHY["charles"], 0)
    assert "it calls itself charles" in found.wrong


@pytest.mark.parametrize(
    ("seconds", "text"), [(95.4, "95 s"), (720, "12 min"), (18000, "5.0 h"), (786240, "9.1 d")]
)
def test_ages_are_read_at_a_glance(seconds, text):
    assert age_text(seconds) == text


# ----------------------------------------------------------------------------- a daemon itself


def test_a_running_relay_is_understood(tmp_path, capsys):
    """What the daemon of today says, not what one said when it was recorded."""
    with ViewedRelay(tmp_path):
        began = time.time_ns()
        with pytest.raises(SystemExit) as ended:
            main(["status", "--config", str(tmp_path / "relay.yaml"), "--json"])
    (found,) = json.loads(capsys.readouterr().out)["daemons"]
    assert ended.value.code in (None, ExitCode.OK), found["wrong"]
    assert found["condition"] == "well"
    assert found["simulated"] is True
    assert 0 < began - found["since_utc_ns"] < 600e9
    assert found["says"]["slot clock"] == "not tracked"


# ----------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"relays": {"a": "http://10.0.0.1:9410"}}, "relays.a: 'http://10.0.0.1:9410'; allowed:"),
        ({"prometheus": {"url": "http://mon:9090"}}, "prometheus.url: 'http://mon:9090'; allowed:"),
        ({"kmes": {"a": "ftp://localhost"}}, "kmes.a: 'ftp://localhost'; allowed: http://HOST"),
        ({"kmes": {"a": "http://localhost:1/"}}, "without / at its end"),
        ({"kmes": {"a": "http://localhost:99999"}}, "kmes.a: 'http://localhost:99999'"),
        ({"timeout_s": 0}, "timeout_s: 0; allowed: 0.1 to 60 s"),
        ({"relais": {}}, "relais: no such key"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, values, line):
    path = tmp_path / "status.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as caught:
        load_status_files([path])
    assert any(line in found for found in caught.value.lines), caught.value.lines


def test_plain_http_to_another_machine_must_be_wanted(tmp_path):
    path = tmp_path / "status.yaml"
    path.write_text(yaml.safe_dump({"relays": {"a": "http://10.0.0.1:9410"}, "plain_http": True}))
    assert load_status_files([path]).relays == {"a": "http://10.0.0.1:9410"}


def test_files_of_daemons_say_where_they_are_asked(tmp_path):
    files = {
        "relay": {"relay_id": "charlie", "health": {"listen": "0.0.0.0:9410"}, "other": 1},
        "alice": {"endpoint_id": "alice", "health": {"listen": "127.0.0.1:9420"}},
        "kme": {"kme_id": "kme-a", "health": {"listen": "[::1]:9430"}},
    }
    for name, values in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    file = load_status_files([tmp_path / f"{name}.yaml" for name in files])
    assert file.daemons() == [
        (Kind.RELAY, "charlie", "http://127.0.0.1:9410"),
        (Kind.ENDPOINT, "alice", "http://127.0.0.1:9420"),
        (Kind.KME, "kme-a", "http://[::1]:9430"),
    ]
    (tmp_path / "deaf.yaml").write_text(yaml.safe_dump({"kme_id": "kme-b", "health": {}}))
    with pytest.raises(ConfigError, match=r"health\.listen"):
        load_status_files([tmp_path / "deaf.yaml"])
    cluster = {"endpoint_id": "alice", "scheduler": "127.0.0.1:8786"}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    with pytest.raises(ConfigError, match="a cluster's; allowed: that of its endpoint"):
        load_status_files([tmp_path / "cluster.yaml"])


def test_the_example_can_be_used_and_agrees_with_prometheus():
    file = load_status_files([ROOT / "deploy" / "status.example.yaml"])
    scraped = yaml.safe_load(
        (ROOT / "deploy" / "prometheus" / "prometheus.example.yml").read_text()
    )
    labels = {
        "relay": set(file.relays), "endpoint": set(file.endpoints), "kme": set(file.kmes)
    }  # fmt: skip
    for job in scraped["scrape_configs"]:
        kind = job["job_name"].removeprefix("bellrelay-")
        assert {s["labels"][kind] for s in job["static_configs"]} == labels[kind]


def test_the_reference_is_that_of_the_model():
    page = ROOT / "docs" / "reference" / "status-file.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.observe.status_reference > docs/reference/status-file.md"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--slo", "--watch"],
        ["--report", "week"],
        ["--out", "x.html"],
        ["--until", "2026-11-23"],
        ["--watch", "--json"],
        ["--watch"],
        ["--report", "week", "--out", "x.html", "--until", "soon"],
        ["--report", "week", "--out", "no/such/folder/x.html"],
    ],
)
def test_options_that_do_not_go_together(status, words):
    values = {"kmes": {"a": "http://localhost:1"}, "prometheus": {"url": "http://localhost:1"}}
    values["slo"] = str(ROOT / "deploy" / "slo.yaml")
    assert status(values, *words)[0] == ExitCode.USAGE


@pytest.mark.parametrize("words", [[], ["--slo"], ["--report", "week", "--out", "x.html"]])
def test_what_must_be_named_is_asked_for(status, words):
    code, said = status({}, *words)
    assert code == ExitCode.CONFIGURATION
    assert "allowed" in said
