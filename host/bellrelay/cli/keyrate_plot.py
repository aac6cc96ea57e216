"""Key rates over distance or loss, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bellrelay.cli.link_file import ScanKind

__all__ = ["AXES", "draw_scan"]

AXES: dict[ScanKind, tuple[str, str]] = {
    "distance": ("distance between Alice and Bob", "km"),
    "loss": ("loss between Alice and Bob", "dB"),
}


def draw_scan(path: Path, kind: ScanKind, points: Sequence[dict[str, Any]], caption: str) -> None:
    """Draw the rates of `points` (as `keyrate --scan --json` prints them) to a PNG.

    Solid curves are per pair of pulses sent, for blocks of N pairs; dashed ones are asymptotic and
    per pair that both sent at the signal setting, which is why they lie higher.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at = [point["at"] for point in points]

    def curve(values: Sequence[float], label: str, style: str, colour: str) -> None:
        kept = [(x, y) for x, y in zip(at, values, strict=True) if y > 0.0]
        if kept:
            axes.semilogy(*zip(*kept, strict=True), style, label=label, color=colour)

    for key, label, colour in (
        ("R_infinite", "infinitely many decoys, per signal pair", "0.2"),
        ("R_two_decoy", "two decoys, no fluctuation, per signal pair", "0.6"),
    ):
        curve([point[key] for point in points], label, "--", colour)
    for k, n in enumerate(points[0]["R_finite"] if points else ()):
        label, colour = f"N = {float(n):.3g}, per pair sent", f"C{k}"
        curve([p["R_finite"][n] for p in points], label, "-", colour)
        if "optimised" in points[0]:
            best = [p["optimised"][n]["rate"] for p in points]
            curve(best, f"N = {float(n):.3g}, best ladder at every point", ".-", colour)
    name, unit = AXES[kind]
    axes.set_xlabel(f"{name} ({unit})")
    axes.set_ylabel("secret bits per pair of pulses")
    axes.grid(which="major", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    axes.set_title(caption, fontsize="small")
    figure.savefig(path, dpi=120, format="png")
