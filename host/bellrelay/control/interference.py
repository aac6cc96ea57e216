"""The companion `visibility` of an endpoint: interference, from X outcomes of finished blocks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.distill.ladder import MU, NU
from bellrelay.endpoint.block_store import BlockRow

from .visibility import visibility_of_x

if TYPE_CHECKING:
    from bellrelay.endpoint.daemon import EndpointDaemon

__all__ = ["Interference"]

_EVERY_S = 1.0
_BEFORE_NS = 3600 * 1_000_000_000
"""Blocks that ended so long before the start are looked at as well."""
_ENOUGH = 4000
"""Outcomes that give an error bar of 0.014; older blocks than it takes for them are let go."""
_MOST_BLOCKS = 200
_log = structlog.get_logger(__name__)


class Interference:
    """What both parties' disclosed bits of X say of how alike their pulses are at the relay.

    Outcomes with both mu, or both nu. The newest blocks are put together until their outcomes give
    an error bar that tells something; the last block stands beside them.
    """

    name = "visibility"

    def __init__(self) -> None:
        # Name of the block, outcomes, errors; newest last.
        self._blocks: deque[tuple[str, int, int]] = deque(maxlen=_MOST_BLOCKS)
        self._relay: str | None = None
        self._measured = 0
        self._read_ns = time.time_ns() - _BEFORE_NS

    async def run(self, daemon: EndpointDaemon) -> None:
        """Look once a second at what has ended, until it is cancelled."""
        while True:
            try:
                for row in await asyncio.to_thread(daemon.store.ended_since, self._read_ns):
                    self._read_ns = max(self._read_ns, row.changed_ns)
                    self.take(row)
            except OSError as error:
                _log.warning("visibility not known", why=str(error))
            await asyncio.sleep(_EVERY_S)

    def take(self, row: BlockRow) -> None:
        """Take a block that has ended; nothing of one that was not sifted."""
        tallies = row.record.get("tallies")
        if not tallies:
            return
        relay = row.record.get("relay_id")
        if relay != self._relay:
            # Another relay, another interference.
            self._blocks.clear()
            self._relay = relay
        n, m = (
            np.sum([np.array(t[name], np.int64) for t in tallies.values()], axis=0)
            for name in ("n", "m")
        )
        outcomes, errors = (int(table[MU, MU] + table[NU, NU]) for table in (n, m))
        if not outcomes:
            return
        self._measured += 1
        self._blocks.append((str(row.block), outcomes, errors))
        while sum(b[1] for b in list(self._blocks)[1:]) >= _ENOUGH:
            self._blocks.popleft()

    def status(self) -> dict[str, Any]:
        """Plain types, nothing secret: these bits are disclosed."""
        told: dict[str, Any] = {
            "measured": self._measured,
            "relay_id": self._relay,
            "value": None,
            "sigma": None,
            "outcomes": sum(b[1] for b in self._blocks),
            "errors": sum(b[2] for b in self._blocks),
            "blocks": len(self._blocks),
            "last": None,
        }
        if not self._blocks:
            return told
        found = visibility_of_x(told["outcomes"], told["errors"])
        block, outcomes, errors = self._blocks[-1]
        last = visibility_of_x(outcomes, errors)
        told.update(value=found.value, sigma=found.sigma)
        told["last"] = {"block": block, "value": last.value, "sigma": last.sigma}
        return told

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Of a status."""
        if status["value"] is not None:
            text = "visibility of X outcomes, 1/2 at best"
            yield GaugeMetricFamily("bellrelay_endpoint_visibility", text, value=status["value"])
            yield GaugeMetricFamily(
                "bellrelay_endpoint_visibility_sigma",
                "standard error of the visibility",
                value=status["sigma"],
            )
        yield CounterMetricFamily(
            "bellrelay_endpoint_visibility_blocks",
            "blocks whose X outcomes were looked at",
            value=status["measured"],
        )
