"""What the model of a network says of the same relays and pairs that run as processes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bellrelay.cli.network_processes_start import SECURITY, SHAPE
from bellrelay.cli.network_processes_watch import KEY_BITS
from bellrelay.control.capacity.event_model import EventModel
from bellrelay.control.capacity.on_paper import on_paper
from bellrelay.control.capacity.rates_file import Rates
from bellrelay.control.capacity.resources import Resource
from bellrelay.control.capacity.traffic import links, traffic
from bellrelay.control.network_file import NetworkFile
from bellrelay.settings.load import check
from bellrelay_sim.link_config import link_and_geometry

__all__ = ["Modelled", "bits_per_s", "modelled", "network_of"]

_BATCH_S = 0.02
"""The twin's light comes in steps so long, and with them announcements."""
_WARM_UP_S = 30.0


@dataclass(frozen=True)
class Modelled:
    """By relay or pair; cores are those that a process computes on.

    announced : per second. messages : per second, of a relay. blocks : per second. bits_per_s : of
    key. endpoint_block_s : processor time of one side for a block. block_s : from a block's last
    slot to key. answer_s : Get key and its fetch; both of all pairs, by events.
    """

    announced: Mapping[str, float]
    messages: float
    relay_cores: Mapping[str, float]
    endpoint_cores: Mapping[str, float]
    kme_cores: Mapping[str, float]
    blocks: Mapping[str, float]
    bits_per_s: Mapping[str, float]
    endpoint_block_s: Mapping[str, float]
    block_s: float | None
    answer_s: float | None

    @property
    def cores(self) -> float:
        """Of all daemons together."""
        both = 2.0 * (sum(self.endpoint_cores.values()) + sum(self.kme_cores.values()))
        return sum(self.relay_cores.values()) + both


def network_of(pairs: Sequence[int], bits_per_s: float) -> NetworkFile:
    """The network's file. pairs : of every relay. bits_per_s : that each pair wants."""
    link, _ = link_and_geometry(SHAPE.link_values)
    detector = link.detectors[0]
    start, end = link.windows()[0]
    names = [(relay, f"r{relay}w{k}") for relay, n in enumerate(pairs) for k in range(n)]
    cores = os.cpu_count() or 1
    values = {
        "sites": [{"name": f"{pair}-{side}"} for _, pair in names for side in ("alice", "bob")],
        "relays": [
            {
                "name": f"r{relay}",
                "detectors": "simulated",
                "detectors_per_port": len(link.detectors) // 2,
                "turn_s": max(1.0, n * SHAPE.block_slots * SHAPE.slot_period_ps * 1e-12),
                "settle_s": 0.0,
            }
            for relay, n in enumerate(pairs)
        ],
        "fibres": [
            {
                "site": f"{pair}-{side}",
                "relay": f"r{relay}",
                "length_km": 0.0,
                "loss": -10.0 * math.log10(SHAPE.eta),
            }
            for relay, pair in names
            for side in ("alice", "bob")
        ],
        "pairs": [
            {
                "a": f"{pair}-alice",
                "b": f"{pair}-bob",
                "demand": bits_per_s,
                "relays": [f"r{relay}"],
            }
            for relay, pair in names
        ],
        "detectors": [
            {
                "name": "simulated",
                "efficiency": 1.0,
                "dark_count_rate": detector.dark_rate_hz,
                "dead_time_ps": SHAPE.dead_time_ps,
            }
        ],
        "senders": {
            "slot_period_ps": SHAPE.slot_period_ps,
            "window_ps": end - start,
            "misalignment_z": link.misalignment_z,
            "misalignment_x": link.misalignment_x,
            "mode_overlap": link.mode_overlap,
            "ladder": {**SHAPE.ladder, "deviation": 0.0, "vacuum_limit": 0.0},
        },
        "finite": {
            "pulses": float(SHAPE.block_slots),
            "epsilon_secrecy": SECURITY["secrecy"],
            "epsilon_correctness": SECURITY["correctness"],
        },
        "load": {
            "key_bits": KEY_BITS,
            "announcements": "stream",
            "batch_s": _BATCH_S,
            "relay_cores": cores,
            "site_cores": cores,
            "workers": 1,
            "peer_rtt_s": 0.0,
            "stored_s": 10.0,
        },
    }
    return check(NetworkFile, values, "the network of processes")


def bits_per_s(pairs: int) -> float:
    """Key of a pair where so many share a relay, that they use all of its light for."""
    (hop,) = links(network_of([1], 1.0))
    return hop.bits_per_s / pairs


def modelled(pairs: Sequence[int], rates: Rates, seconds: float, seed: int) -> Modelled:
    """On paper, and so many seconds by events.

    Parameters
    ----------
    pairs
        Of every relay; alike for all of them.
    """
    network = network_of(pairs, bits_per_s(max(pairs)))
    found = links(network)
    flows = traffic(network, found)
    paper = on_paper(flows, rates)
    seen = EventModel(flows, rates, found, seed).run(seconds, _WARM_UP_S)
    full = {resource: there.of for resource, there in paper.full.items()}
    name = [pair.a.removesuffix("-alice") for pair in network.pairs]
    side = [f"{p}-alice ({p}-alice-{p}-bob)" for p in name]
    blocks = dict.fromkeys(name, 0.0)
    work = dict.fromkeys(name, 0.0)
    for flow in flows.flows:
        blocks[name[flow.pair]] += flow.blocks_per_s
        work[name[flow.pair]] = rates.blocks.seconds(flow.block_announced)
    workers = network.load.workers
    return Modelled(
        announced={
            r.name: sum(f.share * f.hop.announced_per_s for f in flows.of_relay(r.name))
            for r in network.relays
        },
        messages=paper.messages_per_s / len(network.relays),
        relay_cores=dict(full[Resource.RELAY]),
        endpoint_cores={
            p: full[Resource.FOLLOWING][s] + workers * full[Resource.WORKERS][s]
            for p, s in zip(name, side, strict=True)
        },
        kme_cores={p: full[Resource.KME][f"{s} 0"] for p, s in zip(name, side, strict=True)},
        blocks=blocks,
        bits_per_s={p: pair.bits_per_s for p, pair in zip(name, flows.schedule.pairs, strict=True)},
        endpoint_block_s=work,
        block_s=seen.block_s.mean if seen.block_s.number else None,
        answer_s=seen.answer_s.mean + seen.fetch_s.mean if seen.answer_s.number else None,
    )
