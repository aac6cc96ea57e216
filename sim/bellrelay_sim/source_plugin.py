"""The endpoint's source plugin `simulation`: one party of a simulated link, as its own log has it.

Options: ``link`` (a link file, or what one holds; default: the default link), ``seed`` (instead of
the link's), ``acquisition`` (default 1; ``each`` of a twin with ``--acquisition-seeds``),
``removed`` (ranges [first, end) that the sender drops), ``conditions`` (what the twin writes with
``--conditions-log``: slots in which the sender did not send are recorded as dropped, its power
monitor sees what its factors do, and it sent by the ladders that the twin was told), ``declared``
(parameters of the four-intensity protocol that it claims, where they are not the truth),
``reading_noise`` (relative, of its power monitor, which taps the light before the attenuator that a
sender is told to set).

The records say what was chosen. What left the source, the light's true statistics, stays in the
simulation, but for what a power monitor would see of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .choices import Party, SourceLog, acquisition_seed
from .conditions_log import ConditionsReader, HeldSource
from .link_config import link_and_geometry, load_link
from .source import Source, four_intensity

__all__ = ["SimulatedReading", "SimulatedRecords", "SimulatedSource", "simulation_plugin"]

_OPTIONS = ("link", "seed", "acquisition", "removed", "conditions", "declared", "reading_noise")
_END = 1 << 63
_SETTINGS = (("s", 1.0), ("mu", 0.0), ("nu", 0.0), ("o", 0.0))
_MEASURED_BEFORE_S = 900
"""The power monitor has been on for so long already, so that a run need not wait for a bound."""
_READING_NS = 1_000_000_000


@dataclass(frozen=True)
class SimulatedRecords:
    """What was sent in n slots: (n,) uint8 each; 0 Z, 1 X; index in the ladder; 0 or 1."""

    basis: NDArray[np.uint8] = field(repr=False)
    setting: NDArray[np.uint8] = field(repr=False)
    bit: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True)
class SimulatedReading:
    """What a power monitor says: UTC nanoseconds, setting, photons per pulse."""

    time_ns: int
    setting: int
    mean: float
    variance: float = 0.0
    ladder: str = ""


@dataclass(frozen=True)
class SimulatedLadder:
    """By which ladder was sent from a slot on: (4,) float64 each."""

    first_slot: int
    intensities: NDArray[np.float64]
    probabilities: NDArray[np.float64]


class SimulatedSource:
    """The endpoint's view of a keyed generator; nothing is kept, and what is forgotten is refused.

    Parameters
    ----------
    log
        Of the party.
    acquisition
        The one whose light this was.
    declared
        What the sender claims.
    removed
        (k, 2) uint64: sorted, disjoint.
    reading_noise
        Relative standard deviation of a reading.
    conditions
        What the twin says of its conditions; None if they do not change.
    """

    def __init__(
        self,
        log: SourceLog,
        acquisition: int,
        declared: Source,
        removed: NDArray[np.uint64],
        reading_noise: float,
        conditions: ConditionsReader | None = None,
    ) -> None:
        self._log = log
        self._acquisition = acquisition
        self._declared = declared
        self._removed = removed
        self._noise = reading_noise
        self._conditions = conditions
        self._forgotten = 0
        self._random = np.random.default_rng()
        self._measured_ns = time.time_ns() - _MEASURED_BEFORE_S * 1_000_000_000

    def __repr__(self) -> str:
        return f"SimulatedSource({self._log.party.name.lower()}, acquisition {self._acquisition})"

    @property
    def acquisition(self) -> int:
        return self._acquisition

    @property
    def start_ns(self) -> int:
        """0: the simulation's time is not ours."""
        return 0

    @property
    def slot_period_ps(self) -> float:
        """0: nor is its pace."""
        return 0.0

    @property
    def intensities(self) -> NDArray[np.float64]:
        return self._declared.intensities

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return np.array([s.probability for s in self._declared.settings])

    @property
    def kept(self) -> tuple[int, int]:
        """A generator can say any slot that was not forgotten."""
        return self._forgotten, _END

    def choices(self, slots: NDArray[np.uint64]) -> SimulatedRecords:
        """What was chosen; LookupError for a slot that is forgotten or removed."""
        if len(slots):
            self._require_kept(int(slots.min()), int(slots.max()) + 1)
            removed = self._dropped(int(slots.min()), int(slots.max()) + 1)
            at = np.searchsorted(removed[:, 0], slots, side="right")
            if (slots[at > 0] < removed[at[at > 0] - 1, 1]).any():
                raise LookupError("a slot lies in a range whose records the sender dropped")
        return self._chosen(slots)

    def _chosen(self, slots: NDArray[np.uint64]) -> SimulatedRecords:
        basis, setting, bit = (np.empty(len(slots), np.uint8) for _ in range(3))
        held = self._held(int(slots.min()), int(slots.max()) + 1) if len(slots) else []
        begins = np.array([h.slot for h in held], np.uint64)
        which = np.searchsorted(begins, slots, side="right") - 1
        for i in np.unique(which):
            at = which == i
            chosen = replace(self._log, source=held[i].source).choices_at(slots[at])
            basis[at], setting[at], bit[at] = chosen.basis, chosen.intensity, chosen.bit
        return SimulatedRecords(basis, setting, bit)

    def _held(self, first: int, end: int) -> list[HeldSource]:
        if self._conditions is None:
            return [HeldSource(0, "", self._log.source)]
        return self._conditions.ladders(self._acquisition, self._log.party, first, end)

    def removed(self, first: int, end: int) -> NDArray[np.uint64]:
        """(k, 2) uint64 within [first, end); LookupError where it is not kept."""
        self._require_kept(first, end)
        return self._dropped(first, end)

    def _dropped(self, first: int, end: int) -> NDArray[np.uint64]:
        rows = np.clip(self._removed, np.uint64(first), np.uint64(end))
        rows = rows[rows[:, 1] > rows[:, 0]]
        if self._conditions is None:
            return rows
        unsent = self._conditions.unsent(self._acquisition, self._log.party, first, end)
        return _union(rows, unsent)

    def sent(self, first: int, end: int) -> int:
        """Slots less the removed ones; LookupError where they are not kept."""
        rows = self.removed(first, end)
        return end - first - int(np.sum(rows[:, 1] - rows[:, 0]))

    def forget(self, before_slot: int) -> None:
        """Refuse these slots from now on."""
        self._forgotten = max(self._forgotten, before_slot)

    def close(self) -> None:
        """Nothing to give back."""

    def readings(self) -> list[SimulatedReading]:
        """The source's true intensities, as a power monitor of this noise sees them each second."""
        now = time.time_ns()
        times = list(range(self._measured_ns + _READING_NS, now + 1, _READING_NS))
        self._measured_ns = times[-1] if times else self._measured_ns
        return [
            SimulatedReading(at, setting, float(mean), ladder=name)
            for at in times
            for name, truth in self._leaving(at).items()
            for setting, mean in enumerate(
                truth * self._random.normal(1.0, self._noise, len(_SETTINGS))
            )
        ]

    def _leaving(self, utc_ns: int) -> dict[str, NDArray[np.float64]]:
        """By name of the ladder, (4,) float64: photons per pulse that left the source about then.

        The light's pace is not ours: it is taken for sent by every ladder that it was told.
        """
        party = self._log.party
        held = [] if self._conditions is None else self._conditions.held()
        for one in reversed(held):
            if one.utc_ns <= utc_ns:
                ladders = one.conditions.orders(party).ladders
                begins = () if ladders is None else ladders.begins
                slots = {name: slot for slot, name in begins}
                out = {name: one.conditions.leaving(party, slot) for name, slot in slots.items()}
                return {"": one.conditions.leaving(party, -1), **out}
        return {"": self._log.source.intensities}

    def _require_kept(self, first: int, end: int) -> None:
        if first < self._forgotten:
            raise LookupError(f"slots before {self._forgotten} are forgotten, {first} is asked for")
        if end > _END:
            raise LookupError(f"slots up to {_END} are recorded, {end - 1} is asked for")


