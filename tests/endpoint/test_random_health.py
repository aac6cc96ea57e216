"""Health tests of random sources: cutoffs of the standard, its pseudocode, faulty sources."""

import contextlib
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.endpoint.choice_shares import ChoiceShares
from bellrelay.endpoint.config import RandomHealthSettings
from bellrelay.endpoint.random_health import (
    AdaptiveProportion,
    RepetitionCount,
    proportion_cutoff,
    repetition_cutoff,
)
from bellrelay.endpoint.reused_choices import ReusedChoices
from bellrelay.endpoint.slot_ranges import clipped
from bellrelay.endpoint.source_health import RandomAlarm, SourceHealth
from bellrelay.endpoint.source_log import Choices, basis_of

PROBABILITIES = np.array([0.45, 0.1, 0.3, 0.15])


def test_cutoffs_are_those_of_the_standards_table():
    """SP 800-90B, Table 2, alpha = 2**-20."""
    alpha = 2.0**-20
    binary = [proportion_cutoff(h, alpha, 1024) for h in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert binary == [941, 840, 748, 664, 589]
    other = [proportion_cutoff(h, alpha, 512) for h in (0.5, 1.0, 2.0, 4.0, 8.0)]
    assert other == [410, 311, 177, 62, 13]
    # The example of 4.4.1, and those of alpha 2**-30 and 2**-40 that shipped devices use.
    assert repetition_cutoff(2.0, 2.0**-30) == 16
    assert (repetition_cutoff(1.0, 2.0**-40), proportion_cutoff(1.0, 2.0**-30, 512)) == (41, 325)
    # A claim so low that a whole window of one value is no surprise: never an alarm.
    assert proportion_cutoff(0.001, alpha, 1024) == 1025
    with pytest.raises(ValueError, match="min-entropy"):
        repetition_cutoff(0.0, alpha)
    with pytest.raises(ValueError, match="alpha"):
        proportion_cutoff(1.0, 1.0, 512)


def repetition_by_the_book(samples, cutoff):
    value, run = None, 0
    for i, sample in enumerate(samples):
        value, run = (value, run + 1) if sample == value else (sample, 1)
        if run >= cutoff:
            return i
    return None


def proportion_by_the_book(samples, window, cutoff):
    for i, sample in enumerate(samples):
        if i % window == 0:
            value, equal = sample, 0
        equal += sample == value
        if equal >= cutoff:
            return i
    return None


def first_alarm(test, samples, cuts):
    edges = [0, *sorted(cuts), len(samples)]
    for low, high in itertools.pairwise(edges):
        at = test.feed(samples[low:high])
        if at is not None:
            return low + at
    return None


STREAMS = st.tuples(
    st.integers(0, 10**6), st.floats(0.3, 0.97), st.integers(2, 4), st.integers(0, 400)
).map(
    lambda a: (
        np.random.default_rng(a[0])
        .choice(a[2], a[3], p=[a[1]] + [(1 - a[1]) / (a[2] - 1)] * (a[2] - 1))
        .astype(np.uint8)
    )
)
CUTS = st.lists(st.integers(0, 400), max_size=6)


@settings(max_examples=200, deadline=None)
@given(STREAMS, CUTS, st.integers(3, 12))
def test_repetition_count_is_the_pseudocode_however_the_samples_come(samples, cuts, cutoff):
    test = RepetitionCount(1.0, 2.0 ** -(cutoff - 1))
    assert test.cutoff == cutoff
    cuts = [min(c, len(samples)) for c in cuts]
    assert first_alarm(test, samples, cuts) == repetition_by_the_book(samples, cutoff)


@settings(max_examples=200, deadline=None)
@given(STREAMS, CUTS, st.integers(8, 60))
def test_adaptive_proportion_is_the_pseudocode_however_the_samples_come(samples, cuts, window):
    test = AdaptiveProportion(1.0, 0.01, window)
    cuts = [min(c, len(samples)) for c in cuts]
    expected = proportion_by_the_book(samples, window, test.cutoff)
    assert first_alarm(test, samples, cuts) == expected


def test_known_sequences():
    test = RepetitionCount(1.0, 2.0**-4)
    assert test.cutoff == 5
    ones = np.ones(4, np.uint8)
    assert test.feed(ones) is None
    assert test.feed(ones) == 0
    test.restart()
    assert test.feed(ones) is None
    assert test.feed(np.array([0, 0, 0, 0], np.uint8)) is None
    assert test.feed_packed(np.packbits(np.array([0, 1, 1], np.uint8)), 3) == 0
    # A source that alternates has no repetition, and a share of one half: these tests let it pass.
    flip = np.arange(4096, dtype=np.uint8) % 2
    assert RepetitionCount(1.0, 2.0**-20).feed(flip) is None
    assert AdaptiveProportion(1.0, 2.0**-20, 1024).feed_packed(np.packbits(flip), 4096) is None
    # Pairs of slots do not.
    shares = ChoiceShares(PROBABILITIES, 1e-9)
    setting = np.random.default_rng(1).choice(4, 4096, p=PROBABILITIES).astype(np.uint8)
    assert "then" in shares.feed(setting, flip)


def test_false_alarms_are_as_rare_as_claimed():
    """At a large alpha they can be counted: no more than alpha, and not far below."""
    random = np.random.default_rng(3)
    bits = random.integers(0, 2, 1_000_000, dtype=np.uint8)
    cutoff = repetition_cutoff(1.0, 2.0**-8)
    begins = np.flatnonzero(np.diff(bits, prepend=2))
    runs = np.diff(np.append(begins, len(bits)))
    rate = np.count_nonzero(runs >= cutoff) / len(bits)
    assert 0.3 * 2.0**-8 <= rate <= 2.0**-8
    alarms = 0
    for window in bits[: 1024 * 976].reshape(-1, 1024):
        alarms += AdaptiveProportion(1.0, 0.05, 1024).feed(window) is not None
    assert 0.5 * 0.05 <= alarms / 976 <= 1.3 * 0.05


def sender(slots, bias=0.5, probabilities=PROBABILITIES, seed=5):
    random = np.random.default_rng(seed)
    setting = random.choice(4, slots, p=probabilities).astype(np.uint8)
    return setting, (random.random(slots) < bias).astype(np.uint8)


class ArraySource:
    """A source log over arrays."""

    acquisition = 1

    def __init__(self, setting, bit, removed=()):
        self.setting, self.bit, self.ranges = setting, bit, removed
        self.asked = []

    def choices(self, slots):
        self.asked.append(slots)
        setting = self.setting[slots.astype(int)]
        return Choices(basis_of(setting), setting, self.bit[slots.astype(int)])

    def removed(self, first, end):
        return clipped(self.ranges, first, end)


def health(slots=0, **options):
    return SourceHealth(RandomHealthSettings(slots_per_block=slots, **options), PROBABILITIES)


def test_rule_10_what_was_sent_to_one_relay_is_not_sent_to_another():
    """A second relay's acquisition has the same numbers: a sender may begin its generator anew."""
    setting, bit = sender(2_000_000)
    for relay, found in ((0, False), (1, True)):
        tests = health(20_000)
        tests.check(ArraySource(setting, bit), 0, 2_000_000)
        again = ArraySource(setting.copy(), bit.copy())
        if found:
            # A hundredth of the block is tested, the same of both.
            with pytest.raises(RandomAlarm, match="came again"):
                tests.check(again, 0, 2_000_000, relay=relay)
        else:
            assert tests.check(again, 0, 2_000_000, relay=relay) == 20_000


def test_a_block_of_which_little_was_sent_is_tested_where_it_was():
    setting, bit = sender(1_000_000)
    dark = [(0, 700_000), (710_000, 1_000_000)]
    source = ArraySource(setting, bit, dark)
    assert health(5_000).check(source, 0, 1_000_000) == 5_000
    assert all(s.min() >= 700_000 and s.max() < 710_000 for s in source.asked)
    with pytest.raises(RandomAlarm, match="too few"):
        health(5_000).check(ArraySource(setting, bit, [(0, 999_990)]), 0, 1_000_000)


def test_rule_10_a_healthy_sender_passes_at_places_that_nobody_knows_before():
    setting, bit = sender(200_000)
    tests = health(5_000)
    source = ArraySource(setting, bit)
    starts = []
    for block in range(4):
        first, before = block * 50_000, len(source.asked)
        assert tests.check(source, first, first + 50_000) == 5_000
        starts.append(int(source.asked[before][0]) % 50_000)
        # In one piece; where the block ends, its beginning follows.
        slots = np.concatenate(source.asked[before:]).astype(int) - first
        assert (slots == (starts[-1] + np.arange(5_000)) % 50_000).all()
    assert len(set(starts)) == 4
    asked = len(source.asked)
    # A block that begins anew after a break has passed already; its bits have not come again.
    assert tests.check(source, 0, 50_000) == 5_000
    assert len(source.asked) == asked
    assert tests.tested == 20_000
    assert tests.alarm is None


def stuck_bit(setting, bit):
    bit[2000:2100] = 1


def biased_bit(setting, bit):
    bit[:] = np.random.default_rng(1).random(len(bit)) < 0.75


def slightly_biased_bit(setting, bit):
    bit[:] = np.random.default_rng(1).random(len(bit)) < 0.52


def stuck_setting(setting, bit):
    setting[3000:3100] = 0


def other_probability(setting, bit):
    setting[np.flatnonzero(setting == 2)[::20]] = 3


def bit_from_setting(setting, bit):
    weak = setting == 2
    bit[weak] = (np.cumsum(weak) & 1)[weak]
    bit[np.flatnonzero(weak)[::8]] = 0


def pattern_effect(setting, bit):
    after = np.flatnonzero(setting[:-1] == 0) + 1
    swap = after[(setting[after] == 1)]
    setting[swap[::2]] = 2
    other = np.flatnonzero((setting[1:] == 2) & (setting[:-1] != 0)) + 1
    setting[other[: len(swap[::2])]] = 1


def sent_twice(setting, bit):
    bit[60_000:70_000] = bit[20_000:30_000]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (stuck_bit, "repetition count test of the bits"),
        (biased_bit, "adaptive proportion test of the bits"),
        (slightly_biased_bit, "shares: bit 0 comes in 0.4"),
        (stuck_setting, "repetition count test of the settings"),
        (other_probability, "shares: setting o comes in 0.16"),
        (bit_from_setting, "shares: setting nu with bit"),
        (pattern_effect, "shares: setting s"),
        (sent_twice, "came again"),
    ],
)
def test_rule_10_a_faulty_sender_ends_the_block_and_every_later_one(fault, words):
    setting, bit = sender(100_000)
    health().check(ArraySource(setting, bit), 0, 100_000)
    fault(setting, bit)
    tests = health()
    with pytest.raises(RandomAlarm, match=words):
        tests.check(ArraySource(setting, bit), 0, 100_000)
    # It stays, whatever comes next, until somebody has looked.
    good = ArraySource(*sender(100_000, seed=6))
    with pytest.raises(RandomAlarm, match=words):
        tests.check(good, 0, 100_000)
    tests.restart()
    assert tests.check(good, 0, 100_000) == 100_000


