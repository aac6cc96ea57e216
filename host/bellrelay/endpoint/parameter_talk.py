"""How two endpoints come to hold the same parameters: Alice says an epoch, Bob accepts it or not.

Alice alone counts epochs. One with parameters that Bob does not hold yet she keeps as proposed
until he accepts; he puts it down before he says so, she when she hears it. One with known
parameters (a roll-back, a promotion) she puts down at once, and tells him. She says her last epoch
at the begin of every session, so that whatever was lost is said again, and again means the same.
Bob may ask her to go back.

Each begins an epoch at the block that Alice has named or, if that is too near on his own side, at
one that is still to come. What is said here stands under no tag: see :mod:`.parameter_plan` for
why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from bellrelay.distill.reconcile.engine import Role
from bellrelay.wire.peer_messages import Change, PeerMessageError

from .agreement import Agreement
from .block import BlockId
from .block_parameters import BlockParameters
from .parameter_plan import Epoch, ParameterPlan

__all__ = ["ParameterTalk"]

_log = structlog.get_logger(__name__)
_LONGEST = 300


def _no_change() -> None:
    pass


def _nobody_asks(_why: str) -> None:
    pass


class ParameterTalk:
    """One side of it; from any thread.

    Parameters
    ----------
    role, plan
        Of this side.
    coming
        By relay, the next block of which nothing has been sent or announced yet.
    lead_blocks
        So many blocks later an epoch begins that is named here; half of that is enough where it was
        named already. The sender has to be told before.
    objection
        Why this side does not take a candidate; None: it does.

    Attributes
    ----------
    refused : (int, str) or None
        The proposed epoch that Bob did not accept last, and why.
    changed : Callable
        Called when an epoch was put down: the sender is to be told.
    asked : Callable
        On Alice's side, called with the reason when Bob asks to go back from the last epoch.
    """

    def __init__(
        self,
        role: Role,
        plan: ParameterPlan,
        coming: Callable[[], Mapping[str, BlockId]],
        lead_blocks: int,
        objection: Callable[[BlockParameters], str | None],
    ) -> None:
        self.refused: tuple[int, str] | None = None
        self.changed: Callable[[], None] = _no_change
        self.asked: Callable[[str], None] = _nobody_asks
        self._role = role
        self.plan = plan
        self._coming = coming
        self._lead = lead_blocks
        self._objection = objection
        self._lock = threading.RLock()

    # ------------------------------------------------------------------------- Alice's side

    def begin_trial(self, candidate: BlockParameters, share_ppm: int, reason: str) -> Change:
        """Put a candidate on trial beside the current parameters; to be said to Bob.

        Raises
        ------
        ValueError
            This side does not take it; the message says why.
        PlanError
        """
        with self._lock:
            objection = self._objection(candidate)
            if objection is not None:
                raise ValueError(objection)
            plan = self.plan
            epoch = self._epoch(plan.current, candidate, share_ppm, reason)
            if plan.holds(epoch):
                self._put_down(epoch)
            else:
                plan.propose(epoch)
            return _said(epoch)

    def settle(self, current: BlockParameters, reason: str) -> Change:
        """End any trial: these parameters, which both hold, are those of all blocks; to be said.

        Raises
        ------
        ValueError
            Bob does not hold them.
        PlanError
        """
        with self._lock:
            epoch = self._epoch(current, None, 0, reason)
            if not self.plan.holds(epoch):
                raise ValueError("the peer does not hold these parameters: they need a trial first")
            self._put_down(epoch)
            return _said(epoch)

    def _epoch(
        self, current: BlockParameters, candidate: BlockParameters | None, share: int, reason: str
    ) -> Epoch:
        number = self.plan.number + 1
        return Epoch(number, current, candidate, share, self._begins({}), reason[:_LONGEST])

    # --------------------------------------------------------------------------- Bob's side

    def ask(self, why: str) -> Change:
        """Bob's wish to go back from the last epoch; to be said to Alice, until another comes."""
        number = 0 if self.plan.last is None else self.plan.last.number
        return Change({"ask": number, "why": why[:_LONGEST]})

    # --------------------------------------------------------------------------- both sides

    def of_block(self, agreement: Agreement, block: BlockId) -> BlockParameters:
        """By which parameters our sender sends a block."""
        return self.plan.parameters(agreement.relay_of(block), block)

    def known(self, _agreement: Agreement, digest: bytes) -> BlockParameters | None:
        """Parameters that both endpoints hold, by their digest."""
        return self.plan.known(digest)

    def greeting(self) -> list[Change]:
        """What is said at the begin of a session."""
        epoch = self.plan.pending or self.plan.last
        return [_said(epoch)] if self._role is Role.ALICE and epoch is not None else []

    def told(self, change: Change) -> list[Change]:
        """Take what the peer says; returns what to answer.

        Raises
        ------
        PeerMessageError
            Not what this side is ever told.
        PlanError
        """
        values = change.values
        with self._lock:
            try:
                if self._role is Role.BOB and set(values) == {"epoch"}:
                    return [self._told_epoch(Epoch.parse(values["epoch"]))]
                if self._role is Role.ALICE and set(values) == {"accept"}:
                    return self._told_accepted(int(values["accept"]))
                if self._role is Role.ALICE and set(values) == {"refuse", "known", "why"}:
                    number, known = int(values["refuse"]), int(values["known"])
                    return self._told_refused(number, known, str(values["why"]))
                if self._role is Role.ALICE and set(values) == {"ask", "why"}:
                    last = self.plan.last
                    # Of an epoch that is over, it has been done.
                    if last is not None and last.number == int(values["ask"]):
                        self.asked(str(values["why"])[:_LONGEST])
                    return []
            except (ValueError, TypeError) as error:
                raise PeerMessageError(f"CHANGE: {error}") from None
        raise PeerMessageError("CHANGE: not what this side is told")

    def _told_epoch(self, epoch: Epoch) -> Change:
        last = self.plan.last
        if last is not None and epoch.number <= last.number:
            same = replace(epoch, begins={}) == replace(last, begins={})
            if same:
                return Change({"accept": epoch.number})
            return self._refusal(epoch, f"epoch {last.number} is known here already")
        if not self.plan.holds(epoch):
            for parameters in epoch.sets:
                objection = self._objection(parameters)
                if self.plan.known(parameters.digest) is None and objection is not None:
                    return self._refusal(epoch, objection)
        self._put_down(replace(epoch, begins=self._begins(epoch.begins)))
        return Change({"accept": epoch.number})

    def _refusal(self, epoch: Epoch, why: str) -> Change:
        _log.warning("parameters refused", epoch=epoch.number, why=why)
        known = 0 if self.plan.last is None else self.plan.last.number
        return Change({"refuse": epoch.number, "known": known, "why": why[:_LONGEST]})

    def _told_accepted(self, number: int) -> list[Change]:
        pending = self.plan.pending
        if pending is not None and pending.number == number:
            self.refused = None
            # The answer may have come late: what is ours of it begins in our future.
            self._put_down(replace(pending, begins=self._begins(pending.begins)))
        return []

    def _told_refused(self, number: int, known: int, why: str) -> list[Change]:
        plan = self.plan
        epoch = plan.pending or plan.last
        if epoch is None or epoch.number != number:
            return []
        if known >= number:
            # Our count is behind his, as after a restored disk: count on from his.
            plan.pass_over(known)
            again = replace(epoch, number=plan.number + 1)
            if plan.pending is None:
                self._put_down(replace(again, begins=self._begins({})))
                return [_said(again)]
            plan.propose(again)
            return [_said(again)]
        if plan.pending is not None:
            self.refused = (number, why)
            plan.withdraw()
        _log.error("the peer refuses parameters", epoch=number, why=why)
        return []

    def _begins(self, named: Mapping[str, BlockId]) -> dict[str, BlockId]:
        # Who names a block looks so far ahead that the other can begin there, too.
        lead = (self._lead + 1) // 2 if named else self._lead
        begins = dict(named)
        for relay, coming in self._coming().items():
            earliest = BlockId(coming.acquisition, coming.index + lead)
            begins[relay] = max(begins.get(relay, earliest), earliest)
        return begins

    def _put_down(self, epoch: Epoch) -> None:
        self.plan.put_down(epoch)
        _log.info(
            "parameters of blocks",
            epoch=epoch.number,
            candidate=epoch.candidate is not None,
            share=epoch.share_ppm / 1e6,
            begins={r: str(b) for r, b in epoch.begins.items()},
            why=epoch.reason,
        )
        self.changed()


def _said(epoch: Epoch) -> Change:
    values: dict[str, Any] = {"epoch": epoch.values()}
    return Change(values)
