"""The twin: a simulated board behind a pseudo-terminal that the host opens like a serial port.

    python -m bellrelay_sim.twin --config link.yaml --port-link PATH --slots 1e8

What happens is told on stdout as one JSON object per line: ``port`` (the host may open it),
``running``, ``progress``, ``done`` (the last photon of the acquisition is on the board; with what
the simulation knows of it), ``reset``, ``unplugged``, ``ended``.

Simulated time stands still while the host does not read, unless ``--realtime``; it passes as wall
time does while no photons are left to give. With ``--realtime --waiting`` it passes no faster than
wall time, and stands still while the host does not read. SIGTERM ends the twin, SIGUSR1 resets the
board, SIGUSR2 pulls its cable out and plugs it in again. With ``--conditions SOCKET`` the link is
changed while it runs (:mod:`.conditions`); from which slot on is told (``conditions``), and with
``--conditions-log FILE`` written to a file (:mod:`.conditions_log`). Conditions outlast an
acquisition. With ``--acquisition-seeds`` each acquisition has light of its own, by the id that the
host gave it; without, the same light comes in each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bellrelay.wire.geometry import BoardGeometry

from .board_script import acquisition_script, run_script
from .choices import acquisition_seed
from .clicks import ClickStream
from .conditions import Conditions
from .conditions_log import ConditionsLog
from .conditions_socket import ConditionsSocket
from .event_board import EventBoard
from .link import SimulatedLink
from .link_config import LinkConfigError, load_link
from .shadowed_board import ShadowedBoard
from .twin_port import TwinPort
from .twin_stimulus import Stimulus

__all__ = ["Twin", "main", "make_board"]

_PAUSE = 0.02
"""Longest wait of the loop, in seconds."""
_COMMAND_TICKS = 3
"""Ticks that pass at once after a command, so that its answer does not wait for the clock."""
_LOOK_TICKS = 64
"""Ticks after which a board that does not acquire is looked at again, at the latest."""
_UNSENT = 1 << 20
"""Bytes that the board's side of the line holds before the board itself feels the pressure."""
_PROGRESS = 0.5


TwinBoard = EventBoard | ShadowedBoard
"""A board that says when it acquires."""


def make_board(kind: str, geometry: BoardGeometry, clocks_per_byte: int) -> TwinBoard:
    """A board of this kind: ``event`` or ``gateware``.

    Raises
    ------
    ValueError
        Another kind.
    ImportError
        The gateware board needs the extra ``sim``.
    """
    if kind == "event":
        return EventBoard(geometry, clocks_per_byte=clocks_per_byte)
    if kind == "gateware":
        from .gateware_board import GatewareBoard

        return ShadowedBoard(GatewareBoard(geometry, clocks_per_byte=clocks_per_byte))
    raise ValueError(f"board is {kind!r}; allowed: event, gateware")


