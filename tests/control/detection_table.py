"""The table of docs/reference/fault-detection.md: every fault, by twenty seeds.

python tests/control/detection_table.py > docs/reference/fault-detection.md     (some minutes)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from simulated_statuses import ObservedLink
from test_fault_detection import BY_NAME, CASES, Change, Report

from bellrelay.control.fault_baseline import Baseline, measure_baseline
from bellrelay.control.fault_watch import Turn, Watch

SEEDS = range(100, 120)
_AFTER_S = 40
_PATIENCE_S = 30

HEAD = """# How soon faults are told

Every fault of the [table](faults.md) as a [simulated link](../../tests/control/simulated_link.py)
shows it (970 outcomes a second, blocks of 5 s, tracking slots, power monitors), through the
statuses of its daemons, by twenty seeds. This page is made by
`python tests/control/detection_table.py`; its figures are simulated. *Told*: link time until the
right fault of the right subject was told, median and worst, in the second of the watch's rounds.
*First*: in how many of twenty it was ranked first five seconds after that. *Before*: how often
another fault was told first, and dropped for it; nothing is ordered so soon. *Any*: until a fault
was told at all, whichever, worst: that is when people begin to look.

`opposite-a-little` is an offset of 130 ps per arm, less than the limit of 150 ps: it is told by
what the arms differ by, and is no hard fault, as it costs some visibility and no key is unsafe by
it. It is told by its own name later than 5 s only where it was taken for the delay of one arm
before, whose first step, to synchronise anew, is the same.

| Case | Fault | Of | Told, s | Worst, s | Any, s | Must be, s | First | Before |
|---|---|---|---|---|---|---|---|---|
"""


def one(
    baseline: Baseline, seed: int, of: tuple[str, str], change: Change, report: Report
) -> tuple[float, float, bool, bool]:
    """Seconds until it was told, and any fault; whether it was ranked first; whether another was
    told before.
    """
    link, watch = ObservedLink(seed=seed), Watch(baseline)
    watch.observe(link.run(_AFTER_S))
    raised: list[tuple[str, str]] = []
    at = told = np.inf
    for second in range(_PATIENCE_S):
        state = link.link.state
        seen = link.run(1, lambda _t, s, k=second: change(float(k), s), report)  # type: ignore[misc]
        # The next second's state is made of the one before all of this.
        link.link.state = state
        for notice in watch.observe(seen):
            if notice.turn is Turn.RAISED:
                raised.append((notice.fault, notice.subject))
                told = min(told, second + 1.0)
                if raised[-1] == of:
                    at = min(at, second + 1.0)
        if second >= at + 4:
            break
    first = bool(watch.faults) and watch.faults[0].key == of
    return at, told, first, bool(raised) and raised[0] != of


def main() -> None:
    """Print the page."""
    baseline = measure_baseline(ObservedLink(seed=1).run(600))
    print(HEAD, end="")
    for name, fault, subject, change, report in CASES:
        found = [one(baseline, seed, (fault, subject), change, report) for seed in SEEDS]
        told = [at for at, _, _, _ in found]
        must = BY_NAME[fault].within_s
        print(
            f"| {name} | [{fault}](../runbooks/{fault}.md) | {subject} | {np.median(told):.0f} "
            f"| {max(told):.0f} | {max(any_s for _, any_s, _, _ in found):.0f} "
            f"| {'slowly' if must is None else f'{must:.0f}'} "
            f"| {sum(f for _, _, f, _ in found)} | {sum(b for _, _, _, b in found)} |"
        )


if __name__ == "__main__":
    main()
