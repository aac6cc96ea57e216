"""Cascade's search: odd nodes are halved down to an error, which makes nodes of other passes odd.

A frame searches all odd nodes of one pass at a time: they share no bit, so no error is searched
twice. When it has found their errors it looks again. Where no pass has an odd node, an odd subset
is searched; where there is none, the frame is done.

A frame whose blocks hold many errors each, because far fewer were expected, would take thousands of
rounds. The errors found so far tell; it then splits all large nodes of its first pass, at one
question each, down to the level at which few enough even ones turn out to have two odd halves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled_bare

from .cascade_parity import Whole, bit, bits_below, interval_parity, subset_parity, toggle
from .cascade_state import DONE, FAILED, HALVING, PASSES, SUBSET, CascadePlan, CascadeState

__all__ = ["ask_search", "begin_search", "errors_limit", "give_up", "learn_search"]

_MANY = 4
"""A pass with fewer odd nodes gives way to one that has more, so that a frame's last errors are
searched side by side: it saves a fifth of the rounds and costs 0.2 % of the bits."""

_SPLIT_PERCENT = 27
"""Percentage of even nodes with two odd halves at 1.4 errors per node: with more, split again."""


@compiled_bare
def errors_limit(expected: Whole) -> Whole:
    """Errors in a frame that are too many where so many were expected."""
    return 2 * expected + 20


@compiled_bare
def _correct(
    plan: CascadePlan, state: CascadeState, frame: int, found_in: int, place: Whole, flip: bool
) -> bool:
    """Note an error in every other pass; False if one of them knows that there is none."""
    first: Whole = place
    if 1 <= found_in < PASSES:
        first = np.int64(plan.order[found_in - 1, place])
    state.corrected[frame] += 1
    state.subset_odd[frame] ^= np.uint64(plan.member[first])
    for which in range(PASSES):
        here = first if which == 0 else np.int64(plan.place[which - 1, first])
        if flip:
            toggle(state.words[frame, which], here)
        if which == found_in:
            continue
        # An interval of level l is a node if the node that starts where it starts has level l.
        level = state.top[which]
        while level > 0 and state.level[frame, which, here >> level << level] != level:
            level -= 1
        if level == 0:
            return False
        start = here >> level << level
        toggle(state.odd[frame, which], start)
        if bit(state.odd[frame, which], start) != 0:
            state.odd_count[frame, which] += 1
        else:
            state.odd_count[frame, which] -= 1
    return True


@compiled_bare
def _found(
    plan: CascadePlan, state: CascadeState, frame: int, which: int, place: Whole, flip: bool
) -> bool:
    toggle(state.odd[frame, which], place)
    state.odd_count[frame, which] -= 1
    return _correct(plan, state, frame, which, place, flip)


@compiled_bare
def _with_right_half(length: Whole, start: Whole, level: Whole) -> Whole:
    """Largest level not above this one at which the node's right half has a bit; 0 if none has."""
    while level > 0 and start + (1 << (level - 1)) >= length:
        level -= 1
    return level


@compiled_bare
def _collect(plan: CascadePlan, state: CascadeState, frame: int, which: int, flip: bool) -> bool:
    """Put the odd nodes of a pass under search; those of one bit are errors already."""
    length = plan.member.size
    count = 0
    for w in range(state.odd.shape[2]):
        rest = state.odd[frame, which, w]
        while rest != 0:
            start = (w << 6) + bits_below(rest)
            rest &= rest - np.uint64(1)
            level = _with_right_half(length, start, np.int64(state.level[frame, which, start]))
            state.level[frame, which, start] = level
            if level > 0:
                state.active[frame, count] = start
                count += 1
            elif not _found(plan, state, frame, which, start, flip):
                return False
    state.n_active[frame] = count
    return True


@compiled_bare
def _pass_to_search(state: CascadeState, frame: int) -> int:
    """The first pass with many odd nodes, or that with most of them; PASSES if none has any."""
    best = PASSES
    for which in range(PASSES):
        count = state.odd_count[frame, which]
        if count >= _MANY:
            return which
        if count > 0 and (best == PASSES or count > state.odd_count[frame, best]):
            best = which
    return best


@compiled_bare
def _collect_large(length: Whole, state: CascadeState, frame: int) -> None:
    """Take all first-pass nodes of the level that is split next."""
    count = 0
    while count == 0 and state.split_level[frame] > 0:
        wanted = state.split_level[frame]
        start: Whole = 0
        while start < length:
            level = np.int64(state.level[frame, 0, start])
            if level == wanted and start + (1 << (level - 1)) < length:
                state.active[frame, count] = start
                count += 1
            start += 1 << level
        state.split_level[frame] = wanted - 1
    state.n_active[frame] = count


