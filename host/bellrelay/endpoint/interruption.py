"""What becomes of a block whose conversation broke off, on either side, by the same rule.

Up to `sifted` everything that was said follows from the list and from what was sent, and is the
same if it is said again: the block begins anew. From `estimated` on parities may have left, which
a second attempt would add to: the block is given up. `amplified` is Alice's to decide; Bob waits.
"""

from __future__ import annotations

from enum import Enum

from bellrelay.distill.reconcile.engine import Role

from .block import BlockState, may_restart

__all__ = ["Next", "after_interruption"]


class Next(Enum):
    """What to do."""

    NOTHING = "nothing"
    RESTART = "restart"
    ABORT = "abort"
    WAIT = "wait"
    """For Alice's verdict."""


def after_interruption(role: Role, state: BlockState) -> Next:
    """What this side does with a block in this state when a session or a process has ended."""
    if state.final:
        return Next.NOTHING
    if may_restart(state):
        return Next.RESTART
    if state is BlockState.AMPLIFIED and role is Role.BOB:
        return Next.WAIT
    return Next.ABORT
