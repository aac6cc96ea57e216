"""A live view by TLS over a relay's real settings: who gets in, and what is on record of it."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
import structlog
import yaml

from bellrelay.cli.main import main
from bellrelay.cli.run_certificates import make_certificates
from bellrelay.control.relay_settings import RelaySettings
from bellrelay.keys.audit_checkpoint import create_signing_key
from bellrelay.keys.audit_verify import verify_audit
from bellrelay.observe.live_view import LiveView

ADA = "not-a-secret-but-adas-for-this-test"
EMMY = "not-a-secret-but-emmys-for-this-test"
EARLY = {"values": {"windows": {"early": [2100, 3000]}}, "reason": "the dip is deeper"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ["localhost"])
    return folder


@pytest.fixture
def values(tmp_path, certificates):
    """A relay's YAML; change it, then `viewed`."""
    token = tmp_path / "token"
    token.write_text(f"ada {ADA}\nemmy {EMMY}\n")
    token.chmod(0o600)
    tls = {
        "certificate": str(certificates / "localhost.crt"),
        "key": str(certificates / "localhost.key"),
    }
    return {
        "relay_id": "charlie",
        "port": str(tmp_path / "port"),
        "slot_period_ps": 10_000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
        "log": {"directory": str(tmp_path / "log")},
        "calibration": {"directory": str(tmp_path / "calibration")},
        "view": {"listen": "127.0.0.1:0", "tls": tls, "token_file": str(token)},
    }


@pytest.fixture
def viewed(tmp_path, values, certificates):
    """Call it: a view that listens, of a board that is not there."""
    views = []

    def start():
        path = tmp_path / "relay.yaml"
        path.write_text(yaml.safe_dump(values))
        settings = RelaySettings(path)
        view = LiveView(settings.config, settings.config.view, settings)
        view.start(SimpleNamespace(periods=None, heartbeat=None, identity=None))
        views.append(view)
        return Viewed(view, settings, certificates)

    yield start
    for view in views:
        view.stop()


class Viewed:
    def __init__(self, view, settings, certificates):
        self.view = view
        self.settings = settings
        self._context = ssl.create_default_context(cafile=certificates / "ca.crt")

    def ask(self, path, body=None, token=None):
        """Code and JSON of the answer."""
        url = f"https://localhost:{self.view.port}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def early(self):
        return self.settings.tunable()["windows"]["early"]


def on_record(folder):
    """Records but for the log's own."""
    lines = [
        json.loads(line) for file in sorted(folder.glob("audit-*.jsonl")) for line in file.open()
    ]
    return [r for r in lines if r["event.action"].startswith(("settings-", "view-", "relay-"))]


def test_who_shows_no_token_or_a_wrong_one_changes_nothing_and_is_on_record(viewed, tmp_path):
    relay = viewed()
    assert relay.ask("/change", EARLY)[0] == 401
    assert relay.ask("/change", EARLY, "x" * 30)[0] == 401
    assert relay.ask("/undo", {}, ADA[:-1])[0] == 401
    assert relay.early() == [2000, 3000]
    assert len(relay.ask("/changes")[1]) == 1
    relay.view.stop()
    refused = [
        r for r in on_record(tmp_path / "log" / "audit") if r["event.action"] == "view-refused"
    ]
    assert len(refused) == 3
    for record in refused:
        assert record["event.outcome"] == "failure"
        assert record["user.id"] == "unknown"
        assert record["source.ip"] == "127.0.0.1"
        assert record["event.type"] == ["denied"]


