"""Commands on the event board: answers, refusals, damage; and what losses are told."""

from __future__ import annotations

import numpy as np
import pytest

from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import FrameType, Status, command_word, encode_frame
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Announcements, Heartbeat, Loss, Response, Tags
from bellrelay.wire.registers import Control, RegisterMap, State
from bellrelay_sim.board_script import acquisition_script, run_script, write_command
from bellrelay_sim.event_board import EventBoard

G = BoardGeometry(
    n_detectors=4, tick_clocks=4096, capture_depth=128, announce_depth=128,
    announce_depth_short=32, hist_bins=256, hist_chunk=64, link_words=2048,
)  # fmt: skip
MAP = RegisterMap(G)
LOSSY = ("tags_lost", "tags_shed", "lost_psi", "shed_psi")


class Host:
    """Writes commands and keeps all frames."""

    def __init__(self, **parameters: object) -> None:
        self.board = EventBoard(G, **parameters)  # type: ignore[arg-type]
        self.decoder = FrameDecoder()
        self.frames: list[Frame] = []

    def run(self, ticks: int) -> list[Frame]:
        frames = self.decoder.feed(self.board.run_ticks(ticks))
        self.frames += frames
        return frames

    def ask(self, data: bytes) -> Response:
        self.board.write(data)
        for _ in range(8):
            for frame in self.run(1):
                if frame.type == FrameType.RESPONSE:
                    return Response.parse(frame.payload)
        raise AssertionError("no answer")

    def read(self, name: str, count: int = 1) -> Response:
        return self.ask(read_command(MAP.address(name), count))

    def write(self, name: str, *values: int) -> Response:
        return self.ask(write_command(MAP.address(name), values, tag=77))

    def control(self, bits: Control) -> Status:
        return self.write("control", bits).status

    def heartbeats(self) -> list[tuple[Frame, Heartbeat]]:
        return [
            (f, Heartbeat.parse(f.payload, G)) for f in self.frames if f.type == FrameType.HEARTBEAT
        ]


def read_command(address: int, count: int, tag: int = 5) -> bytes:
    return encode_frame(FrameType.READ, 0, 0, [tag, address | count << 16])


def test_the_board_says_what_it_is() -> None:
    host = Host()
    answer = host.read("protocol_version", 3)
    constants = MAP.constants(version=(0, 1, 0), git_revision=0)
    first = MAP.address("protocol_version")
    assert answer.status is Status.OK
    assert answer.tag == 5
    assert answer.values == tuple(constants[first + i] for i in range(3))
    assert host.read("state").values == (State.IDLE,)
    assert host.read("control").values == (0,)


def test_written_values_are_read_back() -> None:
    host = Host()
    assert host.write("deskew_ps", 5, -7 & 0xFFFF_FFFF, 0).status is Status.OK
    assert host.read("deskew_ps", 3).values == (5, (1 << 32) - 7, 0)
    assert host.write("pattern", 1, 2, 8).status is Status.OK
    assert host.read("pattern", 4).values[:3] == (1, 2, 8)


def test_refusals() -> None:
    host = Host()
    assert host.write("state", 1).status is Status.READ_ONLY
    assert host.ask(read_command(0x5000, 1)).status is Status.UNKNOWN_ADDRESS
    assert host.ask(read_command(MAP.address("fine", 0) - 1, 2)).status is Status.UNKNOWN_ADDRESS
    assert host.write("pattern", 1, 9).status is Status.OUT_OF_RANGE
    assert host.read("pattern", 2).values == (0, 4)  # nothing of it was written
    malformed = encode_frame(FrameType.WRITE, 0, 0, [1, command_word(0x60, 2), 7])
    assert host.ask(malformed).status is Status.MALFORMED
    assert host.ask(read_command(0, 0)).status is Status.MALFORMED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slot_period_ps", 999),
        ("acquisition", 0),
        ("phase_ps", 10_000),
        ("early_end", 1_999),
        ("late_start", 2_500),
        ("late_end", 10_001),
        ("hist_ticks", 20),
        ("align_cells", 1),
        ("dead_time_ps", 1 << 31),
        ("rate_hi", 4 << 16),
    ],
)
def test_start_refuses_what_is_out_of_range(name: str, value: int) -> None:
    host = Host()
    assert host.write(name, value).status is Status.OK
    assert host.control(Control.START) is Status.OUT_OF_RANGE
    assert host.read("state").values == (State.IDLE,)


