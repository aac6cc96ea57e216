"""`bellrelay endpoint --faults`: what a person reads when something is wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from verb_calls import failure_of, written

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main

LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.15, "p_nu": 0.3}
FAULT = {
    "relay": "charlie-1", "fault": "fibre-cut", "family": "cut",
    "title": "nothing comes from an arm",
    "subject": "alice", "receding": False, "probability": 0.93,
    "rivals": [{"fault": "source-dark", "subject": "alice", "probability": 0.07}],
    "evidence": [{"observable": "light of alice", "said": "lowered, 0.001", "weight": 3.8}],
    "steps_taken": ["fail-over"], "runbook": "docs/runbooks/fibre-cut.md",
}  # fmt: skip
STATUS: dict[str, Any] = {
    "state": "waiting",
    "faults": {
        "failed": "", "active": [FAULT],
        "notices": [{
            "utc": "T", "turn": "ordered", "action": "fail-over", "fault": "fibre-cut",
            "subject": "alice",
        }],
        "orders": [{
            "utc": "T", "action": "fail-over", "fault": "fibre-cut", "subject": "alice",
            "outcome": "done", "what": "asked for the relay after charlie-1",
        }],
        "in_force": {"throttle": {"level": 0.5, "fault": "saturation", "subject": "link"}},
        "relays": {"charlie-1": {
            "active": True, "left": None,
            "baseline": {"state": "none", "why": "watch.baseline names no file"},
        }},
        "asked": {"http://peer:1": {"answers": False, "why": "refused"}},
    },
}  # fmt: skip


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The YAML of an endpoint that answers with the status, which may be changed."""
    status = json.loads(json.dumps(STATUS))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # As an endpoint that waits for its relay does.
            self.send_response(503)
            self.end_headers()
            self.wfile.write(json.dumps(status).encode())

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield endpoint_yaml(tmp_path, f"127.0.0.1:{server.server_port}"), status
    finally:
        server.shutdown()
        server.server_close()


def endpoint_yaml(folder: Path, address: str, **changes: Any) -> Path:
    return written(
        folder,
        {
            "endpoint_id": "alice-1",
            "peer_id": "bob-1",
            "role": "alice",
            "relay": {"id": "charlie-1", "unix_socket": "announcements"},
            "peer": {
                "listen": "127.0.0.1:0",
                "name": "bob-1",
                "tls": {"certificate": "a.crt", "key": "a.key", "ca": "ca.crt"},
            },
            "source": {"plugin": "simulation"},
            "alice": LADDER,
            "bob": LADDER,
            "block": {"slots": 10000},
            "store": {"directory": "store"},
            "key_pool": {"file": "pool"},
            "intensity_monitor": {"input": "none"},
            "health": {"listen": address},
            "watch": {},
            **changes,
        },
    )


def ask(capsys: pytest.CaptureFixture[str], config: Path, *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["endpoint", "--config", str(config), "--faults", *words])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_a_fault_with_its_evidence(
    answering: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, status = answering
    code, text = ask(capsys, config)
    assert code == ExitCode.CHECK_FAILED
    for part in (
        "fibre-cut of alice (cut, relay charlie-1): nothing comes from an arm; probability 0.93",
        "+3.8  light of alice: lowered, 0.001",
        "or: source-dark of alice 0.07",
        "ordered: fail-over",
        "runbook: docs/runbooks/fibre-cut.md",
        "in force: throttle 0.5, for saturation of link",
        "relay charlie-1: active, baseline none: watch.baseline names no file",
        "http://peer:1: no answer: refused",
        "fail-over against fibre-cut of alice: done: asked for the relay after charlie-1",
    ):
        assert part in text
    code, text = ask(capsys, config, "--json")
    assert json.loads(text)["active"][0]["fault"] == "fibre-cut"
    status["faults"]["active"] = []
    code, text = ask(capsys, config)
    assert code == ExitCode.OK
    assert text.startswith("no fault\n")


def test_nobody_to_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = endpoint_yaml(tmp_path, "127.0.0.1:1")
    code, said = failure_of(capsys, "endpoint", "--config", config, "--faults")
    assert code == ExitCode.CHECK_FAILED
    assert "no endpoint answers" in said
    for key, changes in (("health.listen", {"health": {}}), ("watch", {"watch": None})):
        config = endpoint_yaml(tmp_path, "127.0.0.1:1", **changes)
        code, said = failure_of(capsys, "endpoint", "--config", config, "--faults")
        assert code == ExitCode.CONFIGURATION
        assert f"{key}: None" in said
