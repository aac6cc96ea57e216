"""Gateware under Verilator, event board and array functions: the same, bit for bit.

Random configurations, random clicks, also at saturation and with a link too slow for them. What
the host sees of the two boards is compared byte for byte and stretch by stretch of clocks; what
the final heartbeat counts, what was announced, tagged and histogrammed is compared with
`bellrelay.tags`.
"""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_sim.board_script import acquisition_script
from bellrelay_sim.board_session import BoardSession
from bellrelay_sim.compare import compare_boards
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.gateware_board import GatewareBoard
from bellrelay_sim.random_acquisition import differences, random_acquisition

LOADS = ("sparse", "pairs", "saturated")
SMALL = {
    "tick_clocks": 2048,
    "code_bits": 6,
    "capture_depth": 32,
    "announce_depth": 64,
    "announce_depth_short": 16,
    "link_words": 4096,
    "hist_bins": 64,
    "hist_chunk": 32,
}
GEOMETRIES = [BoardGeometry(n_detectors=n, **SMALL) for n in (2, 4)]


def clicks(recording, geometry):
    return sum(recording.final.counters[f"clicks_{i}"] for i in range(geometry.n_channels))


def check_gateware(seed, geometry, load, ticks=3):
    """Clicks of one random acquisition on the gateware, after every comparison."""
    case = random_acquisition(seed, geometry, load, ticks)
    with GatewareBoard(geometry) as board:
        recording = BoardSession(board).acquire(case.registers, case.t, case.channel, ticks)
    assert differences(case, recording) == []
    # The second time by the clock, with a trim in between and a link that cannot take it all.
    pace = 1 + seed % 7
    stalls = [(60_000 + seed % 5000, 9000)]
    script = acquisition_script(
        geometry, case.registers, case.t, case.channel, ticks, trims={1: seed % 2**31}
    )
    with GatewareBoard(geometry, clocks_per_byte=pace, stalls=stalls) as board:
        event = EventBoard(geometry, clocks_per_byte=pace, stalls=stalls)
        comparison = compare_boards(event, board, script)
    assert comparison.identical, comparison.first_difference
    return clicks(recording, geometry)


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(0, 2**32 - 1), st.sampled_from(GEOMETRIES), st.sampled_from(LOADS))
@example(0, GEOMETRIES[0], "saturated")
@example(1, GEOMETRIES[1], "saturated")
def test_gateware_event_board_and_functions_agree(seed, geometry, load):
    check_gateware(seed, geometry, load)


def test_a_hundred_thousand_clicks_at_saturation():
    geometry = GEOMETRIES[1]
    total = 0
    seed = 1000
    while total < 100_000:
        total += check_gateware(seed, geometry, "saturated", ticks=6)
        seed += 1
    assert seed < 1010


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([*GEOMETRIES, BoardGeometry(n_detectors=4, clock_period_ps=10_000, **SMALL)]),
    st.sampled_from(LOADS),
)
def test_event_board_and_functions_agree(seed, geometry, load):
    case = random_acquisition(seed, geometry, load)
    session = BoardSession(EventBoard(geometry))
    recording = session.acquire(case.registers, case.t, case.channel, case.ticks)
    assert differences(case, recording) == []


def test_the_comparison_can_fail():
    geometry = GEOMETRIES[1]
    case = random_acquisition(3, geometry, "pairs")
    session = BoardSession(EventBoard(geometry))
    recording = session.acquire(case.registers, case.t[:-200], case.channel[:-200], case.ticks)
    shifted = case.t[: case.t.size // 2]
    other = BoardSession(EventBoard(geometry)).acquire(
        case.registers, shifted, case.channel[: shifted.size], case.ticks
    )
    assert recording.final.counters != other.final.counters
    assert differences(case, other)


@pytest.mark.soak
def test_ten_million_clicks():
    total, seed = 0, 10**6
    while total < 10_000_000:
        geometry = GEOMETRIES[seed % 2]
        load = "saturated" if seed % 4 else LOADS[seed // 4 % 2]
        total += check_gateware(seed, geometry, load, ticks=60)
        seed += 1
