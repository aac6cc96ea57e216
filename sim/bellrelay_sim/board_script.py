"""An acquisition as a script in clocks: the same for every board, whatever the board answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.frames import COMMAND_MAX_WORDS, FrameType, command_word, encode_frame
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import Control, RegisterMap

from .board import Board
from .event_registers import EventRegisters
from .event_timing import COMMAND_CLOCKS, START_CLOCKS

__all__ = ["BoardScript", "acquisition_script", "run_script", "write_command"]

_OFFSET = 1024
"""Commands are written so many clocks into a tick: the answer to the one before has left then."""


@dataclass(frozen=True)
class BoardScript:
    """What a host does, by the clock.

    Attributes
    ----------
    writes
        ``(clock, bytes)``, ascending.
    stimulus
        ``(clock, t, channel)``, ascending: when arrivals are handed over, and which.
    clocks
        How long it takes.
    """

    geometry: BoardGeometry
    writes: tuple[tuple[int, bytes], ...]
    stimulus: tuple[tuple[int, NDArray[np.int64], NDArray[np.uint8]], ...]
    clocks: int


def write_command(address: int, values: Sequence[int], tag: int = 0) -> bytes:
    """A WRITE as bytes."""
    words = [tag, command_word(address, len(values)), *(v & 0xFFFF_FFFF for v in values)]
    return encode_frame(FrameType.WRITE, 0, 0, words)


def acquisition_script(
    geometry: BoardGeometry,
    registers: Mapping[str, Sequence[int]],
    t: NDArray[np.int64],
    channel: NDArray[np.uint8],
    ticks: int,
    trims: Mapping[int, int] | None = None,
) -> BoardScript:
    """Configure, start, run for about ``ticks`` ticks, stop, wait for the last histogram.

    Parameters
    ----------
    registers
        Values by name, of all elements from the first on. Words that a board has after its reset
        are not written.
    t, channel
        Arrivals in ps since cell 0.
    trims
        Values for ``trim``, written in this tick of the acquisition.
    """
    length = geometry.tick_clocks
    registry = RegisterMap(geometry)
    words = {
        registry.address(name, i): value & 0xFFFF_FFFF
        for name, values in registers.items()
        for i, value in enumerate(values)
    }
    known = EventRegisters(geometry, (0, 0, 0), 0).words
    changed = sorted(a for a, value in words.items() if known[a] != value)
    writes: list[tuple[int, bytes]] = []
    tick = 0

    def write(data: bytes) -> None:
        nonlocal tick
        writes.append((tick * length + _OFFSET, data))
        # It is answered at the end of the tick in which it completes.
        tick += (_OFFSET + len(data) + COMMAND_CLOCKS + 8) // length + 1

    for number, part in enumerate(_runs(changed)):
        write(write_command(part[0], [words[a] for a in part], number))
    started = tick * length + _OFFSET
    control = registry.address("control")
    start = write_command(control, [Control.START])
    write(start)
    zero = -(-(started + len(start) + 1 + START_CLOCKS) // length)
    tick = max(tick, zero)
    for at, trim in sorted((trims or {}).items()):
        tick = max(tick, zero + at)
        write(write_command(registry.address("trim"), [trim]))
    tick = max(tick, zero + ticks - 1)
    write(write_command(control, [Control.STOP]))
    chunks = geometry.n_channels * geometry.hist_bins // geometry.hist_chunk
    hist = words.get(registry.address("hist_ticks"), 0)
    tick += 3 + (2 * chunks + 1 if hist else 0)  # the last histogram may wait for one before
    return BoardScript(geometry, tuple(writes), ((started, t, channel),), tick * length)


def _runs(addresses: Sequence[int]) -> list[list[int]]:
    """Addresses that follow one another, at most a command's worth each."""
    out: list[list[int]] = []
    for address in addresses:
        if out and address == out[-1][-1] + 1 and len(out[-1]) < COMMAND_MAX_WORDS:
            out[-1].append(address)
        else:
            out.append([address])
    return out


def run_script(board: Board, script: BoardScript, until: int) -> bytes:
    """Let a board that has come to some clock of the script go on to the clock ``until``."""
    out = []
    while board.clock < until:
        now = board.clock
        for clock, data in script.writes:
            if clock == now:
                board.write(data)
        for clock, t, channel in script.stimulus:
            if clock == now:
                board.stimulate(t, channel)
        events = [w[0] for w in script.writes] + [s[0] for s in script.stimulus]
        following = min((clock for clock in events if now < clock < until), default=until)
        out.append(board.run(following - now))
    return b"".join(out)
