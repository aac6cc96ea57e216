"""`bellrelay plan --timetable OUT.yaml`: when each relay serves whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bellrelay.control.network_plan import OptionPlan
from bellrelay.control.network_timetable import make_timetable

__all__ = ["write_timetable"]


def write_timetable(path: Path, network: Path, plan: OptionPlan) -> dict[str, Any]:
    """Write the timetable of a plan; returns what is told of it.

    Raises
    ------
    OSError
        It cannot be written.
    """
    made = make_timetable(plan.network, plan.schedule)
    command = f"bellrelay plan {network.name} --timetable {path.name}"
    head = f"# Made by `{command}`; the same at all endpoints.\n"
    path.write_text(head + yaml.safe_dump(made.timetable.model_dump(), sort_keys=False))
    return {
        "file": str(path),
        "frame_s": made.timetable.frame_s,
        "windows": len(made.timetable.windows),
        "scale": made.scale,
        "without_standby": [
            {"a": a, "b": b, "relay": relay} for a, b, relay in made.without_standby
        ],
    }
