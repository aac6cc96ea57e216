"""What the daemons of a gameday read: a folder with configuration files, keys and certificates.

Two relays, each with a twin of its own; Alice and Bob, who follow both; a KME on either side. The
slots are long and the arms lose next to nothing, so that a block of a few seconds makes key on a
small machine: nothing here says how a real link performs.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import bellrelay_command, free_port
from bellrelay.cli.run_system import relay_yaml
from bellrelay.endpoint.config import WatchActions
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.keys.kek_file import write_kek_file
from bellrelay_sim.detector import time_bin_detectors
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.link_config import link_and_geometry

__all__ = [
    "APPS",
    "LADDER",
    "REFILL_SHARE",
    "RELAYS",
    "SETTLE_S",
    "SHAPES",
    "GamedayFiles",
    "GamedayShape",
    "write_files",
]

RELAYS = ("charles", "diana")
"""Primary and secondary."""
TRACKING_SLOTS = {"every": 10_000, "length": 500}
MONITOR = {
    "input": "source",
    # An error of some seconds is forgotten after so many, so that recovery can be seen.
    "window_s": 8.0,
    "max_age_s": 5.0,
    "min_readings": 5,
    "coverage": 0.9,
    "epsilon": 1e-3,
}
APPS = {role: f"app-{role}" for role in ROLES}
SETTLE_S = 3.0
"""After which counts of light that has just come are believed: no lock is waited for here."""
_DARK_PACE = 7e-4
"""Simulated seconds per second, of a gateware board without light: a quarter of what goes. Watches
miss a heartbeat that does not come for two seconds."""
REFILL_SHARE = 0.1
"""Of every key, what the endpoints keep for tags."""
RESERVE_BITS = 8192
_SECRET_BYTES = 1 << 21
LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.4, "p_mu": 0.2, "p_nu": 0.3}
_DIM_LADDER = {"s": 0.5, "mu": 0.5, "nu": 0.11, "o": 0.0, "p_s": 0.5, "p_mu": 0.05, "p_nu": 0.42}


@dataclass(frozen=True)
class GamedayShape:
    """How large everything is.

    board : event or gateware. slot_period_ps, block_slots : of the link; all its times are as long
    as its slots. ladder : of both senders. eta : of each arm, from source to click. dead_slots :
    that the relay goes by, longer than detector_dead_ps, for which detectors are dead: it hides
    afterpulses, too. clock_period_ps, tick_clocks : of the board. heartbeat_ms, histogram_s,
    window_s : in time of the link. learn_s : what a baseline is learnt from. hold_s : by the clock,
    for which a sender stays throttled once the fault is over; silence_s : after which a relay is
    taken for lost. patience : by how much the clock may be quicker than the link.
    relay_settle_s, delay_settle_s, slew_ps_per_s : of the loops that hold the light, in time of the
    link. by_itself : whether watches act, and a lost relay is left; false: people do all.
    """

    board: str = "event"
    slot_period_ps: int = 1_000_000
    block_slots: int = 2_000_000
    eta: float = 0.9
    dead_slots: float = 0.4
    detector_dead_ps: int = 30_000
    ladder: Mapping[str, float] = field(default_factory=lambda: LADDER)
    clock_period_ps: int = 5_000
    tick_clocks: int = 16_384
    heartbeat_ms: float = 50.0
    histogram_s: float = 0.5
    window_s: float = 0.5
    learn_s: float = 10.0
    hold_s: float = 5.0
    silence_s: float = 3.0
    patience: float = 6.0
    relay_settle_s: float = 1.0
    delay_settle_s: float = 3.0
    slew_ps_per_s: float = 100.0
    by_itself: bool = True

    @property
    def dead_time_ps(self) -> int:
        """That the relays go by."""
        return round(self.dead_slots * self.slot_period_ps)

    @property
    def sigma_ps(self) -> float:
        """Of pulses: as wide as a bin of the histogram that the slot clock is held by, or wider."""
        return max(250.0, self.slot_period_ps / 1000.0)

    @property
    def width_ps(self) -> float:
        """Of arrivals, the detectors' jitter included."""
        return math.hypot(self.sigma_ps, time_bin_detectors()[0].jitter_ps)

    @property
    def link_values(self) -> dict[str, Any]:
        """The link's file, the seed aside."""
        period = self.slot_period_ps
        early, late = period // 4, 3 * period // 4
        gate = round(8 * self.sigma_ps)
        return {
            "slot_period_ps": period,
            "early_centre_ps": early,
            "late_centre_ps": late,
            "early_window_ps": [early - gate, early + gate],
            "late_window_ps": [late - gate, late + gate],
            "pulse_sigma_ps": self.sigma_ps,
            "detectors": [
                {
                    "name": d.name,
                    "port": d.port,
                    "cable_delay_ps": d.cable_delay_ps,
                    "dead_time_ps": self.detector_dead_ps,
                    "afterpulse_tau_ps": self.detector_dead_ps / 8,
                }
                for d in time_bin_detectors()
            ],
            # Raw tags come in gusts, as simulated time passes: the board keeps a little more.
            "board": {
                "link_words": 65536,
                "clock_period_ps": self.clock_period_ps,
                "tick_clocks": self.tick_clocks,
            },
            "arm_a": {"eta": self.eta},
            "arm_b": {"eta": self.eta},
            "mode_overlap": 0.99,
            "misalignment_z": 0.003,
            "misalignment_x": 0.003,
            "alice": dict(self.ladder),
            "bob": dict(self.ladder),
        }


