"""What a daemon's /health says, as a person wants to know it: is it well, and if not, what to read.

Nothing is judged here that the daemon does not judge itself: limits are those of the daemons, of
the watch in the endpoints, and of the alerts (:mod:`.slo_file`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from bellrelay.wire.geometry import BoardGeometry

from .active_fault import ActiveFault
from .monitor_faults import monitor_faults
from .status_file import Kind

__all__ = [
    "Condition",
    "DaemonStatus",
    "age_text",
    "daemon_status",
    "unreachable",
    "utc_text",
]

_NS = 1e9


class Condition(StrEnum):
    """How a daemon is."""

    WELL = "well"
    DEGRADED = "degraded"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class DaemonStatus:
    """One daemon.

    state : in its own word, "" if it does not answer. since_utc_ns : since when it runs. simulated
    : whether its board is a twin, None if it has none or does not say. says : label and text.
    wrong : what is not as it should be, a line each. health : what it said, whole.
    """

    kind: Kind
    name: str
    url: str
    condition: Condition
    state: str = ""
    since_utc_ns: int | None = None
    simulated: bool | None = None
    says: tuple[tuple[str, str], ...] = ()
    wrong: tuple[str, ...] = ()
    faults: tuple[ActiveFault, ...] = ()
    health: Mapping[str, Any] | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "kind": str(self.kind),
            "name": self.name,
            "url": self.url,
            "condition": str(self.condition),
            "state": self.state,
            "since_utc_ns": self.since_utc_ns,
            "simulated": self.simulated,
            "says": dict(self.says),
            "wrong": list(self.wrong),
            "faults": [vars(fault) for fault in self.faults],
            "health": self.health,
        }


def unreachable(kind: Kind, name: str, url: str, why: str) -> DaemonStatus:
    """Of one that gave no answer."""
    return DaemonStatus(kind, name, url, Condition.UNREACHABLE, wrong=(f"no answer: {why}",))


def daemon_status(
    kind: Kind,
    name: str,
    url: str,
    health: Mapping[str, Any],
    now_ns: int,
    key_left_s: Mapping[str, float] | None = None,
    lit: bool | None = None,
) -> DaemonStatus:
    """Of what /health said.

    Parameters
    ----------
    key_left_s
        Of a KME, by pair: seconds until its key is used up; None if nobody measures that.
    lit
        Of a relay: whether endpoints direct light to it, None if nobody says. One in the dark
        cannot keep its slot clock on anything, and is well nevertheless.
    """
    reader = _Reader(health, now_ns)
    if health.get(f"{kind}_id") is None:
        at = f"{url}: this is no {kind}"
        return DaemonStatus(kind, name, url, Condition.DEGRADED, wrong=(at,), health=health)
    if str(health[f"{kind}_id"]) != name:
        reader.wrong.append(f"it calls itself {health[f'{kind}_id']}")
    if kind is Kind.RELAY:
        _relay(reader, lit)
    elif kind is Kind.ENDPOINT:
        _endpoint(reader)
    else:
        _kme(reader, name, key_left_s)
    return DaemonStatus(
        kind,
        name,
        url,
        Condition.DEGRADED if reader.wrong or reader.faults else Condition.WELL,
        str(health["state"]),
        health.get("started_utc_ns"),
        reader.simulated,
        tuple(reader.says),
        tuple(reader.wrong),
        tuple(reader.faults),
        health,
    )


class _Reader:
    """What was found in one /health."""

    def __init__(self, health: Mapping[str, Any], now_ns: int) -> None:
        self.health = health
        self.now_ns = now_ns
        self.says: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.faults: list[ActiveFault] = []
        self.simulated: bool | None = None

    def part(self, key: str) -> Mapping[str, Any]:
        """A part that not every daemon has; empty if it is not there."""
        found = self.health.get(key)
        return found if isinstance(found, Mapping) else {}

    def say(self, label: str, *parts: str | None) -> None:
        """Tell it, if there is something to tell."""
        text = ", ".join(part for part in parts if part)
        if text:
            self.says.append((label, text))

    def blame(self, what: Any, text: str = "") -> None:
        """It is wrong if there is something."""
        if what:
            self.wrong.append(text or str(what))


def _of(values: Mapping[str, Any], key: str, text: Callable[[Any], str]) -> str | None:
    value = values.get(key)
    return None if value is None else text(value)


# ---------------------------------------------------------------------------------------- relay


def _relay(r: _Reader, lit: bool | None) -> None:
    h = r.health
    if h["state"] != "running":
        r.wrong.append(f"{h['state']}: {h.get('reason') or 'its board does not acquire'}")
    board = h.get("board")
    if board is not None:
        r.simulated = board["name"] == BoardGeometry.board
        r.say(
            "board",
            f"{board['name']}{' (simulation)' if r.simulated else ''}",
            f"gateware {board['gateware']}",
            f"{board['detectors']} detectors",
            _of(h, "temperature_c", lambda t: f"{t:.0f} °C"),
        )
    else:
        r.say("board", "none")
    r.say(
        "acquisition",
        _of(h, "acquisition", str),
        _of(h, "start_utc_ns", lambda ns: f"since {utc_text(ns)}"),
        _of(h, "heartbeat_age_s", lambda s: f"heartbeat {s:.1f} s ago"),
    )
    _clock(r, lit)
    r.say(
        "counts",
        _of(h, "live_fraction", lambda x: f"{100 * x:.1f} % live"),
        _of(r.part("rates"), "announcements_per_s", lambda x: f"{x:.0f} announcements/s"),
    )
    _broker(r)
    r.say("consumers", ", ".join(str(c["name"]) for c in h.get("consumers", ())) or "none")
    _calibration(r)
    _monitors(r, str(h["relay_id"]))
    trial = r.part("trial")
    r.say("settings", _of(trial, "version", lambda v: f"version {v} on trial"))
    r.blame(trial.get("fault"))


def _broker(r: _Reader) -> None:
    broker = r.part("nats")
    if not broker:
        return
    r.say("broker", f"stream {broker['stream']}", f"{broker['pending']} records not published")
    if not broker["connected"]:
        r.wrong.append(f"no connection to the broker: {broker['reason'] or 'not yet'}")


def _monitors(r: _Reader, said_by: str) -> None:
    monitors = r.part("monitors").get("each") or {}
    r.faults += monitor_faults(r.health, said_by)
    r.say("monitors", *(f"{name} {_age_of(state)}" for name, state in monitors.items()))


def _age_of(state: Mapping[str, Any]) -> str:
    return "silent" if state["stale"] else f"{age_text(state['age_s'])} ago"


def _clock(r: _Reader, lit: bool | None) -> None:
    if lit is False:
        r.say("light", "none is directed here")
    tracking = r.part("tracking")
    if not tracking:
        r.say("slot clock", "not tracked")
        return
    r.say(
        "slot clock",
        str(tracking["state"]),
        _of(tracking, "rate_ppm", lambda x: f"{x:+.3f} ppm"),
        _of(tracking, "jitter_ps", lambda x: f"jitter {x:.0f} ps"),
        _of(tracking, "reference", lambda x: f"reference {x['state']}"),
        _of(tracking, "dark", str) if tracking["state"] == "acquiring" else "",
    )
    if tracking["state"] != "locked" and lit is not False:
        r.wrong.append(f"the slot clock is {tracking['state']}")
    r.blame(tracking.get("alarm"), f"the slot clock: {tracking.get('alarm')}")
    r.blame(tracking.get("not_written"), f"the slot clock: {tracking.get('not_written')}")
    if tracking.get("reference_locked") is False:
        r.wrong.append("the reference clock is not locked")


def _calibration(r: _Reader) -> None:
    calibration = r.part("calibration")
    if not calibration:
        return
    overdue = list(calibration["overdue"])
    announced = calibration.get("announced")
    r.say(
        "calibration",
        _of(calibration, "running", lambda step: f"{step} runs"),
        None
        if announced is None
        else f"{', '.join(announced['steps'])} at {utc_text(announced['begin_utc_ns'])}",
        f"overdue: {', '.join(overdue)}" if overdue else "nothing is overdue",
    )
    if overdue:
        r.faults.append(
            ActiveFault(
                "calibration-overdue",
                str(r.health["relay_id"]),
                f"a scheduled calibration did not run: {', '.join(overdue)}",
                "docs/runbooks/calibration-overdue.md",
                str(r.health["relay_id"]),
            )
        )


# ------------------------------------------------------------------------------------- endpoint


def _endpoint(r: _Reader) -> None:
    h = r.health
    relay, relays, peer = h["relay"], h["relays"], h["peer"]
    if not relay["connected"]:
        r.wrong.append(f"no connection to {relay['relay_id']}: {relay['reason'] or 'not yet'}")
    if not peer["connected"]:
        r.wrong.append(f"no connection to {peer['peer_id']}: {peer['reason'] or 'not yet'}")
    for relay_id, each in relays["each"].items():
        quarantine = each.get("quarantine")
        if quarantine is not None:
            r.wrong.append(f"{relay_id} is in quarantine: {quarantine['detail']}")
    r.say(
        "relay",
        f"{relay['relay_id']} is active" + (" (pinned)" if relays.get("pinned") else ""),
        _of(relays, "since_utc_ns", lambda ns: f"since {utc_text(ns)}"),
        _of(relays, "why", str),
    )
    r.say("others", "; ".join(_standby(relays)))
    r.blame(relays.get("light_fault"), f"light: {relays.get('light_fault')}")
    last = h["last_block"]
    r.say(
        "key",
        f"{h['keys']['bits']} bits stored",
        _of(last, "last_key_utc_ns", lambda ns: f"last good block {_ago(ns, r.now_ns)}")
        or "no good block yet",
        _of(last, "error_z", lambda e: f"QBER {100 * e:.2f} %"),
    )
    pool = h["key_pool"]
    r.say("key for tags", f"{pool['bits']} bits left", f"{pool['peer_bits']} of the peer's")
    work = h["pipeline"]
    r.say("blocks", f"{len(work['in_work'])} in work", f"{work['waiting']} wait")
    if h.get("alarms"):
        r.say("alarms", f"{h['alarms']} since it was started")
    r.blame(h["random_health"]["alarm"], f"random numbers: {h['random_health']['alarm']}")
    _pulses(r)
    r.blame(r.part("changes").get("fault"))
    _monitors(r, str(h["endpoint_id"]))
    _watch(r)


def _standby(relays: Mapping[str, Any]) -> Iterable[str]:
    for relay_id, each in relays["each"].items():
        if relay_id != relays["active"]:
            yield f"{relay_id} {'could take over' if each['usable'] else each['why_not']}"


def _pulses(r: _Reader) -> None:
    tracking = r.part("tracking")
    if not tracking:
        return
    delay = tracking.get("delay_ps")
    r.say(
        "pulses",
        str(tracking["state"]),
        None if delay is None else f"{delay['value']:+.0f} ps off their place",
    )
    r.blame(tracking.get("alarm"), f"pulses: {tracking.get('alarm')}")
    if tracking["state"] == "silent":
        r.wrong.append("nothing comes from tracking slots")


def _watch(r: _Reader) -> None:
    watch = r.part("faults")
    if not watch:
        r.say("watch", "none")
        return
    r.blame(watch.get("failed"), f"the watch itself fails: {watch.get('failed')}")
    for fault in watch["active"]:
        title = fault["title"] + (" (receding)" if fault.get("receding") else "")
        said_by = str(r.health["endpoint_id"])
        r.faults.append(
            ActiveFault(fault["fault"], fault["subject"], title, fault["runbook"], said_by)
        )
    baselines = (
        f"{relay_id}: baseline {about['baseline']['state']}"
        for relay_id, about in watch["relays"].items()
        if about["active"]
    )
    r.say("watch", f"{len(watch['active'])} faults", *baselines)


# ------------------------------------------------------------------------------------------ KME


def _kme(r: _Reader, name: str, key_left_s: Mapping[str, float] | None) -> None:
    h = r.health
    peer = h["peer"]
    if not peer["connected"]:
        r.wrong.append(f"no connection to {peer['kme_id']}: {peer['reason'] or 'not yet'}")
    r.blame(h["store"]["fault"], f"store: {h['store']['fault']}")
    r.blame(h["intake"]["fault"], f"intake: {h['intake']['fault']}")
    r.blame(h["audit"]["fault"], f"audit log: {h['audit']['fault']}")
    for where, forward in h["audit"]["forward"].items():
        r.blame(forward["fault"], f"audit log to {where}: {forward['fault']}")
    for pair, sides in h["pairs"].items():
        own = sides.get(str(h["kme_id"]), {})
        left = None if key_left_s is None else key_left_s.get(pair)
        r.say(
            f"pair {pair}",
            f"{own.get('free', 0) * h['unit_bits']} bits left",
            _left(left, key_left_s is not None),
            f"{own['suspended']} units suspended" if own.get("suspended") else None,
            "low" if pair in h["low_water"] else None,
        )
    for pair in h["low_water"]:
        title = f"pair {pair} has less key than its low water"
        r.faults.append(_of_kme("key-shortage", pair, title, name))
    for bridge, about in h["bridges"].items():
        if about["fault"]:
            title = f"bridge {bridge} stands still: {about['fault']}"
            r.faults.append(_of_kme("bridge-stands", bridge, title, name))
        r.say(f"bridge {bridge}", f"{about['waiting']} keys wait", f"{about['pushed']} pushed")
    if h["lifecycle"]["kek_due"]:
        r.faults.append(_of_kme("kek-due", name, "the key encryption key is to be replaced", name))
    r.say("applications", f"{h['connections']} connected", f"{h['requests_waiting']} requests wait")


def _of_kme(page: str, subject: str, title: str, name: str) -> ActiveFault:
    return ActiveFault(page, subject, title, f"docs/runbooks/{page}.md", name)


def _left(seconds: float | None, measured: bool) -> str | None:
    if seconds is not None:
        return f"enough for {age_text(seconds)}"
    return "nobody took any in the last hour" if measured else None


# ----------------------------------------------------------------------------------------- texts


def age_text(seconds: float) -> str:
    """``95 s``, ``12 min``, ``5.0 h``, ``9.1 d``."""
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    if seconds < 7200.0:
        return f"{seconds / 60.0:.0f} min"
    return f"{seconds / 3600.0:.1f} h" if seconds < 172800.0 else f"{seconds / 86400.0:.1f} d"


def utc_text(utc_ns: float) -> str:
    """``2026-11-25 10:40:03 UTC``."""
    return f"{datetime.fromtimestamp(utc_ns / _NS, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ago(utc_ns: int, now_ns: int) -> str:
    # Another machine's clock may be ahead of ours.
    return f"{age_text(max(now_ns - utc_ns, 0) / _NS)} ago"
