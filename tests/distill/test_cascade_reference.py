"""Every parity that Cascade's engines send, against a model of it in plain sets and lists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from bellrelay.distill.reconcile import cascade_frames, cascade_plan, cascade_shuffle
from bellrelay.distill.reconcile.cascade import Cascade
from bellrelay.distill.reconcile.engine import Role

SEED = bytes(range(20))
SUBSETS = 16


class Frame:
    """One frame: who of Alice and Bob has which bit, and nodes as lists of places.

    The answers follow from the two strings, so no message is needed; `asked` collects Alice's
    parities in the order in which they go out.
    """

    def __init__(
        self, alice: list[int], bob: list[int], orders: list[list[int]], subsets: list[set[int]]
    ) -> None:
        self.alice, self.bob = alice, list(bob)
        self.orders = orders  # for each pass, bits of the first pass at each place
        self.subsets = subsets
        self.nodes: list[dict[int, int]] = [{}, {}, {}]  # for each pass, start -> level
        self.known_odd: list[set[int]] = [set(), set(), set()]
        self.odd_subsets: set[int] = set()
        self.n = len(alice)
        self.corrected = 0
        self.limit = 0  # of errors, above which large nodes of the first pass are split
        self.split_level = 0

    def inside(self, which: int, start: int, level: int) -> list[int]:
        return self.orders[which][start : start + (1 << level)]

    def sum_of(self, bits: list[int], members: list[int]) -> int:
        return sum(bits[i] for i in members) % 2

    def differ(self, members: list[int]) -> bool:
        return self.sum_of(self.alice, members) != self.sum_of(self.bob, members)

    def has_right_half(self, start: int, level: int) -> bool:
        return level > 0 and start + (1 << (level - 1)) < self.n

    def set_node(self, which: int, start: int, level: int) -> None:
        self.nodes[which][start] = level
        if self.differ(self.inside(which, start, level)):
            self.known_odd[which].add(start)

    def correct(self, found_in: int, place: int) -> None:
        bit = self.orders[found_in][place] if found_in < 3 else place
        assert self.bob[bit] != self.alice[bit]
        self.bob[bit] ^= 1
        self.corrected += 1
        for t, subset in enumerate(self.subsets):
            if bit in subset:
                self.odd_subsets ^= {t}
        for which in range(3):
            at = self.orders[which].index(bit)
            start = max(s for s in self.nodes[which] if s <= at)
            self.known_odd[which] ^= {start}

    def split(self, level: int) -> tuple[list[int], int, int]:
        """Split all first-pass nodes of a level: Alice's parities, even nodes, those twice odd."""
        asked, even, twice_odd = [], 0, 0
        for start in sorted(s for s, has in self.nodes[0].items() if has == level):
            if not self.has_right_half(start, level):
                continue
            was_odd = start in self.known_odd[0]
            self.known_odd[0].discard(start)
            right = start + (1 << (level - 1))
            self.set_node(0, start, level - 1)
            self.set_node(0, right, level - 1)
            asked.append(self.sum_of(self.alice, self.inside(0, start, level - 1)))
            even += not was_odd
            twice_odd += not was_odd and right in self.known_odd[0]
        return asked, even, twice_odd

    def split_large(self) -> list[int]:
        while self.split_level > 0:
            asked, even, twice_odd = self.split(self.split_level)
            self.split_level -= 1
            if asked:
                if 100 * twice_odd <= 27 * even:
                    self.limit = 2 * self.corrected + 20
                return asked
        return []

    def halve(self, which: int, start: int) -> Iterator[int]:
        """Go down from an odd node to an error."""
        level = self.nodes[which][start]
        while level > 0:
            if self.has_right_half(start, level):
                left = self.inside(which, start, level - 1)
                yield self.sum_of(self.alice, left)
                right = start + (1 << (level - 1))
                self.nodes[which][start] = self.nodes[which][right] = level - 1
                if not self.differ(left):
                    self.known_odd[which] ^= {start, right}
                    start = right
            else:
                self.nodes[which][start] = level - 1
            level -= 1
        self.correct(which, start)

    def halve_subset(self, t: int) -> Iterator[int]:
        start, level = 0, self.n.bit_length()
        while level > 0:
            if self.has_right_half(start, level):
                left = [i for i in range(start, start + (1 << (level - 1))) if i in self.subsets[t]]
                yield self.sum_of(self.alice, left)
                if not self.differ(left):
                    start += 1 << (level - 1)
            level -= 1
        self.correct(3, start)

    def search(self) -> Iterator[list[int]]:
        """Alice's parities, set by set."""
        while True:
            counts = [len(odd) for odd in self.known_odd]
            if max(counts) >= 4:
                which = next(w for w in range(3) if counts[w] >= 4)
            elif max(counts) > 0:
                which = counts.index(max(counts))
            elif self.odd_subsets:
                which = 3
            else:
                return
            if which < 3 and self.corrected > self.limit and (asked := self.split_large()):
                yield asked
                continue
            if which == 3:
                searches = [self.halve_subset(min(self.odd_subsets))]
            else:
                # Nodes of one bit after the others: no question, and nothing of theirs overlaps.
                searches = [self.halve(which, s) for s in sorted(self.known_odd[which])]
            while searches:
                answers = [(s, next(s, None)) for s in searches]
                if asked := [answer for _, answer in answers if answer is not None]:
                    yield asked
                searches = [s for s, answer in answers if answer is not None]


