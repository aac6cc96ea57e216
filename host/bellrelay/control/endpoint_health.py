"""What an endpoint's /health says, for calibrations that only its bits can measure."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from .calibration_step import StepFailed

__all__ = ["ask_endpoint", "x_error"]

_TIMEOUT_S = 5.0
_POLL_S = 0.5
_LONGEST = 1 << 22


def ask_endpoint(url: str) -> Mapping[str, Any]:
    """Its status. StepFailed: nobody there, or no status."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            status = json.loads(answer.read(_LONGEST))
    except (OSError, ValueError) as error:
        raise StepFailed(f"{url}: no status of an endpoint ({error})") from None
    if not isinstance(status, dict) or "role" not in status:
        raise StepFailed(f"{url}: no status of an endpoint")
    return status


def x_error(
    status: Callable[[], Mapping[str, Any]],
    skip: int,
    longest_s: float,
    cancelled: Callable[[], bool],
) -> tuple[float, float]:
    """Error rate in X, and its standard error, of a block that was sent from now on.

    Parameters
    ----------
    skip
        Blocks that end first and are passed over: what they hold was sent before.

    Raises
    ------
    StepFailed
        No such block within the time.
    InterruptedError
    """

    def look() -> tuple[int, Mapping[str, Any] | None]:
        found = status().get("visibility") or {}
        return int(found.get("measured") or 0), found.get("last")

    begun, (before, _) = time.monotonic(), look()
    while True:
        measured, last = look()
        if measured - before > skip and last is not None:
            # V = 1 - 2 E
            return (1.0 - float(last["value"])) / 2.0, float(last["sigma"]) / 2.0
        if cancelled():
            raise InterruptedError("cancelled")
        if time.monotonic() - begun > longest_s:
            raise StepFailed(
                f"{measured - before} blocks with outcomes in X have ended within {longest_s:g} s, "
                f"{skip + 1} are waited for"
            )
        time.sleep(_POLL_S)
