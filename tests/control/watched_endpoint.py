"""The configuration of Alice with a watch, and with a second relay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulated_statuses import BLOCK_SLOTS

from bellrelay.endpoint.config import EndpointConfig, check_endpoint_config

LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.15, "p_nu": 0.3}
TLS = {"certificate": "a.crt", "key": "a.key", "ca": "ca.crt"}


def watched_alice(folder: Path, lab: dict[str, Any] | None = None, **watch: Any) -> EndpointConfig:
    return check_endpoint_config(
        {
            "endpoint_id": "alice-1",
            "peer_id": "bob-1",
            "role": "alice",
            "relay": {"id": "charlie-1", "unix_socket": str(folder / "announcements")},
            "secondaries": [
                {
                    "id": "charlie-2",
                    "unix_socket": str(folder / "more"),
                    "source": {"plugin": "simulation", "seed": 2},
                }
            ],
            "sender": {"plugin": "simulation", "relays": {}},
            "peer": {"listen": "127.0.0.1:0", "name": "bob-1", "tls": TLS},
            "source": {"plugin": "simulation"},
            "alice": LADDER,
            "bob": LADDER,
            "block": {"slots": BLOCK_SLOTS},
            "store": {"directory": str(folder)},
            "key_pool": {"file": str(folder / "pool"), "reserve_bits": 0},
            "intensity_monitor": {"input": "none"},
            "lab": lab or {},
            "watch": {"timeout_s": 0.5, **watch},
        }
    )
