"""What is wrong with the monitors of a daemon, by its /health, and the page about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .active_fault import ActiveFault

__all__ = ["monitor_faults"]


def monitor_faults(health: Mapping[str, Any], said_by: str) -> list[ActiveFault]:
    """Of monitors that say nothing, and of those that are beyond their limits."""
    found = []
    for name, state in ((health.get("monitors") or {}).get("each") or {}).items():
        if state["stale"]:
            title = f"monitor {name} has said nothing for {state['age_s']:.0f} s"
            found.append(_fault("monitor-stale", name, title, said_by))
        for quantity in state["beyond"]:
            value, limits = state["quantities"][quantity], state["limits"][quantity]
            low, high = ("..." if limit is None else f"{limit:g}" for limit in limits)
            title = f"monitor {name}: {quantity} {value:g}, outside {low} to {high}"
            found.append(_fault("monitor-limits", name, title, said_by))
    return found


def _fault(page: str, monitor: str, title: str, said_by: str) -> ActiveFault:
    return ActiveFault(page, monitor, title, f"docs/runbooks/{page}.md", said_by)