class ChangingSource(SimulatedSource):
    """One whose sender may be told other ladders under way."""

    def ladders(self, first: int, end: int) -> list[SimulatedLadder]:
        """By which ladders [first, end) was sent; LookupError where it is not kept."""
        self._require_kept(first, end)
        out = []
        for held in self._held(first, end):
            source = held.source if held.name else self._declared
            probabilities = np.array([s.probability for s in source.settings])
            out.append(SimulatedLadder(held.slot, source.intensities, probabilities))
        return out


def simulation_plugin(options: Mapping[str, Any], role: str) -> Callable[[int], SimulatedSource]:
    """Entry point ``simulation`` of the group ``bellrelay.sources``.

    Returns a function that opens the log of an acquisition and raises ValueError for one that is
    not simulated.

    Raises
    ------
    ValueError
        Naming the option.
    OSError
        The link file cannot be read.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise ValueError(f"{unknown[0]} is no option of simulation; {', '.join(_OPTIONS)} are")
    link_option = options.get("link", {})
    if isinstance(link_option, str):
        link, _ = load_link(Path(link_option))
    else:
        link, _ = link_and_geometry(link_option)
    if "seed" in options:
        link = replace(link, seed=_whole(options["seed"], "seed"))
    log = link.source_log(Party.ALICE if role == "alice" else Party.BOB)
    settings = tuple((s.name, s.z_probability) for s in log.source.settings)
    if settings != _SETTINGS:
        raise ValueError(f"link: {role} must send the four intensities s, mu, nu, o")
    declared = log.source
    if "declared" in options:
        try:
            declared = four_intensity(**options["declared"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"declared: {error}") from None
    only = options.get("acquisition", 1)
    if only != "each":
        only = _whole(only, "acquisition")
    removed = _ranges(options.get("removed", []))
    noise = options.get("reading_noise", 3e-4)
    if not isinstance(noise, float) or not 0.0 <= noise < 1.0:
        raise ValueError(f"reading_noise must lie in 0.0..1.0, got {noise!r}")

    reader = None
    if "conditions" in options:
        if not isinstance(options["conditions"], str):
            raise ValueError("conditions must be a path")
        reader = ConditionsReader(Path(options["conditions"]), link)

    def open_log(wanted: int) -> SimulatedSource:
        if only == "each":
            own = replace(log, seed=acquisition_seed(log.seed, wanted))
        elif wanted == only:
            own = log
        else:
            raise ValueError(
                f"acquisition {wanted}: the simulation sends the same light in each, "
                f"and has records of {only} alone"
            )
        kind = SimulatedSource if reader is None else ChangingSource
        return kind(own, wanted, declared, removed, noise, reader)

    return open_log


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return value


def _ranges(value: object) -> NDArray[np.uint64]:
    try:
        rows = np.array(value, np.int64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("removed must be a list of [first, end)") from None
    flat = rows.ravel()
    if len(flat) and (flat[0] < 0 or (np.diff(flat) < 0).any()):
        raise ValueError("removed must be ranges [first, end) in order")
    return rows.astype(np.uint64)


def _union(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Ranges of either, sorted and disjoint."""
    if not len(one) or not len(other):
        return one if len(one) else other
    rows = np.concatenate((one, other))
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    until = np.maximum.accumulate(rows[:, 1])
    begins = np.concatenate(([True], rows[1:, 0] > until[:-1]))
    first = np.flatnonzero(begins)
    return np.stack((rows[first, 0], until[np.append(first[1:], len(rows)) - 1]), axis=1)
