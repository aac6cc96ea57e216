"""A loop's state: locked by good measurements in a row, held over in silence, lost in the end."""

import pytest

from bellrelay.control.lock import Lock, LockLimits, LockState

LIMITS = LockLimits(within_ps=100.0, count=3, patience_s=5.0, holdover_ps=50.0)


def locked(now_s=0.0):
    lock = Lock(LIMITS, now_s)
    for _ in range(3):
        lock.measured(0.0, now_s)
    assert lock.state is LockState.LOCKED
    return lock


def test_three_good_ones_in_a_row_lock_and_three_bad_ones_unlock():
    lock = Lock(LIMITS, 0.0)
    for at, offset in enumerate([10.0, -20.0, 101.0, 1.0, 1.0]):
        lock.measured(offset, float(at))
        assert lock.state is LockState.ACQUIRING
    lock.measured(-100.0, 5.0)
    assert lock.state is LockState.LOCKED
    assert lock.since_s == 5.0
    for offset in (500.0, 500.0, 0.0, 500.0, 500.0):
        lock.measured(offset, 6.0)
        assert lock.state is LockState.LOCKED
    lock.measured(500.0, 7.0)
    assert lock.state is LockState.ACQUIRING
    assert lock.losses == 1
    assert lock.alarm is None


def test_silence_is_holdover_then_lost_and_each_is_an_alarm():
    lock = locked()
    lock.passed(1.0, 5.0)
    assert lock.state is LockState.LOCKED
    lock.passed(1.0, 5.1)
    assert lock.state is LockState.HOLDOVER
    assert lock.alarm == "holdover"
    lock.passed(50.0, 90.0)
    assert lock.state is LockState.HOLDOVER
    lock.passed(50.1, 91.0)
    assert lock.state is LockState.LOST
    assert lock.alarm == "holdover has lasted too long"
    assert lock.losses == 1


def test_light_that_comes_back_where_it_was_locks_again_and_elsewhere_is_acquired():
    for state, sigma in ((LockState.HOLDOVER, 1.0), (LockState.LOST, 51.0)):
        lock = locked()
        lock.passed(sigma, 6.0)
        assert lock.state is state
        lock.measured(5.0, 7.0)
        lock.measured(5.0, 7.1)
        assert lock.state is state
        lock.measured(5.0, 7.2)
        assert lock.state is LockState.LOCKED
        lock = locked()
        lock.passed(sigma, 6.0)
        lock.measured(400.0, 7.0)
        assert lock.state is LockState.ACQUIRING
        assert lock.losses == 1


def test_who_never_locked_never_holds_over():
    lock = Lock(LIMITS, 0.0)
    lock.passed(1e6, 1000.0)
    assert lock.state is LockState.ACQUIRING
    assert lock.losses == 0


@pytest.mark.parametrize(
    "wrong", [{"within_ps": 0.0}, {"patience_s": -1.0}, {"holdover_ps": 0.0}, {"count": 0}]
)
def test_limits_that_make_no_lock_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        LockLimits(**wrong)