_GATEWARE = GamedayShape(
    board="gateware",
    slot_period_ps=25_000,
    # Not much longer than a slot's raw tags need on the line: clocks are what takes time.
    clock_period_ps=6_000,
    block_slots=1_300_000,
    detector_dead_ps=8_000,
    heartbeat_ms=1.0,
    histogram_s=0.01,
    window_s=0.02,
    learn_s=40.0,
    hold_s=30.0,
    silence_s=15.0,
    patience=40.0,
    # Forty times as quick as on the event board, as the slots are.
    relay_settle_s=0.05,
    delay_settle_s=0.1,
    slew_ps_per_s=4000.0,
)
_EVENT = GamedayShape()
_DIM: dict[str, Any] = {
    "block_slots": 6_000_000,
    "ladder": _DIM_LADDER,
    "eta": 0.6,
    "dead_slots": 1.8,
}
SHAPES = {
    ("event", "bright"): _EVENT,
    ("event", "dim"): replace(_EVENT, slot_period_ps=500_000, **_DIM),
    ("gateware", "bright"): _GATEWARE,
    # With all its light it brings half as many tags again as a bright one; and what comes in two
    # ticks has to fit where tags wait, for a little less than half of that does not go at once.
    ("gateware", "dim"): replace(_GATEWARE, clock_period_ps=4_000, tick_clocks=8192, **_DIM),
}
"""By board and link. With all the light that a dim one's arms may bring its detectors are blind in
more than half of the slots."""


@dataclass
class GamedayFiles:
    """Where everything is.

    ports : of health servers by process. commands : by process, in the order of their start.
    """

    folder: Path
    shape: GamedayShape
    ports: dict[str, int] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)
    kme_ports: dict[str, int] = field(default_factory=dict)

    def conditions(self, relay: str) -> Path:
        """Socket of this relay's twin."""
        return self.folder / relay / "conditions"

    def yaml_of(self, name: str) -> Path:
        """The file that a daemon reads."""
        if name in RELAYS:
            return self.folder / name / "relay.yaml"
        return self.folder / f"{name}.yaml"


