"""A network of real processes, drawn: what it does as it grows, and what the model says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["draw_processes"]

_KINDS = ("relay", "endpoint", "kme")


def draw_processes(path: Path, report: dict[str, Any]) -> None:
    """Draw a report (as `network --processes --json` prints it) to a PNG.

    By number of relays: announcements and key, seen (points) and by the model (lines); processor
    time and memory of the processes of every kind.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = report["steps"]
    relays = [s["relays"] for s in steps]
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)
    (announced, key), (cores, memory) = figure.subplots(2, 2)
    for axes, name, label in (
        (announced, "announcements_per_s", "announcements per second"),
        (key, "key_bits_per_s", "key of all pairs (bit/s)"),
    ):
        axes.plot(relays, [s[name]["model"] for s in steps], "k--", label="model")
        axes.plot(relays, [s[name]["seen"] for s in steps], "o", label="seen")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0.0)
        axes.legend(fontsize="small")
    for color, kind in enumerate(("twin", *_KINDS)):
        each = [s["cores"]["each"][kind] for s in steps]
        cores.plot(relays, [e["mean"] for e in each], "o", color=f"C{color}", label=f"{kind}, seen")
        if kind in _KINDS:
            cores.plot(relays, [e["model"] for e in each], "--", color=f"C{color}")
        used = [s["memory_mb"]["each"][kind]["mean"] for s in steps]
        memory.plot(relays, used, "o-", color=f"C{color}", label=kind)
    cores.set_ylabel("cores of a process (dashed: model)")
    memory.set_ylabel("memory of a process (MB)")
    memory.set_ylim(bottom=0.0)
    cores.set_yscale("log")
    for axes in (announced, key, cores, memory):
        axes.set_xlabel("relays")
        axes.set_xticks(relays)
        axes.grid(alpha=0.3)
    for axes in (cores, memory):
        axes.legend(fontsize="small")
    full = "; ".join(report["full"]) or "nothing is full"
    figure.suptitle(
        f"Simulated light, real processes on {report['machine']['processor']}, "
        f"{report['machine']['cores']} cores: {steps[-1]['pairs']} pairs; {full}",
        fontsize="small",
    )
    figure.savefig(path, dpi=120, format="png")