def test_locked_while_it_runs_but_live_registers_are_not() -> None:
    host = Host()
    assert host.control(Control.START) is Status.OK
    host.run(2)
    assert host.read("state").values == (State.RUNNING,)
    assert host.write("slot_period_ps", 5000).status is Status.LOCKED
    assert host.write("pattern", 0).status is Status.LOCKED
    assert host.control(Control.START) is Status.LOCKED
    assert host.write("trim", 5).status is Status.OK
    assert host.write("stream_mask", 3).status is Status.OK
    assert host.read("slot_period_ps").values == (10_000,)
    assert host.control(Control.STOP) is Status.OK
    host.run(3)
    beats = [(f, b) for f, b in host.heartbeats() if f.acquisition]
    assert [b.final for _, b in beats] == [False] * (len(beats) - 1) + [True]
    assert beats[-1][1].state is State.DRAINING
    assert beats[-1][1].fields["trim"] == 5
    assert host.read("state").values == (State.IDLE,)


def test_damaged_and_crowding_commands_are_counted() -> None:
    host = Host()
    host.control(Control.START)
    host.run(2)
    good = read_command(MAP.address("state"), 1, tag=1)
    broken = bytearray(good)
    broken[-5] ^= 1
    host.board.write(b"noise" + bytes(broken) + good + read_command(MAP.address("state"), 1, tag=2))
    host.run(4)
    answers = [Response.parse(f.payload) for f in host.frames if f.type == FrameType.RESPONSE]
    assert [a.tag for a in answers[1:]] == [1]
    host.control(Control.STOP)
    host.run(3)
    counters = host.heartbeats()[-1][1].counters
    assert (counters["commands_bad"], counters["commands_dropped"]) == (1, 1)
    # A new acquisition counts from nothing.
    host.control(Control.START)
    host.run(2)
    host.control(Control.STOP)
    host.run(3)
    assert not any(host.heartbeats()[-1][1].counters[n] for n in counters if n.startswith("comm"))


