"""What the live view is sent, some ten times a second: one picture of a relay, for all who look.

A message is binary, little endian: the length of a JSON text (u32), the text, zeros up to a
multiple of four bytes, and then, where the text says so in ``histogram``, the counts of a finished
arrival-time histogram as u32, channel by channel. Numbers leave by their differences: who looks
need not know when the acquisition began.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bellrelay.relay.board import BoardSession
from bellrelay.relay.config import RelayConfig
from bellrelay.service.health_server import plain_numbers
from bellrelay.wire.geometry import BoardGeometry

from .view_alarms import view_alarms

__all__ = ["ViewFeed", "parse_message"]

_RATE_S = 1.0
_LATE_S = 600.0
_KEPT = 600
_FATES = ("early", "late", "outside", "dead_time", "pile_up")


class ViewFeed:
    """Makes messages; one thread asks it.

    Parameters
    ----------
    config
        Of the relay.
    session
        The board.
    status
        What the daemon's /health says; None before there is a daemon.

    Attributes
    ----------
    history : deque
        Once a second: UTC, click rate, announcements per second, live fraction, phase and rate of
        the slot clock, error rate in Z, key per second; what a page draws when it is opened.
    """

    def __init__(
        self,
        config: RelayConfig,
        session: BoardSession,
        status: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        self.history: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._config = config
        self._session = session
        self._status = status
        self._period: object = None
        self._lost: dict[str, int] = {}
        self._lost_at: tuple[float, dict[str, int]] | None = None
        self._before: tuple[float, int, dict[str, int]] | None = None
        self._rates: dict[str, Any] = {}

    def hello(self, config: RelayConfig) -> dict[str, Any]:
        """What does not change while an acquisition runs, for who has just connected."""
        names = [d.name for d in config.detectors]
        return {
            "relay_id": config.relay_id,
            "encoding": config.encoding,
            "slot_period_ps": float(config.slot_period_ps),
            "bin_ps": config.histogram.bin_ps,
            "detectors": names,
            "channels": [*names, config.sync.name],
            "runbooks": None if config.view is None else config.view.runbooks,
            "history": list(self.history),
        }

    def message(self, now_s: float, utc_ns: int, links: Mapping[str, Any]) -> bytes | None:
        """The next message; None before there is a daemon.

        Parameters
        ----------
        now_s
            Monotonic.
        links
            What the endpoints say, see :mod:`.view_links`.
        """
        status = self._status()
        if status is None:
            return None
        self._measure(now_s, utc_ns, status, links)
        periods = self._session.periods
        period = None if periods is None else periods.last
        fresh = period is not None and period is not self._period
        self._period = period
        beat = self._session.heartbeat
        text = {
            "utc_ns": utc_ns,
            "state": status["state"],
            "reason": status["reason"],
            "board": status["board"],
            "simulated": (status["board"] or {}).get("name") == BoardGeometry.board,
            "acquisition": status["acquisition"],
            "heartbeat_age_s": status["heartbeat_age_s"],
            "temperature_c": status["temperature_c"],
            "live_fraction": status["live_fraction"],
            "announcements_per_s": status["rates"]["announcements_per_s"],
            "consumers": len(status["consumers"]),
            "alarms": view_alarms(status, links, self._lost_of_late(now_s, status["link_lost"])),
            "monitors": (status.get("monitors") or {}).get("each"),
            "gaps": status["gaps"],
            "rates": self._rates,
            "tracking": status.get("tracking"),
            "calibration": status.get("calibration"),
            "links": links,
            "slots": None if beat is None else beat.counters["slots"],
            "histogram": None,
        }
        if not fresh:
            return pack(text, None)
        assert period is not None
        tick_s = self._tick_s()
        text["histogram"] = {
            "channels": period.counts.shape[0],
            "bins": period.counts.shape[1],
            "seconds": None if tick_s is None else (period.end_tick - period.start_tick) * tick_s,
        }
        return pack(text, period.counts)

    def _lost_of_late(self, now_s: float, lost: Mapping[str, int]) -> dict[str, int]:
        """What was lost since the first loss of those that came less than ten minutes apart."""
        if any(n > self._lost.get(what, 0) for what, n in lost.items()):
            late = self._lost_at is not None and now_s - self._lost_at[0] < _LATE_S
            since = self._lost_at[1] if late and self._lost_at is not None else self._lost
            self._lost_at = (now_s, since)
        self._lost = dict(lost)
        if self._lost_at is None or now_s - self._lost_at[0] >= _LATE_S:
            return {}
        grown = {what: n - self._lost_at[1].get(what, 0) for what, n in lost.items()}
        return {what: n for what, n in grown.items() if n > 0}

    def _tick_s(self) -> float | None:
        identity = self._session.identity
        return None if identity is None else identity.geometry.tick_ps * 1e-12

    def _measure(
        self, now_s: float, utc_ns: int, status: Mapping[str, Any], links: Mapping[str, Any]
    ) -> None:
        counters = dict(status["counters"])
        acquisition = status["acquisition"]
        before = self._before
        if before is not None and now_s - before[0] < _RATE_S:
            return
        self._before = (now_s, acquisition, counters)
        if before is None or before[1] != acquisition or not counters:
            self._rates = {}
            return
        passed, earlier = now_s - before[0], before[2]

        def rate(name: str) -> float:
            return (counters.get(name, 0) - earlier.get(name, 0)) / passed

        n = len(self._config.detectors)
        fates = {
            d.name: {fate: rate(f"{fate}_{i}") for fate in _FATES}
            for i, d in enumerate(self._config.detectors)
        }
        self._rates = {
            "fates": fates,
            "clicks_per_s": sum(r for one in fates.values() for r in one.values()),
            "slots_per_s": rate("slots"),
            "pairs": [
                [rate(f"pair_{min(i, j)}_{max(i, j)}") if i != j else None for j in range(n)]
                for i in range(n)
            ],
            "classes": {k: rate(k) for k in counters if k.startswith("class_")},
        }
        tracking = status.get("tracking") or {}
        self.history.append(
            {
                "utc_s": utc_ns / 1e9,
                "clicks_per_s": self._rates["clicks_per_s"],
                "announcements_per_s": status["rates"]["announcements_per_s"],
                "live_fraction": status["live_fraction"],
                "phase_ps": tracking.get("phase_ps"),
                "rate_ppm": tracking.get("rate_ppm"),
                "error_z": links.get("error_z"),
                "key_bits_per_s": links.get("key_bits_per_s"),
            }
        )


def pack(text: Mapping[str, Any], counts: np.ndarray[Any, Any] | None) -> bytes:
    """A message of these."""
    body = json.dumps(plain_numbers(text), separators=(",", ":")).encode()
    padding = bytes(-len(body) % 4)
    tail = b"" if counts is None else np.minimum(counts, 0xFFFF_FFFF).astype("<u4").tobytes()
    return struct.pack("<I", len(body)) + body + padding + tail


def parse_message(data: bytes) -> tuple[dict[str, Any], np.ndarray[Any, Any] | None]:
    """The text and (channels, bins) of a message; what the page does, for programs and tests."""
    (length,) = struct.unpack_from("<I", data)
    text: dict[str, Any] = json.loads(data[4 : 4 + length])
    shape = text["histogram"]
    if shape is None:
        return text, None
    counts = np.frombuffer(data, "<u4", offset=4 + length + -length % 4)
    return text, counts.reshape(shape["channels"], shape["bins"])
