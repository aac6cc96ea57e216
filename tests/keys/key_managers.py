"""Two sites whose KMEs have a bridge to a key manager each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml
from https_kms import HttpsKms
from kme_certificates import Authority
from two_sites import SITES, TwoSites

__all__ = ["Managers"]


class Managers:
    """Two sites, each with a bridge of its SAE to a key manager of its own."""

    def __init__(self, folder: Path) -> None:
        self.certificates = folder / "managers"
        authority = Authority(self.certificates)
        authority.issue("kms", dns=["localhost"])
        for site in SITES:
            authority.issue(site)
        self.kms = {site: HttpsKms(self.certificates) for site in SITES}
        self.sites = TwoSites(folder, [("managers", "kms-a", "kms-b", 1)])
        for site in SITES:
            self.change(site, bridges=[self.bridge(site)])

    def bridge(self, site: str, **words: Any) -> dict[str, Any]:
        return {
            "name": "to-kms",
            "sae": f"kms-{site[-1]}",
            "poll_s": 0.1,
            "retry_s": 0.1,
            "settle_s": 0.3,
            "https": {
                "url": self.kms[site].url.replace("127.0.0.1", "localhost"),
                "tenant": "acme",
                "tls": {
                    "ca": str(self.certificates / "ca.crt"),
                    "certificate": str(self.certificates / f"{site}.crt"),
                    "key": str(self.certificates / f"{site}.key"),
                },
            },
            **words,
        }

    def change(self, site: str, **sections: Any) -> None:
        path = self.sites.config(site)
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))

    def both(self, n_keys: int, seconds: float = 40.0) -> dict[str, bytes]:
        """What both managers have, once they have so many."""
        end = time.monotonic() + seconds
        while min(len(kms.entries) for kms in self.kms.values()) < n_keys:
            assert time.monotonic() < end, [len(kms.entries) for kms in self.kms.values()]
            time.sleep(0.05)
        first, second = (kms.keys() for kms in self.kms.values())
        assert first == second
        return first

    def close(self) -> None:
        for kms in self.kms.values():
            kms.close()
