"""The event board and the verilated gateware: the same bytes in the same clocks."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from bellrelay.wire.frames import FrameType, command_word, encode_frame
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import Control, RegisterMap
from bellrelay_sim.board_script import BoardScript, acquisition_script, run_script, write_command
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.compare import Comparison, compare_boards, describe_difference
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.event_timing import COMMAND_CLOCKS, START_CLOCKS
from bellrelay_sim.gateware_board import GatewareBoard
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.random_acquisition import Load, random_acquisition
from bellrelay_sim.twin import Twin, make_board
from bellrelay_sim.twin_port import TwinPort

G = BoardGeometry(
    n_detectors=4, clock_period_ps=5000, tick_clocks=2048, code_bits=4, capture_depth=8,
    announce_depth=8, announce_depth_short=8, hist_bins=64, hist_chunk=16, align_depth=16,
)  # fmt: skip
K = G.tick_clocks
MAP = RegisterMap(G)
CONTROL = MAP.address("control")
pytestmark = pytest.mark.usefixtures("verilator_on_path")


def compared(script: BoardScript, stretch: int, **link: object) -> Comparison:
    gateware = GatewareBoard(G, **link)  # type: ignore[arg-type]
    try:
        result = compare_boards(
            EventBoard(G, **link),  # type: ignore[arg-type]
            gateware,
            script,
            stretch=stretch,
        )
    finally:
        gateware.close()
    assert result.identical, result.first_difference
    assert result.clocks == script.clocks
    return result


def random_script(seed: int, load: Load) -> BoardScript:
    case = random_acquisition(seed, G, load)
    rng = random.Random(seed)
    trims = {1: rng.randrange(-(1 << 31), 1 << 31)}
    ticks = case.ticks + rng.randrange(6)
    return acquisition_script(G, case.registers, case.t, case.channel, ticks, trims)


def random_link(seed: int) -> dict[str, object]:
    rng = random.Random(seed)
    stalls = [(rng.randrange(100_000), rng.randrange(30_000)) for _ in range(rng.choice([0, 2]))]
    return {"clocks_per_byte": rng.choice([1, 1, 4, 16, 40]), "stalls": stalls}


@pytest.mark.parametrize("load", ["sparse", "pairs", "saturated"])
def test_random_acquisitions(load: Load) -> None:
    frames: dict[str, int] = {}
    for seed in range(100, 104):
        result = compared(random_script(seed, load), 64, **random_link(seed))
        for kind, number in result.frames.items():
            frames[kind] = frames.get(kind, 0) + number
    assert frames["HEARTBEAT"] > 10
    assert frames["RESPONSE"] > 30


def test_every_byte_leaves_in_the_very_same_clock() -> None:
    compared(random_script(200, "pairs"), 1, clocks_per_byte=3)


def test_saturated_links_lose_and_tell_the_same() -> None:
    """All kinds of frames, with what is lost and shed on a link that stands still for a while."""
    case = random_acquisition(5, G, "saturated", ticks=50)
    registers = {
        **case.registers,
        "stream_mask": (31,),
        "heartbeat_ticks": (3,),
        "flush_ticks": (1,),
        "loss_quiet_ticks": (2,),
        "hist_ticks": (22,),
        "slot_period_ps": (10_000,),
        "early_start": (0,), "early_end": (5000,), "late_start": (5000,), "late_end": (10_000,),
        "phase_ps": (0,), "dead_time_ps": (0, 0, 0, 0), "announce_not_live": (1,),
    }  # fmt: skip
    # Bell pairs all over, and light on and off, so that episodes of loss end.
    rng = np.random.default_rng(1)
    bright = (case.t // (10 * G.tick_ps)) % 2 == 0
    kept = (rng.random(case.t.size) < 0.002) | (bright & (rng.random(case.t.size) < 0.1))
    script = acquisition_script(G, registers, case.t[kept], case.channel[kept], 50)
    result = compared(script, 64, clocks_per_byte=2, stalls=[(60 * K, 18 * K)])
    assert set(result.frames) == {
        "ANNOUNCEMENTS", "TAGS", "HISTOGRAM", "LOSS", "RESPONSE", "HEARTBEAT"
    }  # fmt: skip


def read_state(tag: int) -> bytes:
    return encode_frame(FrameType.READ, 0, 0, [tag, command_word(MAP.address("state"), 1)])


def test_commands_at_the_edges_of_ticks_and_of_answers() -> None:
    none = ()
    length = len(read_state(0))
    writes = []
    # Completion about a boundary.
    for n, offset in enumerate(range(-4, 5)):
        writes.append(((8 + 6 * n) * K + offset - COMMAND_CLOCKS - length, read_state(n)))
    # A second command about the clock in which the answer to the first one has left.
    for n in range(80):
        boundary = (70 + 6 * n) * K
        writes.append((boundary - COMMAND_CLOCKS - 500, read_state(n)))
        writes.append((boundary + 150 + n - length, read_state(100 + n)))
    script = BoardScript(G, tuple(sorted(writes)), none, 560 * K)
    assert compared(script, 64).frames["RESPONSE"] > 100


def test_starts_and_stops_at_the_edges_of_ticks() -> None:
    start, stop = (write_command(CONTROL, [c]) for c in (Control.START, Control.STOP))
    n = len(start)
    writes = []
    for k, offset in enumerate(range(-3, 4)):
        tick = 10 + 24 * k
        writes += [
            (tick * K - START_CLOCKS - n + offset, start),
            ((tick + 4) * K - COMMAND_CLOCKS - n + offset, stop),
            # A second start, put off by a command that comes while it is armed.
            ((tick + 10) * K + 100, start),
            ((tick + 11) * K + 900, read_state(k)),
            ((tick + 16) * K, stop),
        ]
    compared(BoardScript(G, tuple(sorted(writes)), (), 200 * K), 64)


def test_damaged_commands() -> None:
    broken, header = bytearray(read_state(1)), bytearray(read_state(2))
    broken[-1] ^= 1
    header[17] ^= 1
    foreign = encode_frame(FrameType.HEARTBEAT, 0, 0, [1, 2])
    writes = (
        (3 * K + 100, write_command(CONTROL, [Control.START])),
        (9 * K, bytes(broken) + read_state(3) + read_state(4)),
        (13 * K, bytes(header) + foreign + read_state(5)),
        (17 * K, b"\xc7\x5e\xb3" + read_state(6)[:30]),
        (530 * K, read_state(7)),  # the one before broke off: this is its rest
        (534 * K, read_state(8)[:23]),
        (534 * K + (1 << 20) + 20, read_state(9)),
        (1065 * K, write_command(CONTROL, [Control.STOP])),
    )
    result = compared(BoardScript(G, writes, (), 1075 * K), 4 * K)
    assert result.frames["RESPONSE"] == 5


def test_a_difference_is_found_and_named() -> None:
    script = random_script(101, "pairs")
    second = EventBoard(G)
    second.stimulate(np.array([5]), np.array([3], np.uint8))
    result = compare_boards(EventBoard(G), second, script, names=("one", "two"))
    assert not result.identical
    assert "HEARTBEAT: clicks_3" in result.first_difference or "TAGS" in result.first_difference
    assert "(one / two)" in result.first_difference

    data = run_script(EventBoard(G), script, script.clocks)
    assert describe_difference(data, data, G) == ""
    broken = bytearray(data)
    broken[-30] ^= 4
    assert describe_difference(data, bytes(broken), G) != ""


def test_boards_that_cannot_be_compared_are_refused() -> None:
    script = random_script(101, "pairs")
    late = EventBoard(G)
    late.run(1)
    with pytest.raises(ValueError, match="reset"):
        compare_boards(EventBoard(G), late, script)
    with pytest.raises(ValueError, match="geometry"):
        compare_boards(EventBoard(G), EventBoard(BoardGeometry()), script)


def test_the_twin_serves_the_gateware(tmp_path: Path) -> None:
    """Photons reach the gateware behind the port: its final counters are the simulation's."""
    link, slots = SimulatedLink(), 5000
    told: list[dict] = []
    twin = Twin(
        link, slots, lambda: make_board("gateware", G, 1), TwinPort(tmp_path / "p"),
        tell=told.append,
    )  # fmt: skip
    try:
        twin.board.write(write_command(CONTROL, [Control.START]))
        for _ in range(40):
            twin._advance(1)
            if told and told[-1]["event"] == "done":
                break
        twin.board.write(write_command(CONTROL, [Control.STOP]))
        twin._advance(8)
        beats = describe_final(bytes(twin._out))
    finally:
        twin.close()
    chunks = list(ClickStream(link, slots).chunks())
    channel = np.concatenate([c.channel for c in chunks])
    cells = np.concatenate([c.t for c in chunks]) // G.clock_period_ps
    for d in range(4):
        assert beats[f"clicks_{d}"] == np.unique(cells[channel == d]).size > 0


def describe_final(data: bytes) -> dict[str, int]:
    from bellrelay.wire.decoder import FrameDecoder
    from bellrelay.wire.payloads import Heartbeat

    for frame in FrameDecoder().feed(data):
        if frame.type == FrameType.HEARTBEAT:
            beat = Heartbeat.parse(frame.payload, G)
            if beat.final:
                return dict(beat.counters)
    raise AssertionError("no final heartbeat")


@pytest.mark.soak
def test_random_acquisitions_at_volume() -> None:
    clicks = seed = 0
    while clicks < 10_000_000:
        for load in ("sparse", "pairs", "saturated"):
            script = random_script(seed, load)  # type: ignore[arg-type]
            compared(script, 256, **random_link(seed))
            clicks += int(np.count_nonzero(script.stimulus[0][1] < 6 * G.tick_ps))
        seed += 1
