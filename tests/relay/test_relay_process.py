"""The daemon as a process: killed, stopped, on a full disk, and what it answers to the shell."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading

import pytest
import yaml
from pretend_board import PretendBoard

from bellrelay.cli.exits import ExitCode
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import LogReader
from bellrelay.wire.messages import Announced, From, Subscribe


@pytest.fixture
def board(tmp_path):
    b = PretendBoard(tmp_path / "port", beat_s=0.005)
    yield b
    b.close()


@pytest.fixture
def config_file(tmp_path, relay_values):
    def write(**changes):
        path = tmp_path / "relay.yaml"
        path.write_text(yaml.safe_dump({**relay_values, **changes}))
        return path

    return write


def command(path, *options):
    return [sys.executable, "-m", "bellrelay", "relay", "--config", str(path), *options]


def start(path, **options):
    return subprocess.Popen(
        command(path, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def started(process):
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def one_line(path, *options):
    """Exit code and the one line on stderr."""
    run = subprocess.run(command(path, *options), capture_output=True, text=True, timeout=60)
    lines = [line for line in run.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, run.stderr
    return run.returncode, lines[0]


def test_kill_9_at_random_moments_loses_nothing_served_and_repeats_nothing(
    tmp_path, config_file, board
):
    path = config_file(fan_out={"unix_socket": str(tmp_path / "socket")})
    rng = random.Random(11)
    served = {}

    async def consume(position, process, moment):
        """What a consumer got that goes on where it stopped, until the daemon is killed."""
        wish = Subscribe(From.SEQUENCE, position)
        client = await AnnouncementClient.unix(tmp_path / "socket", wish)
        timer = threading.Timer(moment, process.kill)
        timer.start()
        async with client:
            try:
                async for record in client.records():
                    if isinstance(record, Announced):
                        pairs = zip(record.slot.tolist(), record.outcome.tolist(), strict=True)
                        for i, (slot, outcome) in enumerate(pairs):
                            assert record.sequence + i not in served
                            served[record.sequence + i] = (record.acquisition, slot, outcome)
            except ConnectionError:
                pass
        timer.join()
        assert client.missing == 0
        return client.sequence

    position = 0
    for _ in range(5):
        process = start(path)
        try:
            started(process)
            position = asyncio.run(consume(position, process, rng.uniform(0.0, 0.6)))
        finally:
            process.kill()
            process.communicate()
    process = start(path)
    started(process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors

    in_log, lost, received = {}, {}, {}
    for record in LogReader(tmp_path / "log", 0):
        if isinstance(record, Announced):
            pairs = zip(record.slot.tolist(), record.outcome.tolist(), strict=True)
            for i, (slot, outcome) in enumerate(pairs):
                in_log[record.sequence + i] = (record.acquisition, slot, outcome)
        elif record.kind == "gap":
            n = record.values["psi_minus"] + record.values["psi_plus"]
            lost[record.acquisition] = lost.get(record.acquisition, 0) + n
    assert len(served) > 100
    assert served.items() <= in_log.items()
    events = list(in_log.values())
    assert len(set(events)) == len(events)
    for acquisition, slot, outcome in events:
        received.setdefault(acquisition, []).append((slot, outcome))
    assert sorted(board.sent) == list(range(1, 7))
    # What died with each daemon is known to the last announcement.
    for acquisition, sent in board.sent.items():
        got = received.get(acquisition, [])
        assert got == sent[: len(got)]
        assert len(got) + lost.get(acquisition, 0) == len(sent)


def test_sigterm_ends_cleanly_and_systemd_is_told(tmp_path, config_file, board):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(path))
        s.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        environment.pop("WATCHDOG_PID", None)
        process = start(config_file(), env=environment)
        heard = []
        while not {"READY=1", "WATCHDOG=1"} <= set(heard) or not any("STATUS=" in h for h in heard):
            heard.append(s.recv(1000).decode())
        assert heard[0] == "READY=1"
        process.send_signal(signal.SIGTERM)
        while heard[-1] != "STOPPING=1":
            heard.append(s.recv(1000).decode())
    assert process.wait(timeout=20) == 0
    process.communicate()
    assert board.state.name == "IDLE"
    *_, last = LogReader(tmp_path / "log", 0)
    assert last.kind == "stop"
    assert last.values["final"] is True


def test_a_full_disk_is_one_line_and_a_code_of_its_own(tmp_path, config_file, board):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs a file system of its own: run as root")
    try:
        board.per_beat = 500
        code, line = one_line(config_file(log={"directory": str(small / "log")}))
        assert code == ExitCode.STORAGE
        assert line.startswith(f"bellrelay: {small}/log/")
        assert "No space left on device" in line
        # Whatever was durable is whole, and the board was stopped.
        reader = LogReader(small / "log", 0)
        records = [r for r in reader if isinstance(r, Announced)]
        reader.close()
        slots = [s for r in records for s in r.slot.tolist()]
        assert slots == [s for s, _ in board.sent[1]][: len(slots)]
        assert len(slots) > 1000
        assert board.state.name == "IDLE"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_cannot_be_used_is_one_line_and_a_code_each(tmp_path, config_file, board):
    path = config_file()
    code, line = one_line(config_file(port=str(tmp_path / "nothing")))
    assert code == ExitCode.PORT_MISSING
    assert line == f"bellrelay: {tmp_path}/nothing: no such port, or nothing behind it"

    code, line = one_line(config_file(slot_period_ps=10, baud="fast"))
    assert code == ExitCode.CONFIGURATION
    assert f"{path}: slot_period_ps: 10; allowed: 1000 to 16777215 ps" in line
    assert f"{path}: baud: 'fast'; allowed: 9600 to 12000000 baud" in line

    config_file()
    board.words[1] = 9
    code, line = one_line(path)
    assert code == ExitCode.BOARD_VERSION
    assert "protocol version 9" in line

    board.words[0] = 0
    code, line = one_line(path)
    assert code == ExitCode.FOREIGN_PORT
    assert str(tmp_path / "port") in line


def test_check_asks_the_board_and_touches_nothing(config_file, board):
    before = dict(board.words)
    run = subprocess.run(
        command(config_file(), "--check", "--json"), capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout)["board"] == "pretend"
    assert board.words == {**before, **{board.map.address("state"): 0}}
    assert board.sent == {}