def write_files(folder: Path, shape: GamedayShape, kmes: bool) -> GamedayFiles:
    """Write all of it into an empty folder of our own."""
    files = GamedayFiles(folder, shape)
    names = [*RELAYS, *ROLES, *(f"kme-{role}" for role in ROLES if kmes)]
    files.ports = {name: free_port() for name in names}
    link, _ = link_and_geometry(shape.link_values)
    for number, relay in enumerate(RELAYS):
        _write_relay(files, link, relay, seed=101 + number)
    make_certificates(folder, [*ROLES, *(f"kme-{r}" for r in ROLES), *APPS.values()])
    secret = os.urandom(_SECRET_BYTES)
    peer_port, kme_peer_port = free_port(), free_port()
    for role, peer in (ROLES, ROLES[::-1]):
        KeyPool.create(folder / f"{role}.pool", secret)
        values = _endpoint(files, role, peer, peer_port, kmes)
        files.yaml_of(role).write_text(yaml.safe_dump(values))
        files.commands[role] = bellrelay_command("endpoint", files.yaml_of(role))
    for role, peer in (ROLES, ROLES[::-1]) if kmes else ():
        name = f"kme-{role}"
        write_kek_file(folder / f"{role}.kek")
        files.kme_ports[role] = free_port()
        files.yaml_of(name).write_text(yaml.safe_dump(_kme(files, role, peer, kme_peer_port)))
        files.commands[name] = bellrelay_command("kme", files.yaml_of(name))
    return files


def _write_relay(files: GamedayFiles, link: SimulatedLink, relay: str, seed: int) -> None:
    own = files.folder / relay
    own.mkdir()
    (own / "link.yaml").write_text(yaml.safe_dump({**files.shape.link_values, "seed": seed}))
    values = relay_yaml(link, own, files.ports[relay])
    values["relay_id"] = relay
    values["silence_s"] = 2.0 if files.shape.board == "event" else 120.0
    values["fan_out"] = {"unix_socket": str(own / "honest")}
    values["histogram"]["period_s"] = files.shape.histogram_s
    values["heartbeat_ms"] = files.shape.heartbeat_ms
    for detector in values["detectors"]:
        detector["dead_time_ps"] = files.shape.dead_time_ps
    values["raw_tags"] = {"stream": True}
    if not files.shape.by_itself:
        # What people measure after a repair; nothing is on trial while they look.
        urls = {role: f"http://127.0.0.1:{files.ports[role]}/health" for role in ROLES}
        values["calibration"] = {
            "directory": str(own / "calibration"),
            "trial_minutes": 0.0,
            "steps": {"decoy": {**urls, "seconds": 10.0}},
        }
    values["tracking"] = {
        "slots": dict(TRACKING_SLOTS),
        "settle_s": files.shape.relay_settle_s,
        "width_ps": files.shape.width_ps,
        "clock_ppm": 0.01,
    }
    (own / "relay.yaml").write_text(yaml.safe_dump(values))
    twin = [sys.executable, "-m", "bellrelay_sim.twin", "--board", files.shape.board]
    twin += ["--config", str(own / "link.yaml"), "--port-link", str(own / "port")]
    twin += ["--conditions", str(own / "conditions"), "--acquisition-seeds", "--slots", "1e12"]
    twin += ["--conditions-log", str(own / "conditions.log")]
    if files.shape.board == "event":
        # A machine that is too slow for the light makes it slower, and nothing is shed.
        twin += ["--realtime", "--waiting"]
    else:
        twin += ["--dark-pace", str(_DARK_PACE)]
    line = [sys.executable, "-m", "bellrelay_sim.announcement_line"]
    line += ["--relay", str(own / "honest"), "--listen", str(own / "announcements")]
    files.commands[f"twin-{relay}"] = twin
    files.commands[f"line-{relay}"] = line
    files.commands[relay] = bellrelay_command("relay", files.yaml_of(relay))