def reference(a: NDArray[np.uint8], b: NDArray[np.uint8], rate: float) -> list[list[int]]:
    """Alice's parities, set by set, of a block of one frame."""
    n = a.size
    assert cascade_frames.frame_count(n) == 1
    base = cascade_shuffle.permutation(SEED, "frame 0", n).tolist()
    later = [cascade_shuffle.permutation(SEED, f"order of pass {k}", n).tolist() for k in (2, 3)]
    words = cascade_shuffle.expand(SEED, "subsets", SUBSETS * 2 * -(-n // 64)).tolist()
    per_subset = len(words) // SUBSETS
    subsets = [
        {i for i in range(n) if words[t * per_subset + i // 32] >> (i % 32) & 1}
        for t in range(SUBSETS)
    ]
    frame = Frame(
        [int(a[i]) for i in base], [int(b[i]) for i in base], [list(range(n)), *later], subsets
    )
    level = cascade_plan.first_level(rate, n)
    for start in range(0, n, 1 << level):
        frame.set_node(0, start, level)
    sets = [[frame.sum_of(frame.alice, frame.inside(0, s, level)) for s in frame.nodes[0]]]
    while True:
        odd, blocks = len(frame.known_odd[0]), len(frame.nodes[0])
        too_large = cascade_plan.halve_first_pass(odd, blocks, rate, level)
        rate = cascade_plan.observed_rate(odd, blocks, rate, level)
        if not too_large:
            break
        sets.append(frame.split(level)[0])
        for start, has in frame.nodes[0].items():
            frame.nodes[0][start] = min(has, level - 1)
        level -= 1
    frame.split_level = level
    frame.limit = 2 * int(rate * n) + 20
    sets.append([])
    for which, (small, cut) in enumerate(
        [cascade_plan.second_pass(rate, level, n), (cascade_plan.third_level(n), 0)], start=1
    ):
        start = 0
        while start < n:
            now = small + 1 if start < cut else small
            frame.set_node(which, start, now)
            if start + (1 << now) < n:  # the last one follows from the whole
                sets[-1].append(frame.sum_of(frame.alice, frame.inside(which, start, now)))
            start += 1 << now
    for t, subset in enumerate(subsets):
        sets[-1].append(frame.sum_of(frame.alice, list(subset)))
        if frame.differ(list(subset)):
            frame.odd_subsets.add(t)
    sets += frame.search()
    assert frame.alice == frame.bob
    return sets


def sent_parities(a: NDArray[np.uint8], b: NDArray[np.uint8], rate: float) -> tuple[bytes, int]:
    """Alice's messages, their headers cut off, and the bits that count as disclosed."""
    alice, bob = Cascade(Role.ALICE, a, SEED, rate), Cascade(Role.BOB, b, SEED, rate)
    bob.begin()
    message = alice.begin()
    sent = [message[16 + 4 :]] if message else []
    while message is not None:
        reply = bob.receive(message)
        message = alice.receive(reply) if reply is not None else None
        if message is not None:
            sent.append(message[4:])
    assert alice.done
    assert bob.done
    assert not alice.failed.any()
    assert np.array_equal(bob.bits, a)
    return b"".join(sent), bob.disclosed_bits


@pytest.mark.parametrize(
    ("n", "rate", "errors"),
    [
        (200, 0.02, 5),
        (1000, 0.03, 31),
        (1000, 0.03, 0),
        (777, 0.08, 50),
        (3000, 0.01, 40),
        (3000, 0.01, 70),  # blocks of the first pass are halved
        (4000, 0.001, 250),  # and large nodes split later
        (30000, 0.02, 610),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_every_parity_is_that_of_the_model(n: int, rate: float, errors: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 2, n, dtype=np.uint8)
    b = a.copy()
    b[rng.choice(n, errors, replace=False)] ^= 1
    sets = reference(a, b, rate)
    expected = [np.packbits(np.array(s, np.uint8)).tobytes() for s in sets]
    sent, disclosed = sent_parities(a, b, rate)
    assert sent == b"".join(expected)
    assert disclosed == sum(map(len, sets))
