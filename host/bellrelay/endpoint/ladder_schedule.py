"""Telling a sender ahead of time by which ladder it sends each block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from bellrelay.distill.reconcile.engine import Role

from .block import BlockId
from .block_parameters import BlockParameters, ladder_name
from .parameter_plan import ParameterPlan
from .sender_plugin import LadderFrom, LadderSender, Sender, SenderCannot

__all__ = ["LadderSchedule", "ladders_ahead"]

_AHEAD = 1024
"""Blocks that a sender knows of. Beyond them it sends the current ladder: where the plan wants the
candidate's, the block is refused."""
_log = structlog.get_logger(__name__)


def ladders_ahead(
    plan: ParameterPlan, role: Role, relay_id: str, first: BlockId, blocks: int, block_slots: int
) -> list[LadderFrom]:
    """Ladders of so many blocks from this one on, where they change, and the current one behind."""
    out: list[LadderFrom] = []
    for index in range(first.index, first.index + blocks + 1):
        block = BlockId(first.acquisition, index)
        last = index == first.index + blocks
        parameters = plan.current if last else plan.parameters(relay_id, block)
        ladder = parameters.ladder(role)
        name = ladder_name(ladder)
        if not out or out[-1].name != name:
            out.append(LadderFrom(block.first(block_slots), name, ladder))
    return out


class LadderSchedule:
    """Keeps one sender told; for as long as there is no plan, it is told nothing.

    Parameters
    ----------
    plan, role, block_slots
        By which it sends.
    sender
        The plugin's. One that cannot change its ladder takes no candidate with another.
    coming
        By relay, the next block of which nothing has been announced yet.

    Attributes
    ----------
    fault : str
        Why the sender could not be told; empty where it was.
    """

    def __init__(
        self,
        plan: ParameterPlan,
        role: Role,
        block_slots: int,
        sender: Sender,
        coming: Callable[[], Mapping[str, BlockId]],
    ) -> None:
        self.fault = ""
        self._plan = plan
        self._role = role
        self._block_slots = block_slots
        self._sender = sender
        self._coming = coming
        self._told: dict[str, tuple[int, BlockId]] = {}

    def objection(self, parameters: BlockParameters) -> str | None:
        """Why this sender does not send by these parameters; None: it does."""
        wanted, current = (p.ladder(self._role) for p in (parameters, self._plan.current))
        if isinstance(self._sender, LadderSender) or ladder_name(wanted) == ladder_name(current):
            return None
        return f"{self._role.value}'s sender cannot change its intensities from block to block"

    def tell(self) -> None:
        """Say what the sender does not know yet. In a thread: a sender may take its time."""
        last = self._plan.last
        if last is None or not isinstance(self._sender, LadderSender):
            return
        for relay, coming in self._coming().items():
            told = self._told.get(relay)
            if (
                told is not None
                and told[0] == last.number
                and told[1].acquisition == coming.acquisition
                and coming.index < told[1].index + _AHEAD // 2
            ):
                continue
            ladders = ladders_ahead(
                self._plan, self._role, relay, coming, _AHEAD, self._block_slots
            )
            try:
                self._sender.set_ladders(relay, coming.acquisition, ladders)
            except (SenderCannot, OSError) as error:
                # What it sends then its records say, and those blocks are refused.
                if self.fault != str(error):
                    _log.error("sender not told its ladders", relay=relay, why=str(error))
                self.fault = str(error)
                return
            self._told[relay] = (last.number, coming)
        self.fault = ""

    def status(self) -> dict[str, Any]:
        """For people: plain values."""
        last, pending = self._plan.last, self._plan.pending
        return {
            "epoch": 0 if last is None else last.number,
            "share": 0.0 if last is None else last.share_ppm / 1e6,
            "begins": {} if last is None else {r: str(b) for r, b in last.begins.items()},
            "current": self._plan.current.digest.hex()[:16],
            "candidate": last.candidate.digest.hex()[:16]
            if last is not None and last.candidate is not None
            else None,
            "waits_for_peer": pending is not None,
            "sender_fault": self.fault,
        }
