"""A small city with slow computers, so that everything in it is busy."""

from __future__ import annotations

from typing import Any

from bellrelay.control.capacity.city import City, city
from bellrelay.control.capacity.rates_file import Rates
from bellrelay.control.network_file import NetworkFile
from bellrelay.settings.load import check

SLOW: dict[str, Any] = {
    "machine": {"processor": "slow", "cores": 1, "python": "3", "system": "none", "utc": "never"},
    "command": "a test",
    "relay": {"batch_s": 2e-3, "announcement_s": 1e-7},
    "fan_out": {"batch_s": 1e-3, "announcement_s": 1e-7},
    "follow": {"batch_s": 4e-3, "announcement_s": 2e-7},
    "broker": {
        "batch_s": 2e-2, "announcement_s": 1e-7, "deliver_s": 1e-4, "source": "nobody",
    },
    "blocks": {"block_s": 20.0, "announced_s": 2e-5, "messages": 100},
    "kme": {
        "get": {"request_s": 0.3, "key_s": 0.1},
        "adopt": {"request_s": 0.2, "key_s": 0.1},
        "fetch": {"request_s": 0.2, "key_s": 0.1},
        "commit_s": 0.01,
    },
}  # fmt: skip


def slow_rates(**changed: Any) -> Rates:
    """Rates of a slow machine."""
    return check(Rates, {**SLOW, **changed})


def small_city(relays: int = 3, endpoints: int = 14, pairs: int = 8, **load: Any) -> NetworkFile:
    """A network; computers as named, with cores enough not to wait for."""
    drawn = city(City(relays, endpoints, pairs, demand=200.0, seed=5))
    return drawn.with_load(**{"site_cores": 64, "relay_cores": 8, "batch_s": 0.1, **load})
