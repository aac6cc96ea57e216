"""What daemons compute while they have nothing to do: a relay in the dark, endpoints, KMEs."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bellrelay.cli.measured_pair import cpu_seconds
from bellrelay.cli.network_processes_start import SHAPE, ProcessNetwork

__all__ = ["standing_rates"]

_SECONDS = 20.0
_SETTLE_S = 5.0
_DARK = replace(SHAPE, eta=1e-7, block_slots=10**12)
"""Next to nothing is announced, and no block ends."""


def standing_rates() -> dict[str, float]:
    """The part `standing` of a file of rates: cores of every kind of daemon."""
    with (
        tempfile.TemporaryDirectory(prefix="bellrelay-measure-") as name,
        contextlib.closing(ProcessNetwork(Path(name), 1, 1, _DARK)) as network,
    ):
        network.add(1, 1)
        time.sleep(_SETTLE_S)
        begun, before = time.monotonic(), _computed(network)
        time.sleep(_SECONDS)
        network.watch()
        seconds, after = time.monotonic() - begun, _computed(network)
    return {
        kind: statistics.fmean(after[n] - before[n] for n in before if n[0] == kind) / seconds
        for kind in ("relay", "endpoint", "kme")
    }


def _computed(network: ProcessNetwork) -> Mapping[tuple[str, str], float]:
    return {(kind, name): cpu_seconds(pid) for name, (kind, pid) in network.pids().items()}
