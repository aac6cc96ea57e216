"""Figures of the blocks that have ended: what the link made of its light lately."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from bellrelay.distill.ladder import MU, NU

from .block import BlockState
from .block_histograms import BlockHistogram
from .block_store import BlockRow, BlockStore
from .key_rate_window import KeyRateWindow

__all__ = ["BlockFigures"]

_FIRST = 200
"""Blocks of the past, in which the last of every figure is looked for."""
_SECONDS = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
_ERRORS = (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.09, 0.11, 0.15, 0.25)


class BlockFigures:
    """Reads what has ended since it was asked last; starts with what the store has.

    Parameters
    ----------
    store
        Of the endpoint.
    """

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._read_ns = 0
        self._seconds = BlockHistogram(_SECONDS)
        self._errors = {basis: BlockHistogram(_ERRORS) for basis in ("Z", "X")}
        self._rates = KeyRateWindow()
        self._figures: dict[str, Any] = {
            "block": None,
            "error_z": None,
            "error_x": None,
            "sifted_bits": None,
            "key_bits_per_pulse": None,
            "phase_error_upper": None,
            "seconds": None,
            "last_key_utc_ns": None,
        }

    def histograms(self) -> dict[str, Any]:
        """Of all blocks that ended since the start and were asked for: seconds, and error rates.

        Of those with a key how long they took; of all with an error rate what that was, by basis.
        """
        return {
            "seconds": self._seconds.status(),
            "errors": {basis: each.status() for basis, each in self._errors.items()},
        }

    def key_rate(self) -> dict[str, float | None]:
        """See :meth:`.key_rate_window.KeyRateWindow.status`; as of when blocks were asked for."""
        return self._rates.status(time.time_ns())

    def status(self) -> dict[str, Any]:
        """Of the last block of which each is known; plain JSON values.

        error_z, error_x : share of errors in Z, as corrected, and among both mu or both nu, as
        disclosed. key_bits_per_pulse : key stored per pulse pair sent. phase_error_upper : bound.
        seconds : from the block's beginning to its end. last_key_utc_ns : when a key was stored.
        """
        known = self._read_ns > 0
        for row in sorted(self._ended(), key=lambda row: row.changed_ns):
            self._read_ns = max(self._read_ns, row.changed_ns)
            self._take(row)
            if known:
                self._count(row)
        self._read_ns = max(self._read_ns, 1)
        return dict(self._figures)

    def _ended(self) -> list[BlockRow]:
        if self._read_ns:
            return self._store.ended_since(self._read_ns)
        recent = self._store.ended_since(time.time_ns() - KeyRateWindow.REACH_NS)
        last = self._store.ended_last(_FIRST)
        return list({row.block: row for row in (*last, *recent)}.values())

    def _count(self, row: BlockRow) -> None:
        if row.state is BlockState.STORED:
            self._seconds.take((row.changed_ns - row.begun_ns) / 1e9)
        if row.record.get("error_rate_z") is not None:
            self._errors["Z"].take(row.record["error_rate_z"])
        error_x = _error_x(row.record)
        if error_x is not None:
            self._errors["X"].take(error_x)

    def _take(self, row: BlockRow) -> None:
        record, figures = row.record, self._figures
        figures["block"] = str(row.block)
        figures["seconds"] = (row.changed_ns - row.begun_ns) / 1e9
        if record.get("error_rate_z") is not None:
            figures["error_z"] = record["error_rate_z"]
            figures["sifted_bits"] = record["sifted_bits"]
        error_x = _error_x(record)
        if error_x is not None:
            figures["error_x"] = error_x
        if record.get("phase_error_upper") is not None:
            figures["phase_error_upper"] = record["phase_error_upper"]
        self._rates.begun(row.begun_ns)
        if row.state is BlockState.STORED:
            self._rates.stored(row.changed_ns, int(record.get("key_bits", 0)))
            figures["last_key_utc_ns"] = row.changed_ns
            if record.get("pulses"):
                figures["key_bits_per_pulse"] = record["key_bits"] / record["pulses"]


def _error_x(record: Mapping[str, Any]) -> float | None:
    tallies = record.get("tallies")
    if not tallies:
        return None
    n, m = (
        np.sum([np.array(t[name], np.int64) for t in tallies.values()], axis=0)
        for name in ("n", "m")
    )
    outcomes = int(n[MU, MU] + n[NU, NU])
    return int(m[MU, MU] + m[NU, NU]) / outcomes if outcomes else None
