"""Serial ports that may be boards, and who answers on them."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from bellrelay.relay.board_check import LinkAnswers
from bellrelay.relay.link import PortError, PortMissing, SerialLink
from bellrelay.wire.access import AccessError, Identity, identify

__all__ = ["USB_IDS", "ProbedPort", "answers_on", "candidate_ports", "only_board", "probe_ports"]

USB_IDS: dict[tuple[int, int], str] = {
    (0x1209, 0x0001): "bellrelay",
    (0x0403, 0x6015): "ULX3S",
}
"""Vendor and product to what the product string begins with: others share the same numbers."""


@contextmanager
def answers_on(port: Path, baud: int) -> Iterator[LinkAnswers]:
    """A port, opened for commands and their answers.

    Raises
    ------
    PortError
        It cannot be opened.
    """
    link = SerialLink(port, baud)
    answers = LinkAnswers(link)
    try:
        yield answers
    finally:
        answers.close()
        link.close()


@dataclass(frozen=True)
class ProbedPort:
    """A port, and who answered there, or why nobody did."""

    port: Path
    serial: str
    identity: Identity | None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        who = self.identity
        out: dict[str, Any] = {"port": str(self.port), "serial": self.serial}
        if who is None:
            return {**out, "problem": self.problem}
        return {
            **out,
            "board": who.geometry.board,
            "gateware": who.version_text,
            "git_revision": f"{who.git_revision:08x}",
            "config_hash": f"{who.config_hash:08x}",
            "detectors": who.geometry.n_detectors,
        }

    def line(self) -> str:
        """For people."""
        serial = f", serial number {self.serial}" if self.serial else ""
        who = self.identity
        if who is None:
            return f"{self.port}{serial}: {self.problem}"
        return (
            f"{self.port}: board {who.geometry.board}{serial}, gateware {who.version_text} "
            f"({who.git_revision:08x}), configuration {who.config_hash:08x}"
        )


def candidate_ports() -> list[tuple[Path, str]]:
    """Ports whose USB ids and product string are a board's, with their serial numbers."""
    found = []
    for info in list_ports.comports():
        begins = USB_IDS.get((info.vid or 0, info.pid or 0))
        if begins is not None and (info.product or "").startswith(begins):
            found.append((Path(info.device), info.serial_number or ""))
    return sorted(found)


def probe_ports(ports: Sequence[Path] | None, baud: int) -> list[ProbedPort]:
    """Ask on each of these ports, or on all that may be a board's."""
    candidates = candidate_ports() if not ports else [(port, "") for port in ports]
    return [_probe(port, serial, baud) for port, serial in candidates]


def only_board(baud: int) -> Path:
    """The port of the one board that is plugged in.

    Raises
    ------
    PortMissing
        None, or several.
    """
    found = [entry.port for entry in probe_ports(None, baud) if entry.identity is not None]
    if len(found) != 1:
        which = f"several boards ({', '.join(map(str, found))})" if found else "no board found"
        raise PortMissing(errno.ENODEV, f"{which}: say which port with --port")
    return found[0]


def _probe(port: Path, serial: str, baud: int) -> ProbedPort:
    try:
        with answers_on(port, baud) as answers:
            return ProbedPort(port, serial, identify(answers, timeout_s=0.5, attempts=4))
    except (AccessError, PortError) as error:
        return ProbedPort(port, serial, None, str(error))
