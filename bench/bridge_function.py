"""What a call of the bridge's function costs: cold, warm, and next to a bare PUT.

    python bench/bridge_function.py [calls]

A KME's store and a key manager (aiohttp, TLS with client certificates) run on this machine. Cold is
a new process up to the first key at the manager, next to a Python that does nothing. Warm is one
more call of the same process with one key in the backlog, next to a PUT of as many bytes on a
connection that is kept, and to a call that finds nothing to do.
"""

from __future__ import annotations

import http.client
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "keys"))

from https_kms import HttpsKms
from kme_certificates import Authority
from store_pairs import RECORD, Records
from two_sites import SITES, TwoSites

from bellrelay.keys.bridge_function import CONFIG_VARIABLE, handle
from bellrelay.keys.bridge_intake import take_owed
from bellrelay.keys.bridge_service import open_backlog
from bellrelay.keys.key_requests import ReserveRequest
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.open_store import open_store
from bellrelay.keys.provenance import FinishedKey, Provenance

COLD = 5
UNITS = 2000
_CALL = "from bellrelay.keys.bridge_function import handle; handle({'wait_s': 0})"


class Bench:
    """kme-b with a bridge of bob's, and keys that bob is owed."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder / "kms")
        authority.issue("kms", dns=["localhost"])
        authority.issue("kme-b")
        self.kms = HttpsKms(folder / "kms")
        self.tls = {
            "ca": str(folder / "kms" / "ca.crt"),
            "certificate": str(folder / "kms" / "kme-b.crt"),
            "key": str(folder / "kms" / "kme-b.key"),
        }
        url = self.kms.url.replace("127.0.0.1", "localhost")
        https = {"url": url, "tenant": "acme", "tls": self.tls}
        bridge = {"name": "to-kms", "sae": "bob", "settle_s": 0.0, "https": https}
        sites = TwoSites(folder, [("bank", "alice", "bob", 1)])
        path = sites.config("kme-b")
        values = yaml.safe_load(path.read_text())
        values["bridges"] = [{**bridge, "push": "function"}]
        path.write_text(yaml.safe_dump(values))
        os.environ[CONFIG_VARIABLE] = str(path)
        configs = [load_kme_config(sites.config(site)) for site in SITES]
        self.bridge = configs[1].bridges[0]
        self.a, self.b = (open_store(config, Records()) for config in configs)
        self.backlog = open_backlog(configs[1], Records())
        made = time.time_ns()
        facts = Provenance(str(uuid.uuid4()), "charlie-1", 1, 0, made, made, 256 * UNITS, RECORD)
        bits = os.urandom(32 * UNITS)
        for store in (self.a, self.b):
            store.add_block(FinishedKey(facts, bits))
            store.peer_has([facts.block_id])

    def owe(self, number: int = 1) -> None:
        """Put keys into the backlog."""
        (got,) = self.a.reserve([ReserveRequest("bank", "alice", ("bob",), number, 256)])
        assert isinstance(got, list), got
        self.b.adopt(got)
        self.a.deliver([r.key_id for r in got])
        assert take_owed(self.bridge, self.b, self.backlog, number) == number

    def put(self) -> Callable[[], None]:
        """A PUT of an entry on a connection that is kept."""
        context = ssl.create_default_context(cafile=self.tls["ca"])
        context.load_cert_chain(self.tls["certificate"], self.tls["key"])
        connection = http.client.HTTPSConnection("localhost", self.kms.port, context=context)
        body = b'{"key": "' + b"A" * 400 + b'"}'

        def put() -> None:
            path = f"/v1/tenants/other/keys/{uuid.uuid4()}"
            connection.request("PUT", path, body, {"Content-Type": "application/json"})
            connection.getresponse().read()

        put()
        return put

    def close(self) -> None:
        self.backlog.close()
        self.a.close()
        self.b.close()
        self.kms.close()


def median_ms(call: Callable[[], object], calls: int, before: Callable[[], None]) -> float:
    spent = []
    for _ in range(calls):
        before()
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(spent)


def process(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


def nothing() -> None:
    pass


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory(dir=".") as name:
        bench = Bench(Path(name).absolute())
        empty = median_ms(lambda: process("pass"), COLD, nothing)
        cold = median_ms(lambda: process(_CALL), COLD, bench.owe)
        bench.owe()
        assert handle({"wait_s": 0})["bridges"]["to-kms"]["pushed"] == 1
        warm = median_ms(lambda: handle({"wait_s": 0}), calls, bench.owe)
        many = median_ms(lambda: handle({"wait_s": 0}), 5, lambda: bench.owe(64))
        idle = median_ms(lambda: handle({"wait_s": 0}), calls, nothing)
        bare = median_ms(bench.put(), calls, nothing)
        assert len(bench.kms.keys()) == COLD + 1 + calls + 5 * 64
        bench.close()
    print(f"cold start, one key: {cold:8.1f} ms; Python alone {empty:6.1f} ms; {cold / empty:.1f}")
    print(f"warm start, one key: {warm:8.1f} ms; a bare PUT   {bare:6.1f} ms; {warm / bare:.1f}")
    print(f"warm, 64 keys:       {many / 64:8.1f} ms a key; {many / 64 / bare:.1f} bare PUTs")
    print(f"warm, nothing to do: {idle:8.1f} ms; cold to warm {cold / warm:.0f}")


if __name__ == "__main__":
    main()
