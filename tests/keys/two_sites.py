"""Two KMEs as operators set them up: files, certificates, endpoints with finished keys."""

import os
import socket
import uuid
from pathlib import Path

import yaml
from kme_certificates import Authority

from bellrelay.endpoint.block import BlockId, BlockState
from bellrelay.endpoint.block_store import BlockStore, StoredKey, StoredVerdict
from bellrelay.keys.kek_file import write_kek_file

SITES = ("kme-a", "kme-b")
ENDPOINTS = {"kme-a": "alice-1", "kme-b": "bob-1"}
RECORD = {"relay": "charlie-1", "epsilons": {"total": 1.1e-10}, "phase_error_upper": 0.05}
_WAY = (BlockState.SIFTED, BlockState.ESTIMATED, BlockState.RECONCILED, BlockState.VERIFIED)


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class TwoSites:
    """Folders ``kme-a`` and ``kme-b``, each with ``kme.yaml``; certificates in ``ca``.

    Parameters
    ----------
    pairs
        (name, SAE at kme-a, SAE at kme-b, share).
    changes
        Sections of both files that differ from what stands here.
    store_urls
        By kme_id, instead of SQLite.
    """

    def __init__(self, folder: Path, pairs, groups=(), changes=None, store_urls=None):
        self.folder = folder
        self.authority = Authority(folder / "ca")
        self.ports = {site: free_port() for site in SITES}
        self.health = {site: free_port() for site in SITES}
        self.peer_port = free_port()
        self.pairs = [
            {"name": name, "saes": {"kme-a": a, "kme-b": b}, "share": share}
            for name, a, b, share in pairs
        ]
        self.groups = [list(group) for group in groups]
        for name in {sae for pair in self.pairs for sae in pair["saes"].values()}:
            self.authority.issue(name)
        for site in SITES:
            (folder / site).mkdir()
            self.authority.issue(site, dns=[site, "localhost"])
            write_kek_file(folder / site / "kek")
            values = self.values(site, (store_urls or {}).get(site))
            for key, value in (changes or {}).items():
                values[key] = {**values[key], **value} if key in values else value
            self.config(site).write_text(yaml.safe_dump(values))
        self._blocks = 0

    def config(self, site):
        return self.folder / site / "kme.yaml"

    def certificate(self, name):
        return self.authority.folder / f"{name}.crt", self.authority.folder / f"{name}.key"

    def url(self, site):
        return f"https://localhost:{self.ports[site]}"

    def values(self, site, store_url=None):
        other = SITES[1 - SITES.index(site)]
        certificate, key = map(str, self.certificate(site))
        ca = str(self.authority.ca)
        own = self.folder / site
        way = "listen" if site == "kme-a" else "connect"
        return {
            "kme_id": site,
            "listen": f"127.0.0.1:{self.ports[site]}",
            "tls": {
                "certificate": certificate,
                "key": key,
                "ca": ca,
                "crl": str(self.authority.crl),
                "crl_poll_s": 0.1,
            },
            "peer": {
                "kme_id": other,
                way: f"localhost:{self.peer_port}",
                "name": other,
                "tls": {"certificate": certificate, "key": key, "ca": ca},
            },
            "pairs": self.pairs,
            "groups": self.groups,
            "store": {"url": store_url} if store_url else {"directory": str(own / "store")},
            "kek": {"file": str(own / "kek")},
            "keys": {"low_water": 0},
            "limits": {
                "requests_per_s": 100000,
                "burst": 100000,
                "open_requests": 10000,
                "connections": 10000,
            },
            "intake": {
                "directory": str(own / "blocks"),
                "endpoint_id": ENDPOINTS[site],
                "relay": "charlie-1",
                "poll_s": 0.1,
            },
            "audit": {"directory": str(own / "audit")},
            "health": {"listen": f"127.0.0.1:{self.health[site]}"},
        }

    def add_blocks(self, number, units, unit_bits=256, sites=SITES):
        """Blocks of fresh key, confirmed at both endpoints; (key_id, bytes) of each."""
        made = []
        stores = {s: BlockStore(self.folder / s / "blocks", ENDPOINTS[s]) for s in sites}
        try:
            for _ in range(number):
                name = str(uuid.uuid4())
                bits = os.urandom(units * unit_bits // 8)
                block = BlockId(1, self._blocks)
                self._blocks += 1
                for store in stores.values():
                    put_confirmed(store, block, name, bits)
                made.append((name, bits))
        finally:
            for store in stores.values():
                store.close()
        return made


def put_confirmed(store, block, name, bits):
    """As an endpoint ends with a key."""
    store.begin(block, 0)
    for state in _WAY:
        store.advance(block, state)
    key = StoredKey(name, block, False, 8 * len(bits), RECORD, 1_700_000_000_000_000_000, bits, b"")
    store.put_pending(key, StoredVerdict(None, 0, b"t" * 32))
    store.confirm(block)
