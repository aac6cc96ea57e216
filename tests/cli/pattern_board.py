"""A board with a pattern generator: what the self-test needs and the event board does not have."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.selftest_pattern import pattern_clicks, selftest_pattern
from bellrelay_sim.event_board import EventBoard

# A wide link buffer: a loaded machine reads late, and this is not about what is shed then.
BOARD = BoardGeometry(clock_period_ps=10_000, code_bits=9, link_words=1 << 16, board="bench")
DELAYS = (3300, 4100, 2950, 3700, 5050)
Clicks = tuple[np.ndarray, np.ndarray]


def _pattern() -> Clicks:
    """Clicks that an ideal front end gives the pattern's codes: just within their bins."""
    t, channel = pattern_clicks(BOARD)
    return np.array(t, np.int64) + 1, np.array(channel, np.uint8)


def _pulses() -> Clicks:
    """The pulses' rising edges at the inputs, behind a cable."""
    clicks = []
    for channel, delay in enumerate(DELAYS):
        cells = [e.cell for e in selftest_pattern(BOARD) if e.mask >> channel & 1]
        clicks += [(c * 10_000 + delay, channel) for c in cells if c - 1 not in cells]
    t, channel = zip(*sorted(clicks), strict=True)
    return np.array(t, np.int64), np.array(channel, np.uint8)


class PatternBoard(EventBoard):
    """Clicks by the register that chooses their source, given once it is written."""

    spoil: Callable[[Clicks], Clicks] = staticmethod(lambda clicks: clicks)
    cable = True
    _given = 0

    def run(self, clocks: int) -> bytes:
        out = b""
        length = self.geometry.tick_clocks
        for begin in range(0, clocks, length):
            self._choose()
            out += super().run(min(length, clocks - begin))
        return out

    def _choose(self) -> None:
        source = self.registers.value("pattern_source")
        if source == self._given or self.cell_zero is not None:
            return
        self._given = source
        if source == 1 or (source == 2 and self.cable):
            self.stimulate(*self.spoil(_pattern() if source == 1 else _pulses()))


class NoPhotons:
    """In place of the twin's own."""

    end_ps = 0
    clicks = 0

    def __init__(self, link: object, slots: int, **_: object) -> None:
        self.stream = SimpleNamespace(done=True, slots=slots, slot=0)

    def give(self, board: EventBoard, until_ps: int) -> None:
        pass

    def truth(self) -> dict:
        return {}
