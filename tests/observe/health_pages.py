"""Servers that say what recorded daemons said: tests/data/health, by test_status_running.py."""

import copy
import http.server
import json
import threading
from pathlib import Path

RECORDED = Path(__file__).resolve().parents[1] / "data" / "health"
NAMES = ("charles", "diana", "alice", "bob", "kme-alice", "kme-bob")
KINDS = {
    "relays": ("charles", "diana"),
    "endpoints": ("alice", "bob"),
    "kmes": ("kme-alice", "kme-bob"),
}


def recorded(when):
    """By name: what each said when the link was ``healthy``, or a fibre ``cut``."""
    return {name: json.loads((RECORDED / f"{when}-{name}.json").read_text()) for name in NAMES}


class HealthPages:
    """A context; says `said` by name at /NAME/health, with 503 for who does not run.

    Parameters
    ----------
    said
        May be changed meanwhile. None of a name: nobody is there.
    tls
        A server's context, or None.
    """

    def __init__(self, said, tls=None):
        self.said = copy.deepcopy(said)
        pages = self

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/").split("/")[0]
                health = pages.said.get(name)
                if health is None:
                    self.close_connection = True
                    return
                self.send_response(200 if health.get("state") == "running" else 503)
                self.end_headers()
                self.wfile.write(json.dumps(health).encode())

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        scheme = "http"
        if tls is not None:
            scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://localhost:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def values(self, **more):
        """Of a status file about them."""
        groups = {
            kind: {name: f"{self.url}/{name}" for name in names} for kind, names in KINDS.items()
        }
        # A busy machine may take its time.
        return {**groups, "timeout_s": 30.0, **more}
