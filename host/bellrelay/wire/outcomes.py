"""Outcomes, classes of a slot, and the pattern tables that map a bitmap to its class."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "Encoding",
    "Outcome",
    "SlotClass",
    "classify",
    "outcome_of_class",
    "pattern_table",
]

from typing import Literal, get_args

Encoding = Literal["time-bin", "polarisation"]


class Outcome(IntEnum):
    """What Charles announces for a slot."""

    PSI_MINUS = 1
    PSI_PLUS = 2


class SlotClass(IntEnum):
    """Class of a closed slot that has at least one click; the codes of the pattern table."""

    NONE = 0
    PSI_MINUS = 1
    PSI_PLUS_SAME_DETECTOR = 2
    PSI_PLUS_TWO_DETECTORS = 3
    SINGLE = 4
    SAME_BIN = 5
    MORE_THAN_TWO = 6
    MULTI_CLICK = 7
    NOT_LIVE = 8


_OUTCOMES = {
    SlotClass.PSI_MINUS: Outcome.PSI_MINUS,
    SlotClass.PSI_PLUS_SAME_DETECTOR: Outcome.PSI_PLUS,
    SlotClass.PSI_PLUS_TWO_DETECTORS: Outcome.PSI_PLUS,
}


def outcome_of_class(slot_class: SlotClass) -> Outcome | None:
    """Outcome announced for a class, None for a class that is rejected."""
    return _OUTCOMES.get(slot_class)


def classify(bitmap: int, multi: bool, encoding: Encoding, ports: tuple[int, ...]) -> SlotClass:
    """Class of one slot, not_live aside.

    Parameters
    ----------
    bitmap
        Bit ``d`` for early, ``len(ports) + d`` for late of detector ``d``.
    multi
        Whether any cell of the slot was hit more than once.
    encoding
        ``time-bin``: two cells, early and late; psi-minus on different ports, psi-plus on one
        (Lo, Curty, Qi, PRL 108 130503 (2012), transferred to time bins). ``polarisation``:
        detectors in the order D0H, D0V, D1H, D1V, all in the early window; H and V on one port is
        psi-plus, on different ports psi-minus.
    ports
        Output port (0 or 1) of the beam splitter for every detector.
    """
    n = len(ports)
    cells = [i for i in range(2 * n) if bitmap >> i & 1]
    if not cells:
        return SlotClass.NONE
    if len(cells) == 1:
        return SlotClass.SINGLE
    if len(cells) > 2:
        return SlotClass.MORE_THAN_TWO
    first, second = cells
    one, two = first % n, second % n
    if encoding == "time-bin":
        distinct = (first < n) != (second < n)
    else:
        # H and V detectors alternate; a click in the late window belongs to no polarisation slot.
        distinct = first < n and second < n and one % 2 != two % 2
    if not distinct:
        return SlotClass.SAME_BIN
    if multi:
        return SlotClass.MULTI_CLICK
    if ports[one] != ports[two]:
        return SlotClass.PSI_MINUS
    if one == two:
        return SlotClass.PSI_PLUS_SAME_DETECTOR
    return SlotClass.PSI_PLUS_TWO_DETECTORS


def pattern_table(encoding: Encoding, ports: tuple[int, ...]) -> list[int]:
    """Pattern table for the board: class codes, indexed by ``bitmap | multi << 2N``.

    Parameters
    ----------
    encoding
        ``time-bin`` (2 or 4 detectors) or ``polarisation`` (4 detectors).
    ports
        Output port (0 or 1) for every detector; both ports must occur.

    Returns
    -------
    list of int, length ``2**(2N + 1)``.

    Raises
    ------
    ValueError
        For an unknown encoding, a wrong number of detectors or ports.
    """
    n = len(ports)
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding is {encoding!r}; allowed: {', '.join(get_args(Encoding))}")
    if n not in (2, 4):
        raise ValueError(f"{n} detectors; allowed: 2 or 4")
    if set(ports) != {0, 1}:
        raise ValueError(f"ports are {ports!r}; every one is 0 or 1 and both occur")
    if encoding == "polarisation" and ports != (0, 0, 1, 1):
        raise ValueError("polarisation needs detectors D0H, D0V, D1H, D1V: ports (0, 0, 1, 1)")
    return [
        int(classify(index & ((1 << 2 * n) - 1), bool(index >> 2 * n), encoding, ports))
        for index in range(1 << (2 * n + 1))
    ]
