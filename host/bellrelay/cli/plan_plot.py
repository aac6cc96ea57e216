"""Options of a network, drawn: what each pair gets, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["draw_plan"]


def draw_plan(path: Path, report: dict[str, Any], name: str) -> None:
    """Draw a report (as `plan --json` prints it) to a PNG.

    Left, the share of its demand that every pair gets with every option. Right, the options by
    cost per year, prices spread over the years: the worst served pair's share, and the same after
    the loss of the worst relay; marks are as large as the work that an option takes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    options = report["options"]
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    pairs = options[0]["pairs"]
    at = np.arange(len(pairs))
    width = 0.8 / len(options)
    for k, option in enumerate(options):
        shares = [100.0 * p["satisfied"] for p in option["pairs"]]
        left.bar(at + (k - (len(options) - 1) / 2) * width, shares, width, label=option["name"])
    left.set_xticks(
        at, [f"{p['a']} - {p['b']}\nwants {p['demand']:.3g} bit/s" for p in pairs], fontsize="small"
    )
    left.set_ylabel("share of its demand that a pair gets (%)")
    left.set_ylim(0, 118)
    left.legend(fontsize="small", loc="upper left", ncols=2)
    for k, option in enumerate(options):
        cost, size = option["cost"]["per_year"], 20.0 + 8.0 * option["hours_per_month"]
        worst = 100.0 * option["worst_satisfied"]
        lost = 100.0 * option["worst_satisfied_after_loss"]
        right.plot([cost, cost], [worst, lost], color=f"C{k}", lw=1, zorder=1)
        right.scatter([cost], [worst], s=size, color=f"C{k}", zorder=2)
        right.scatter([cost], [lost], s=2.0 * size, facecolor="none", edgecolor=f"C{k}", zorder=2)
        right.annotate(
            f"{option['hours_per_month']:.3g} h/month", (cost, max(worst, lost)),
            textcoords="offset points", xytext=(0, 9), ha="center", fontsize="small",
        )  # fmt: skip
    right.set_xlabel(f"cost per year, over {report['years']:g} years ({report['currency']})")
    right.set_ylabel("worst served pair (%); hollow: after the loss of a relay")
    right.set_ylim(-5, 118)
    right.margins(x=0.15)
    right.locator_params(axis="x", nbins=5)
    for axes in (left, right):
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    epsilon = report["epsilon"]
    figure.suptitle(
        f"a model of {name}: blocks of {report['pulses']:.3g} pairs, secrecy "
        f"{epsilon['secrecy']:g}, correctness {epsilon['correctness']:g}",
        fontsize="small",
    )
    figure.savefig(path, dpi=120, format="png")
