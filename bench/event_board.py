"""Speed of the boards that are not there: event board in slots and clicks, gateware in clocks.

    python bench/event_board.py [--json] [--event-alone]

The ratio of the event board is to 2e7 clicks per second, with which 1e9 slots of a bright link take
minutes; that of the gateware board is to the event board.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import Control, RegisterMap
from bellrelay_sim.board import Board
from bellrelay_sim.board_script import write_command
from bellrelay_sim.event_board import EventBoard

SLOT_PS = 10_000
WANTED_CLICKS_PER_S = 2e7


def acquire(board: Board, clicks_per_slot: float, ticks: int, chunk: int) -> dict[str, float]:
    """Run a board under Poisson light; speeds of the running part."""
    g = board.geometry
    registers = RegisterMap(g)
    n = int(clicks_per_slot * (ticks + 8) * g.tick_ps / SLOT_PS)
    rng = np.random.default_rng(1)
    t = np.sort(rng.integers(0, (ticks + 8) * g.tick_ps, n))
    channel = rng.integers(0, g.n_detectors, n).astype(np.uint8)
    board.write(write_command(registers.address("control"), [Control.START]))
    board.stimulate(t, channel)
    length = g.tick_clocks
    board.run(8 * length)  # it runs from here on
    begin = time.perf_counter()
    size = 0
    for _ in range(0, ticks, chunk):
        size += len(board.run(chunk * length))
    wall = time.perf_counter() - begin
    board.close()
    return {
        "clicks_per_slot": clicks_per_slot,
        "slots_per_s": ticks * g.tick_ps / SLOT_PS / wall,
        "clicks_per_s": n * ticks / (ticks + 8) / wall,
        "clocks_per_s": ticks * length / wall,
        "link_bytes": size,
        "wall_s": wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--event-alone", action="store_true")
    arguments = parser.parse_args()
    geometry = BoardGeometry()
    acquire(EventBoard(geometry), 0.1, 32, 8)  # compile
    results = {}
    for load, ticks in ((0.0, 100_000), (0.001, 40_000), (0.04, 20_000), (0.5, 3_000)):
        results[f"event, {load:g} clicks per slot"] = acquire(
            EventBoard(geometry), load, ticks, 256
        )
    if not arguments.event_alone:
        from bellrelay_sim.gateware_board import GatewareBoard

        results["gateware, 0.04 clicks per slot"] = acquire(GatewareBoard(geometry), 0.04, 24, 4)
    for name, result in results.items():
        if name.startswith("event"):
            result["ratio"] = result["clicks_per_s"] / WANTED_CLICKS_PER_S
        else:
            result["ratio"] = (
                result["clocks_per_s"] / results["event, 0.04 clicks per slot"]["clocks_per_s"]
            )
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{'board':32} {'slots/s':>10} {'clicks/s':>10} {'clocks/s':>10} {'ratio':>10}")
    for name, r in results.items():
        print(
            f"{name:32} {r['slots_per_s']:10.3g} {r['clicks_per_s']:10.3g} "
            f"{r['clocks_per_s']:10.3g} {r['ratio']:10.3g}"
        )


if __name__ == "__main__":
    main()
