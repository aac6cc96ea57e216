"""What a run ends with: one JSON object, a table for a person, a picture of arrival times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.cli.run_key_table import key_tables
from bellrelay.wire.counters import LOSS_COUNTERS
from bellrelay.wire.outcomes import SlotClass

if TYPE_CHECKING:
    from rich.table import Table

    from bellrelay.cli.run_delivery import Delivery
    from bellrelay.cli.run_endpoints import RunKeys

__all__ = ["ArrivalHistogram", "RunReport", "plot_arrival_times", "report_table"]

_FATES = (
    "clicks",
    "pile_up",
    "before_start",
    "misaligned",
    "dead_time",
    "outside",
    "early",
    "late",
)


@dataclass(frozen=True)
class ArrivalHistogram:
    """Arrival times in the slot. counts : (channels, bins) of width ``bin_ps`` from 0."""

    counts: NDArray[np.int64]
    bin_ps: int


@dataclass(frozen=True)
class RunReport:
    """The results of a run; ``counters`` are those of the final heartbeat.

    received : announcements that came through daemon and log. missing_frames : of the link.
    errors : basis to (errors, bits, expected rate). comparison : what the comparison of both boards
    said, None if it was not made. keys : what the endpoints made of it, None if they did not run.
    delivery : the key that applications fetched, None if there was too little of it.
    """

    board: str
    detectors: tuple[str, ...]
    counters: Mapping[str, int]
    received: int
    missing_frames: int
    errors: Mapping[str, tuple[int, int, float]]
    slot_period_ps: float
    wall_seconds: float
    check_passed: bool
    comparison: Mapping[str, Any] | None = None
    truth: Mapping[str, Any] = field(default_factory=dict)
    keys: RunKeys | None = None
    delivery: Delivery | None = None

    @property
    def announced(self) -> int:
        """Announcements that the board handed to its link."""
        return self.counters["announced_psi_minus"] + self.counters["announced_psi_plus"]

    @property
    def events_lost(self) -> int:
        """Announcements and tags lost anywhere between the classifier and the reader of the log."""
        lost = sum(v for k, v in self.counters.items() if k.startswith(LOSS_COUNTERS))
        return lost + self.announced - self.received

    @property
    def bell_success_ratio(self) -> float:
        """Announced slots, of all slots with clicks in two or more cells; nan if there are none."""
        single = self.counters[f"class_{SlotClass.SINGLE.value}"]
        total = sum(self.counters[f"class_{c.value}"] for c in SlotClass)
        return self.announced / (total - single) if total > single else float("nan")

    def as_json(self) -> dict[str, Any]:
        """The object that ``bellrelay run --json`` prints; nan is null."""
        c = self.counters
        slots = c["slots"]
        simulated_s = slots * self.slot_period_ps * 1e-12
        return {
            "simulation": True,
            "board": self.board,
            "slots": slots,
            "live_fraction": _number(1 - c["slots_not_live"] / slots if slots else float("nan")),
            "announced": self.received,
            "psi_minus": c["announced_psi_minus"],
            "psi_plus": c["announced_psi_plus"],
            "bell_success_ratio": _number(self.bell_success_ratio),
            "events_lost": self.events_lost,
            "missing_frames": self.missing_frames,
            "error_rate": {
                k: _number(e / n if n else float("nan")) for k, (e, n, _) in self.errors.items()
            },
            "error_rate_expected": {k: _number(x) for k, (_, _, x) in self.errors.items()},
            "sifted_bits": {k: n for k, (_, n, _) in self.errors.items()},
            "classes": {s.name.lower(): c[f"class_{s.value}"] for s in SlotClass},
            "detectors": {
                name: {fate: c[f"{fate}_{i}"] for fate in _FATES}
                for i, name in enumerate(self.detectors)
            },
            "wall_seconds": round(self.wall_seconds, 3),
            "simulated_seconds": simulated_s,
            "simulated_to_wall": _number(
                simulated_s / self.wall_seconds if self.wall_seconds else float("nan")
            ),
            "check_passed": self.check_passed,
            "comparison": None if self.comparison is None else dict(self.comparison),
            "truth": dict(self.truth),
            **self._distilled(simulated_s),
        }

    def _distilled(self, simulated_s: float) -> dict[str, Any]:
        keys = self.keys
        if keys is None:
            return {}
        return {
            "key_bits": keys.bits,
            "keys_equal": keys.equal,
            "key_rate_per_pulse": keys.bits / keys.pulses if keys.pulses else 0.0,
            "key_rate_per_second": keys.bits / simulated_s if simulated_s else 0.0,
            "epsilon": keys.epsilon,
            "no_key_cause": None if keys.bits else keys.cause,
            "blocks": list(keys.blocks),
            "delivered": None if self.delivery is None else asdict(self.delivery),
        }


def _number(value: float) -> float | None:
    return None if value != value else value


def report_table(report: RunReport) -> list[Table]:
    """Tables for a terminal."""
    from rich.table import Table

    r = report.as_json()
    summary = Table(title="Run (simulation)", show_header=False)
    summary.add_column(style="bold")
    summary.add_column(justify="right")

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.3f} %"

    for label, text in (
        ("board", r["board"]),
        ("slots", f"{r['slots']:,}"),
        ("live fraction", percent(r["live_fraction"])),
        ("announced", f"{r['announced']:,}"),
        ("psi-minus / psi-plus", f"{r['psi_minus']:,} / {r['psi_plus']:,}"),
        ("Bell success ratio", percent(r["bell_success_ratio"])),
        ("events lost", f"{r['events_lost']:,}"),
        *(
            (
                f"error rate {basis}",
                f"{percent(r['error_rate'][basis])} of {bits:,} bits "
                f"(closed form {percent(r['error_rate_expected'][basis])})",
            )
            for basis, bits in r["sifted_bits"].items()
        ),
        ("check against both source logs", "passed" if r["check_passed"] else "FAILED"),
        ("wall time", f"{r['wall_seconds']:.1f} s"),
        ("simulated : wall time", f"{r['simulated_to_wall'] or 0:.4f}"),
    ):
        summary.add_row(label, str(text))
    fates = Table(title="Clicks by fate")
    fates.add_column("detector", style="bold")
    shown = [f for f in _FATES if any(counts[f] for counts in r["detectors"].values())]
    for fate in shown:
        fates.add_column(fate.replace("_", " "), justify="right", no_wrap=True)
    for name, counts in r["detectors"].items():
        fates.add_row(name, *(f"{counts[fate]:,}" for fate in shown))
    return [summary, fates, *(key_tables(r) if report.keys is not None else [])]


def plot_arrival_times(
    histogram: ArrivalHistogram,
    windows: Mapping[str, tuple[int, int]],
    names: tuple[str, ...],
    slot_period_ps: float,
    path: Path,
) -> None:
    """Draw arrival times with the gate windows shaded. Raises OSError if it cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    edges = np.arange(histogram.counts.shape[1] + 1) * histogram.bin_ps
    shown = edges[:-1] < slot_period_ps
    for name, counts in zip(names, histogram.counts, strict=False):
        axes.stairs(counts[shown], np.append(edges[:-1][shown], slot_period_ps), label=name)
    for label, (start, end) in windows.items():
        if start < end:
            axes.axvspan(start, end, alpha=0.15, color="tab:green")
            axes.text(
                (start + end) / 2,
                0.98,
                label,
                ha="center",
                va="top",
                transform=axes.get_xaxis_transform(),
            )
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlim(0, slot_period_ps)
    axes.set_xlabel("position in the slot / ps")
    axes.set_ylabel(f"clicks per {histogram.bin_ps} ps")
    axes.set_title("Arrival times and gate windows (simulation)")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=120)
