"""What a relay's tracking costs of one core, in a second of the board's clock.

Histograms, heartbeats and decisions for the loop; raw tags for the clicks in tracking slots,
against unpacking those tags alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bellrelay.control.relay_tracker import RelayTracker
from bellrelay.control.tag_positions import TagPositions
from bellrelay.control.tracking_publisher import TrackingPublisher
from bellrelay.relay.histogram_periods import HistogramPeriod
from bellrelay.relay.tracking_settings import TrackingSettings
from bellrelay.wire.frames import TAG_CHANNEL_SHIFT
from bellrelay.wire.payloads import Heartbeat, Tags
from bellrelay.wire.registers import State
from bellrelay.wire.tracking import TrackingSlots

SECONDS = 5
BEATS, PERIODS = 20, 10
"""A second."""
TAGS = 1_000_000
"""A second, of four detectors."""
PERIOD_PS, CLOCK_PS, TICK_PS, BIN_PS = 10_000, 5000, 5_120_000, 16
CENTRES = (2500, 7500)


def beat(number: int) -> Heartbeat:
    """The heartbeat of this number."""
    cut_ps = number * 10**12 // BEATS
    fields = {"cut_ps": cut_ps, "cut_slot": cut_ps // PERIOD_PS, "trim": 0}
    return Heartbeat(State.RUNNING, False, fields, {})


def period(number: int, rng: np.random.Generator) -> HistogramPeriod:
    """The histogram of this number."""
    each = TAGS // PERIODS // 4
    edges = np.arange(626) * BIN_PS
    counts = np.array(
        [np.histogram(rng.choice(CENTRES, each) + 120 * rng.standard_normal(each), edges)[0]] * 4
    )
    first, end = (k * 10**12 // PERIODS // TICK_PS for k in (number, number + 1))
    return HistogramPeriod(first, end, counts.astype(np.int64))


def payloads(number: int, rng: np.random.Generator) -> list[bytes]:
    """Raw tags before the heartbeat of this number, in frames of a detector each."""
    out = []
    begin, end = ((number + k) * 10**12 // BEATS for k in (-1, 0))
    for channel in range(4):
        t = np.sort(rng.integers(begin, end, TAGS // BEATS // 4)).astype(np.uint64)
        words = t | np.uint64(channel) << np.uint64(TAG_CHANNEL_SHIFT)
        out += [Tags(end, part).encode() for part in np.array_split(words, 12)]
    return out


def spent(work: Callable[[], None]) -> float:
    """Seconds of a core."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """All of it."""
    rng = np.random.default_rng(1)
    settings = TrackingSettings()
    tracker = RelayTracker(
        settings,
        clock_period_ps=CLOCK_PS,
        tick_ps=TICK_PS,
        period_ps=PERIOD_PS,
        bin_ps=BIN_PS,
        detectors=4,
        centres_ps=CENTRES,
    )
    publisher = TrackingPublisher(
        TrackingSlots(250_000, 1000),
        TagPositions(PERIOD_PS, 0, 0, CLOCK_PS),
        [0] * 4,
        PERIOD_PS,
        TICK_PS,
        BIN_PS,
    )
    numbers = range(1, SECONDS * BEATS + 1)
    beats = [beat(number) for number in numbers]
    periods = [period(number, rng) for number in range(SECONDS * PERIODS)]
    raw = [payloads(number, rng) for number in numbers]
    events: list[object] = []

    def loop() -> None:
        for number, heartbeat in enumerate(beats):
            tracker.heartbeat(heartbeat)
            if (number + 1) % (BEATS // PERIODS) == 0:
                tracker.histogram(periods[number // (BEATS // PERIODS)])
            if number % 4 == 0:
                tracker.decide()

    def unpack() -> None:
        for parts in raw:
            for payload in parts:
                tags = Tags.parse(payload)
                tags.channel()
                tags.time()

    def publish() -> None:
        for heartbeat, parts in zip(beats, raw, strict=True):
            for payload in parts:
                publisher.raw_tags(payload)
            publisher.heartbeat(heartbeat, 0, events.append)

    unpack()
    of_loop, of_unpacking, of_publishing = (spent(w) / SECONDS for w in (loop, unpack, publish))
    assert tracker.measured == len(periods)
    print(f"of one core, with {PERIODS} histograms and {TAGS / 1e6:g} million tags a second:")
    print(f"  loop                      {of_loop:8.2%}")
    print(f"  clicks in tracking slots  {of_publishing:8.2%}, {len(events)} events")
    print(f"  unpacking the tags alone  {of_unpacking:8.2%}")
    print(f"  publishing to unpacking   {of_publishing / of_unpacking:8.2f}")


if __name__ == "__main__":
    main()
