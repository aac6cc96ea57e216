"""A page of metrics that says how often it was scraped."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


class CountingPage:
    """A context; its one counter grows by one with every scrape."""

    def __init__(self, port):
        class Page(BaseHTTPRequestHandler):
            scraped = 0

            def do_GET(self):
                Page.scraped += 1
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(f"scraped {Page.scraped}\n".encode())

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", port), Page)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
