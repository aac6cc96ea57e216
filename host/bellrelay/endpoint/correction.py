"""One side's correction of a block, cut into steps that another process may take.

A step depends on its arguments alone, and what it returns is all that comes of it: so it may be
taken anywhere, and twice. Where a block is corrected by the first step, its bits travel there and
back once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.reconcile.engine import ReconcileError, Reconciler, Role

__all__ = ["CorrectedBlock", "Engine", "Step", "first_step", "next_step"]

Engine = Callable[[Role, NDArray[np.uint8], bytes, float], Reconciler]


@dataclass(frozen=True, eq=False)
class CorrectedBlock:
    """What an engine leaves that is done; see `bellrelay.distill.reconcile.engine`.

    kept : (k,) uint8, bits in frames that did not fail. bits : of the block. failed : (frames,)
    bool. disclosed : bits. error_rate : NaN where this side cannot know.
    """

    kept: NDArray[np.uint8] = field(repr=False)
    bits: int
    failed: NDArray[np.bool_]
    disclosed: int
    error_rate: float


class Step(NamedTuple):
    """answer : for the peer, or None. engine : for the next step, unless there is `corrected`."""

    answer: bytes | None
    engine: Reconciler | None
    corrected: CorrectedBlock | None


def first_step(
    make: Engine,
    role: Role,
    bits: NDArray[np.uint8],
    seed: bytes,
    error_rate: float,
    opening: bytes | None = None,
) -> Step:
    """Make an engine, and have it speak.

    Parameters
    ----------
    opening
        The peer's first message, on the side that waits for it; the step takes it, too. Without,
        such a side has nothing to say yet.

    Raises
    ------
    ReconcileError
        The engine refuses the opening, or speaks first itself.
    """
    engine = make(role, bits, seed, error_rate)
    answer = engine.begin()
    if opening is None:
        return _taken(engine, answer)
    if answer is not None:
        raise ReconcileError("an opening from both sides")
    return next_step(engine, opening)


def next_step(engine: Reconciler, message: bytes) -> Step:
    """Take the peer's message. The engine given is of no further use.

    Raises
    ------
    ReconcileError
    """
    return _taken(engine, engine.receive(message))


def _taken(engine: Reconciler, answer: bytes | None) -> Step:
    if not engine.done:
        return Step(answer, engine, None)
    bits = engine.bits
    corrected = CorrectedBlock(
        bits[engine.kept], bits.size, engine.failed, engine.disclosed_bits, engine.error_rate
    )
    return Step(answer, None, corrected)
