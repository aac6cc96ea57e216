"""A relay's configuration for the pretended board."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def relay_values(tmp_path):
    """What the YAML of a test's relay says; change it, then `check_config` or dump it."""
    return {
        "relay_id": "charlie",
        "port": str(tmp_path / "port"),
        "slot_period_ps": 10_000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [
            {"name": "D0", "port": "c", "deskew_ps": -300, "dead_time_ps": 20_000},
            {"name": "D1", "port": "d", "deskew_ps": 1370, "dead_time": "extending"},
        ],
        "log": {"directory": str(tmp_path / "log")},
        "fan_out": {"listen": "127.0.0.1:0", "plain": True},
        "health": {"listen": "127.0.0.1:0"},
    }