class Twin:
    """One board, its photons and its port.

    Parameters
    ----------
    link, slots
        What is simulated, and for how many slots per acquisition.
    new_board
        Makes a board as after a reset.
    port
        Where the host finds it, from the moment that the board is ready.
    realtime
        Simulated time follows wall time; a host that does not read makes the board shed.
    waiting
        In real time, too, simulated time stands still while the host does not read.
    halt
        Simulated time stands still after the last photon, until the host sends a command.
    dark_pace
        Simulated seconds per second, at most, while no light comes; None: as many as go. A board
        that nobody sends to leaves the machine to those that are sent to.
    conditions
        Where changes of the link are told.
    log
        Where it is written which conditions held.
    acquisition_seeds
        Every acquisition has light of its own.
    tell
        Called with every event.

    Raises
    ------
    OSError
        No pseudo-terminal, or no place for the port's link.
    """

    def __init__(
        self,
        link: SimulatedLink,
        slots: int,
        new_board: Callable[[], TwinBoard],
        port: TwinPort,
        *,
        realtime: bool = False,
        waiting: bool = False,
        halt: bool = False,
        dark_pace: float | None = None,
        conditions: ConditionsSocket | None = None,
        log: ConditionsLog | None = None,
        acquisition_seeds: bool = False,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._link = link
        self._slots = slots
        self._new_board = new_board
        self._port = port
        self._realtime = realtime
        self._waiting = waiting
        self._halt = halt
        self._dark_pace = dark_pace
        self._told_of = conditions
        self._log = log
        self._acquisition_seeds = acquisition_seeds
        self._conditions = Conditions(link) if log is None else log.last(link)
        self._tell = tell
        self.stop_requested = False
        self.reset_requested = False
        self.unplug_requested = False
        self._compile()
        self._power_up()
        # Last: whoever finds the port finds a board that answers at once.
        port.plug_in()

    def _power_up(self) -> None:
        self.board = self._new_board()
        self._out = memoryview(b"")
        self._stimulus = Stimulus(self._link, self._slots)
        self._acquisition: int | None = None
        self._acquiring = self._done = False
        self._chunk = 1
        self._epoch = time.monotonic()
        self._told = 0.0
        self._owed = 0.0

    def _begin(self, acquisition: int) -> None:
        """Photons of an acquisition whose start was commanded: it begins a tick later."""
        self._acquisition = acquisition
        link = self._link
        if self._acquisition_seeds:
            seed = acquisition_seed(link.seed, acquisition)
            link = dataclasses.replace(link, seed=seed)
        changing = self._told_of is not None
        self._conditions = self._conditions.of_acquisition(acquisition)
        self._stimulus = Stimulus(link, self._slots, changing=changing)
        if changing:
            self._stimulus.stream.change(self._conditions)
        self._record()
        # Enough for the clocks that may pass before it is seen that the acquisition runs.
        self._stimulus.give(self.board, (_LOOK_TICKS + 2) * self.board.geometry.tick_ps)

    def _change(self) -> None:
        """Take what has been told of the link."""
        assert self._told_of is not None
        conditions, refused = self._told_of.receive(self._conditions)
        for reason in refused:
            self._tell({"event": "conditions-refused", "reason": reason})
        if self._acquisition is not None:
            conditions = conditions.of_acquisition(self._acquisition)
        if conditions == self._conditions:
            return
        self._conditions = conditions
        if self._acquisition is not None:
            self._record()
            self._stimulus.stream.change(conditions)

    def _record(self) -> None:
        """Say what holds from the next slot on, before that is simulated."""
        assert self._acquisition is not None
        slot = self._stimulus.stream.slot
        if self._log is not None:
            self._log.add(self._acquisition, slot, self._conditions)
        if self._told_of is not None:
            self._tell(
                {
                    "event": "conditions",
                    "acquisition": self._acquisition,
                    "slot": slot,
                    **self._conditions.values(),
                }
            )

    def close(self) -> None:
        """Take the port away and the board down."""
        self._port.pull_out()
        self.board.close()

    def run(self) -> None:
        """Serve until somebody asks to stop."""
        self._tell({"event": "port", "path": str(self._port.link), "device": self._port.path})
        before = time.monotonic()
        while not self.stop_requested:
            if self.reset_requested:
                self._reset()
            if self.unplug_requested:
                self._replug()
            busy = self._acquiring and not self._done and not self._realtime and not self._paced
            there, readable, writable = self._port.wait(
                0.0 if busy and not self._out else _PAUSE, bool(self._out)
            )
            now = time.monotonic()
            elapsed, before = now - before, now
            if self._told_of is not None:
                self._change()
            if readable:
                data = self._port.read()
                if data:
                    self.board.write(data)
                    self._answer(len(data))
            if writable:
                self._hand_over()
            self._pass_time(elapsed, there)
        self._tell({"event": "ended", **self._standing()})

    def _compile(self) -> None:
        """Run a board for nothing: compiled under way, its loops would keep a host waiting."""
        board = self._new_board()
        if isinstance(board, EventBoard):
            geometry = board.geometry
            t, channel = np.zeros(1, np.int64), np.zeros(1, np.uint8)
            registers = {"stream_mask": (1,)}
            script = acquisition_script(geometry, registers, t, channel, 4)
            run_script(board, script, script.clocks)
        board.close()
        ClickStream(self._link, 1000, changing=self._told_of is not None).advance(1000)

    def _hand_over(self) -> None:
        """Give the line as much of what has left the board as it takes."""
        if self._out:
            self._out = self._out[self._port.write(self._out) :]

    def _pass_time(self, elapsed: float, there: bool) -> None:
        """Let simulated time pass as it should."""
        period_s = self.board.geometry.tick_ps * 1e-12
        if self._realtime:
            # A machine that cannot keep up is late; it does not try to make up for it.
            self._owed = min(self._owed + elapsed, 0.1)
            ticks = int(self._owed / period_s)
            self._owed -= ticks * period_s
            if not there:
                self._out = memoryview(b"")  # nobody holds the line: what is sent is gone
            if self._waiting:
                self._advance_until_full(ticks)
            else:
                self._advance(ticks)
            return
        if self._out or not there:
            return
        if self._acquiring and not self._done:
            ticks = min(self._chunk, self._ticks_left())
            if self._paced and self._dark_pace is not None:
                # No more is owed than a tick, or a second of what passes.
                due = self._owed + self._dark_pace * elapsed
                self._owed = min(due, max(self._dark_pace, period_s))
                ticks = min(ticks, int(self._owed / period_s))
                self._owed -= ticks * period_s
            self._advance_at_most(ticks)
            return
        if self._halt and self._acquiring:
            return
        self._owed = min(self._owed + elapsed, 0.2)
        ticks = min(int(self._owed / period_s), self._chunk)
        self._owed -= ticks * period_s
        self._advance_at_most(ticks)

    @property
    def _paced(self) -> bool:
        """Whether simulated time must not pass as fast as it can."""
        return self._dark_pace is not None and self._stimulus.stream.dark

    def _ticks_left(self) -> int:
        """Ticks to the end of the photons, as far as that is known; at least one."""
        zero = self.board.cell_zero
        if zero is None:
            return 1
        geometry = self.board.geometry
        passed = (self.board.clock - zero) * geometry.clock_period_ps
        end = self._slots * self._link.slot_period_ps
        return max(1, -((passed - end) // geometry.tick_ps))

    def _advance_at_most(self, ticks: int) -> None:
        """Advance, and learn how much may be done at once without keeping the host waiting."""
        if not ticks:
            return
        start = time.monotonic()
        self._advance(ticks)
        took = time.monotonic() - start
        if took < _PAUSE / 4:
            self._chunk = min(2 * self._chunk, 1 << 14)
        elif took > _PAUSE:
            self._chunk = max(1, self._chunk // 2)

    def _advance_until_full(self, ticks: int) -> None:
        """Advance, but no further than the host lags behind."""
        step = max(1, _UNSENT // self.board.geometry.tick_clocks)
        while ticks > 0 and len(self._out) < _UNSENT:
            self._advance(min(ticks, step))
            ticks -= step

    def _answer(self, command_bytes: int) -> None:
        """Let a command pass, tick by tick: a start is seen before the acquisition begins."""
        for _ in range(_COMMAND_TICKS + command_bytes // self.board.geometry.tick_clocks):
            self._advance(1)

    def _advance(self, ticks: int) -> None:
        """Ticks of simulated time, with the photons that belong into them."""
        board = self.board
        length = board.geometry.tick_clocks
        while ticks > 0:
            zero = board.cell_zero
            step = ticks if zero is not None else min(ticks, _LOOK_TICKS)
            if zero is not None:
                ahead = board.clock - zero + (step + 2) * length
                self._stimulus.give(board, ahead * board.geometry.clock_period_ps)
            if self._realtime and isinstance(board, EventBoard):
                step = min(step, max(1, _UNSENT // length))
                self._hand_over()
                if len(self._out) >= _UNSENT:
                    board.stall(step * length)
            data = board.run((board.clock // length + step) * length - board.clock)
            if data:
                self._out = memoryview(bytes(self._out) + data)
            ticks -= step
            self._watch()

    def _watch(self) -> None:
        """Tell what has changed."""
        zero = self.board.cell_zero
        acquisition = self.board.acquisition
        if acquisition is not None and self._acquisition is None:
            self._begin(acquisition)
        elif acquisition is None and self._acquisition is not None and not self._acquiring:
            # Stopped before it began: its photons are on the board, and would be the next one's.
            self._acquisition = None
            self.reset_requested = True
        if zero is not None and not self._acquiring:
            self._acquiring = True
            self._tell({"event": "running"})
        elif zero is None and self._acquiring:
            self._tell({"event": "stopped", **self._standing()})
            self._acquisition = None
            self._acquiring = self._done = False
            return
        if zero is None:
            return
        passed = (self.board.clock - zero) * self.board.geometry.clock_period_ps
        if not self._done and self._stimulus.stream.done and passed >= self._stimulus.end_ps:
            self._done = True
            self._tell({"event": "done", **self._standing()})
        now = time.monotonic()
        if now - self._told >= _PROGRESS:
            self._told = now
            self._tell(
                {
                    "event": "progress",
                    "slots": min(self._slots, passed // self._link.slot_period_ps),
                    "clicks": self._stimulus.clicks,
                    "simulated_seconds": passed * 1e-12,
                    "wall_seconds": now - self._epoch,
                }
            )

    def _standing(self) -> dict[str, Any]:
        return {
            "clock": self.board.clock,
            "wall_seconds": time.monotonic() - self._epoch,
            "truth": self._stimulus.truth(),
        }

    def _reset(self) -> None:
        self.reset_requested = False
        self.board.close()
        self._power_up()
        self._tell({"event": "reset"})

    def _replug(self) -> None:
        self.unplug_requested = False
        self._port.pull_out()
        self._out = memoryview(b"")
        self._tell({"event": "unplugged"})
        time.sleep(0.2)
        self._port.plug_in()
        self._tell({"event": "port", "path": str(self._port.link), "device": self._port.path})


def _tell_stdout(event: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Who started the twin is gone; the port's users may still be there.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bellrelay_sim.twin", description=__doc__)
    parser.add_argument("--config", type=Path, help="YAML file of the link; default: defaults")
    parser.add_argument("--board", choices=("event", "gateware"), default="event")
    parser.add_argument("--port-link", type=Path, required=True, help="where the port appears")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--slots", type=float, help="slots per acquisition, default 1e8")
    length.add_argument("--seconds", type=float, help="simulated seconds per acquisition")
    parser.add_argument("--realtime", action="store_true", help="keep to wall time; may shed")
    parser.add_argument(
        "--waiting", action="store_true", help="in real time, too, wait for a host that lags"
    )
    parser.add_argument("--halt", action="store_true", help="stop time after the last photon")
    parser.add_argument(
        "--dark-pace", type=float, help="most simulated seconds per second while no light comes"
    )
    parser.add_argument("--link-rate", type=float, help="bytes per simulated second")
    parser.add_argument("--conditions", type=Path, help="socket for changes of the link")
    parser.add_argument("--conditions-log", type=Path, help="file that says which held when")
    parser.add_argument(
        "--acquisition-seeds", action="store_true", help="other light in each acquisition"
    )
    parser.add_argument("--seed", type=int, help="instead of the link's own")
    parser.add_argument("--reset-after", type=float, help="reset the board after wall seconds")
    parser.add_argument("--unplug-after", type=float, help="replug the cable after wall seconds")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve one board until SIGTERM; exit status."""
    args = _arguments(argv)
    try:
        if args.config is None:
            link = SimulatedLink()
            geometry = BoardGeometry(n_detectors=link.n_detectors)
        else:
            link, geometry = load_link(args.config)
        if args.seed is not None:
            link = dataclasses.replace(link, seed=args.seed)
    except (LinkConfigError, ValueError, OSError) as error:
        print(f"twin: {error}", file=sys.stderr)  # noqa: T201
        return 2
    slots = int(args.slots) if args.slots else 10**8
    if args.seconds:
        slots = int(args.seconds * 1e12) // link.slot_period_ps
    per_byte = 1
    if args.link_rate:
        per_byte = max(1, round(1e12 / (args.link_rate * geometry.clock_period_ps)))
    if args.realtime and args.board != "event":
        print("twin: --realtime is for the event board", file=sys.stderr)  # noqa: T201
        return 2

    port = TwinPort(args.port_link)
    conditions = None if args.conditions is None else ConditionsSocket(args.conditions)
    log = None if args.conditions_log is None else ConditionsLog(args.conditions_log)
    twin = Twin(
        link,
        slots,
        lambda: make_board(args.board, geometry, per_byte),
        port,
        realtime=args.realtime,
        waiting=args.waiting,
        halt=args.halt,
        dark_pace=args.dark_pace,
        conditions=conditions,
        log=log,
        acquisition_seeds=args.acquisition_seeds,
        tell=_tell_stdout,
    )
    _handle_signals(twin, args)
    try:
        twin.run()
    finally:
        twin.close()
        for one in (conditions, log):
            if one is not None:
                one.close()
    return 0


def _handle_signals(twin: Twin, args: argparse.Namespace) -> None:
    def ask(name: str) -> Callable[..., None]:
        return lambda *_: setattr(twin, name, True)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask("stop_requested"))
    signal.signal(signal.SIGUSR1, ask("reset_requested"))
    signal.signal(signal.SIGUSR2, ask("unplug_requested"))
    later = [
        (args.reset_after, signal.SIGUSR1),
        (args.unplug_after, signal.SIGUSR2),
    ]
    waiting = sorted((seconds, number) for seconds, number in later if seconds is not None)
    if not waiting:
        return

    # One timer serves both: it is set again for what is left.
    def due(*_: object) -> None:
        seconds, number = waiting.pop(0)
        os.kill(os.getpid(), number)
        if waiting:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, waiting[0][0] - seconds))

    signal.signal(signal.SIGALRM, due)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, waiting[0][0]))


if __name__ == "__main__":
    raise SystemExit(main())
