"""Two KMEs in this process, in a thread with an event loop of its own, and SAEs that ask them."""

import asyncio
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import quote

from two_sites import SITES

from bellrelay.cli.kme import _finished_keys
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.kme_daemon import KmeDaemon


class RunningKmes:
    """A context; both run and have agreed on the blocks that were there."""

    def __init__(self, sites):
        self.sites = sites
        self.daemons = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def __enter__(self):
        self._thread.start()
        for site in SITES:
            self.start(site)
        self.settle()
        return self

    def __exit__(self, *_):
        for site in list(self.daemons):
            self.stop(site)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    def start(self, site):
        config = load_kme_config(self.sites.config(site))
        daemon = KmeDaemon(config, _finished_keys(config))
        self.call(daemon.start())
        self.daemons[site] = daemon

    def stop(self, site):
        self.call(self.daemons.pop(site).stop())

    def settle(self, timeout_s=20):
        """Until both know each other's blocks."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            stores = [daemon.store for daemon in self.daemons.values()]
            waits = any(store.blocks_not_at_peer() for store in stores)
            empty = [s.finished() for s in (d._source for d in self.daemons.values())]
            connected = all(daemon.link.connected for daemon in self.daemons.values())
            if connected and not waits and not any(empty):
                return
            time.sleep(0.02)
        raise AssertionError("the KMEs do not agree")

    def context(self, sae):
        context = ssl.create_default_context(cafile=self.sites.authority.ca)
        context.load_cert_chain(*self.sites.certificate(sae))
        return context

    def ask(self, sae, site, path, body=None, raw=None, headers=None):
        """Code and JSON of the answer to an SAE."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.sites.url(site) + path, data=data)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, context=self.context(sae), timeout=90) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def status(self, sae, site, other):
        return self.ask(sae, site, f"/api/v1/keys/{quote(other, safe='')}/status")

    def enc_keys(self, sae, site, other, **wish):
        """Code and answer of Get key by POST."""
        return self.ask(sae, site, f"/api/v1/keys/{quote(other, safe='')}/enc_keys", wish)

    def dec_keys(self, sae, site, master, *key_ids):
        """Code and answer of Get key with key IDs by POST."""
        ids = {"key_IDs": [{"key_ID": key_id} for key_id in key_ids]}
        return self.ask(sae, site, f"/api/v1/keys/{quote(master, safe='')}/dec_keys", ids)
