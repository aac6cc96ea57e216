"""The link of the event board against a model that looks at every clock."""

from __future__ import annotations

import random

import pytest

from bellrelay_sim.board import LinkPace
from bellrelay_sim.event_link import LinkModel
from bellrelay_sim.event_timing import LINK_POP_CLOCKS


def clock_by_clock(pushes: list[int], pace: LinkPace, clocks: int) -> tuple[list[int], list[int]]:
    """Clock of every byte that leaves, and the fill at the beginning of every clock."""
    level, ready, held, out, fills = 0, 0, 0, [], []
    entering = set(pushes)
    for clock in range(clocks):
        fills.append(level)
        taken = held > 0 and pace.takes(clock)
        ready += clock - LINK_POP_CLOCKS in entering
        pop = ready > 0 and (held == 0 or (held == 1 and taken))
        if taken:
            out.append(clock)
            held -= 1
        if pop:
            held = 4
            ready -= 1
        level += (clock in entering) - pop
    return out, fills


@pytest.mark.parametrize("seed", range(12))
def test_bytes_leave_and_words_wait_as_clock_by_clock(seed: int) -> None:
    rng = random.Random(seed)
    per_byte = rng.choice([1, 1, 3, 17])
    stalls = [(rng.randrange(3000), rng.randrange(400)) for _ in range(rng.choice([0, 3]))]
    pace = LinkPace(per_byte, stalls)
    frames, clock = [], 0
    for _ in range(8):
        clock += rng.choice([0, 1, 5, 60, 500])
        words = rng.randrange(1, 40)
        frames.append((clock, words))
        clock += words
    end = 6000
    expected, fills = clock_by_clock(
        [c + i for c, words in frames for i in range(words)], pace, end
    )

    link = LinkModel(pace)
    data = b""
    got: list[int] = []
    waiting = list(frames)
    now = 0
    while now < end:
        step = rng.choice([1, 2, 7, 300])
        now = min(end, now + step)
        # Frames are pushed before the clock in which their first word enters.
        while waiting and waiting[0][0] < now:
            begin, words = waiting.pop(0)
            frame = bytes(rng.randrange(256) for _ in range(4 * words))
            data += frame
            link.push(frame, begin)
        if rng.random() < 0.5 and now < end:
            assert link.fill(now) == fills[now]
        left = link.take(now)
        assert left == data[len(got) : len(got) + len(left)]
        got += [now] * len(left)
        assert len(got) == sum(c < now for c in expected)
    assert link.waiting == len(data) - len(got)


def test_a_stall_given_later_is_as_one_given_before() -> None:
    frame = bytes(range(200))
    one = LinkModel(LinkPace(2, [(50, 120)]))
    two = LinkModel(LinkPace(2))
    out = []
    for link in (one, two):
        link.push(frame, 10)
        parts = [link.take(50)]
        if link is two:
            link.stall(50, 100)
            parts.append(link.take(100))
            link.stall(100, 170)
        parts += [link.take(clock) for clock in (120, 170, 260, 1000)]
        out.append([len(b"".join(parts[: i + 1])) for i in range(len(parts))])
    assert out[0] == [out[1][0], *out[1][2:]]
    assert out[0][-1] == len(frame)