def test_a_command_that_breaks_off_is_damaged_after_a_while() -> None:
    host = Host()
    host.control(Control.START)
    host.run(2)
    host.board.write(read_command(MAP.address("state"), 1)[:20])
    host.run((1 << 20) // G.tick_clocks + 3)
    assert host.read("state").values == (State.RUNNING,)
    host.control(Control.STOP)
    host.run(3)
    assert host.heartbeats()[-1][1].counters["commands_bad"] == 1


def test_what_is_left_when_it_drains_is_not_of_the_next_acquisition() -> None:
    host = Host()
    t = np.arange(0, 40 * G.tick_ps, 50_000, dtype=np.int64)
    host.board.stimulate(t, np.zeros(t.size, np.uint8))
    for _ in range(2):
        host.control(Control.START)
        host.run(4)
        host.control(Control.STOP)
        host.run(3)
    finals = [b for _, b in host.heartbeats() if b.final]
    assert finals[0].counters["clicks_0"] > 1000
    assert finals[1].counters["clicks_0"] == 0


def overloaded(
    clocks_per_byte: int, stalls: list[tuple[int, int]], ticks: int, heartbeat_ticks: int
) -> Host:
    """Bright light on four detectors, all tags streamed, flushed in every tick."""
    rng = np.random.default_rng(3)
    per_tick = 60
    slots = (ticks + 8) * G.tick_ps // 10_000
    n = per_tick * (ticks + 8)
    slot = np.sort(rng.integers(0, slots, n))
    # Bell pairs: early in one detector, late in another one.
    t = np.stack([slot * 10_000 + 2500, slot * 10_000 + 7500], axis=1).ravel()
    channel = np.stack([rng.integers(0, 2, n), rng.integers(2, 4, n)], axis=1).ravel()
    order = np.argsort(t, kind="stable")
    registers = {"heartbeat_ticks": (heartbeat_ticks,), "flush_ticks": (1,), "stream_mask": (31,)}
    script = acquisition_script(
        G, registers, t[order].astype(np.int64), channel[order].astype(np.uint8), ticks
    )
    host = Host(clocks_per_byte=clocks_per_byte, stalls=stalls)
    data = run_script(host.board, script, script.clocks)
    data += host.board.run(2048 * 4 * clocks_per_byte + 10 * G.tick_clocks)
    host.frames = host.decoder.feed(data)
    assert host.decoder.counts.junk_bytes == 0
    assert host.decoder.counts.missing == 0
    return host


@pytest.mark.parametrize("clocks_per_byte", [1, 3, 6, 14])
def test_an_overloaded_link_sheds_tags_first_and_accounts_for_all(clocks_per_byte: int) -> None:
    host = overloaded(clocks_per_byte, [], 40, 8)
    final = next(b for _, b in host.heartbeats() if b.final)
    counters = final.counters
    came = sum(
        Announcements.parse(f.payload).slot.size
        for f in host.frames
        if f.type == FrameType.ANNOUNCEMENTS
    )
    assert came == counters["announced_psi_minus"] + counters["announced_psi_plus"]
    bell = sum(counters[f"class_{k}"] for k in (1, 2, 3))
    gone = {k: sum(v for n, v in counters.items() if n.startswith(k)) for k in LOSSY}
    assert came + gone["lost_psi"] + gone["shed_psi"] == bell > 2000
    tags = dict.fromkeys(range(5), 0)
    for frame in host.frames:
        if frame.type == FrameType.TAGS:
            part = Tags.parse(frame.payload)
            tags[int(part.channel()[0])] += part.words.size
    for c in range(5):
        lost = counters[f"tags_lost_{c}"] + counters[f"tags_shed_{c}"]
        assert tags[c] + lost == counters[f"clicks_{c}"]
    assert (gone["tags_shed"] > 0) == (clocks_per_byte > 1)
    assert (gone["shed_psi"] > 0) == (clocks_per_byte > 6)
    losses = [Loss.parse(f.payload, G) for f in host.frames if f.type == FrameType.LOSS]
    assert bool(losses) == (sum(gone.values()) > 0)
    if losses:
        assert all(losses[-1].totals[n] == counters[n] for n in losses[-1].totals)


def test_a_link_that_comes_back_recovers_and_the_loss_is_told_exactly() -> None:
    length = G.tick_clocks
    host = overloaded(1, [(20 * length, 6 * length)], 60, 1)
    beats = {b.fields["cut_tick"]: b for f, b in host.heartbeats() if f.acquisition}
    losses = [Loss.parse(f.payload, G) for f in host.frames if f.type == FrameType.LOSS]
    assert len(losses) == 1
    (loss,) = losses
    names = list(loss.totals)

    def total(tick: int) -> list[int]:
        return [beats[tick].counters[n] for n in names]

    # Heartbeats frame the episode: nothing lost before, all of it at its end, nothing after.
    assert total(max(t for t in beats if t <= loss.begin_tick)) == [0] * len(names)
    assert total(min(t for t in beats if t >= loss.end_tick)) == list(loss.totals.values())
    assert total(max(beats)) == list(loss.totals.values())
    if loss.end_tick - 1 in beats:
        assert total(loss.end_tick - 1) != list(loss.totals.values())
    assert sum(loss.totals[f"tags_shed_{c}"] for c in range(5)) > 0
    recovered = [
        f
        for f in host.frames
        if f.type == FrameType.TAGS
        and Tags.parse(f.payload).cut_ps > (loss.end_tick + 2) * G.tick_ps
    ]
    assert len(recovered) > 4 * 20
