"""What calibration records show on the live view: dip scan, linearity of the TDC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bellrelay.relay.config import RelayConfig

__all__ = ["calibration_pictures"]


def calibration_pictures(config: RelayConfig) -> Mapping[str, Any]:
    """By step, the newest record's curve; empty without records."""
    return {}
