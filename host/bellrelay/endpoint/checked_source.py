"""A source log whose every answer is checked: what a plugin says is not taken on trust."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.ladder import Ladder

from .slot_ranges import Ranges, inside, union
from .source_log import (
    SETTINGS,
    Choices,
    HeldLadder,
    LadderedSource,
    MeasuredSource,
    Reading,
    SlotNotKept,
    SlotRemoved,
    SourceLog,
    SourceLogDamaged,
    SourceLogError,
    basis_of,
)

__all__ = ["CheckedSource"]


class CheckedSource:
    """Another source log, which must answer in the right form and hold to the protocol.

    A plugin need not know our exceptions: its LookupError for a slot becomes a SlotNotKept.

    Parameters
    ----------
    log
        Of the plugin.
    acquisition
        Whose slots it must have.
    intensities, probabilities
        (4,) float64, declared in the endpoint's configuration: the sender must declare the same,
        unless it records by which of its ladders it sent (:meth:`require_ladder`).

    Raises
    ------
    SourceLogError
        It is a log of something else; the message says of what.
    """

    def __init__(
        self,
        log: SourceLog,
        acquisition: int,
        intensities: NDArray[np.float64],
        probabilities: NDArray[np.float64],
    ) -> None:
        if log.acquisition != acquisition:
            raise SourceLogError(
                f"the source has slots of acquisition {log.acquisition}, not of {acquisition}"
            )
        if not isinstance(log, LadderedSource):
            held = HeldLadder(0, log.intensities, log.probabilities)
            _require(held, intensities, probabilities, "the configuration")
        self._log = log

    def __repr__(self) -> str:
        return f"CheckedSource({type(self._log).__name__}, acquisition {self.acquisition})"

    @property
    def acquisition(self) -> int:
        return self._log.acquisition

    @property
    def start_ns(self) -> int:
        return self._log.start_ns

    @property
    def slot_period_ps(self) -> float:
        return self._log.slot_period_ps

    @property
    def intensities(self) -> NDArray[np.float64]:
        return self._log.intensities

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return self._log.probabilities

    @property
    def kept(self) -> tuple[int, int]:
        return self._log.kept

    def require_ladder(self, first: int, end: int, ladder: Ladder) -> None:
        """Nothing, if all of [first, end) was sent by this ladder, as the sender recorded it.

        Raises
        ------
        SourceLogError
            Any of it was sent by another, or nobody knows by which.
        """
        if isinstance(self._log, LadderedSource):
            try:
                held = self._log.ladders(first, end)
            except LookupError as error:
                raise SlotNotKept(str(error)) from None
        else:
            held = [HeldLadder(0, self._log.intensities, self._log.probabilities)]
        if not held or held[0].first_slot > first:
            raise SourceLogDamaged(f"the source does not say by which ladder slot {first} was sent")
        for one in held:
            what = f"from slot {max(one.first_slot, first)} on, its block"
            _require(one, ladder.intensities, ladder.probabilities, what)

    def choices(self, slots: NDArray[np.uint64]) -> Choices:
        """As the plugin says; SourceLogDamaged if it answers what no sender can have sent."""
        if len(slots):
            dropped = self.removed(int(slots.min()), int(slots.max()) + 1)
            if inside(dropped, slots).any():
                raise SlotRemoved("a slot lies in a range whose records the sender dropped")
        try:
            answer = self._log.choices(slots)
        except LookupError as error:
            raise SlotNotKept(str(error)) from None
        basis, setting, bit = answer.basis, answer.setting, answer.bit
        for name, array, most in (
            ("basis", basis, 1),
            ("setting", setting, len(SETTINGS) - 1),
            ("bit", bit, 1),
        ):
            if array.dtype != np.uint8 or array.shape != slots.shape:
                raise SourceLogDamaged(
                    f"the source says {name} as {array.dtype} {array.shape}, not uint8 "
                    f"{slots.shape}"
                )
            if array.size and int(array.max()) > most:
                raise SourceLogDamaged(f"the source says a {name} that does not exist")
        if not np.array_equal(basis, basis_of(setting)):
            raise SourceLogDamaged("the source says a signal in X, or another setting in Z")
        return Choices(basis, setting, bit)

    def removed(self, first: int, end: int) -> Ranges:
        """As the plugin says; SourceLogDamaged if it is not within the range."""
        try:
            ranges = union(self._log.removed(first, end))
        except LookupError as error:
            raise SlotNotKept(str(error)) from None
        except ValueError as error:
            raise SourceLogDamaged(
                f"the source says removed ranges that are none: {error}"
            ) from None
        if len(ranges) and (int(ranges[0, 0]) < first or int(ranges[-1, 1]) > end):
            raise SourceLogDamaged(f"the source says removed ranges outside {first}..{end}")
        return ranges

    def sent(self, first: int, end: int) -> int:
        """As the plugin says; SourceLogDamaged if it is not the range less the removed ranges."""
        ranges = self.removed(first, end)
        expected = end - first - int(np.sum(ranges[:, 1] - ranges[:, 0], dtype=np.uint64))
        if self._log.sent(first, end) != expected:
            raise SourceLogDamaged("the source's pulses are not its slots less the removed ones")
        return expected

    def forget(self, before_slot: int) -> None:
        self._log.forget(before_slot)

    def close(self) -> None:
        self._log.close()

    def readings(self) -> list[Reading]:
        """What the source's power monitor says; nothing if it has none."""
        if not isinstance(self._log, MeasuredSource):
            return []
        return [Reading(*_fields(r)) for r in self._log.readings()]


def _fields(reading: Reading) -> tuple[int, int, float, float, str]:
    return (
        int(reading.time_ns),
        int(reading.setting),
        float(reading.mean),
        float(reading.variance),
        str(getattr(reading, "ladder", "")),
    )


def _require(
    held: HeldLadder,
    intensities: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    who: str,
) -> None:
    for name, own, declared in (
        ("intensities", held.intensities, intensities),
        ("probabilities", held.probabilities, probabilities),
    ):
        if np.shape(own) != (len(SETTINGS),) or not np.allclose(
            own, declared, rtol=1e-6, atol=1e-9
        ):
            raise SourceLogError(
                f"the source declares {name} {np.round(own, 6).tolist()}, {who} "
                f"{np.round(declared, 6).tolist()}"
            )
