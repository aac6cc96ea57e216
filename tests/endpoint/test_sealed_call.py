"""Calls as a cluster sees them: sealed, of one endpoint, each result of one call."""

import math
import operator
import pickle

import numpy as np
import pytest

from bellrelay.distill.amplify import toeplitz_hash
from bellrelay.endpoint.cluster import bit_pickle, sealed_call
from bellrelay.endpoint.cluster.sealed_call import (
    NotOurs,
    open_result,
    run_sealed,
    seal_call,
    use_work_key,
)
from bellrelay.endpoint.cluster.work_key import WorkKey

KEY = WorkKey("alice", bytes(range(32)))


@pytest.fixture(autouse=True)
def _works_for_alice():
    use_work_key(KEY)
    yield
    use_work_key(None)


def test_a_call_comes_back_as_if_it_had_been_made_here():
    rng = np.random.default_rng(1)
    bits, seed = rng.integers(0, 2, 500, np.uint8), rng.integers(0, 2, 699, np.uint8)
    name, sealed = seal_call(KEY, toeplitz_hash, (bits, seed, 200))
    there = open_result(KEY, name, run_sealed(name, sealed))
    assert np.array_equal(there, toeplitz_hash(bits, seed, 200))


def test_arrays_of_bits_come_back_as_they_were_and_take_a_bit_for_each():
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2, (3, 1001), np.uint8)
    bytes_ = rng.integers(0, 256, 1001, np.uint8)
    arrays = [bits, bits[:, ::2], bits.T, bits[0, :5], bits[:0], bytes_, bits.astype(bool)]
    there = pickle.loads(bit_pickle.dumps(arrays))
    for array, back in zip(arrays, there, strict=True):
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
        assert back.flags.writeable
    assert len(bit_pickle.dumps(bits)) < bits.size / 8 + 200 < bits.size
    assert there[0].nbytes == bits.size


def test_an_error_of_the_function_is_part_of_what_is_sealed():
    name, sealed = seal_call(KEY, math.sqrt, (-2.0,))
    result = run_sealed(name, sealed)
    assert b"domain" not in result
    with pytest.raises(ValueError, match="math domain error"):
        open_result(KEY, name, result)


class Untold(Exception):
    """Cannot be pickled."""

    def __init__(self, secret):
        super().__init__(secret)
        self.told = lambda: secret


def raise_untold(secret):
    raise Untold(secret)


def test_an_error_that_cannot_be_carried_says_its_kind_alone():
    name, sealed = seal_call(KEY, raise_untold, ("0110",))
    with pytest.raises(RuntimeError, match=r"^Untold$"):
        open_result(KEY, name, run_sealed(name, sealed))


def test_nothing_of_the_arguments_or_the_result_can_be_read():
    secret = b"a key nobody shall see" * 20
    name, sealed = seal_call(KEY, operator.add, (secret, secret))
    result = run_sealed(name, sealed)
    for blob in (name, sealed, result):
        assert b"nobody" not in blob
        assert b"operator" not in blob
    assert open_result(KEY, name, result) == secret + secret
    assert "00" not in repr(KEY)


@pytest.mark.parametrize(
    "other", [WorkKey("bob", KEY.secret), WorkKey("alice", bytes(32))], ids=["owner", "secret"]
)
def test_another_endpoints_worker_opens_nothing(other):
    name, sealed = seal_call(KEY, operator.add, (1, 2))
    use_work_key(other)
    with pytest.raises(NotOurs):
        run_sealed(name, sealed)
    use_work_key(None)
    with pytest.raises(NotOurs, match="no endpoint"):
        run_sealed(name, sealed)


def test_another_version_opens_nothing():
    assert WorkKey("alice", KEY.secret) == KEY
    name, sealed = seal_call(KEY, operator.add, (1, 2))
    use_work_key(WorkKey("alice", KEY.secret, version="0.0.0"))
    with pytest.raises(NotOurs):
        run_sealed(name, sealed)


def test_a_changed_bit_is_refused_before_anything_is_unpickled(monkeypatch):
    name, sealed = seal_call(KEY, operator.add, (1, 2))
    result = run_sealed(name, sealed)
    monkeypatch.setattr(sealed_call.pickle, "loads", None)
    for at in range(0, len(sealed), 7):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(NotOurs):
            run_sealed(name, bytes(changed))
    for at in range(len(result)):
        changed = bytearray(result)
        changed[at] ^= 1
        with pytest.raises(NotOurs):
            open_result(KEY, name, bytes(changed))
    for cut in (b"", result[:5], result[:20]):
        with pytest.raises(NotOurs):
            open_result(KEY, name, cut)


def test_results_of_two_calls_cannot_be_exchanged_and_a_call_is_no_result():
    one, two = (seal_call(KEY, operator.add, (n, n)) for n in (1, 2))
    with pytest.raises(NotOurs):
        open_result(KEY, one[0], run_sealed(*two))
    with pytest.raises(NotOurs):
        run_sealed(one[0], two[1])
    with pytest.raises(NotOurs):
        open_result(KEY, one[0], one[1])


def test_the_same_call_twice_has_two_seals():
    name, sealed = seal_call(KEY, operator.add, (1, 2))
    assert run_sealed(name, sealed) != run_sealed(name, sealed)
    assert seal_call(KEY, operator.add, (1, 2))[1] != sealed
    assert pickle.loads(pickle.dumps(run_sealed))(name, sealed)
