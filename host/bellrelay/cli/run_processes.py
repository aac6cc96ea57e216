"""Processes of a run: started, watched, ended, with their last words where one fails."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["RunFailed", "bellrelay_command", "free_port", "last_words", "process", "stop", "watch"]

_STOP_S = 30.0


class RunFailed(RuntimeError):
    """A process of the run ended or went silent; the message has its last words."""


def bellrelay_command(verb: str, config: Path, *options: str) -> list[str]:
    """The command line of a daemon of ours."""
    return [sys.executable, "-m", "bellrelay", verb, "--config", str(config), *options]


@contextlib.contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process, what it says on stderr added to a file; killed at the end if it still runs."""
    with log.open("a") as stderr:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()
        if started.stdout is not None:
            started.stdout.close()


def last_words(log: Path) -> str:
    """The last line of a process's stderr."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def watch(running: subprocess.Popen[str], log: Path, name: str) -> None:
    """Whether it still runs. RunFailed: no."""
    if running.poll() is not None:
        raise RunFailed(f"the {name} ended with {running.returncode}: {last_words(log)}")


def stop(running: subprocess.Popen[str], log: Path, name: str) -> None:
    """Ask it to end, and wait for that. RunFailed: it does not, or not well."""
    running.send_signal(signal.SIGTERM)
    try:
        running.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"the {name} does not end: {last_words(log)}") from None
    if running.returncode not in (0, -signal.SIGTERM):
        raise RunFailed(f"the {name} ended with {running.returncode}: {last_words(log)}")


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
