"""What is counted of a four-intensity block, and the classes of its events."""

from __future__ import annotations

import numpy as np

from .event_classes import Cells, EventClasses
from .ladder import MU, NU, Ladder, S
from .tally import Tally

__all__ = ["four_intensity_classes"]


def four_intensity_classes(tally: Tally, alice: Ladder, bob: Ladder) -> EventClasses:
    """Classes for the cells that a tally reports.

    Key is s with s. Errors are looked at of mu and nu with mu and nu: those with the vacuum setting
    say nothing, and its bits need not be random.
    """
    reported = tally.n >= 0
    split = np.zeros_like(reported)
    split[MU : NU + 1, MU : NU + 1] = True
    key = np.zeros_like(reported)
    key[S, S] = True
    cells = Cells(reported, split & reported & (tally.m >= 0), key)
    return EventClasses(alice.sender(), bob.sender(), cells)
