"""What may change on a simulated link while it runs: what senders are told, and what nature does.

A change is a JSON object. What a sender is told::

    {"sender": "alice", "delay_ps": -120.0, "attenuation_db": 3.0, "halted": true, "rate": 0.5,
     "factors": {"mu": 1.1}, "ladders": {..}}

any of them, ``ladders`` as in :mod:`.ladder_timetable`;
``{"senders": {"alice": {..}, "bob": {..}}}`` tells both. What nature does::

    {"arm_a": {"eta": .., "delay_ps": .., "drift_ps_per_s": ..}, "arm_b": {..},
     "detectors": {"D0": {"dark_rate_hz": .., "efficiency": ..}},
     "misalignment_x": .., "misalignment_z": .., "clock_offset_ppm": .., "mode_overlap": ..}

What is not named stays as it is. :meth:`Conditions.values` has the same form, so that a record of
what was in force is a list of changes that brings the same again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel import Arm
from .choices import Party
from .detector import Detector
from .ladder_timetable import NEVER, LadderTimetable
from .link import SimulatedLink
from .source import Source

__all__ = ["FRAME_SLOTS", "Conditions", "SenderOrders", "changed"]

FRAME_SLOTS = 1 << 16
"""A sender that sends in a share of the slots sends in the first ones of each such frame."""
MAX_ATTENUATION_DB = 200.0
MAX_FACTOR = 1e3
_ARM = ("eta", "delay_ps", "drift_ps_per_s")
_DETECTOR = ("dark_rate_hz", "efficiency")
_LINK = ("misalignment_x", "misalignment_z", "clock_offset_ppm", "mode_overlap")


@dataclass(frozen=True)
class SenderOrders:
    """What one sender was told, and what became of its modulator.

    Parameters
    ----------
    delay_ps
        It sends this much later than by itself.
    attenuation_db
        Of all settings, beyond what was calibrated; at least 0.
    halted
        It sends nothing.
    rate
        Share of the slots in which it sends, above 0.
    ladders
        By which ladder it sends which slots; None: the link's in all.
    factors
        By setting: what leaves, against what is declared. Not what anybody asks of a sender; it is
        what an error of its calibration, or a change that nobody told of, does.

    Raises
    ------
    ValueError
        Naming what is out of range.
    """

    delay_ps: float = 0.0
    attenuation_db: float = 0.0
    halted: bool = False
    rate: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict)
    ladders: LadderTimetable | None = None

    def __post_init__(self) -> None:
        for name in ("delay_ps", "attenuation_db", "rate"):
            object.__setattr__(self, name, _number(getattr(self, name), name))
        if not 0.0 <= self.attenuation_db <= MAX_ATTENUATION_DB:
            raise ValueError(f"attenuation_db must lie in 0..{MAX_ATTENUATION_DB:g}")
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"rate must be above 0 and at most 1, got {self.rate}")
        if not isinstance(self.halted, bool):
            raise ValueError(f"halted must be true or false, got {self.halted!r}")
        if not isinstance(self.factors, Mapping):
            raise ValueError("factors must be given by setting")
        factors = {str(name): _number(value, "factors") for name, value in self.factors.items()}
        if not all(0.0 <= value <= MAX_FACTOR for value in factors.values()):
            raise ValueError(f"factors must lie in 0..{MAX_FACTOR:g}, got {factors}")
        object.__setattr__(self, "factors", factors)

    def values(self) -> dict[str, Any]:
        """Plain values, as it is told."""
        out = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        ladders = out.pop("ladders")
        out["factors"] = dict(self.factors)
        return out if ladders is None else {**out, "ladders": ladders.values()}

    @property
    def sent_of_frame(self) -> int:
        """Slots of each frame in which it sends, the first ones; at least one unless halted."""
        return 0 if self.halted else max(1, round(self.rate * FRAME_SLOTS))

    def unsent(self, first: int, end: int) -> NDArray[np.uint64]:
        """(k, 2) uint64: slots of [first, end) in which it does not send; sorted, disjoint."""
        sent = self.sent_of_frame
        if first >= end or sent == FRAME_SLOTS:
            return np.empty((0, 2), np.uint64)
        if sent == 0:
            return np.array([[first, end]], np.uint64)
        frames = np.arange(first // FRAME_SLOTS, (end - 1) // FRAME_SLOTS + 1) * FRAME_SLOTS
        rows = np.stack((frames + sent, frames + FRAME_SLOTS), axis=1).clip(first, end)
        return rows[rows[:, 0] < rows[:, 1]].astype(np.uint64)


@dataclass(frozen=True)
class Conditions:
    """What is in force: orders of both senders, and the link as nature has it now."""

    link: SimulatedLink
    alice: SenderOrders = field(default_factory=SenderOrders)
    bob: SenderOrders = field(default_factory=SenderOrders)

    def __post_init__(self) -> None:
        for party in Party:
            source = self.link.alice if party is Party.ALICE else self.link.bob
            names = {s.name for s in source.settings}
            unknown = sorted(set(self.orders(party).factors) - names)
            if unknown:
                raise ValueError(f"factors: {unknown[0]} is no setting of {party.name.lower()}")

    def orders(self, party: Party) -> SenderOrders:
        """Of one sender."""
        return self.alice if party is Party.ALICE else self.bob

    def source(self, party: Party, slot: int) -> Source:
        """What a sender chooses from in a slot."""
        ladders = self.orders(party).ladders
        held = None if ladders is None else ladders.at(slot)
        if ladders is None or held is None:
            return self.link.alice if party is Party.ALICE else self.link.bob
        return ladders.sources[held[1]]

    def next_ladder(self, slot: int) -> int:
        """First slot after this one in which one of them sends by another ladder, or NEVER."""
        told = [self.orders(party).ladders for party in Party]
        return min((t.next_after(slot) for t in told if t is not None), default=NEVER)

    def of_acquisition(self, acquisition: int) -> Conditions:
        """What of these holds in an acquisition: no ladders that were told for another."""
        kept: dict[str, Any] = {
            party.name.lower(): replace(self.orders(party), ladders=None)
            for party in Party
            if (told := self.orders(party).ladders) is not None and told.acquisition != acquisition
        }
        return replace(self, **kept) if kept else self

    def leaving(self, party: Party, slot: int = 0) -> NDArray[np.float64]:
        """(settings,) float64: mean photon numbers before the sender's attenuator."""
        source = self.source(party, slot)
        factors = self.orders(party).factors
        return source.intensities * np.array([factors.get(s.name, 1.0) for s in source.settings])

    def arriving(self, party: Party, slot: int = 0) -> NDArray[np.float64]:
        """(settings,) float64: mean photon numbers that the relay would detect at efficiency 1."""
        arm = self.link.arm_a if party is Party.ALICE else self.link.arm_b
        orders = self.orders(party)
        if orders.halted:
            return np.zeros(len(self.leaving(party, slot)))
        scale: float = 10.0 ** (-orders.attenuation_db / 10.0) * arm.eta
        return self.leaving(party, slot) * scale

    def later_ps(self, party: Party) -> float:
        """By how much light comes later than with no delay of arm and sender."""
        arm = self.link.arm_a if party is Party.ALICE else self.link.arm_b
        return arm.delay_ps + self.orders(party).delay_ps

    def values(self) -> dict[str, Any]:
        """All of it, in the form of a change."""
        link = self.link
        return {
            "senders": {p.name.lower(): self.orders(p).values() for p in Party},
            "arm_a": {name: getattr(link.arm_a, name) for name in _ARM},
            "arm_b": {name: getattr(link.arm_b, name) for name in _ARM},
            "detectors": {d.name: {n: getattr(d, n) for n in _DETECTOR} for d in link.detectors},
            **{name: getattr(link, name) for name in _LINK},
        }


