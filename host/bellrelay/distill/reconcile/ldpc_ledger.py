"""What both sides know of a block's frames, from the transcript alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import ReconcileError
from .ldpc_code import QcCode
from .ldpc_messages import CORRECTED, GIVEN_UP
from .ldpc_split import Cuts, cuts_of

__all__ = ["MAX_ATTEMPTS", "Ledger", "Request"]

MAX_ATTEMPTS = 16
"""Attempts of Bob's at a frame, the first included."""

_VERDICT_BITS = 8


class Request(NamedTuple):
    """The cuts first <= k < last of a frame are asked for."""

    frame: int
    first: int
    last: int


class Ledger:
    """Which frames are open or failed, how far each is cut, and how many bits were disclosed.

    Attributes: code; cuts: all that it has; made: (frames,) int64, cuts made in each frame; open:
    frames that Bob still works on, ascending; failed: (frames,) bool; disclosed: bits, of both
    sides' messages; attempt: Bob's next, from 0.
    """

    def __init__(self, code: QcCode, frames: int, first_cuts: int) -> None:
        """What the opening message discloses: every row and the first cuts of every frame.

        Raises
        ------
        ReconcileError
            The code has fewer cuts.
        """
        self.code = code
        self.cuts: Cuts = cuts_of(code)
        if first_cuts > self.cuts.middle.size:
            raise ReconcileError("LDPC: more cuts than the code has")
        self.made: NDArray[np.int64] = np.full(frames, first_cuts, np.int64)
        self.open = list(range(frames))
        self.failed: NDArray[np.bool_] = np.zeros(frames, np.bool_)
        self.disclosed = frames * (code.rows + first_cuts) * code.lift
        self.attempt = 0

    def left(self, frame: int) -> int:
        """Cuts that a frame may still ask for now."""
        if self.attempt + 1 == MAX_ATTEMPTS:
            return 0
        return self.cuts.middle.size - int(self.made[frame])

    def judge(self, verdicts: list[int]) -> list[Request]:
        """Enter Bob's verdicts on the open frames; what they ask for counts as disclosed.

        Raises
        ------
        ReconcileError
            A frame asks for more than there is.
        """
        requests = []
        for frame, verdict in zip(self.open, verdicts, strict=True):
            if verdict == GIVEN_UP:
                self.failed[frame] = True
            elif verdict != CORRECTED:
                if verdict > self.left(frame):
                    raise ReconcileError("LDPC: more cuts asked for than there are")
                first = int(self.made[frame])
                requests.append(Request(frame, first, first + verdict))
        for frame, first, last in requests:
            self.made[frame] = last
            self.disclosed += (last - first) * self.code.lift
        self.disclosed += _VERDICT_BITS * len(verdicts)
        self.open = [request.frame for request in requests]
        self.attempt += 1
        return requests
