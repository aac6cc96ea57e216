"""The twin as a host sees it: a process, a serial port, status lines."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from bellrelay.wire.decoder import Frame, FrameDecoder
from bellrelay.wire.frames import FrameType
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Announcements, Heartbeat, Loss, Response
from bellrelay.wire.registers import Control, RegisterMap, State
from bellrelay_sim.board_script import write_command
from bellrelay_sim.link_config import load_link
from bellrelay_sim.twin import main

CONFIG = """
slot_period_ps: 10000
arm_a: {eta: 0.2}
arm_b: {eta: 0.2}
detectors: 2
seed: 3
board: {tick_clocks: 8192, capture_depth: 256, announce_depth: 256, link_words: 8192}
"""
G = BoardGeometry(
    n_detectors=2, tick_clocks=8192, capture_depth=256, announce_depth=256, link_words=8192
)
MAP = RegisterMap(G)


class Twin:
    """A running twin and a host at its port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        config = folder / "link.yaml"
        config.write_text(CONFIG)
        self.link = folder / "port"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bellrelay_sim.twin", "--config", str(config),
             "--port-link", str(self.link), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._events: queue.Queue[dict] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.event("port")
        self.open()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))

    def event(self, name: str, seconds: float = 60.0) -> dict:
        """The next status line of this name."""
        end = time.monotonic() + seconds
        while True:
            event = self._events.get(timeout=max(0.01, end - time.monotonic()))
            if event["event"] == name:
                return event

    def open(self) -> None:
        self.port = serial.Serial(str(self.link), 3_000_000, timeout=0.05)
        self.decoder = FrameDecoder()
        self.frames: list[Frame] = []

    def receive(self) -> list[Frame]:
        frames = self.decoder.feed(self.port.read(1 << 16))
        self.frames += frames
        return frames

    def wait(self, kind: FrameType, seconds: float = 20.0) -> Frame:
        """The next frame of a type."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for frame in self.receive():
                if frame.type == kind:
                    return frame
        raise AssertionError(f"no {kind.name}")

    def write(self, name: str, *values: int) -> None:
        self.port.write(write_command(MAP.address(name), values))
        assert Response.parse(self.wait(FrameType.RESPONSE).payload).status == 0

    def until(self, name: str, seconds: float = 60.0) -> dict:
        """Keep reading until a status line comes."""
        found: list[dict] = []
        thread = threading.Thread(target=lambda: found.append(self.event(name, seconds)))
        thread.start()
        while thread.is_alive():
            self.receive()
        return found[0]

    def stop_acquisition(self) -> Heartbeat:
        self.write("control", Control.STOP)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for frame in self.frames:
                if frame.type == FrameType.HEARTBEAT:
                    beat = Heartbeat.parse(frame.payload, G)
                    if beat.final:
                        return beat
            self.receive()
        raise AssertionError("no final heartbeat")

    def end(self) -> int:
        self.port.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    one = Twin(tmp_path, "--slots", "2e6")
    yield one
    one.end()


def test_an_acquisition_from_start_to_the_last_photon(twin: Twin) -> None:
    link, _ = load_link(twin.link.with_name("link.yaml"))
    twin.write("deskew_ps", *(d.cable_delay_ps for d in link.detectors))
    twin.write("control", Control.START)
    truth = twin.until("done")["truth"]
    final = twin.stop_acquisition()
    assert truth["slots"] == 2_000_000
    assert final.counters["slots"] >= 2_000_000
    for d, name in enumerate(truth["detectors"]):
        fates = truth["detectors"][name]
        fired = sum(fates[f"{cause}_clicks"] for cause in ("photon", "dark", "afterpulse"))
        # A front end has one hit per clock; nothing else is missing.
        assert 0 <= fired - fates["before_start"] - final.counters[f"clicks_{d}"] < 0.01 * fired
        assert final.counters[f"clicks_{d}"] > 10_000
    came = [
        Announcements.parse(f.payload) for f in twin.frames if f.type == FrameType.ANNOUNCEMENTS
    ]
    assert sum(a.slot.size for a in came) == (
        final.counters["announced_psi_minus"] + final.counters["announced_psi_plus"]
    )
    assert final.counters["announced_psi_minus"] > 100
    # Reading all the time, a host has lost nothing and seen nothing damaged.
    assert twin.decoder.counts.missing == twin.decoder.counts.bad_frames == 0
    assert twin.end() == 0
    assert not twin.link.is_symlink()


def test_the_port_closes_and_opens_again(twin: Twin) -> None:
    twin.write("control", Control.START)
    twin.wait(FrameType.HEARTBEAT)
    twin.port.close()
    time.sleep(0.3)
    twin.open()
    twin.until("done")
    final = twin.stop_acquisition()
    assert final.counters["slots"] >= 2_000_000
    # While nobody held the port, time stood still: the board has shed nothing.
    assert not any(v for n, v in final.counters.items() if "shed" in n or "lost" in n)


def test_an_idle_twin_beats_and_does_not_spin(twin: Twin) -> None:
    twin.wait(FrameType.HEARTBEAT)
    clocks_per_second = os.sysconf("SC_CLK_TCK")

    def busy() -> float:
        fields = Path(f"/proc/{twin.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / clocks_per_second

    before, begun, beats = busy(), time.monotonic(), 0
    while time.monotonic() - begun < 1.5:
        beats += sum(f.type == FrameType.HEARTBEAT for f in twin.receive())
    assert beats >= 15
    assert busy() - before < 0.75


def test_reset_restarts_sequence_and_registers(twin: Twin) -> None:
    twin.write("slot_period_ps", 12_345)
    twin.write("control", Control.START)
    twin.wait(FrameType.HEARTBEAT)
    twin.process.send_signal(signal.SIGUSR1)
    twin.event("reset")
    end = time.monotonic() + 20
    while not twin.decoder.counts.restarts:
        assert time.monotonic() < end
        twin.receive()
    beat = Heartbeat.parse(twin.wait(FrameType.HEARTBEAT).payload, G)
    assert beat.state is State.IDLE
    twin.port.write(write_command(MAP.address("slot_period_ps"), [10_000]))
    twin.wait(FrameType.RESPONSE)
    twin.write("control", Control.START)
    twin.until("done")


def test_unplugging_takes_the_port_away_and_brings_a_new_one(twin: Twin) -> None:
    twin.wait(FrameType.HEARTBEAT)
    before = os.readlink(twin.link)
    twin.process.send_signal(signal.SIGUSR2)
    twin.event("unplugged")

    def read_on() -> None:
        for _ in range(100):
            twin.receive()
            time.sleep(0.01)

    with pytest.raises((serial.SerialException, OSError)):
        read_on()
    twin.event("port")
    twin.port.close()
    assert twin.link.is_symlink()
    assert os.path.exists(twin.link)
    twin.open()
    twin.wait(FrameType.HEARTBEAT)
    assert os.readlink(twin.link) != before or twin.process.poll() is None


def _tags_shed(twin: Twin) -> int:
    """Raw tags that the last LOSS frame says were shed."""
    told = [Loss.parse(f.payload, G) for f in twin.frames if f.type == FrameType.LOSS]
    return sum(v for n, v in told[-1].totals.items() if n.startswith("tags_shed")) if told else 0


def test_in_real_time_a_host_that_does_not_read_makes_the_board_shed(tmp_path: Path) -> None:
    twin = Twin(tmp_path, "--seconds", "30", "--realtime")
    try:
        twin.write("stream_mask", 7)
        twin.write("control", Control.START)
        twin.wait(FrameType.TAGS)
        time.sleep(2.0)
        twin.write("stream_mask", 0)
        end = time.monotonic() + 20
        # Totals only grow: an episode may have ended before the one that we made.
        while _tags_shed(twin) <= 1000:
            assert time.monotonic() < end
            twin.receive()
        # What the line held, and the board's own count of frames, tell of no other damage.
        assert twin.decoder.counts.missing == twin.decoder.counts.bad_frames == 0
    finally:
        assert twin.end() == 0


def test_in_real_time_a_board_that_is_to_wait_for_its_host_sheds_nothing(tmp_path: Path) -> None:
    twin = Twin(tmp_path, "--seconds", "30", "--realtime", "--waiting")
    try:
        twin.write("stream_mask", 7)
        twin.write("control", Control.START)
        twin.wait(FrameType.TAGS)
        time.sleep(2.0)
        # It goes on, once what was left has been read, and has lost nothing.
        seen = len(twin.frames)
        while sum(f.type == FrameType.TAGS for f in twin.frames[seen:]) < 1000:
            assert twin.process.poll() is None
            twin.receive()
        assert _tags_shed(twin) == 0
        assert twin.decoder.counts.missing == twin.decoder.counts.bad_frames == 0
    finally:
        assert twin.end() == 0


def test_what_is_wrong_in_the_link_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "link.yaml"
    for content, key in (
        ("slot_period_pss: 1", "slot_period_pss"),
        ("arm_a: {eta: many}", "arm_a.eta"),
        ("detectors: 3", "detectors"),
        ("encoding: morse", "encoding"),
        ("board: {n_detectors: 2}", "board.n_detectors"),
        ("board: {tick_clocks: 3000}", "tick_clocks"),
        ("alice: {muu: 1}", "alice"),
    ):
        config.write_text(content)
        assert main(["--config", str(config), "--port-link", str(tmp_path / "port")]) == 2
        told = capsys.readouterr().err
        assert key in told
        assert len(told.splitlines()) == 1
