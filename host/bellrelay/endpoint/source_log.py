"""What a sender sent, by slot: the interface, whatever keeps the records.

A setting is the index of an intensity in the sender's ladder: 0 s, 1 mu, 2 nu, 3 o. The signal s is
sent in Z, the others in X; the bit of a vacuum is random as any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.ladder import SETTINGS, S
from bellrelay.distill.sift import BASIS_X, BASIS_Z

from .slot_ranges import Ranges

__all__ = [
    "SETTINGS",
    "SIGNAL",
    "Choices",
    "HeldLadder",
    "LadderedSource",
    "MeasuredSource",
    "Reading",
    "SlotNotKept",
    "SlotRemoved",
    "SourceLog",
    "SourceLogDamaged",
    "SourceLogError",
    "basis_of",
    "sent_between",
]

SIGNAL = S


class SourceLogError(Exception):
    """What was sent cannot be said. No message of these has a choice in it."""


class SlotNotKept(SourceLogError):
    """A slot that is forgotten, or not recorded yet."""


class SlotRemoved(SourceLogError):
    """A slot in a range whose records the sender dropped."""


class SourceLogDamaged(SourceLogError):
    """Records that a disk spoilt, or choices that no sender of this protocol can have made."""


@dataclass(frozen=True)
class Choices:
    """What was sent in n slots; each (n,) uint8, and none of it is shown.

    basis: 0 Z, 1 X. setting: index in the ladder. bit: 0 or 1, as sent: Bob's is not flipped.
    """

    basis: NDArray[np.uint8] = field(repr=False)
    setting: NDArray[np.uint8] = field(repr=False)
    bit: NDArray[np.uint8] = field(repr=False)


def basis_of(setting: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Basis in which each setting is sent: the signal in Z, the others in X."""
    return np.where(setting == SIGNAL, np.uint8(BASIS_Z), np.uint8(BASIS_X))


class SourceLog(Protocol):
    """Records of one sender in one acquisition of the relay.

    Slots count from 0 at the acquisition's first slot. A sender that cannot record a slot drops a
    whole range of them, whatever it chose there: what is dropped must not depend on what is secret.
    """

    @property
    def acquisition(self) -> int:
        """Id of the relay's acquisition whose slots these are."""
        ...

    @property
    def start_ns(self) -> int:
        """UTC nanoseconds of slot 0; 0 where it is not known."""
        ...

    @property
    def slot_period_ps(self) -> float:
        """Picoseconds of a slot; 0 where it is not known."""
        ...

    @property
    def intensities(self) -> NDArray[np.float64]:
        """(4,) float64: mean photon numbers per pulse as the sender declares them."""
        ...

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(4,) float64: of the settings, as the sender declares them."""
        ...

    @property
    def kept(self) -> tuple[int, int]:
        """[first, end): slots before first are forgotten, from end on not recorded yet.

        It grows as the sender goes on: every call looks again.
        """
        ...

    def choices(self, slots: NDArray[np.uint64]) -> Choices:
        """What was sent in these slots: (n,) uint64, in any order.

        Raises
        ------
        SlotNotKept, SlotRemoved, SourceLogDamaged
            For any of them; nothing is said about the others then.
        """
        ...

    def removed(self, first: int, end: int) -> Ranges:
        """(k, 2) uint64: slots of [first, end) whose records were dropped; sorted, disjoint.

        Raises
        ------
        SlotNotKept, SourceLogDamaged
        """
        ...

    def sent(self, first: int, end: int) -> int:
        """Pulses sent in [first, end) and recorded: its slots less the removed ones.

        Raises
        ------
        SlotNotKept, SourceLogDamaged
        """
        ...

    def forget(self, before_slot: int) -> None:
        """Delete what was sent in slots before this one; never undone.

        Raises
        ------
        OSError
            The disk failed; to be called again.
        """
        ...

    def close(self) -> None:
        """Give files back."""
        ...


def sent_between(log: SourceLog, first: int, end: int) -> tuple[int, int] | None:
    """UTC nanoseconds between which slots [first, end) were sent; None where that is not known."""
    if not log.start_ns or not log.slot_period_ps:
        return None
    period_ns = log.slot_period_ps / 1000.0
    return log.start_ns + int(first * period_ns), log.start_ns + int(end * period_ns)


@dataclass(frozen=True)
class HeldLadder:
    """By which ladder the sender sent from a slot on: (4,) float64 each, as it declares them."""

    first_slot: int
    intensities: NDArray[np.float64]
    probabilities: NDArray[np.float64]


@runtime_checkable
class LadderedSource(Protocol):
    """A source log whose sender may change its ladder within an acquisition.

    Of any other, the one that it declares held in every slot.
    """

    def ladders(self, first: int, end: int) -> list[HeldLadder]:
        """Ladders by which [first, end) was sent, in order; the first may begin before.

        Raises
        ------
        SlotNotKept, SourceLogDamaged
        """
        ...


@dataclass(frozen=True)
class Reading:
    """What a power monitor says of one setting.

    time_ns: UTC nanoseconds of its end. setting: index in the ladder. mean: photons per pulse,
    averaged over many pulses. variance: relative variance of single pulses around that mean,
    (sigma / mean)**2; 0 where the monitor cannot see single pulses. ladder: name of the ladder that
    was sent meanwhile (``ladder_name`` of ``block_parameters``); empty: that of the configuration.
    """

    time_ns: int
    setting: int
    mean: float
    variance: float = 0.0
    ladder: str = ""


@runtime_checkable
class MeasuredSource(Protocol):
    """A source whose plugin also brings what its power monitor says."""

    def readings(self) -> list[Reading]:
        """What was measured since the last call, oldest first."""
        ...
