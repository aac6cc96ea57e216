"""The board's self-test: known clicks through the whole chain, each stage held against the law."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.relay.board_check import LinkAnswers
from bellrelay.relay.link import SerialLink
from bellrelay.tags.reference import LINK_KINDS, Acquisition, reference_acquisition
from bellrelay.tags.relay_config import RelayConfig
from bellrelay.wire.access import AccessError, Identity, RegisterClient, identify
from bellrelay.wire.counters import counters
from bellrelay.wire.decoder import DecoderCounts, Frame
from bellrelay.wire.frames import FrameType
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table
from bellrelay.wire.payloads import Announcements, Heartbeat, Tags
from bellrelay.wire.registers import State
from bellrelay.wire.selftest_pattern import (
    pattern_clicks,
    pattern_registers,
    selftest_pattern,
)

__all__ = ["Recording", "StageResult", "compare_pattern", "compare_pulses", "run_selftest"]

_PINS, _PATTERN, _LOOP_BACK = 0, 1, 2
_LOOP_BACK_SPREAD_PS = 200
"""Largest difference of one channel's delays through the cable: each pulse leaves at a clock edge
and finds the line in the same state."""

_REPEATED = frozenset({"commands_dropped"})
"""No loss: this host asks again when an answer is late, and the board drops what it asked twice."""

_STAGES = {
    "front end": ("clicks", "pile_up"),
    "dead time": ("dead_time", "dead_cells", "before_start"),
    "gate": ("outside", "early", "late"),
    "slots": ("slots", "slots_not_live", "sync"),
    "classifier": ("class_", "pair_", "announced_"),
}


@dataclass(frozen=True)
class StageResult:
    """One stage; ``detail`` says what differs, or what was seen."""

    stage: str
    passed: bool
    detail: str

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"stage": self.stage, "passed": self.passed, "detail": self.detail}


@dataclass
class Recording:
    """What left a board in one acquisition.

    Attributes
    ----------
    tags : dict of channel to list of (n,) int64 ps
    final : the last heartbeat, None if it has not come
    damaged : int
        Frames whose CRC did not hold, and gaps in their numbers.
    """

    tags: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    slots: list[NDArray[np.uint64]] = field(default_factory=list)
    outcomes: list[NDArray[np.uint8]] = field(default_factory=list)
    final: Heartbeat | None = None
    ticks: int = 0
    damaged: int = 0

    def times(self, channel: int) -> NDArray[np.int64]:
        """(n,) int64 ps: raw tags of a channel."""
        return np.concatenate([np.empty(0, np.int64), *self.tags.get(channel, [])])


class _Recorder(LinkAnswers):
    """Reads a link: answers for the register client, frames of one acquisition for a recording."""

    def __init__(self, link: SerialLink) -> None:
        self.geometry: BoardGeometry | None = None
        self.acquisition = 0
        self.recording = Recording()
        self._damaged = self._before = 0
        super().__init__(link)

    def begin(self, acquisition: int) -> None:
        """A new recording, of this acquisition."""
        self._before = self._damaged
        self.recording = Recording()
        self.acquisition = acquisition

    def after_reading(self, counts: DecoderCounts) -> None:
        """Frames that came damaged or not at all since `begin`."""
        self._damaged = counts.bad_frames + counts.missing
        self.recording.damaged = self._damaged - self._before

    def other(self, frame: Frame) -> None:
        """Into the recording, if it is of this acquisition."""
        if self.geometry is None or not self.acquisition or frame.acquisition != self.acquisition:
            return
        kind, payload = frame.type, frame.payload
        recording = self.recording
        if kind == FrameType.TAGS:
            tags = Tags.parse(payload)
            if tags.words.size:
                recording.tags.setdefault(int(tags.channel()[0]), []).append(tags.time())
        elif kind == FrameType.ANNOUNCEMENTS:
            announced = Announcements.parse(payload)
            recording.slots.append(announced.slot)
            recording.outcomes.append(announced.outcome)
        elif kind == FrameType.HEARTBEAT:
            beat = Heartbeat.parse(payload, self.geometry)
            recording.ticks = beat.fields["cut_tick"]
            if beat.final:
                recording.final = beat


@contextmanager
def _recorder(port: Path, baud: int) -> Iterator[_Recorder]:
    link = SerialLink(port, baud)
    recorder = _Recorder(link)
    try:
        yield recorder
    finally:
        recorder.close()
        link.close()


def _ports(n: int) -> tuple[int, ...]:
    """Half of the detectors behind each port of the beam splitter."""
    return tuple(2 * d // n for d in range(n))


def _registers(geometry: BoardGeometry, source: int) -> dict[str, tuple[int, ...]]:
    out = pattern_registers(geometry)
    out["pattern"] = tuple(pattern_table("time-bin", _ports(geometry.n_detectors)))
    out["pattern_source"] = (source,)
    # Not the number of the pass before, whose frames may still be on their way.
    out["acquisition"] = (int(time.time()) << 2 & 0x7FFF_FFFF | source,)
    if source == _LOOP_BACK:
        del out["fine"]  # the cable's clicks are timed by the lines as they are calibrated
    return out


def _relay_config(geometry: BoardGeometry) -> RelayConfig:
    r, n = pattern_registers(geometry), geometry.n_detectors
    return RelayConfig(
        geometry=geometry,
        slot_period_ps=r["slot_period_ps"][0],
        early=(r["early_start"][0], r["early_end"][0]),
        late=(r["late_start"][0], r["late_end"][0]),
        deskew_ps=r["deskew_ps"],
        dead_time_ps=r["dead_time_ps"],
        extending=(False,) * n,
        pattern=tuple(pattern_table("time-bin", _ports(n))),
        hist_shift=r["hist_shift"][0],
        stream_mask=r["stream_mask"][0],
    )


def _acquire(client: RegisterClient, recorder: _Recorder, wait_s: float) -> Recording:
    recorder.begin(client.read("acquisition")[0])
    client.start()
    end = time.monotonic() + wait_s
    while recorder.recording.ticks < 2 and time.monotonic() < end:
        time.sleep(0.01)
    client.stop()
    while recorder.recording.final is None and time.monotonic() < end:
        time.sleep(0.01)
    return recorder.recording


def run_selftest(
    port: Path, baud: int, *, loop_back: bool, wait_s: float = 20.0
) -> tuple[Identity, list[StageResult]]:
    """Drive the board's pattern generator, and hold every stage against the reference.

    The board must be idle. Its fine table is written for the time of the test and restored.

    Parameters
    ----------
    loop_back
        Then let the pattern out at the loop-back connector and in again at the inputs.

    Raises
    ------
    PortError, AccessError, OSError
        As the daemon would.
    """
    with _recorder(port, baud) as recorder:
        identity = identify(recorder)
        geometry = recorder.geometry = identity.geometry
        client = RegisterClient(recorder, geometry)
        results = [StageResult("link", True, f"{geometry.board}, gateware {identity.version_text}")]
        state = State(client.read("state")[0])
        if state is not State.IDLE:
            detail = f"the board is {state.name.lower()}: stop the daemon first"
            return identity, [*results, StageResult("idle", False, detail)]
        fine = client.read("fine")
        try:
            results += _pass(client, recorder, geometry, _PATTERN, wait_s)
            if loop_back:
                client.configure({"fine": fine})
                results += _pass(client, recorder, geometry, _LOOP_BACK, wait_s)
        except BaseException as error:
            # Whatever ended the test is what must be told; the board may still be running.
            if trouble := _put_back(client, fine):
                error.add_note(trouble)
            raise
        if trouble := _put_back(client, fine):
            results.append(StageResult("put back", False, trouble))
        return identity, results


def _put_back(client: RegisterClient, fine: tuple[int, ...], wait_s: float = 5.0) -> str:
    """Stop the board if it runs, and write what the test has changed; what failed, or nothing."""
    try:
        end = time.monotonic() + wait_s
        if State(client.read("state")[0]) is not State.IDLE:
            client.stop()
        while State(client.read("state")[0]) is not State.IDLE and time.monotonic() < end:
            time.sleep(0.01)
        client.configure({"fine": fine, "pattern_source": (_PINS,)})
    except (AccessError, OSError) as error:
        return f"the registers could not be put back: {error}"
    return ""


def _pass(
    client: RegisterClient,
    recorder: _Recorder,
    geometry: BoardGeometry,
    source: int,
    wait_s: float,
) -> list[StageResult]:
    name = "registers" if source == _PATTERN else "loop-back registers"
    registers = _registers(geometry, source)
    try:
        client.configure(registers)
    except AccessError as error:
        return [StageResult(name, False, str(error))]
    words = sum(len(values) for values in registers.values())
    written = StageResult(name, True, f"{words} words hold what was written")
    recording = _acquire(client, recorder, wait_s)
    if recording.final is None:
        return [written, StageResult("acquisition", False, f"not over within {wait_s:g} s")]
    compare = compare_pattern if source == _PATTERN else compare_pulses
    return [written, *compare(recording, geometry)]


def compare_pattern(recording: Recording, geometry: BoardGeometry) -> list[StageResult]:
    """Hold a recording of the pattern against the reference of the stages."""
    beat = recording.final
    assert beat is not None
    t, channel = pattern_clicks(geometry)
    expected = reference_acquisition(
        np.array(t, np.int64),
        np.array(channel, np.uint8),
        _relay_config(geometry),
        beat.fields["cut_tick"] - 1,
    )
    results = [_tags(recording, expected, geometry)]
    kinds = {c.name: c.kind for c in counters(geometry)}
    for stage, families in _STAGES.items():
        names = [name for name, kind in kinds.items() if kind.startswith(families)]
        wrong = [
            f"{name} is {beat.counters[name]}, expected {expected.counters[name]}"
            for name in names
            if beat.counters[name] != expected.counters[name]
        ]
        results.append(_result(stage, wrong, f"{len(names)} counters as expected"))
    sync = (beat.fields["sync_slot"], beat.fields["sync_pos"])
    wanted = (expected.sync_slot, expected.sync_position)
    results.append(
        _result(
            "slot clock",
            [f"sync at slot, position {sync}, expected {wanted}"] if sync != wanted else [],
            f"sync at slot {sync[0]}, {sync[1]} ps",
        )
    )
    results.append(_announcements(recording, expected))
    lost = [
        f"{name} is {beat.counters[name]}"
        for name, kind in kinds.items()
        if kind in LINK_KINDS - _REPEATED and beat.counters[name]
    ]
    if recording.damaged:
        lost.append(f"{recording.damaged} frames damaged or missing")
    results.append(_result("nothing lost", lost, "no tag, announcement or frame"))
    return results


def compare_pulses(recording: Recording, geometry: BoardGeometry) -> list[StageResult]:
    """Hold a recording of the pattern's pulses through a cable against what left."""
    results = []
    for channel in range(geometry.n_channels):
        cells = [e.cell for e in selftest_pattern(geometry) if e.mask >> channel & 1]
        # A click in the cell after another lengthens the pulse that is under way.
        edges = [c for c in cells if c - 1 not in cells]
        seen = recording.times(channel)
        stage = f"loop-back, channel {channel}"
        if len(seen) != len(edges):
            results.append(
                StageResult(stage, False, f"{len(seen)} clicks, {len(edges)} pulses went out")
            )
            continue
        delays = seen - np.array(edges, np.int64) * geometry.clock_period_ps
        spread = int(delays.max() - delays.min())
        detail = f"delay {round(float(delays.mean()))} ps, spread {spread} ps"
        results.append(StageResult(stage, spread <= _LOOP_BACK_SPREAD_PS, detail))
    return results


