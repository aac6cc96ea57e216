"""The counters of a board, in the order in which the heartbeat carries them (u64 each)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from .geometry import BoardGeometry
from .outcomes import SlotClass

__all__ = ["LOSS_COUNTERS", "Counter", "counters", "loss_counters"]

Scope = Literal["channel", "detector", "pair", "board"]


@dataclass(frozen=True)
class Counter:
    """One counter: ``name`` is unique (``clicks_0``), ``kind`` is its family (``clicks``)."""

    name: str
    kind: str
    scope: Scope
    doc: str


_CHANNEL = (
    ("clicks", "hits of the front end"),
    ("pile_up", "dropped: less than a clock period after the last"),
    ("before_start", "dropped: before the acquisition's start after deskew"),
    ("misaligned", "dropped: align_cells does not cover the deskew"),
    ("tags_lost", "raw tags lost: capture bank full"),
    ("tags_shed", "raw tags shed: link buffer full"),
)
_DETECTOR = (
    ("dead_time", "suppressed by the dead time"),
    ("dead_cells", "clock periods at whose start the detector was dead"),
    ("outside", "in no gate window"),
    ("early", "in the early window"),
    ("late", "in the late window"),
)
_BOARD = (
    ("sync", "sync tags"),
    ("slots", "slots closed"),
    ("slots_not_live", "slots closed in which a detector could not have fired"),
    *((f"class_{c.value}", f"slots of class {c.name.lower()}") for c in SlotClass),
    ("announced_psi_minus", "psi-minus records handed to the link"),
    ("announced_psi_plus", "psi-plus records handed to the link"),
    ("lost_psi_minus", "psi-minus lost: announcement bank full"),
    ("lost_psi_plus", "psi-plus lost: announcement bank full"),
    ("shed_psi_minus", "psi-minus shed: link buffer full"),
    ("shed_psi_plus", "psi-plus shed: link buffer full"),
    ("frames_skipped", "histogram chunks and heartbeats that found no room"),
    ("commands_bad", "damaged command frames"),
    ("commands_dropped", "commands that arrived while one was unanswered"),
)

LOSS_COUNTERS = (
    "tags_lost",
    "tags_shed",
    "lost_psi_minus",
    "lost_psi_plus",
    "shed_psi_minus",
    "shed_psi_plus",
)
"""Families that a LOSS frame carries."""


def counters(geometry: BoardGeometry) -> tuple[Counter, ...]:
    """Every counter of a board: per channel, per detector, per pair of detectors, per board."""
    out: list[Counter] = []
    for kind, doc in _CHANNEL:
        out += [Counter(f"{kind}_{i}", kind, "channel", doc) for i in range(geometry.n_channels)]
    for kind, doc in _DETECTOR:
        out += [Counter(f"{kind}_{i}", kind, "detector", doc) for i in range(geometry.n_detectors)]
    out += [
        Counter(f"pair_{i}_{j}", "pair", "pair", "closed slots in which both detectors clicked")
        for i, j in combinations(range(geometry.n_detectors), 2)
    ]
    out += [Counter(kind, kind, "board", doc) for kind, doc in _BOARD]
    return tuple(out)


def loss_counters(geometry: BoardGeometry) -> tuple[Counter, ...]:
    """The counters of a LOSS frame, in its order."""
    return tuple(c for c in counters(geometry) if c.kind in LOSS_COUNTERS)