def _endpoint(
    files: GamedayFiles, role: str, peer: str, peer_port: int, kmes: bool
) -> dict[str, Any]:
    folder, shape = files.folder, files.shape
    way = "listen" if role == "alice" else "connect"
    relays = []
    for relay in RELAYS:
        own = folder / relay
        source = {
            "plugin": "simulation",
            "link": str(own / "link.yaml"),
            "acquisition": "each",
            "conditions": str(own / "conditions.log"),
        }
        relays.append((relay, {"id": relay, "unix_socket": str(own / "announcements")}, source))
    primary, secondary = relays
    ladder = {**shape.ladder, "deviation": 0.002, "deviation_limit": 0.02, "vacuum_limit": 1e-4}
    return {
        "endpoint_id": role,
        "peer_id": peer,
        "role": role,
        "relay": primary[1],
        "source": primary[2],
        "secondaries": [{**secondary[1], "source": secondary[2]}],
        "relay_choice": {
            "silence_s": shape.silence_s if shape.by_itself else 3600.0,
            "drain_s": 2.0 * shape.block_slots * shape.slot_period_ps * 1e-12,
        },
        "peer": {way: f"127.0.0.1:{peer_port}", "name": peer, "tls": tls_files(folder, role)},
        "sender": {
            "plugin": "simulation",
            "relays": {relay: str(files.conditions(relay)) for relay in RELAYS},
        },
        "alice": ladder,
        "bob": ladder,
        "block": {"slots": shape.block_slots, "settle_s": 1.0, "patience_s": 30.0},
        "security": {"secrecy": 0.01, "correctness": 1e-6, "authentication": 1e-9},
        "reconcile": {"error_rate": 0.01},
        "store": {"directory": str(folder / f"{role}.blocks")},
        "key_pool": {
            "file": str(folder / f"{role}.pool"),
            "reserve_bits": RESERVE_BITS,
            "refill_share": REFILL_SHARE,
        },
        "intensity_monitor": dict(MONITOR),
        "health": {"listen": f"127.0.0.1:{files.ports[role]}"},
        "watch": {
            "relays": {relay: f"http://127.0.0.1:{files.ports[relay]}" for relay in RELAYS},
            "peer": f"http://127.0.0.1:{files.ports[peer]}",
            "timeout_s": 2.0,
            "kmes": [f"http://127.0.0.1:{files.ports[f'kme-{r}']}" for r in ROLES] if kmes else [],
            "baseline": str(folder / f"{role}.baseline.yaml"),
            "learn_s": shape.learn_s,
            "settle_s": SETTLE_S,
            "hold_s": shape.hold_s,
            # Blocks of a minute around would make no key: nobody says when they were sent.
            "actions": {"attenuate": False}
            if shape.by_itself
            else dict.fromkeys(WatchActions.model_fields, False),
            "contain": _contain(files, role) if kmes else [],
        },
        "changes": {"directory": str(folder / f"{role}.changes"), "lead_blocks": 1},
        "tracking_slots": dict(TRACKING_SLOTS),
        "tracking": {
            "slot_period_ps": float(shape.slot_period_ps),
            "centres_ps": [float(shape.slot_period_ps // 4), float(3 * shape.slot_period_ps // 4)],
            "width_ps": shape.width_ps,
            "window_s": shape.window_s,
            # Four detectors, none of which is dead: what arrives is seen.
            "transmittance": shape.eta,
            "steer": role == "alice",
            "settle_s": shape.delay_settle_s,
            "slew_ps_per_s": shape.slew_ps_per_s,
        },
        "workers": 1,
    }


def _contain(files: GamedayFiles, role: str) -> list[str]:
    """What an operator has in watch.contain: all that this relay brought is suspended."""
    words = [sys.executable, "-m", "bellrelay", "keys", "suspend"]
    words += ["--config", str(files.yaml_of(f"kme-{role}")), "--relay", "{relay}"]
    return [*words, "--reason", "{reason}", "--include", "{evidence}"]


def _kme(files: GamedayFiles, role: str, peer: str, peer_port: int) -> dict[str, Any]:
    folder = files.folder
    tls = tls_files(folder, f"kme-{role}")
    way = "listen" if role == "alice" else "connect"
    return {
        "kme_id": f"kme-{role}",
        "listen": f"127.0.0.1:{files.kme_ports[role]}",
        "tls": tls,
        "peer": {
            "kme_id": f"kme-{peer}",
            way: f"127.0.0.1:{peer_port}",
            "name": f"kme-{peer}",
            "tls": tls,
        },
        "pairs": [{"name": "apps", "saes": {f"kme-{each}": APPS[each] for each in ROLES}}],
        "store": {"directory": str(folder / f"{role}.keys")},
        "kek": {"file": str(folder / f"{role}.kek")},
        "intake": {
            "directory": str(folder / f"{role}.blocks"),
            "endpoint_id": role,
            "relay": RELAYS[0],
            "poll_s": 0.2,
        },
        "audit": {"directory": str(folder / f"{role}.audit")},
        "health": {"listen": f"127.0.0.1:{files.ports[f'kme-{role}']}"},
    }
