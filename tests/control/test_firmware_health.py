"""The calibration of delay lines that a new image must come through."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bellrelay.control.firmware_health as health
from bellrelay.relay.config import check_config
from bellrelay.wire.geometry import BoardGeometry

CONFIG = check_config(
    {
        "relay_id": "charlie",
        "port": "nowhere",
        "slot_period_ps": 10_000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
        "log": {"directory": str(Path("log"))},
    }
)


class Registers:
    """Of a board that calibrates: busy for some reads, then ``after``; None: it never begins."""

    def __init__(self, after: int | None) -> None:
        self._after = after
        self._begun = False
        self._reads = 0

    def read(self, name: str) -> tuple[int]:
        over = self._begun and self._after is not None and self._reads > 2
        if name == "fine_runs":
            return (1 + over,)
        assert name == "fine_state"
        self._reads += 1
        over = self._begun and self._after is not None and self._reads > 2
        return (self._after or 0,) if over else (int(self._begun),)

    def write(self, name: str, value: int) -> None:
        assert (name, value) == ("fine_command", 1)
        self._begun = True


@pytest.mark.parametrize(
    ("after", "passed", "says"),
    [
        (0b111 << 8, True, "3 channels calibrated"),
        (0b101 << 8 | 0b010 << 16, False, "channels 1 could not be calibrated"),
        (0b011 << 8, False, "channels 2 could not be calibrated"),
        (None, False, "no calibration has ended within 0.2 s"),
    ],
)
def test_every_channel_must_be_calibrated(
    monkeypatch: pytest.MonkeyPatch, after: int | None, passed: bool, says: str
) -> None:
    closed: list[str] = []

    def closing(*_: Any) -> Any:
        return SimpleNamespace(close=lambda: closed.append(""))

    monkeypatch.setattr(health, "SerialLink", closing)
    monkeypatch.setattr(health, "LinkAnswers", closing)
    geometry = BoardGeometry(n_detectors=2)
    monkeypatch.setattr(health, "identify", lambda *_, **__: SimpleNamespace(geometry=geometry))
    monkeypatch.setattr(health, "RegisterClient", lambda *_: Registers(after))
    check = health.calibrate_lines(CONFIG, timeout_s=0.2)
    assert (check.passed, check.detail) == (passed, says)
    assert len(closed) == 2
