"""What a store needs done from time to time: expiry, forgetting, another KEK, and alarms.

:meth:`Lifecycle.round` does a bounded piece of all of it; a daemon calls it every few seconds, in a
thread of its own, and whoever is interrupted in it goes on the next time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .key_store import KeyStore

__all__ = ["KekDue", "Lifecycle", "LifecyclePolicy", "LifecycleStatus", "LowWater"]

_CLEAR_AT = 1.25


@dataclass(frozen=True)
class LifecyclePolicy:
    """When what is due.

    low_water : units of a pair and side below which there is an alarm, unless ``low_water_of`` has
    another number for the pair; 0 is never. It ends at a quarter more. kek_max_age_s,
    kek_max_seals : after so long, or so many blobs, another KEK is due; random nonces are safe for
    2^32. round_s : how long a round may take.
    """

    low_water: int = 0
    low_water_of: Mapping[str, int] = field(default_factory=dict)
    kek_max_age_s: float | None = None
    kek_max_seals: int = 1 << 31
    round_s: float = 0.5

    def low(self, pair: str) -> int:
        """Threshold of a pair, in units."""
        return self.low_water_of.get(pair, self.low_water)


@dataclass(frozen=True)
class LowWater:
    """A pair runs dry, or no more (``raised`` False). Units of this KME's side."""

    pair: str
    free: int
    threshold: int
    raised: bool


@dataclass(frozen=True)
class KekDue:
    """Another KEK is due: the present one was used for so long, and for so many blobs."""

    kek_id: str
    age_s: float
    seals: int


@dataclass(frozen=True)
class LifecycleStatus:
    """After a round. Totals are since the start.

    low : pairs that run dry, with their free units. under_other_keks : units that are still sealed
    under a KEK of before, as far as was looked; 0: those KEKs may be destroyed.
    """

    units_expired: int = 0
    keys_expired: int = 0
    keys_forgotten: int = 0
    resealed: int = 0
    under_other_keks: int = 0
    low: Mapping[str, int] = field(default_factory=dict)
    kek_due: bool = False


class Lifecycle:
    """Keeps a store in order.

    Parameters
    ----------
    on_alarm
        Called from the thread of the round, once when an alarm is raised and once when it ends.
    """

    def __init__(
        self,
        store: KeyStore,
        policy: LifecyclePolicy,
        on_alarm: Callable[[LowWater | KekDue], None] = lambda _alarm: None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.status = LifecycleStatus()
        self._store = store
        self._policy = policy
        self._on_alarm = on_alarm
        self._clock = clock
        self._low: dict[str, int] = {}
        self._kek_due = False

    def round(self) -> LifecycleStatus:
        """Do what is due, for about ``round_s`` at most.

        Raises
        ------
        StoreError, SealerError, AuditError
            As the store's methods; what was done before stays done.
        """
        deadline = time.monotonic() + self._policy.round_s
        units, keys, forgotten, resealed, left = 0, 0, 0, 0, 0
        while True:
            expired = self._store.expire()
            units, keys = units + expired.units, keys + expired.keys
            if expired.units + expired.keys == 0 or time.monotonic() > deadline:
                break
        while time.monotonic() < deadline:
            gone = self._store.purge()
            forgotten += gone
            if not gone:
                break
        while done := self._store.reseal():
            resealed += done
            if time.monotonic() > deadline:
                break
        if done:
            current = self._store.kek_id
            left = sum(n for kek_id, n in self._store.keks().items() if kek_id != current)
        self._look_at_water()
        self._look_at_kek()
        old = self.status
        self.status = LifecycleStatus(
            old.units_expired + units,
            old.keys_expired + keys,
            old.keys_forgotten + forgotten,
            old.resealed + resealed,
            left,
            dict(self._low),
            self._kek_due,
        )
        return self.status

    def _look_at_water(self) -> None:
        counts = self._store.counts()
        for pair in self._store.pairs:
            threshold = self._policy.low(pair.name)
            free = counts[pair.name, self._store.side].free
            if pair.name in self._low:
                if free >= threshold * _CLEAR_AT:
                    del self._low[pair.name]
                    self._on_alarm(LowWater(pair.name, free, threshold, raised=False))
                else:
                    self._low[pair.name] = free
            elif free < threshold:
                self._low[pair.name] = free
                self._on_alarm(LowWater(pair.name, free, threshold, raised=True))

    def _look_at_kek(self) -> None:
        use = self._store.kek_use()
        age_s = (self._clock() - use.first_ns) / 1e9
        max_age_s = self._policy.kek_max_age_s
        due = use.seals >= self._policy.kek_max_seals or (
            max_age_s is not None and age_s >= max_age_s
        )
        if due and not self._kek_due:
            self._on_alarm(KekDue(use.kek_id, age_s, use.seals))
        self._kek_due = due