def test_a_change_is_on_record_with_who_what_before_and_after(viewed, tmp_path):
    relay = viewed()
    assert relay.ask("/change", EARLY, EMMY)[0] == 200
    assert relay.early() == [2100, 3000]
    wrong = {"values": {"windows": {"early": [9000, 8000]}}}
    assert relay.ask("/change", wrong, ADA)[0] == 400
    assert relay.ask("/undo", {"reason": "worse"}, ADA)[0] == 200
    assert relay.early() == [2000, 3000]
    assert relay.settings.history()[1]["author"] == "emmy, live view"
    relay.view.stop()
    folder = tmp_path / "log" / "audit"
    said = [(r["event.action"], r["event.outcome"], r["user.id"]) for r in on_record(folder)]
    assert said == [
        ("relay-started", "success", "system"),
        ("settings-changed", "unknown", "operator:emmy"),
        ("settings-changed", "success", "operator:emmy"),
        ("settings-changed", "unknown", "operator:ada"),
        ("settings-changed", "failure", "operator:ada"),
        ("settings-undone", "unknown", "operator:ada"),
        ("settings-undone", "success", "operator:ada"),
        ("relay-stopped", "success", "system"),
    ]
    changed, refused, undone = (on_record(folder)[n] for n in (2, 4, 6))
    assert json.loads(changed["bellrelay.values"]) == EARLY["values"]
    assert json.loads(changed["bellrelay.before"])["windows"]["early"] == [2000, 3000]
    assert json.loads(changed["bellrelay.after"])["windows"]["early"] == [2100, 3000]
    assert changed["bellrelay.version"] == 1
    assert changed["event.reason"] == "the dip is deeper"
    assert changed["bellrelay.object"] == "relay:charlie"
    assert changed["service.name"] == "bellrelay-relay"
    assert "windows.early" in refused["error.message"]
    assert json.loads(undone["bellrelay.after"])["windows"]["early"] == [2000, 3000]
    assert undone["bellrelay.version"] == 0


def test_the_record_is_verified_by_the_command_of_the_keys_audit(viewed, values, tmp_path, capsys):
    create_signing_key(tmp_path / "audit.key")
    folder = tmp_path / "elsewhere"
    values["view"]["audit"] = {"directory": str(folder), "signing_key": str(tmp_path / "audit.key")}
    relay = viewed()
    relay.ask("/change", EARLY, ADA)
    relay.view.stop()
    command = ["keys", "audit", "--verify", "--directory", str(folder)]
    command += ["--public-key", str(tmp_path / "audit.key.pub"), "--json"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    said = capsys.readouterr().out
    assert ended.value.code in (0, None), said
    assert json.loads(said[said.index("{") :])["signed_to"] > 2
    # Somebody changes what was asked for.
    (file,) = folder.glob("audit-*.jsonl")
    file.write_text(file.read_text().replace("[2100, 3000]", "[2200, 3000]", 1))
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 8


def test_where_the_record_cannot_be_written_nothing_is_changed_and_the_relay_goes_on(
    viewed, tmp_path
):
    folder = tmp_path / "log" / "audit"
    relay = viewed()
    assert relay.ask("/change", EARLY, ADA)[0] == 200
    relay.view.stop()
    # A line is gone from the record.
    (file,) = folder.glob("audit-*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2] + lines[3:]))
    again = viewed()
    status, said = again.ask("/change", {"values": {"phase_ps": 5}}, ADA)
    assert status == 503
    assert "nothing is changed" in said["message"]
    assert again.settings.tunable()["phase_ps"] == 0
    assert again.view.status()["audit"]["fault"]
    assert not verify_audit(folder).whole


def test_without_a_token_file_it_is_read_only_and_keeps_no_record(viewed, values, tmp_path):
    del values["view"]["token_file"]
    relay = viewed()
    status, said = relay.ask("/change", EARLY, ADA)
    assert status == 403
    assert "read-only" in said["message"]
    assert relay.view.status()["writable"] is False
    assert relay.view.status()["audit"] is None
    assert not (tmp_path / "log" / "audit").exists()


def test_with_tls_plain_http_and_a_stranger_s_certificate_get_nowhere(viewed, tmp_path):
    relay = viewed()
    plain = http.client.HTTPConnection("127.0.0.1", relay.view.port, timeout=30)
    plain.request("GET", "/")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.getresponse()
    plain.close()
    make_certificates(tmp_path, ["mallory"])
    stranger = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    url = f"https://localhost:{relay.view.port}/"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url, timeout=30, context=stranger)
    # And it still serves who does it right.
    assert relay.ask("/changes")[0] == 200


def test_no_token_is_logged_or_shown(viewed, tmp_path, capfd):
    with structlog.testing.capture_logs() as logged:
        relay = viewed()
        relay.ask("/change", EARLY, ADA)
        relay.ask("/change", EARLY, ADA + "x")
        relay.ask("/undo", {}, EMMY)
        shown = [relay.ask(path)[1] for path in ("/changes", "/events", "/records")]
        shown.append(dict(relay.view.status()))
        relay.view.stop()
    folder = tmp_path / "log" / "audit"
    texts = [repr(logged), *capfd.readouterr(), repr(shown)]
    texts += [file.read_text() for file in folder.iterdir()]
    assert len(on_record(folder)) > 5
    for text in texts:
        assert ADA not in text
        assert EMMY not in text
