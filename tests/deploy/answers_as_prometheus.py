"""Answers as a Prometheus would that knows of five blocks that became key, and of nothing else.

python answers_as_prometheus.py PORT
"""

import http.server
import json
import sys
import urllib.parse

LABELS = {"link": "alice-1--bob-1", "endpoint": "alice-1", "state": "stored", "cause": ""}


class Answers(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = "blocks_ended_total" in asked["query"][0]
        if self.path.endswith("query_range"):
            kind = "matrix"
            values = [[float(asked[at][0]), "5"] for at in ("start", "end")]
            found = [{"metric": LABELS, "values": values}] if known else []
        else:
            kind = "vector"
            found = [{"metric": LABELS, "value": [float(asked["time"][0]), "5"]}] if known else []
        body = json.dumps({"status": "success", "data": {"resultType": kind, "result": found}})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
