"""Whether a board is fit for service: delay lines calibrated, heartbeats, no losses, temperature.

The board must be idle and nobody else on its port. What is acquired here is thrown away: the
acquisition's number is one that no relay's log hands out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.relay.accounting import AcquisitionAccount
from bellrelay.relay.board import BoardSession, Phase
from bellrelay.relay.board_check import LinkAnswers
from bellrelay.relay.config import RelayConfig
from bellrelay.relay.link import SerialLink
from bellrelay.wire.access import AccessError, RegisterClient, identify
from bellrelay.wire.counters import counters

__all__ = ["UNREACHABLE", "Check", "calibrate_lines", "unreachable", "watch_heartbeats"]

_CALIBRATION_S = 30.0
_POLL_S = 0.005
_LOST_KINDS = frozenset(
    {"tags_lost", "tags_shed", "lost_psi_minus", "lost_psi_plus", "shed_psi_minus"}
    | {"shed_psi_plus", "frames_skipped", "misaligned"}
)

UNREACHABLE = (AccessError, OSError)
"""Errors of a board that does not do what it is told; see :func:`unreachable`."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str

    def as_json(self) -> dict[str, Any]:
        """For scripts and journals."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail}


class _Nowhere:
    """Where the results of an acquisition go that is only looked at."""

    def announced(
        self, acquisition: int, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]
    ) -> None:
        pass

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        pass

    def raw_tags(self, payload: bytes) -> None:
        pass


def calibrate_lines(config: RelayConfig, timeout_s: float = _CALIBRATION_S) -> Check:
    """Have the board calibrate its delay lines once, and see that every channel comes out well.

    Raises
    ------
    PortError, AccessError, OSError
        The board cannot be asked.
    """
    name = "fine time"
    link = SerialLink(config.port, config.baud)
    answers = LinkAnswers(link)
    try:
        geometry = identify(answers, timeout_s=0.5, attempts=4).geometry
        client = RegisterClient(answers, geometry)
        runs = client.read("fine_runs")[0]
        client.write("fine_command", 1)
        end = time.monotonic() + timeout_s
        while True:
            state = client.read("fine_state")[0]
            if client.read("fine_runs")[0] != runs and not state & 1:
                break
            if time.monotonic() >= end:
                return Check(name, False, f"no calibration has ended within {timeout_s:g} s")
            time.sleep(0.05)
        calibrated, failed = state >> 8 & 0xFF, state >> 16 & 0xFF
        bad = [
            str(channel)
            for channel in range(geometry.n_channels)
            if failed >> channel & 1 or not calibrated >> channel & 1
        ]
        if bad:
            return Check(name, False, f"channels {', '.join(bad)} could not be calibrated")
        return Check(name, True, f"{geometry.n_channels} channels calibrated")
    finally:
        answers.close()
        link.close()


def watch_heartbeats(
    config: RelayConfig,
    seconds: float,
    temperature_c: tuple[float, float],
    clock: Callable[[], float] = time.monotonic,
) -> list[Check]:
    """Let the board acquire as the configuration says, for so long, and see how it does.

    Raises
    ------
    PortError, AccessError, ConfigError, OSError
        The board cannot be brought up.
    """
    # Raw tags may be more than a line carries: that says nothing about the board.
    quiet = config.model_copy(
        update={"raw_tags": config.raw_tags.model_copy(update={"stream": False})}
    )
    link = SerialLink(config.port, config.baud)
    number = int(time.time()) & 0x7FFF_FFFF
    session = BoardSession(quiet, link, _Nowhere(), lambda: number)
    beats: list[float] = []
    temperatures: list[float] = []
    try:
        session.bring_up()
        begun, last = clock(), None
        while clock() - begun < seconds and session.phase is Phase.RUNNING:
            beat = session.heartbeat
            if beat is not None and beat is not last:
                last = beat
                beats.append(clock())
                temperatures.append(beat.fields["temperature_mdegc"] / 1000)
            time.sleep(_POLL_S)
        lasted = clock() - begun
        # Before the stop: the session lets go of it then.
        phase, reason, account = session.phase, session.reason, session.account
        if phase is Phase.RUNNING:
            session.stop()
        return [
            Check(
                "acquisition",
                phase is Phase.RUNNING,
                f"{lasted:.1f} s" if phase is Phase.RUNNING else f"{phase.value}: {reason}",
            ),
            _beating(beats, begun, lasted, config),
            _nothing_lost(session, account),
            _temperature(temperatures, temperature_c),
        ]
    finally:
        session.close()
        link.close()


def _beating(beats: list[float], begun: float, lasted: float, config: RelayConfig) -> Check:
    wanted = max(1, int(lasted * 1000 / config.heartbeat_ms / 2))
    silence = max(np.diff([begun, *beats, begun + lasted]), default=lasted)
    passed = len(beats) >= wanted and silence < config.silence_s
    return Check(
        "heartbeats",
        bool(passed),
        f"{len(beats)} in {lasted:.1f} s ({wanted} at least), longest silence {silence:.2f} s "
        f"(below {config.silence_s:g} s)",
    )


def _nothing_lost(session: BoardSession, account: AcquisitionAccount | None) -> Check:
    counts = session.decoder.counts
    lost = {"damaged frames": counts.bad_frames, "missing frames": counts.missing}
    lost |= {f"{name} on the line": n for name, n in session.link_lost.items()}
    if account is None or account.heartbeat is None:
        return Check("nothing lost", False, "no heartbeat to go by")
    for counter in counters(account.geometry):
        if counter.kind in _LOST_KINDS:
            lost[counter.name] = account.heartbeat.counters[counter.name]
    found = [f"{n} {name}" for name, n in lost.items() if n]
    announced = account.psi_minus + account.psi_plus
    return Check(
        "nothing lost", not found, ", ".join(found) or f"{announced} announcements, all came"
    )


def _temperature(seen: list[float], limits: tuple[float, float]) -> Check:
    low, high = limits
    if not seen:
        return Check("temperature", False, "no heartbeat to go by")
    passed = low <= min(seen) and max(seen) <= high
    return Check(
        "temperature",
        passed,
        f"{min(seen):.1f} to {max(seen):.1f} degrees (allowed {low:g} to {high:g})",
    )


def unreachable(name: str, error: Exception) -> Check:
    """What became of a check whose board did not answer."""
    return Check(name, False, str(error) or type(error).__name__)
