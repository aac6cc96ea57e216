"""Timing errors of calibrated delay lines: RMS of one channel, of pairs, losses of windows.

    python bench/fine_time.py [--samples N_LOG2] [--json]

Lines are simulated (`bellrelay_sim.tapped_line`), calibration is the gateware's arithmetic. Every
figure here is simulated; none was measured on hardware. The ratio is to what is wanted: 20 ps for
one channel, 28 ps for a pair, 0.1 % of true pairs lost by windows of 500 ps.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace

import numpy as np

from bellrelay.tags.linearity import quantisation_rms_ps
from bellrelay_sim.tapped_line import DelayLineModel, made_up_line
from bellrelay_sim.timing_errors import calibrate, timing_errors

SINGLE_PS, PAIR_PS, LOST = 20.0, 28.0, 1e-3
CHANNELS = range(3)
TRACKING_K = 2.0

LINES = {
    "made up: mismatch, dead and wide taps": {},
    "grade 6 typical, as the database has it": {
        "odd_late_ps": 72.0,
        "mismatch_ps": 0.0,
        "tile_ps": 0.0,
        "dead_share": 0.0,
    },
    "even and odd taps alike": {"odd_late_ps": 31.0, "tile_ps": 0.0},
}


@dataclass
class Row:
    lines: str
    condition: str
    single_rms_ps: float
    pair_rms_ps: float
    lost_share: float
    quantisation_ps: float


def lines_of(name: str) -> list[DelayLineModel]:
    """A line per channel, each with another way from its pin."""
    return [made_up_line(k, entry_ps=1500.0 + 400.0 * k, **LINES[name]) for k in CHANNELS]


def rows(samples_log2: int) -> list[Row]:
    result = []
    for name in LINES:
        cold = lines_of(name)
        hot = [line.at(30.0) for line in cold]
        first = calibrate(cold, samples_log2=samples_log2)
        tracked = calibrate(
            [line.at(30.0 - TRACKING_K) for line in cold], samples_log2=samples_log2, seed=50
        )
        for condition, now, calibration in (
            ("just calibrated", cold, first),
            ("30 K later, not calibrated again", hot, first),
            (f"30 K later, last run {TRACKING_K:g} K ago", hot, tracked),
            ("the same, skew not measured again", hot, replace(tracked, skew_ps=first.skew_ps)),
        ):
            errors = timing_errors(now, calibration)
            worst = max(quantisation_rms_ps(c, 5000) for c in calibration.counts)
            result.append(
                Row(
                    name,
                    condition,
                    float(np.max(errors.single_rms_ps)),
                    errors.pair_rms_ps,
                    errors.lost_share,
                    worst,
                )
            )
    return result


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20, help="log2 of the counts per channel")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    table = rows(options.samples)
    if options.json:
        print(json.dumps({"simulated": True, "rows": [asdict(row) for row in table]}, indent=1))
        return 0
    print("simulated: 5 ns clock with 10 ps RMS jitter, mean tap 33 ps, 1.3 % drift in 15 K")
    head = ("single", "ratio", "pair", "ratio", "lost")
    print(f"{'lines':<40} {'condition':<34}" + "".join(f"{h:>8}" for h in head))
    for row in table:
        print(
            f"{row.lines:<40} {row.condition:<34}{row.single_rms_ps:8.1f}"
            f"{row.single_rms_ps / SINGLE_PS:8.2f}{row.pair_rms_ps:8.1f}"
            f"{row.pair_rms_ps / PAIR_PS:8.2f}{row.lost_share:8.1e}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
