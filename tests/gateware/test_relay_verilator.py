"""The whole relay under Verilator: configured, started, stimulated and stopped by frames alone."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from bellrelay.wire.counters import counters
from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import FrameType, Status, command_word, encode_frame
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table
from bellrelay.wire.payloads import Announcements, Heartbeat, Response, Tags
from bellrelay.wire.registers import Control, RegisterMap
from bellrelay_sim.board_script import BoardScript, write_command
from bellrelay_sim.compare import compare_boards
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.gateware_board import GatewareBoard

G = BoardGeometry(
    n_detectors=2,
    tick_clocks=2048,
    code_bits=6,
    capture_depth=32,
    announce_depth=32,
    announce_depth_short=16,
    link_words=2048,
    hist_bins=64,
    hist_chunk=64,
    align_depth=16,
)
MAP = RegisterMap(G)


pytestmark = pytest.mark.usefixtures("verilator_on_path")


class Host:
    """Just enough of a host: one command, its answer, all frames."""

    def __init__(self, board: GatewareBoard) -> None:
        self.board, self.decoder, self.frames = board, FrameDecoder(), []

    def ticks(self, n: int) -> list[Frame]:
        got = list(self.decoder.feed(self.board.run(n * G.tick_clocks)))
        self.frames += got
        return got

    def command(self, frame: bytes) -> Response:
        self.board.write(frame)
        (answer,) = [f for f in self.ticks(4) if f.type == FrameType.RESPONSE]
        return Response.parse(answer.payload)

    def write(self, name: str, *values: int) -> int:
        return self.command(write_command(MAP.address(name), values)).status


def _configured(host: Host) -> None:
    assert host.write("heartbeat_ticks", 4, 2, 7) == Status.OK  # flush_ticks, stream_mask
    assert host.write("pattern", *pattern_table("time-bin", (0, 1))) == Status.OK
    assert host.write("dead_time_ps", 40_000, 50_000) == Status.OK
    assert host.write("start_utc_lo", 1234, 1) == Status.OK
    assert host.write("acquisition", 77) == Status.OK


def _clicks(seed: int, n: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of them pairs, never of one channel: delay lines do not see it in two cells on end."""
    rng = np.random.default_rng(seed)
    slots = np.sort(rng.choice(np.arange(5, cells * G.clock_period_ps // 10_000, 3), n, False))
    first = slots * 10_000 + rng.integers(2000, 3000, n)
    second = slots * 10_000 + rng.integers(7000, 8000, n)
    t = np.concatenate([first, second[: n // 2]])
    one = rng.integers(0, 3, n)
    other = (one + rng.integers(1, 3, n)) % 3
    channel = np.concatenate([one, other[: n // 2]]).astype(np.uint8)
    order = np.argsort(t, kind="stable")
    return t[order], channel[order]


@pytest.mark.parametrize("front_end", ["codes", "taps"])
def test_clicks_become_frames_that_add_up(front_end: str) -> None:
    t, channel = _clicks(1, 600, 8 * G.tick_clocks)
    with GatewareBoard(G, front_end=front_end, temperature_mdegc=-1500) as board:
        host = Host(board)
        _configured(host)
        board.stimulate(t, channel)
        assert host.write("control", Control.START) == Status.OK
        host.ticks(9)
        assert host.write("control", Control.STOP) == Status.OK
        host.ticks(2)
    ours = [f for f in host.frames if f.acquisition == 77]
    assert [f.sequence for f in host.frames] == list(range(len(host.frames)))
    beats = [Heartbeat.parse(f.payload, G) for f in ours if f.type == FrameType.HEARTBEAT]
    final = beats[-1]
    c = final.counters
    assert sum(c[f"clicks_{i}"] for i in range(3)) == len(t)
    assert c["clicks_0"] == np.count_nonzero(channel == 0)
    for d in range(2):
        passed = c[f"early_{d}"] + c[f"late_{d}"] + c[f"outside_{d}"]
        dropped = c[f"dead_time_{d}"] + c[f"pile_up_{d}"] + c[f"before_start_{d}"]
        assert c[f"clicks_{d}"] == passed + dropped
        assert c[f"dead_time_{d}"] > 0
    for beat in beats:
        k = beat.counters
        told = sum(
            k[f"{how}_psi_{o}"] for how in ("announced", "lost", "shed") for o in ("minus", "plus")
        )
        assert told == k["class_1"] + k["class_2"] + k["class_3"]
    records = [Announcements.parse(f.payload) for f in ours if f.type == FrameType.ANNOUNCEMENTS]
    slots = np.concatenate([r.slot for r in records])
    assert len(slots) == c["announced_psi_minus"] + c["announced_psi_plus"] > 50
    assert np.all(np.diff(slots.astype(np.int64)) > 0)
    tags = [Tags.parse(f.payload) for f in ours if f.type == FrameType.TAGS]
    streamed = sum(len(x.time()) for x in tags)
    assert streamed + sum(c[f"tags_lost_{i}"] + c[f"tags_shed_{i}"] for i in range(3)) == len(t)
    for a, b in pairwise(beats):
        assert all(b.counters[x.name] >= a.counters[x.name] for x in counters(G))


def test_both_front_ends_give_the_same_bytes() -> None:
    t, channel = _clicks(2, 500, 6 * G.tick_clocks)
    out = []
    for front_end in ("codes", "taps"):
        with GatewareBoard(G, front_end=front_end) as board:
            host = Host(board)
            _configured(host)
            board.stimulate(t, channel)
            board.write(write_command(MAP.address("control"), [Control.START]))
            out.append(board.run(12 * G.tick_clocks))
    assert out[0] == out[1]
    assert len(out[0]) > 2000


def _random_command(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return write_command(MAP.address("control"), [rng.choice([0, 1, 1, 2, 3])])
    block = rng.choice(MAP.blocks)
    register = rng.choice(block.registers)
    address = block.base + register.offset + rng.randrange(register.count)
    if rng.random() < 0.1:
        address = rng.getrandbits(16)
    count = rng.choice([1, 1, 2, rng.randrange(1, 129)])
    values = [rng.choice([rng.randrange(9), rng.getrandbits(32)]) for _ in range(count)]
    word = command_word(address, count)
    if rng.random() < 0.05:
        word = address | rng.choice([0, 129, count + 1]) << 16
    if rng.random() < 0.5:
        values = []
    kind = FrameType.WRITE if values else FrameType.READ
    frame = bytearray(encode_frame(kind, 0, 0, [rng.getrandbits(32), word, *values]))
    if rng.random() < 0.1:
        frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    return bytes(frame)


@pytest.mark.parametrize("seed", range(3))
def test_any_commands_act_and_are_answered_as_on_the_event_board(seed: int) -> None:
    """Reads, writes, refused, damaged and dropped ones, starts and stops, at any clock."""
    rng = random.Random(seed)
    clock, writes = 100, [(100, write_command(MAP.address("heartbeat_ticks"), [3]))]
    for _ in range(80):
        clock = max(clock + rng.randrange(200, 7000), clock + len(writes[-1][1]))
        writes.append((clock, _random_command(rng)))
    t, channel = _clicks(seed, 3000, 100 * G.tick_clocks)
    end = (clock // G.tick_clocks + 4) * G.tick_clocks
    script = BoardScript(G, tuple(writes), ((0, t, channel),), end)
    with GatewareBoard(G) as board:
        comparison = compare_boards(EventBoard(G), board, script)
    assert comparison.identical, comparison.first_difference
    assert comparison.frames["RESPONSE"] > 20


@pytest.mark.parametrize("what", ["trim", "start", "stop"])
def test_commands_at_the_edge_of_a_tick(what: str) -> None:
    """Completion one clock sooner or later is a tick sooner or later, on both boards the same."""
    data = {
        "trim": write_command(MAP.address("trim"), [5]),
        "start": write_command(MAP.address("control"), [Control.START]),
        "stop": write_command(MAP.address("control"), [Control.STOP]),
    }
    before = [(100, write_command(MAP.address("heartbeat_ticks"), [1]))]
    if what == "stop":
        before.append((5 * G.tick_clocks, data["start"]))
    for early in range(-2, 4):
        at = 12 * G.tick_clocks - len(data[what]) - early
        script = BoardScript(G, (*before, (at, data[what])), (), 20 * G.tick_clocks)
        with GatewareBoard(G) as board:
            comparison = compare_boards(EventBoard(G), board, script, stretch=64)
        assert comparison.identical, comparison.first_difference
        assert comparison.frames["RESPONSE"] == len(before) + 1


def test_a_board_out_of_step_is_noticed() -> None:
    """The comparison that the other tests rest on can fail."""
    script = BoardScript(
        G, ((100, write_command(MAP.address("heartbeat_ticks"), [1])),), (), 8 * G.tick_clocks
    )
    with GatewareBoard(G, clocks_per_byte=2) as board:
        assert not compare_boards(EventBoard(G), board, script).identical
