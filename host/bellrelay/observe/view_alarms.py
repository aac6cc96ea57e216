"""What the live view lists as alarms: of the relay itself, its monitors, and the endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .monitor_faults import monitor_faults

__all__ = ["view_alarms"]

_HOT_C = 80.0
"""As the alert BoardHot has it."""


def view_alarms(
    status: Mapping[str, Any], links: Mapping[str, Any], lost: Mapping[str, int]
) -> list[dict[str, str]]:
    """By what the relay says of itself and the endpoints of the link.

    Each has a title, more text, and the name of its page in docs/runbooks.

    Parameters
    ----------
    status
        What the relay's /health says.
    links
        As :meth:`.view_links.EndpointAsker.summary` has it.
    lost
        What was lost on the line of late, by what it is.
    """
    return [
        {"title": title, "text": text, "runbook": page}
        for title, text, page in (*_of_relay(status, lost), *_of_links(links))
    ]


_Alarm = tuple[str, str, str]


def _of_relay(status: Mapping[str, Any], lost: Mapping[str, int]) -> Iterator[_Alarm]:
    state = status["state"]
    if state == "quarantined":
        yield "The board broke its rules", status["reason"], "board-fault"
    elif state not in ("running", "connecting"):
        yield f"The board is {state}", status["reason"], "board-fault"
    temperature = status.get("temperature_c")
    if temperature is not None and temperature > _HOT_C:
        yield "The board is too warm", f"{temperature:.0f} °C", "board-hot"
    for what, number in lost.items():
        yield f"{number} {what.replace('_', '-')} lost on the line", "", "board-line"
    tracking = status.get("tracking") or {}
    if tracking.get("reference_locked") is False:
        yield "The reference clock is not locked", "", "reference-lost"
    if tracking.get("alarm"):
        yield "The slot clock does not follow", str(tracking["alarm"]), "clock-drift"
    overdue = (status.get("calibration") or {}).get("overdue") or []
    if overdue:
        yield "A calibration is overdue", ", ".join(overdue), "calibration-overdue"
    audit = (status.get("view") or {}).get("audit") or {}
    if audit.get("fault"):
        yield "Changes cannot be put on record", str(audit["fault"]), "audit-broken"
    for fault in monitor_faults(status, ""):
        yield fault.title, "", f"{fault.name}"


def _of_links(links: Mapping[str, Any]) -> Iterator[_Alarm]:
    for fault in links.get("faults", ()):
        page = str(fault.get("runbook") or "").rpartition("/")[2].removesuffix(".md")
        probability = fault.get("probability")
        text = f"{fault['fault']} of {fault['subject']}"
        if probability is not None:
            text += f", probability {probability:.2f}"
        yield str(fault["title"]), text, f"{page or 'README'}"
    for url, shown in (links.get("endpoints") or {}).items():
        if shown["state"] == "not reached":
            yield f"{url} does not answer", str(shown["reason"]), "path-to-relay"
