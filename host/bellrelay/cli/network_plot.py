"""A network's capacity, drawn: how full everything is, and what carries more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["draw_network"]


def draw_network(path: Path, report: dict[str, Any]) -> None:
    """Draw a report (as `network --json` prints it) to a PNG.

    Left, how full the busiest of every resource is on paper (bars) and in the simulation (marks),
    in every case. Right, up to which demand the network is enough as things are added, by cost.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases, steps = report["cases"], report["steps"]
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    names = [r["resource"] for r in cases[0]["resources"]]
    at = np.arange(len(names))
    width = 0.8 / len(cases)
    for k, case in enumerate(cases):
        by_name = {r["resource"]: r for r in case["resources"]}
        # A broker that was added is in one case and not in the other.
        rows = [by_name.get(n) for n in names]
        place = at + (k - (len(cases) - 1) / 2) * width
        paper = [r["paper"]["most"] if r else 0.0 for r in rows]
        seen = [(r["events"]["of_busiest"] or np.nan) if r else np.nan for r in rows]
        left.barh(place, paper, width, label=case["name"])
        left.plot(seen, place, "k|", ms=9, label="events" if k == len(cases) - 1 else None)
    left.axvline(1.0, color="k", lw=0.8, ls="--")
    left.set_yticks(at, names, fontsize="small")
    left.invert_yaxis()
    left.set_xscale("log")
    left.set_xlabel("share of its time, the busiest of each kind (1: full)")
    left.legend(fontsize="small", loc="lower left")
    left.grid(axis="x", alpha=0.3)
    carried = [report["first_full"]["at_demand"], *(s["next_at_demand"] for s in steps)]
    cost = [cases[0]["cost"]["per_year"], *(s["per_year"] for s in steps)]
    right.step(carried, cost, where="pre", color="C2")
    right.plot(carried, cost, "o", color="C2", ms=4)
    right.axvline(report["growth"], color="k", lw=0.8, ls="--")
    right.set_xlabel("demand that is carried, times that of now (dashed: wanted)")
    right.set_ylabel(f"cost per year ({report['currency']})")
    right.grid(alpha=0.3)
    figure.suptitle(
        f"SIMULATION of {report['source']}: {report['relays']} relays, {report['endpoints']} "
        f"endpoints, {report['pairs']} pairs; full first: {report['first_full']['resource']} at "
        f"{report['first_full']['at_demand']:.2f} times the demand",
        fontsize="small",
    )
    figure.savefig(path, dpi=120, format="png")
