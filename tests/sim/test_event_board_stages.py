"""Stages of the event board: against big integers, the array functions, and themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.tags.reference import reference_acquisition
from bellrelay.tags.relay_config import RelayConfig
from bellrelay.wire.frames import FrameType
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Heartbeat
from bellrelay_sim.board_script import acquisition_script, run_script
from bellrelay_sim.board_session import BoardSession
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.event_stages import slot_time
from bellrelay_sim.random_acquisition import differences, random_acquisition

SMALL = BoardGeometry(
    n_detectors=4, clock_period_ps=5000, tick_clocks=2048, code_bits=4, capture_depth=8,
    announce_depth=8, announce_depth_short=8, hist_bins=64, hist_chunk=16, align_depth=16,
)  # fmt: skip
FOUR = BoardGeometry(
    n_detectors=4, clock_period_ps=5000, tick_clocks=4096, code_bits=8, capture_depth=128,
    announce_depth=128, announce_depth_short=32, hist_bins=256, hist_chunk=64, link_words=4096,
)  # fmt: skip
TWO = BoardGeometry(
    n_detectors=2, clock_period_ps=8000, tick_clocks=2048, code_bits=10, capture_depth=64,
    announce_depth=64, announce_depth_short=16, hist_bins=64, hist_chunk=16, align_depth=32,
)  # fmt: skip
FAST = BoardGeometry(
    n_detectors=4, clock_period_ps=20000, tick_clocks=4096, code_bits=6, capture_depth=128,
    announce_depth=64, announce_depth_short=32, hist_bins=256, hist_chunk=64, align_depth=64,
)  # fmt: skip


@given(
    st.integers(0, (1 << 62) - 1),
    st.integers(0, (1 << 48) - 1),
    st.integers(0, 1 << 18),
    st.integers(990, 20010),
    st.integers(0, (1 << 48) - 1),
)
def test_slot_time_is_exact(u: int, fraction: int, cells: int, step: int, part: int) -> None:
    exact = (u << 48) + fraction + cells * ((step << 48) + part)
    assert tuple(slot_time(u, fraction, cells, step, part)) == (exact >> 48, exact % (1 << 48))


@pytest.mark.parametrize("load", ["sparse", "pairs", "saturated"])
@pytest.mark.parametrize("geometry", [SMALL, FOUR, TWO, FAST], ids=["small", "4", "2", "fast"])
def test_agrees_with_the_array_functions(geometry: BoardGeometry, load: str) -> None:
    clicks = 0
    for seed in range(6):
        case = random_acquisition(1000 + seed, geometry, load)  # type: ignore[arg-type]
        recording = BoardSession(EventBoard(geometry)).acquire(
            case.registers, case.t, case.channel, case.ticks
        )
        assert differences(case, recording) == [], f"seed {1000 + seed}"
        clicks += sum(recording.final.counters[f"clicks_{c}"] for c in range(geometry.n_channels))
    assert clicks > {"sparse": 500, "pairs": 500, "saturated": 50_000}[load]


@pytest.mark.soak
def test_agrees_with_the_array_functions_at_volume() -> None:
    clicks = seed = 0
    while clicks < 10_000_000:
        for geometry in (SMALL, FOUR, TWO, FAST):
            for load in ("sparse", "pairs", "saturated"):
                case = random_acquisition(seed, geometry, load)  # type: ignore[arg-type]
                recording = BoardSession(EventBoard(geometry)).acquire(
                    case.registers, case.t, case.channel, case.ticks
                )
                assert differences(case, recording) == [], f"seed {seed}"
                clicks += sum(
                    recording.final.counters[f"clicks_{c}"] for c in range(geometry.n_channels)
                )
        seed += 1


def test_heartbeats_cut_counters_at_their_tick() -> None:
    """Every heartbeat, not the last one alone, holds what the array functions say up to there.

    Delays are not positive: their cut leaves out tags that deskew moves back across it.
    """
    case = random_acquisition(7, FOUR, "pairs", ticks=8)
    registers = {
        **case.registers,
        "heartbeat_ticks": (1,),
        "deskew_ps": (0, -139_999, -1, -4_999, -77),
        "dead_time_ps": (31_000, 0, 100_000, 5_000_000),
        "dead_extend": (0b0101,),
    }
    case = replace(case, registers=registers)
    session = BoardSession(EventBoard(FOUR))
    recording = session.acquire(registers, case.t, case.channel, case.ticks)
    beats = [b for f, b in _heartbeats(recording.frames, FOUR) if f]
    assert len(beats) == recording.n_ticks + 1
    config = _config(case.registers, FOUR)
    for beat in beats:
        expected = reference_acquisition(
            *case.tags(recording.n_ticks), config, recording.n_ticks, beat.fields["cut_tick"]
        )
        for name, value in expected.counters.items():
            if name.startswith("announced") or name in ("frames_skipped",):
                continue
            assert beat.counters[name] == value, (beat.fields["cut_tick"], name)


def test_trim_acts_from_the_tick_on_in_which_the_heartbeat_shows_it() -> None:
    case = random_acquisition(11, FOUR, "pairs", ticks=12)
    registers = {**case.registers, "heartbeat_ticks": (1,), "trim": (0,)}
    trims = {2: 1 << 31 - 1, 5: -(1 << 31), 8: 12_345}
    recording = BoardSession(EventBoard(FOUR)).acquire(
        registers, case.t, case.channel, case.ticks, trims
    )
    beats = [b for f, b in _heartbeats(recording.frames, FOUR) if f]
    in_force = tuple(b.fields["trim"] for b in beats)
    assert set(in_force) == {0, *trims.values()}
    config = replace(_config(registers, FOUR), trims=in_force)
    expected = reference_acquisition(*case.tags(recording.n_ticks), config, recording.n_ticks)
    for name in ("slots", "slots_not_live", "class_4", "early_0", "late_1", "outside_2"):
        assert recording.final.counters[name] == expected.counters[name], name


@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_time_and_of_stimulus_change_nothing(seed: int) -> None:
    case = random_acquisition(seed, FOUR, "pairs", ticks=20)
    registers = {**case.registers, "flush_ticks": (7,), "heartbeat_ticks": (9,)}
    script = acquisition_script(FOUR, registers, case.t, case.channel, case.ticks, {5: 999})
    whole = run_script(EventBoard(FOUR), script, script.clocks)
    rng = np.random.default_rng(seed)
    board, out = EventBoard(FOUR), b""
    while board.clock < script.clocks:
        pieces = int(rng.choice([1, 13, 400, FOUR.tick_clocks, 5 * FOUR.tick_clocks]))
        out += run_script(board, script, min(script.clocks, board.clock + pieces))
    assert out == whole

    # The same arrivals a little ahead of time, bit by bit.
    at, t, channel = script.stimulus[0]
    cuts = np.sort(rng.integers(0, t.size, 9))
    board, out, given = EventBoard(FOUR), b"", 0
    later = replace(script, stimulus=())
    out += run_script(board, later, at)
    while board.clock < script.clocks:
        zero = board.cell_zero
        ahead = (board.clock - zero if zero is not None else 0) + 3 * FOUR.tick_clocks
        n = int(np.searchsorted(t, ahead * FOUR.clock_period_ps))
        if board.state in (0, 1, 2) and n > given:
            for a, b in zip([given, *cuts], [*cuts, n], strict=True):
                a, b = max(int(a), given), min(int(b), n)
                if b > a:
                    board.stimulate(t[a:b], channel[a:b])
            given = n
        if board.state == 3:
            break
        out += run_script(board, later, min(script.clocks, board.clock + FOUR.tick_clocks))
    out += run_script(board, later, script.clocks)
    assert out == whole


def test_empty_ticks_are_passed_over() -> None:
    """A minute of simulated silence: heartbeats and nothing else."""
    geometry = BoardGeometry()
    board = EventBoard(geometry)
    seconds = 60
    data = board.run(seconds * 10**12 // geometry.clock_period_ps)
    session = BoardSession(board)
    beats = session.decoder.feed(data)
    ticks = seconds * 10**12 // geometry.tick_ps
    per_beat = board.registers.value("heartbeat_ticks")
    assert {f.type for f in beats} == {FrameType.HEARTBEAT}
    assert len(beats) == ticks // per_beat
    last = Heartbeat.parse(beats[-1].payload, geometry)
    assert last.fields["uptime_ticks"] == ticks // per_beat * per_beat


def _heartbeats(frames, geometry):
    return [
        (f.acquisition, Heartbeat.parse(f.payload, geometry))
        for f in frames
        if f.type == FrameType.HEARTBEAT
    ]


def _config(r, g: BoardGeometry) -> RelayConfig:
    return RelayConfig(
        geometry=g,
        slot_period_ps=r["slot_period_ps"][0],
        early=(r["early_start"][0], r["early_end"][0]),
        late=(r["late_start"][0], r["late_end"][0]),
        deskew_ps=r["deskew_ps"],
        dead_time_ps=r["dead_time_ps"],
        extending=tuple(bool(r["dead_extend"][0] >> d & 1) for d in range(g.n_detectors)),
        pattern=r["pattern"],
        phase_ps=r["phase_ps"][0],
        rate=r["rate_hi"][0] << 32 | r["rate_lo"][0],
        trims=r["trim"],
        announce_not_live=bool(r["announce_not_live"][0]),
        hist_shift=r["hist_shift"][0],
        stream_mask=r["stream_mask"][0],
    )