def test_a_drift_too_small_for_one_block_is_seen_over_many():
    tests = health()
    probabilities = PROBABILITIES + np.array([0.0, 0.0, 0.006, -0.006])
    for block in range(60):
        setting, bit = sender(20_000, probabilities=probabilities, seed=block)
        with contextlib.suppress(RandomAlarm):
            source = ArraySource(setting, bit)
            source.acquisition = block
            tests.check(source, 0, 20_000)
        if tests.alarm is not None:
            break
    assert block > 5
    assert re.search("setting (nu|o) comes in", tests.alarm)


def test_false_alarms_of_all_tests_together_are_rare():
    """With a share_alpha of 1 % at most about 1 % of calls, and 1 % once, alarm."""
    alarms = 0
    for seed in range(300):
        setting, bit = sender(4_000, seed=1000 + seed)
        alarms += ChoiceShares(PROBABILITIES, 0.01).feed(setting, bit) is not None
    assert alarms <= 9


def test_dropped_records_are_left_out_and_too_few_are_no_test():
    setting, bit = sender(20_000)
    bit[5_000:9_000] = 1
    tests = health()
    source = ArraySource(setting, bit, removed=[(5_000, 9_000)])
    assert tests.check(source, 0, 20_000) == 16_000
    source.ranges = [(0, 19_900)]
    with pytest.raises(RandomAlarm, match="too few"):
        tests.check(source, 1, 20_000)


def test_a_period_of_a_generator_is_seen():
    random = np.random.default_rng(2)
    period = random.integers(0, 2, 20_000, dtype=np.uint8)
    reused = ReusedChoices()
    assert not reused.feed(period)
    assert not reused.feed(random.integers(0, 2, 1_000_000, dtype=np.uint8))
    # Not aligned to what was fed at once, and inverted it is another.
    assert not reused.feed(1 - period)
    assert reused.feed(np.concatenate((period[7_777:], period[:7_777])))
    assert not reused.feed(period[:100])
    forgetful = ReusedChoices(capacity=10)
    forgetful.feed(period)
    forgetful.feed(random.integers(0, 2, 200_000, dtype=np.uint8))
    assert len(forgetful._seen) == 10
    assert not forgetful.feed(period[:2_000])
