"""From what everybody said in a round to an observation of the time since the round before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bellrelay.endpoint.block_store import BlockRow
from bellrelay.endpoint.exchange_tags import TAGS_PER_BLOCK
from bellrelay.endpoint.key_pool import TAG_KEY_BYTES

from .fault_from_status import (
    Status,
    block_reading,
    endpoint_reading,
    kme_reading,
    relay_reading,
    with_arms,
)
from .fault_observation import (
    Asked,
    BlockReading,
    EndpointReading,
    KmeReading,
    Observation,
    RelayReading,
)
from .link_time import LinkTime

__all__ = ["BITS_PER_BLOCK", "LinkObserver", "Round"]

BITS_PER_BLOCK = 8 * TAGS_PER_BLOCK * TAG_KEY_BYTES


@dataclass(frozen=True)
class Round:
    """What was said in one round.

    wall_s: of a clock that never goes back. relay: None if it did not answer, or was not asked.
    relay_asked: whether it was. endpoints, kmes: Alice's, Bob's; None as with the relay. blocks:
    that have ended since the round before.
    """

    wall_s: float
    relay: Status | None = None
    relay_asked: bool = False
    endpoints: tuple[Status | None, Status | None] = (None, None)
    kmes: tuple[Status | None, Status | None] = (None, None)
    blocks: Sequence[BlockRow] = ()


class LinkObserver:
    """Of one relay and the two endpoints.

    Parameters
    ----------
    relay_id
        Which relay.
    block_slots
        Slots of a block.
    """

    def __init__(self, relay_id: str, block_slots: int) -> None:
        self.time = LinkTime()
        self._relay_id = relay_id
        self._block_slots = block_slots
        self._wall_s: float | None = None
        self._speed = 1.0
        self._grew_s = 0.0
        self._relay: Status | None = None
        self._endpoints: list[Status | None] = [None, None]
        self._kmes: list[Status | None] = [None, None]

    def take(self, said: Round) -> Observation | None:
        """An observation; None of the first round, which has no time before it."""
        first = self._wall_s is None
        if first:
            self._grew_s = said.wall_s
        wall_s = 0.0 if self._wall_s is None else said.wall_s - self._wall_s
        self._wall_s = said.wall_s
        relay = self._of_relay(said)
        span_s = self.time.passed(wall_s, None if relay is None else relay.span_s)
        if said.relay is not None:
            self._mark(said.relay)
        endpoints = self._of_endpoints(said)
        kmes = self._of_kmes(said)
        blocks = tuple(self._of_block(row) for row in said.blocks)
        self._remember(said)
        if first:
            return None
        return Observation(
            self.time.now_s,
            span_s,
            relay,
            (said.relay is not None) if said.relay_asked else None,
            endpoints,
            kmes,
            blocks,
            (_asked(said.endpoints[0]), _asked(said.endpoints[1])),
            calibrating=_calibrating(said.relay),
        )

    def _of_relay(self, said: Round) -> RelayReading | None:
        if said.relay is None or self._relay is None:
            return None
        before = (self._endpoints[0], self._endpoints[1])
        reading = with_arms(relay_reading(self._relay, said.relay), before, said.endpoints)
        if reading.span_s:
            # Of a simulation that is slower than the clock on the wall, heartbeats are, too.
            self._speed = min(reading.span_s / max(said.wall_s - self._grew_s, 1e-6), 1.0)
            self._grew_s = said.wall_s
        return replace(reading, heartbeat_age_s=reading.heartbeat_age_s * self._speed)

    def _mark(self, relay: Status) -> None:
        period_ps, slots = relay.get("slot_period_ps"), relay["counters"].get("slots")
        if period_ps is not None and slots is not None:
            self.time.mark(relay["acquisition"], int(slots), float(period_ps) * 1e-12)

    def _of_endpoints(self, said: Round) -> tuple[EndpointReading | None, EndpointReading | None]:
        a, b = (
            None
            if now is None
            else endpoint_reading(was or now, now, BITS_PER_BLOCK, self._relay_id)
            for was, now in zip(self._endpoints, said.endpoints, strict=True)
        )
        return a, b

    def _of_kmes(self, said: Round) -> tuple[KmeReading | None, KmeReading | None]:
        a, b = (
            None if now is None else kme_reading(was or now, now)
            for was, now in zip(self._kmes, said.kmes, strict=True)
        )
        return a, b

    def _of_block(self, row: BlockRow) -> BlockReading:
        began_s = self.time.of_slot(row.block.acquisition, row.block.first(self._block_slots))
        if began_s is None:
            # Of an acquisition that is over, or a relay that nobody asks.
            began_s = self.time.now_s - max(row.changed_ns - row.begun_ns, 0) * 1e-9
        return block_reading(row, min(began_s, self.time.now_s))

    def _remember(self, said: Round) -> None:
        # Who did not answer is compared with what was last heard: nothing is lost in between.
        if said.relay is not None:
            self._relay = said.relay
        for kept, now in ((self._endpoints, said.endpoints), (self._kmes, said.kmes)):
            for index, status in enumerate(now):
                if status is not None:
                    kept[index] = status


def _calibrating(relay: Status | None) -> bool:
    calibration = (relay or {}).get("calibration") or {}
    step = calibration.get("running")
    if step is None:
        return False
    # What nobody knows of may disturb.
    return bool((calibration.get("steps") or {}).get(step, {}).get("disturbs", True))


def _asked(status: Status | None) -> Asked:
    sender = (status or {}).get("sender") or {}
    if sender.get("halted"):
        return Asked(light=0.0, slots=0.0)
    attenuation_db = float(sender.get("attenuation_db") or 0.0)
    rate = sender.get("rate")
    return Asked(10.0 ** (-attenuation_db / 10.0), 1.0 if rate is None else float(rate))