def changed(conditions: Conditions, change: object) -> Conditions:
    """Conditions after a change.

    Raises
    ------
    ValueError
        It is no change, or what it names is unknown or out of range; nothing of it holds then.
    """
    if not isinstance(change, Mapping):
        raise ValueError("a change must be a mapping")
    rest = dict(change)
    senders: dict[Party, Mapping[str, Any]] = {}
    # `party` is how the senders' delays alone were commanded first.
    who = rest.pop("sender", rest.pop("party", None))
    if who is not None:
        names = [f.name for f in dataclasses.fields(SenderOrders)]
        senders[_party(who)] = {name: rest.pop(name) for name in names if name in rest}
    for name, orders in _mapping(rest.pop("senders", {}), "senders").items():
        senders[_party(name)] = _mapping(orders, "senders")
    link = conditions.link
    parts: dict[str, Any] = {}
    for key in ("arm_a", "arm_b"):
        if key in rest:
            parts[key] = _arm(getattr(link, key), _mapping(rest.pop(key), key), key)
    if "detectors" in rest:
        parts["detectors"] = _detectors(
            link.detectors, _mapping(rest.pop("detectors"), "detectors")
        )
    for key in _LINK:
        if key in rest:
            parts[key] = _number(rest.pop(key), key)
    if rest:
        raise ValueError(f"{min(map(str, rest))} is nothing that changes")
    orders_of = {
        party.name.lower(): _orders(conditions.orders(party), told)
        for party, told in senders.items()
    }
    return replace(conditions, link=replace(link, **parts), **orders_of)


def _orders(orders: SenderOrders, told: Mapping[str, Any]) -> SenderOrders:
    unknown = sorted(set(told) - {f.name for f in dataclasses.fields(SenderOrders)})
    if unknown:
        raise ValueError(f"{unknown[0]} is nothing that a sender is told")
    told = dict(told)
    if "factors" in told:
        told["factors"] = {**orders.factors, **_mapping(told["factors"], "factors")}
    if "ladders" in told and told["ladders"] is not None:
        ladders = LadderTimetable.parse(told["ladders"])
        told["ladders"] = ladders if orders.ladders is None else orders.ladders.then(ladders)
    return replace(orders, **told)


def _arm(arm: Arm, values: Mapping[str, Any], key: str) -> Arm:
    return replace(arm, **_only(values, _ARM, key))


def _detectors(detectors: tuple[Detector, ...], values: Mapping[str, Any]) -> tuple[Detector, ...]:
    unknown = sorted(set(values) - {d.name for d in detectors})
    if unknown:
        raise ValueError(f"detectors: {unknown[0]} is none of them")
    return tuple(
        replace(d, **_only(_mapping(values[d.name], d.name), _DETECTOR, d.name))
        if d.name in values
        else d
        for d in detectors
    )


def _only(values: Mapping[str, Any], names: tuple[str, ...], key: str) -> dict[str, Any]:
    """These of a mapping's numbers, if it has no others."""
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ValueError(f"{key}.{unknown[0]} does not change; {', '.join(names)} do")
    return {name: _number(value, f"{key}.{name}") for name, value in values.items()}


def _party(name: object) -> Party:
    for party in Party:
        if name == party.name.lower():
            return party
    raise ValueError(f"sender must be alice or bob, got {name!r}")


def _mapping(value: object, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} must be a mapping")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{key} must be a finite number, got {value!r}")
    return float(value)
