"""Two boards, one script: are their links the same, byte for byte and clock for clock?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import FrameType
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import (
    Announcements,
    Heartbeat,
    Histogram,
    Loss,
    PayloadError,
    Response,
    Tags,
)

from .board import Board
from .board_script import BoardScript, run_script

__all__ = ["Comparison", "compare_boards", "describe_difference"]

_SHOWN = 6
"""Fields of a frame that are named when they differ."""


@dataclass(frozen=True)
class Comparison:
    """What the comparison of two boards came to.

    Attributes
    ----------
    identical
        Whether every byte was the same and left in the same stretch of clocks.
    clocks, bytes_compared
        How far the boards went; bytes that were the same, from the first on.
    frames
        Whole frames in these bytes, by type.
    first_difference
        In words; empty if there is none.
    """

    identical: bool
    clocks: int
    bytes_compared: int
    frames: dict[str, int] = field(default_factory=dict)
    first_difference: str = ""


def compare_boards(
    first: Board,
    second: Board,
    script: BoardScript,
    *,
    names: tuple[str, str] = ("event board", "gateware board"),
    stretch: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Run a script on two boards that have just been reset.

    Parameters
    ----------
    stretch
        Clocks after which the bytes are held against each other; default: a quarter of a tick. With
        1, every byte has to leave in the very same clock.
    progress
        Called with the share that is done.

    Raises
    ------
    ValueError
        A board that is not at clock 0, or two of different geometry.
    """
    if first.clock or second.clock:
        raise ValueError("both boards start from a reset")
    if first.geometry != second.geometry or first.geometry != script.geometry:
        raise ValueError("boards and script are of different geometry")
    step = stretch if stretch is not None else script.geometry.tick_clocks // 4
    one, two = bytearray(), bytearray()
    clock = 0
    while clock < script.clocks:
        clock = min(clock + step, script.clocks)
        one += run_script(first, script, clock)
        two += run_script(second, script, clock)
        if len(one) != len(two) or one[-step * 4 :] != two[-step * 4 :]:
            return _differing(first, second, script, clock, bytes(one), bytes(two), names)
        if progress is not None:
            progress(clock / script.clocks)
    return Comparison(True, clock, len(one), _counted(bytes(one)))


def _differing(
    first: Board,
    second: Board,
    script: BoardScript,
    clock: int,
    one: bytes,
    two: bytes,
    names: tuple[str, str],
) -> Comparison:
    """Let both go on until the frame is whole, and say what is different in it."""
    until = min(script.clocks, clock + 4 * script.geometry.tick_clocks)
    late_one, late_two = run_script(first, script, until), run_script(second, script, until)
    shorter = min(len(one), len(two))
    same = _common(one[:shorter], two[:shorter])
    if same == shorter and len(one) != len(two):
        words = (
            f"up to clock {clock}, {len(one)} bytes left the {names[0]} and {len(two)} the "
            f"{names[1]}"
        )
        content = describe_difference(one + late_one, two + late_two, script.geometry, names)
        words += f"; {content}" if content else "; what they are is the same"
    else:
        words = describe_difference(one + late_one, two + late_two, script.geometry, names)
    return Comparison(False, clock, same, _counted(one[:same]), words)


def _common(one: bytes, two: bytes) -> int:
    """Bytes that are the same from the beginning."""
    n = min(len(one), len(two))
    different = np.flatnonzero(np.frombuffer(one, np.uint8, n) != np.frombuffer(two, np.uint8, n))
    return int(different[0]) if different.size else n


def _counted(data: bytes) -> dict[str, int]:
    kinds = Counter(frame.type for frame in FrameDecoder().feed(data))
    return {_type_name(kind): number for kind, number in sorted(kinds.items())}


def _type_name(kind: int) -> str:
    try:
        return FrameType(kind).name
    except ValueError:
        return f"type {kind}"


def describe_difference(
    one: bytes,
    two: bytes,
    geometry: BoardGeometry,
    names: tuple[str, str] = ("first", "second"),
) -> str:
    """The first difference of two streams, in words; empty if the shorter begins the longer."""
    same = _common(one, two)
    if same == min(len(one), len(two)):
        return ""
    frames_one, frames_two = FrameDecoder().feed(one), FrameDecoder().feed(two)
    for number, (a, b) in enumerate(zip(frames_one, frames_two, strict=False)):
        if a == b:
            continue
        where = f"byte {same}, frame {number}"
        if a.type != b.type:
            return (
                f"{where}: {_type_name(a.type)} (sequence {a.sequence}) on the {names[0]}, "
                f"{_type_name(b.type)} (sequence {b.sequence}) on the {names[1]}"
            )
        fields_one, fields_two = _fields(a, geometry), _fields(b, geometry)
        parts = [
            f"{key} {fields_one.get(key, 'missing')} / {fields_two.get(key, 'missing')}"
            for key in {**fields_one, **fields_two}
            if fields_one.get(key) != fields_two.get(key)
        ]
        more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
        return (
            f"{where}, {_type_name(a.type)}: {'; '.join(parts[:_SHOWN])}{more} "
            f"({names[0]} / {names[1]})"
        )
    return f"byte {same}: {one[same]:#04x} on the {names[0]}, {two[same]:#04x} on the {names[1]}"


def _fields(frame: Frame, geometry: BoardGeometry) -> dict[str, object]:
    """A frame as names and values."""
    out: dict[str, object] = {"sequence": frame.sequence, "acquisition": frame.acquisition}
    try:
        match frame.type:
            case FrameType.HEARTBEAT:
                beat = Heartbeat.parse(frame.payload, geometry)
                out |= {**beat.fields, **beat.counters}
            case FrameType.LOSS:
                loss = Loss.parse(frame.payload, geometry)
                out |= {"begin_tick": loss.begin_tick, "end_tick": loss.end_tick, **loss.totals}
            case FrameType.RESPONSE:
                out |= vars(Response.parse(frame.payload))
            case FrameType.ANNOUNCEMENTS:
                records = Announcements.parse(frame.payload)
                out |= {"cut_tick": records.cut_tick, "records": records.slot.size}
                pairs = zip(records.slot.tolist(), records.outcome.tolist(), strict=True)
                out |= {f"record {i}": pair for i, pair in enumerate(pairs)}
            case FrameType.TAGS:
                tags = Tags.parse(frame.payload)
                out |= {"cut_ps": tags.cut_ps, "tags": tags.words.size}
                out |= {f"tag {i}": word for i, word in enumerate(tags.words.tolist())}
            case FrameType.HISTOGRAM:
                chunk = Histogram.parse(frame.payload)
                counts = chunk.counts.tolist()
                head = {k: v for k, v in vars(chunk).items() if k != "counts"}
                out |= head | {f"bin {i}": n for i, n in enumerate(counts, chunk.first_bin)}
            case _:
                out["payload"] = frame.payload.hex()
    except PayloadError as error:
        out["payload"] = f"{error}: {frame.payload.hex()}"
    return out
