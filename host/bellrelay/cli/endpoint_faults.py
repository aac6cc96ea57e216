"""`bellrelay endpoint --faults`: what the running endpoint's watch says, for a person."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from bellrelay.cli.exits import ExitCode

if TYPE_CHECKING:
    from bellrelay.endpoint.config import EndpointConfig

__all__ = ["show_faults"]

_TIMEOUT_S = 5.0
_LAST = 10
_AGAIN_S = 0.5


def show_faults(settings: EndpointConfig, as_json: bool, wait_s: float = 0.0) -> None:
    """Ask the running endpoint, and print; ends with 8 if a fault is there, or nobody answers.

    Parameters
    ----------
    wait_s
        Asked again so long while there is one, or nobody answers.

    Raises
    ------
    ConfigError
        The file names no health address, or no watch.
    """
    address = settings.health.listen
    if address is None:
        raise settings.error("health.listen", None, "HOST:PORT, to be asked")
    if settings.watch is None:
        raise settings.error("watch", None, "a watch, to be asked")
    end = time.monotonic() + wait_s
    while True:
        try:
            faults = _status(address)["faults"]
            why = ""
        except OSError as error:
            faults, why = None, str(error)
        if (faults is not None and not faults["active"]) or time.monotonic() >= end:
            break
        time.sleep(_AGAIN_S)
    if faults is None:
        print(f"{address}: no endpoint answers: {why}", file=sys.stderr)
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if as_json:
        print(json.dumps(faults))
    else:
        print("\n".join(_lines(faults)))
    if faults["active"]:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _status(address: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://{address}/health", timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        # 503 is a status, too: of an endpoint that waits.
        return json.load(error)


def _lines(faults: Mapping[str, Any]) -> list[str]:
    out: list[str] = []
    for fault in faults["active"]:
        receding = ", receding" if fault["receding"] else ""
        relay = "" if fault["relay"] is None else f", relay {fault['relay']}"
        out.append(
            f"{fault['fault']} of {fault['subject']} ({fault['family']}{relay}{receding}): "
            f"{fault['title']}; probability {fault['probability']:.2f}"
        )
        out += [
            f"    {e['weight']:+5.1f}  {e['observable']}: {e['said']}" for e in fault["evidence"]
        ]
        rivals = ", ".join(
            f"{r['fault']} of {r['subject']} {r['probability']:.2f}" for r in fault["rivals"]
        )
        if rivals:
            out.append(f"    or: {rivals}")
        if fault["steps_taken"]:
            out.append(f"    ordered: {', '.join(fault['steps_taken'])}")
        out.append(f"    runbook: {fault['runbook']}")
    if not out:
        out.append("no fault")
    for action, stands in faults["in_force"].items():
        out.append(
            f"in force: {action} {stands['level']:g}, for {stands['fault']} of {stands['subject']}"
        )
    for relay_id, relay in faults["relays"].items():
        state = "active" if relay["active"] else "waiting"
        baseline = relay["baseline"]
        why = f": {baseline['why']}" if baseline.get("why") else ""
        out.append(f"relay {relay_id}: {state}, baseline {baseline['state']}{why}")
        if relay["left"]:
            left = relay["left"]
            out.append(f"    left for {left['fault']} of {left['subject']}; {left['runbook']}")
    out += [
        f"{url}: no answer: {asked['why']}"
        for url, asked in faults["asked"].items()
        if not asked["answers"]
    ]
    if faults["failed"]:
        out.append(f"the watch itself fails: {faults['failed']}")
    if faults["notices"]:
        out.append("last notices:")
        out += [f"    {_notice(n)}" for n in faults["notices"][-_LAST:]]
    if faults["orders"]:
        out.append("last orders:")
        out += [
            f"    {o['utc']}  {o['action']} {_cause(o)}: {o['outcome']}: {o['what']}"
            for o in faults["orders"][-_LAST:]
        ]
    return out


def _cause(order: Mapping[str, Any]) -> str:
    """Of an order: a fault, or a person with a reason."""
    if "why" in order:
        return f"as {order['subject']} ordered ({order['why']})"
    return f"against {order['fault']} of {order['subject']}"


def _notice(notice: Mapping[str, Any]) -> str:
    action = f" {notice['action']}" if "action" in notice else ""
    why = f": {notice['why']}" if notice.get("why") else ""
    return (
        f"{notice['utc']}  {notice['turn']}{action}  {notice['fault']} of {notice['subject']}{why}"
    )