def _result(stage: str, wrong: list[str], right: str) -> StageResult:
    more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
    return StageResult(stage, not wrong, "; ".join(wrong[:3]) + more if wrong else right)


def _tags(recording: Recording, expected: Acquisition, geometry: BoardGeometry) -> StageResult:
    wrong = []
    for channel in range(geometry.n_channels):
        seen, wanted = recording.times(channel), expected.raw_tags[channel]
        if len(seen) != len(wanted):
            wrong.append(f"channel {channel}: {len(seen)} tags, expected {len(wanted)}")
        elif (seen != wanted).any():
            at = int(np.flatnonzero(seen != wanted)[0])
            wrong.append(f"channel {channel}: tag {at} at {seen[at]} ps, expected {wanted[at]}")
    number = sum(len(times) for times in expected.raw_tags.values())
    return _result("tags", wrong, f"{number} tags at their picosecond")


def _announcements(recording: Recording, expected: Acquisition) -> StageResult:
    slots = np.concatenate([np.empty(0, np.uint64), *recording.slots])
    outcomes = np.concatenate([np.empty(0, np.uint8), *recording.outcomes])
    wrong = []
    if not np.array_equal(slots, expected.announced_slot):
        wrong.append(f"{slots.size} slots, expected {expected.announced_slot.size} others")
    elif not np.array_equal(outcomes, expected.announced_outcome):
        at = int(np.flatnonzero(outcomes != expected.announced_outcome)[0])
        wrong.append(
            f"slot {slots[at]}: outcome {outcomes[at]}, expected {expected.announced_outcome[at]}"
        )
    return _result("announcements", wrong, f"{slots.size} slots with their outcome")
