"""The sets of questions that a side of Cascade goes through, the same for both."""

from __future__ import annotations

from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from . import cascade_blocks as blocks
from . import cascade_plan, cascade_search
from .cascade_plan import Blocks
from .cascade_state import SUBSETS, CascadePlan, CascadeState
from .engine import ReconcileError

__all__ = ["MAX_SETS", "Questions"]

MAX_SETS = 2000
"""Sets after which frames that still search have failed; a few hundred are usual."""


class _Asking(Enum):
    FIRST_BLOCKS = auto()
    HALVES = auto()
    LATER_BLOCKS = auto()
    SEARCH = auto()
    NOTHING = auto()


class Questions:
    """Asks one set after another: `ask` for this side's parities, then `learn` with both."""

    def __init__(
        self, plan: CascadePlan, state: CascadeState, error_rate: float, bits_change: bool
    ) -> None:
        """error_rate: as expected; bits_change: whether this side corrects its bits (Bob)."""
        self._plan = plan
        self._state = state
        self._rate = max(error_rate, cascade_plan.LEAST_RATE)
        self._bits_change = bits_change
        self._length = plan.member.size
        self._asking = _Asking.FIRST_BLOCKS
        self._first_level = cascade_plan.first_level(self._rate, self._length)
        self._later: tuple[Blocks, Blocks] = (Blocks(0, 0), Blocks(0, 0))
        self._sets = 0

    @property
    def finished(self) -> bool:
        """No further set."""
        return self._asking is _Asking.NOTHING

    def ask(self) -> NDArray[np.uint8]:
        """(questions,) uint8, this side's parities for the present set."""
        words, length = self._state.words, self._length
        match self._asking:
            case _Asking.FIRST_BLOCKS:
                return blocks.ask_blocks(words, 0, length, self._first_level, 0)
            case _Asking.HALVES:
                return blocks.ask_halves(words, length, self._first_level)
            case _Asking.LATER_BLOCKS:
                second, third = self._later
                return np.concatenate(
                    (
                        blocks.ask_blocks(words, 1, length, second.level, second.cut),
                        blocks.ask_blocks(words, 2, length, third.level, third.cut),
                        blocks.ask_subsets(words, self._plan.mask, length),
                    )
                )
            case _Asking.SEARCH:
                own = np.empty(int(self._state.n_active.sum()), np.uint8)
                cascade_search.ask_search(self._plan, self._state, own)
                return own
            case _Asking.NOTHING:
                return np.empty(0, np.uint8)

    def learn(self, differs: NDArray[np.uint8]) -> None:
        """Take for every question of the set whether the two parities differ.

        Raises
        ------
        ReconcileError
            What was said contradicts itself.
        """
        state, length = self._state, self._length
        self._sets += 1
        match self._asking:
            case _Asking.FIRST_BLOCKS:
                blocks.learn_blocks(state, 0, length, self._first_level, 0, differs)
                self._plan_passes()
            case _Asking.HALVES:
                blocks.learn_halves(state, length, self._first_level, differs)
                self._first_level -= 1
                self._plan_passes()
            case _Asking.LATER_BLOCKS:
                self._learn_later(differs)
                self._consistent(cascade_search.begin_search(self._plan, state, self._bits_change))
                self._search_on()
            case _Asking.SEARCH:
                self._consistent(
                    cascade_search.learn_search(self._plan, state, differs, self._bits_change)
                )
                self._search_on()
            case _Asking.NOTHING:
                raise ReconcileError("there is no open question")

    def _plan_passes(self) -> None:
        level = self._first_level
        odd = int(self._state.odd_count[:, 0].sum())
        count = self._plan.lengths.size * -(-self._length >> level)
        too_large = cascade_plan.halve_first_pass(odd, count, self._rate, level)
        self._rate = cascade_plan.observed_rate(odd, count, self._rate, level)
        if too_large:
            self._asking = _Asking.HALVES
            return
        self._later = (
            cascade_plan.second_pass(self._rate, level, self._length),
            Blocks(cascade_plan.third_level(self._length), 0),
        )
        self._asking = _Asking.LATER_BLOCKS

    def _learn_later(self, differs: NDArray[np.uint8]) -> None:
        frames = self._plan.lengths.size
        begin = 0
        for which, (level, cut) in enumerate(self._later, start=1):
            end = begin + frames * blocks.asked_per_frame(self._length, level, cut, True)
            blocks.learn_blocks(self._state, which, self._length, level, cut, differs[begin:end])
            begin = end
        blocks.learn_subsets(self._state, SUBSETS, differs[begin:])
        self._state.split_level[:] = self._first_level
        self._state.limit[:] = cascade_search.errors_limit(int(self._rate * self._length))

    def _search_on(self) -> None:
        self._asking = _Asking.SEARCH
        if not self._state.n_active.any():
            self._asking = _Asking.NOTHING
        elif self._sets >= MAX_SETS:
            cascade_search.give_up(self._state)
            self._asking = _Asking.NOTHING

    @staticmethod
    def _consistent(possible: bool) -> None:
        if not possible:
            raise ReconcileError("the peer's parities contradict one another")
