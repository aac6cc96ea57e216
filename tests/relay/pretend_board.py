"""A scripted board on a pseudo-terminal: answers commands, and sends what a test tells it to."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty
from pathlib import Path

import numpy as np

from bellrelay.wire.counters import counters
from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import FrameType, Status, encode_frame
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Announcements, Command, Heartbeat, Response
from bellrelay.wire.registers import Access, Control, RegisterMap, State

GEOMETRY = BoardGeometry(n_detectors=2, board="pretend")


class PretendBoard:
    """Runs in a thread of its own. ``link`` is a symbolic link to the pty, as by-id has them.

    While it runs it announces ``per_beat`` slots before each heartbeat. ``damage(bytes) -> bytes``
    is applied to all that leaves. ``lie`` is called with the frames' list before it is sent.
    ``left_when_idle``: (type, payload) of frames that leave between a stop and its answer.
    ``beats_before_start``: heartbeats of the idle board that leave before a start takes effect.
    """

    def __init__(
        self, link: Path, *, geometry=GEOMETRY, beat_s=0.02, per_beat=5, seed=1, version=(0, 1, 2)
    ):
        self.geometry = geometry
        self.link = link
        self.beat_s = beat_s
        self.per_beat = per_beat
        self.damage = lambda data: data
        self.announce_hook = lambda slots: slots
        self.map = RegisterMap(geometry)
        self.live = {
            block.base + r.offset
            for block in self.map.blocks
            for r in block.registers
            if r.access is Access.LIVE
        }
        self.constants = self.map.constants(version=version, git_revision=0xABCD)
        self.rng = np.random.default_rng(seed)
        self.sent: dict[int, list[tuple[int, int]]] = {}
        self.silent = False
        self.mute = False
        self.left_when_idle = []
        self.beats_before_start = 0
        self.sent_frames = 0
        self.master = -1
        self._closing = threading.Event()
        self.reset()
        self.plug()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def reset(self):
        self.words = dict(self.constants)
        for block in self.map.blocks:
            for r in block.registers:
                if r.access is not Access.CONSTANT:
                    at = block.base + r.offset
                    self.words.update(dict.fromkeys(range(at, at + r.count), r.reset & 0xFFFFFFFF))
        self.state = State.IDLE
        self.sequence = 0
        self.uptime = 0
        self.tick = 0
        self.slot = 0
        self.totals = {c.name: 0 for c in counters(self.geometry)}
        self.commands = FrameDecoder()

    def plug(self):
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        with contextlib.suppress(FileNotFoundError):
            self.link.unlink()
        self.link.symlink_to(os.ttyname(slave))
        self.slave = slave
        self.master = master

    def unplug(self):
        master, self.master = self.master, -1
        self.link.unlink()
        time.sleep(0.03)
        os.close(self.slave)
        os.close(master)

    def close(self):
        self._closing.set()
        self._thread.join()
        if self.master >= 0:
            self.unplug()

    @property
    def acquisition(self):
        return self.words[self.map.address("acquisition")]

    def send(self, kind, payload, acquisition=None):
        if acquisition is None:
            active = self.state in (State.RUNNING, State.DRAINING)
            acquisition = self.acquisition if active else 0
        frame = encode_frame(kind, self.sequence, acquisition, payload)
        self.sequence += 1
        self.sent_frames += 1
        return frame

    def out(self, data):
        if self.silent or self.master < 0:
            return
        rest = memoryview(self.damage(data))
        deadline = time.monotonic() + 2
        while rest and time.monotonic() < deadline:
            try:
                rest = rest[os.write(self.master, rest) :]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                return

    def beat(self, final=False):
        frames = []
        running = self.state in (State.RUNNING, State.DRAINING)
        if running and self.per_beat:
            steps = self.rng.integers(1, 100, self.per_beat).astype(np.uint64)
            slots = np.cumsum(steps, dtype=np.uint64) + np.uint64(self.slot)
            outcome = self.rng.integers(1, 3, self.per_beat).astype(np.uint8)
            self.slot = int(slots[-1])
            self.tick += 10
            minus = int((outcome == 1).sum())
            self.totals["announced_psi_minus"] += minus
            self.totals["announced_psi_plus"] += len(outcome) - minus
            self.totals["slots"] = self.slot + 1
            pairs = zip(slots.tolist(), outcome.tolist(), strict=True)
            self.sent.setdefault(self.acquisition, []).extend(pairs)
            slots = self.announce_hook(slots)
            payload = Announcements(self.tick, slots, outcome).encode()
            frames.append(self.send(FrameType.ANNOUNCEMENTS, payload))
        self.uptime += 10
        frames.append(self.heartbeat(final))
        self.out(b"".join(frames))

    def trim(self):
        """As a signed number."""
        word = self.words[self.map.address("trim")]
        return word - (word >> 31 << 32)

    def heartbeat(self, final=False):
        fields = {
            "module_id": self.constants[0],
            "config_hash": self.geometry.config_hash,
            "uptime_ticks": self.uptime,
            "cut_tick": self.tick,
            "cut_slot": self.slot + 1,
            "cut_ps": self.tick * self.geometry.tick_ps,
            "trim": self.trim(),
        }
        beat = Heartbeat(self.state, final, fields, self.totals)
        return self.send(FrameType.HEARTBEAT, beat.encode(self.geometry))

    def _run(self):
        next_beat = time.monotonic()
        while not self._closing.is_set():
            master = self.master
            if master < 0:
                time.sleep(0.005)
                next_beat = time.monotonic()
                continue
            wait = max(0.0, next_beat - time.monotonic())
            try:
                ready, _, _ = select.select([master], [], [], wait)
                if ready:
                    self._commands(os.read(master, 4096))
            except (OSError, ValueError):
                time.sleep(0.005)
            if time.monotonic() >= next_beat:
                next_beat += self.beat_s
                self.beat()

    def _commands(self, data):
        for frame in self.commands.feed(data):
            command = Command.parse(FrameType(frame.type), frame.payload)
            span = range(command.address, command.address + command.count)
            status, values = Status.OK, ()
            self.words[self.map.address("state")] = int(self.state)
            if not all(a in self.words for a in span):
                status = Status.UNKNOWN_ADDRESS
            elif frame.type == FrameType.READ:
                values = tuple(self.words[a] for a in span)
            elif command.address == self.map.address("control"):
                self._control(command.values[0])
            elif self.state is not State.IDLE and command.address not in self.live:
                status = Status.LOCKED
            else:
                self.words.update(zip(span, command.values, strict=True))
            answer = Response(
                command.tag, status, frame.type, command.address, command.count, values
            )
            if not self.mute:
                self.out(self.send(FrameType.RESPONSE, answer.encode()))

    def _control(self, value):
        if value & Control.START and self.state is State.IDLE:
            self.out(b"".join(self.heartbeat() for _ in range(self.beats_before_start)))
            self.state = State.RUNNING
            self.slot = self.tick = 0
            self.totals = dict.fromkeys(self.totals, 0)
        if value & Control.STOP and self.state is State.RUNNING:
            self.state = State.DRAINING
            self.beat(final=True)
            self.state = State.IDLE
            # As boards do: of a histogram's last period, before the command's answer.
            self.out(b"".join(self.send(*frame) for frame in self.left_when_idle))
