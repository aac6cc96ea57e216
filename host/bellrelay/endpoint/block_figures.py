"""Figures of the blocks that have ended: what the link made of its light lately."""

from __future__ import annotations

from typing import Any

import numpy as np

from bellrelay.distill.ladder import MU, NU

from .block import BlockState
from .block_store import BlockRow, BlockStore

__all__ = ["BlockFigures"]

_FIRST = 200
"""Blocks of the past, in which the last of every figure is looked for."""


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

    def status(self) -> dict[str, Any]:
        """Of the last block of which each is known; plain JSON values.

        error_z, error_x : share of errors in Z, as corrected, and among both mu or both nu, as
        disclosed. key_bits_per_pulse : key stored per pulse pair sent. phase_error_upper : bound.
        seconds : from the block's beginning to its end. last_key_utc_ns : when a key was stored.
        """
        since, self._read_ns = self._read_ns, max(self._read_ns, 1)
        rows = self._store.ended_since(since) if since else self._store.ended_last(_FIRST)
        for row in rows:
            self._read_ns = max(self._read_ns, row.changed_ns)
            self._take(row)
        return dict(self._figures)

    def _take(self, row: BlockRow) -> None:
        record, figures = row.record, self._figures
        figures["block"] = str(row.block)
        figures["seconds"] = (row.changed_ns - row.begun_ns) / 1e9
        if record.get("error_rate_z") is not None:
            figures["error_z"] = record["error_rate_z"]
            figures["sifted_bits"] = record["sifted_bits"]
        tallies = record.get("tallies")
        if tallies:
            n, m = (
                np.sum([np.array(t[name], np.int64) for t in tallies.values()], axis=0)
                for name in ("n", "m")
            )
            outcomes = int(n[MU, MU] + n[NU, NU])
            if outcomes:
                figures["error_x"] = int(m[MU, MU] + m[NU, NU]) / outcomes
        if record.get("phase_error_upper") is not None:
            figures["phase_error_upper"] = record["phase_error_upper"]
        if row.state is BlockState.STORED:
            figures["last_key_utc_ns"] = row.changed_ns
            if record.get("pulses"):
                figures["key_bits_per_pulse"] = record["key_bits"] / record["pulses"]
