"""Speed of the photon side of the simulation: slots and clicks per second on one core.

    python bench/clicks.py [slots]

Default: 2e8 slots of the default link. The ratio is to the 1e7 slots per second that a run of 1e9
slots within two minutes needs.
"""

from __future__ import annotations

import sys
import time

from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.link import SimulatedLink

WANTED_SLOTS_PER_S = 1e7


def main(slots: int = 200_000_000) -> None:
    for _ in ClickStream(SimulatedLink(), 1000).chunks():
        pass  # compile
    stream = ClickStream(SimulatedLink(), slots)
    start = time.perf_counter()
    clicks = sum(chunk.t.size for chunk in stream.chunks())
    wall = time.perf_counter() - start
    print(
        f"click generation: {slots / wall:.3g} slots/s, {clicks / wall:.3g} clicks/s "
        f"({clicks} clicks of {slots} slots in {wall:.1f} s), "
        f"ratio to {WANTED_SLOTS_PER_S:.0e} slots/s: {slots / wall / WANTED_SLOTS_PER_S:.2f}"
    )


if __name__ == "__main__":
    main(*(int(float(a)) for a in sys.argv[1:]))
