"""Ranges of slots against sets of slots."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.endpoint.slot_ranges import clipped, inside, no_ranges, slots_in, union

RANGES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda r: (r[0], r[0] + r[1])), max_size=8
).map(lambda rows: np.array(rows, np.uint64).reshape(-1, 2))


def as_set(ranges):
    return {s for first, end in ranges.tolist() for s in range(first, end)}


@given(RANGES, RANGES, st.integers(0, 40), st.integers(0, 40))
def test_ranges_are_sets_of_slots(one, other, first, end):
    both = union(one, other)
    assert both.dtype == np.uint64
    assert as_set(both) == as_set(one) | as_set(other)
    # Sorted, disjoint, none empty, none that touch: one form for one set.
    flat = both.ravel()
    assert (flat[1:] > flat[:-1]).all()
    assert slots_in(both) == len(as_set(both)) == slots_in(np.concatenate((one, other)))
    assert as_set(clipped(one, first, end)) == as_set(one) & set(range(first, end))
    slots = np.arange(60, dtype=np.uint64)
    assert set(slots[inside(one, slots)].tolist()) == as_set(one)


def test_far_slots_and_wrong_ranges():
    far = [(2**63, 2**64 - 1)]
    assert slots_in(far) == 2**63 - 1
    assert inside(far, np.array([2**63 - 1, 2**63], np.uint64)).tolist() == [False, True]
    assert len(no_ranges()) == slots_in([]) == len(union()) == 0
    with pytest.raises(ValueError, match="before it begins"):
        union([(3, 2)])
    with pytest.raises(ValueError, match="below slot 0"):
        union([(-1, 2)])
    with pytest.raises(ValueError, match="shape"):
        union([1, 2])
