"""Alice and Bob of a run: two processes, with all that each needs, and what they made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.endpoint.block_store import BlockRow, BlockStore
from bellrelay.endpoint.key_pool import KeyPool

if TYPE_CHECKING:
    from bellrelay_sim.link import SimulatedLink
    from bellrelay_sim.source import Source

__all__ = ["ROLES", "RunKeys", "can_distill", "prepare_endpoints", "run_keys", "unfinished"]

ROLES = ("alice", "bob")
_SETTINGS = (("s", 1.0), ("mu", 0.0), ("nu", 0.0), ("o", 0.0))
_SECRET_BYTES = 1 << 14


@dataclass(frozen=True)
class RunKeys:
    """What the endpoints made of a run's announcements.

    blocks : of Alice, in order, with what is known of each. bits : of key, on both sides, all
    blocks together. equal : whether both have the same keys; None if there is none. agreed :
    whether both ended every block alike. pulses : pairs sent in the blocks. epsilon : of all keys
    together. cause : why a block without key ended, of the first such block.
    """

    blocks: Sequence[Mapping[str, Any]]
    bits: int
    equal: bool | None
    agreed: bool
    pulses: int
    epsilon: float | None
    cause: str | None = field(default=None)


def can_distill(link: SimulatedLink) -> bool:
    """Whether both parties send the four intensities that the endpoints distil key from."""
    return all(
        tuple((s.name, s.z_probability) for s in source.settings) == _SETTINGS
        for source in (link.alice, link.bob)
    )


def _ladder(source: Source) -> dict[str, float]:
    s, mu, nu, o = source.settings
    return {
        **{x.name: x.intensity for x in (s, mu, nu, o)},
        **{f"p_{x.name}": x.probability for x in (s, mu, nu)},
        # The simulation sends exactly what it declares.
        "deviation": 0.0,
        "vacuum_limit": 0.0,
    }


def prepare_endpoints(
    folder: Path,
    link: SimulatedLink,
    link_file: Path,
    seed: int | None,
    block_slots: int,
    peer_port: int,
    error_rate: float,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    secret_bytes: int = _SECRET_BYTES,
) -> None:
    """Write certificates, pools and ``alice.yaml``, ``bob.yaml`` into a folder of our own.

    error_rate : in Z, as who runs a link knows what to expect of it. more : by role, keys of its
    YAML that are others than of a run. secret_bytes : of the pools.
    """
    make_certificates(folder, ROLES)
    secret = os.urandom(secret_bytes)
    options: dict[str, Any] = {"plugin": "simulation", "link": str(link_file)}
    if seed is not None:
        options["seed"] = seed
    for role, peer in (ROLES, ROLES[::-1]):
        KeyPool.create(folder / f"{role}.pool", secret)
        way = "listen" if role == "alice" else "connect"
        config = {
            "endpoint_id": role,
            "peer_id": peer,
            "role": role,
            "relay": {"id": "charles", "unix_socket": str(folder / "announcements")},
            "peer": {way: f"127.0.0.1:{peer_port}", "name": peer, "tls": tls_files(folder, role)},
            "source": options,
            "alice": _ladder(link.alice),
            "bob": _ladder(link.bob),
            "block": {"slots": block_slots},
            "reconcile": {"error_rate": min(max(error_rate, 0.001), 0.25)},
            "store": {"directory": str(folder / f"{role}.blocks")},
            "key_pool": {"file": str(folder / f"{role}.pool"), "reserve_bits": 8192},
            "intensity_monitor": {"input": "none"},
            "workers": 1,
            **(more or {}).get(role, {}),
        }
        (folder / f"{role}.yaml").write_text(yaml.safe_dump(config))


def unfinished(folder: Path) -> list[str]:
    """Blocks that have not ended on one of the sides, as ``alice 1/0 sifted``."""
    left = []
    for role in ROLES:
        rows = _blocks(folder, role)
        if not rows:
            left.append(f"{role}: no block yet")
        left += [f"{role} {r.block} {r.state.word}" for r in rows if not r.state.final]
    return left


def run_keys(folder: Path) -> RunKeys:
    """What lies in both stores, held against each other."""
    rows = {role: _blocks(folder, role) for role in ROLES}
    keys = {}
    for role in ROLES:
        store = BlockStore(folder / f"{role}.blocks", role)
        keys[role] = {k.key_id: (k.length, k.packed) for k in store.keys()}  # noqa: SIM118
        store.close()
    ends = {role: [(r.block, r.state) for r in rows[role]] for role in ROLES}
    stored = [r for r in rows["alice"] if r.record.get("key_id") in keys["alice"]]
    bits = sum(r.record["length"] for r in stored)
    epsilons = [r.record["epsilons"]["total"] for r in stored]
    without = next((r for r in rows["alice"] if r.cause), None)
    cause = None
    if without is not None:
        cause = without.cause + (f" ({without.detail})" if without.detail else "")
    return RunKeys(
        blocks=[_told(r) for r in rows["alice"]],
        bits=bits,
        equal=keys["alice"] == keys["bob"] if any(keys.values()) else None,
        agreed=ends["alice"] == ends["bob"],
        pulses=sum(r.record.get("pulses", 0) for r in rows["alice"]),
        epsilon=sum(epsilons) if epsilons else None,
        cause=cause,
    )


def _blocks(folder: Path, role: str) -> list[BlockRow]:
    path = folder / f"{role}.blocks"
    if not (path / "blocks.sqlite").exists():
        return []
    store = BlockStore(path, role)
    try:
        # The run is block 0; what came after its last slot is no part of it.
        return [row for row in store.blocks() if row.block.index == 0]
    finally:
        store.close()


def _told(row: BlockRow) -> dict[str, Any]:
    return {
        "block": str(row.block),
        "state": row.state.word,
        "cause": row.cause or None,
        "seconds": (row.changed_ns - row.begun_ns) / 1e9,
        **row.record,
    }