@compiled_bare
def _learn_halves(
    state: CascadeState, frame: int, asked: Whole, differs: NDArray[np.uint8]
) -> None:
    """Split first-pass nodes, odd or not; differs: whether their left halves are odd."""
    even = 0
    twice_odd = 0
    for t in range(asked):
        left = np.int64(state.active[frame, t])
        level = np.int64(state.level[frame, 0, left]) - 1
        right = left + (1 << level)
        state.level[frame, 0, left] = level
        state.level[frame, 0, right] = level
        was_odd = bit(state.odd[frame, 0], left) != 0
        even += not was_odd
        if (differs[t] != 0) != was_odd:
            toggle(state.odd[frame, 0], left)
            toggle(state.odd[frame, 0], right)
            if not was_odd:
                state.odd_count[frame, 0] += 2
                twice_odd += 1
    if 100 * twice_odd <= _SPLIT_PERCENT * even:
        state.limit[frame] = errors_limit(state.corrected[frame])


@compiled_bare
def _next_search(plan: CascadePlan, state: CascadeState, frame: int, flip: bool) -> bool:
    """Choose what a frame searches next; False if what it was told contradicts itself."""
    length = plan.member.size
    while True:
        state.n_active[frame] = 0
        if state.disclosed[frame] >= plan.lengths[frame]:
            state.stage[frame] = FAILED
            return True
        stage = _pass_to_search(state, frame)
        if stage < PASSES and state.corrected[frame] > state.limit[frame]:
            _collect_large(length, state, frame)
            if state.n_active[frame] > 0:
                state.stage[frame] = HALVING
                return True
        state.stage[frame] = stage
        if stage < PASSES:
            if not _collect(plan, state, frame, stage, flip):
                return False
        elif state.subset_odd[frame] != 0:
            state.subset[frame] = bits_below(state.subset_odd[frame])
            level = _with_right_half(length, 0, 62)
            if level > 0:
                state.active[frame, 0] = 0
                state.subset_level[frame] = level
                state.n_active[frame] = 1
            elif not _correct(plan, state, frame, SUBSET, 0, flip):
                return False
        else:
            state.stage[frame] = DONE
            return True
        if state.n_active[frame] > 0:
            return True


@compiled_bare
def begin_search(plan: CascadePlan, state: CascadeState, flip: bool) -> bool:
    """Choose what every frame searches first; False on a contradiction.

    flip: whether the words are Bob's, and change.
    """
    possible = True
    for frame in range(plan.lengths.size):
        possible &= _next_search(plan, state, frame, flip)
    return possible


@compiled_bare
def ask_search(plan: CascadePlan, state: CascadeState, out: NDArray[np.uint8]) -> None:
    """Parities of the left halves of all that is under search; out: as many as `n_active` sums."""
    k = 0
    for frame in range(plan.lengths.size):
        stage = state.stage[frame]
        if stage == SUBSET:
            start = np.int64(state.active[frame, 0])
            level = state.subset_level[frame] - 1
            mask = plan.mask[state.subset[frame]]
            out[k] = subset_parity(state.words[frame, 0], mask, start, level)
            k += 1
            continue
        which = 0 if stage == HALVING else stage
        for t in range(state.n_active[frame]):
            start = np.int64(state.active[frame, t])
            level = np.int64(state.level[frame, which, start]) - 1
            out[k] = interval_parity(state.words[frame, which], start, level)
            k += 1


@compiled_bare
def learn_search(
    plan: CascadePlan, state: CascadeState, differs: NDArray[np.uint8], flip: bool
) -> bool:
    """Halve all that is under search; False on a contradiction.

    differs: (questions,) uint8, whether the two parities did. flip: as in `begin_search`.
    """
    length = plan.member.size
    k = 0
    for frame in range(plan.lengths.size):
        asked = state.n_active[frame]
        if asked == 0:
            continue
        state.disclosed[frame] += asked
        stage = state.stage[frame]
        if stage == HALVING:
            _learn_halves(state, frame, asked, differs[k : k + asked])
            k += asked
            if not _next_search(plan, state, frame, flip):
                return False
            continue
        left = 0
        for t in range(asked):
            start: Whole = np.int64(state.active[frame, t])
            if stage == SUBSET:
                level = state.subset_level[frame] - 1
            else:
                level = np.int64(state.level[frame, stage, start]) - 1
                state.level[frame, stage, start] = level
                state.level[frame, stage, start + (1 << level)] = level
            if differs[k] == 0:
                if stage != SUBSET:
                    toggle(state.odd[frame, stage], start)
                    toggle(state.odd[frame, stage], start + (1 << level))
                start += 1 << level
            k += 1
            level = _with_right_half(length, start, level)
            if stage == SUBSET:
                state.subset_level[frame] = level
            else:
                state.level[frame, stage, start] = level
            if level > 0:
                state.active[frame, left] = start
                left += 1
            elif stage == SUBSET:
                if not _correct(plan, state, frame, SUBSET, start, flip):
                    return False
            elif not _found(plan, state, frame, stage, start, flip):
                return False
        state.n_active[frame] = left
        if left == 0 and not _next_search(plan, state, frame, flip):
            return False
    return True


@compiled_bare
def give_up(state: CascadeState) -> None:
    """Fail the frames that are still searching."""
    for frame in range(state.stage.size):
        if state.stage[frame] != DONE:
            state.stage[frame] = FAILED
            state.n_active[frame] = 0
