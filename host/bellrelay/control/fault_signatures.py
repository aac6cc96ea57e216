"""The table of faults: which quantities each moves, which way, and what is done about it.

A cell says what the fault does to an observable: ``+`` raises it, ``-`` lowers it, ``*`` moves it
either way; in brackets: may do so, or does so only when it is severe. What is not named is not
touched. Of a fault that has a subject (an arm, a detector), ``.own`` is that subject's observable
and ``.other`` the others'; without either, the cell is every subject's.

Weights are how often a fault is met relative to the others, before anything is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .fault_actions import Action, Step
from .fault_observables import Instance, Scope, Side

__all__ = ["CELLS", "FAULTS", "UNEXPLAINED", "Fault"]

CELLS: Mapping[str, tuple[float, float, float]] = {
    # probabilities of (up, as usual, down)
    "": (0.02, 0.96, 0.02),
    "+": (0.90, 0.09, 0.01),
    "-": (0.01, 0.09, 0.90),
    "*": (0.45, 0.10, 0.45),
    "(+)": (0.45, 0.54, 0.01),
    "(-)": (0.01, 0.54, 0.45),
    "(*)": (0.25, 0.50, 0.25),
}


SLOW: Mapping[str, str] = {"error-z-slow": "error-z", "error-x-slow": "error-x"}
"""What is watched for a slow rise, too: its own cells are those of the quick one, in brackets."""


@dataclass(frozen=True)
class Fault:
    """A row: a cause that may be diagnosed.

    family: F1 to F6, or a word. scope: whose it is. weight: before evidence. cells: by observable.
    steps: in their order. triggers: cells that suspect it; those without brackets unless given.
    within_s: link time in which it must be seen once it is at full size; None: it comes slowly.
    proof: observables that prove it; without one of them it is told, and acted on, some time later.
    """

    name: str
    family: str
    title: str
    scope: Scope
    weight: float
    cells: Mapping[str, str]
    steps: tuple[Step, ...]
    triggers: tuple[str, ...] = ()
    within_s: float | None = None
    proof: tuple[str, ...] = ()

    @property
    def runbook(self) -> str:
        """Page for a person, relative to the top of the repository."""
        return f"docs/runbooks/{self.name}.md"

    def cell(self, instance: Instance, subject: str) -> tuple[str, str]:
        """(key, cell) of an observable's instance if the fault is this subject's.

        What a fault may do to errors quickly, it may as well do slowly.
        """
        name = instance.observable.name
        if name in SLOW:
            cell = self.cells.get(SLOW[name], "")
            return SLOW[name], f"({cell})" if cell and not cell.startswith("(") else cell
        if self.scope == instance.observable.scope and self.scope != "link":
            key = f"{name}.{'own' if instance.subject == subject else 'other'}"
            if key in self.cells:
                return key, self.cells[key]
        return name, self.cells.get(name, "")

    def explains(self, instance: Instance, side: Side, subject: str) -> bool:
        """Whether it may move this instance this way."""
        return _moves(self.cell(instance, subject)[1], side)

    def suspected_by(self, instance: Instance, side: Side, subject: str) -> bool:
        """Whether an alarm there makes it a candidate."""
        key, cell = self.cell(instance, subject)
        if not _moves(cell, side):
            return False
        return key in self.triggers if self.triggers else not self.cells[key].startswith("(")


def _moves(cell: str, side: Side) -> bool:
    return ("+" if side is Side.UP else "-") in cell or "*" in cell


def _steps(*steps: tuple[Action, float]) -> tuple[Step, ...]:
    return tuple(Step(*s) for s in steps)


_A = Action
_NO_LIMIT = float("inf")

FAULTS: tuple[Fault, ...] = (
    Fault(
        "clock-drift", "F1", "the slot clock runs away from the pulses", "link", 10.0,
        {
            "delay": "*", "reference": "(+)", "announced": "(-)", "clicks": "(-)",
            "outside": "(+)", "error-z": "(+)", "error-x": "(+)", "width": "(+)", "live": "",
            "uncorrected": "(+)",
            "vacuum-share": "(+)", "psi-minus": "(*)", "visibility": "(-)",
        },
        _steps((_A.RESYNCHRONISE, 20.0), (_A.HOLD_OVER, 60.0), (_A.FAIL_OVER, _NO_LIMIT)),
        triggers=("delay",), within_s=5.0,
    ),
    Fault(
        "reference-lost", "F1", "the clock's reference is gone", "link", 5.0,
        {"reference": "+", "delay": "(*)", "announced": "(-)"},
        _steps((_A.HOLD_OVER, 3600.0), (_A.FAIL_OVER, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "arm-delay", "F1", "the pulses of one arm arrive early or late", "party", 10.0,
        {
            "delay.own": "*", "delay.other": "", "delay-apart": "*", "visibility": "(-)",
            "error-x": "(+)", "error-z": "(+)", "announced": "(-)", "clicks": "(-)",
            "uncorrected": "(+)",
            "outside": "(+)", "width": "(+)", "vacuum-share.own": "(+)", "psi-minus": "(*)",
        },
        _steps((_A.RESYNCHRONISE, 20.0), (_A.RECALIBRATE, 300.0), (_A.FAIL_OVER, _NO_LIMIT)),
        triggers=("delay.own",), within_s=5.0,
    ),
    Fault(
        "arms-drift", "F1", "the pulses of both arms arrive off their place, each its own way",
        "link", 6.0,
        {
            "delay": "*", "delay-apart": "*", "visibility": "(-)", "error-x": "(+)",
            "error-z": "(+)", "announced": "(-)", "clicks": "(-)", "outside": "(+)",
            "uncorrected": "(+)",
            "width": "(+)", "vacuum-share": "(+)", "psi-minus": "(*)",
        },
        _steps((_A.RESYNCHRONISE, 20.0), (_A.RECALIBRATE, 300.0), (_A.FAIL_OVER, _NO_LIMIT)),
        triggers=("delay", "delay-apart"), within_s=5.0,
    ),
    Fault(
        "saturation", "F2", "more light than the detectors can follow", "link", 6.0,
        {
            "live": "-", "suppressed": "+", "light": "(+)", "clicks": "(+)", "outside": "(+)",
            "announced": "(*)", "psi-minus": "(*)", "error-z": "(+)", "error-x": "(+)",
            "uncorrected": "(+)",
            "visibility": "(-)", "decoy-share": "(*)", "vacuum-share": "(*)", "line": "(+)",
        },
        _steps((_A.THROTTLE, 10.0), (_A.ATTENUATE, 30.0), (_A.FAIL_OVER, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "bright-arm", "F2", "one arm brings more light than calibrated", "party", 3.0,
        {
            "light.own": "+", "live": "(-)", "suppressed": "(+)", "clicks": "(+)",
            "outside": "(+)", "announced": "(+)", "psi-minus": "(*)", "error-x": "(+)",
            "error-z": "(+)", "visibility": "(-)", "vacuum-share.other": "(+)",
            "uncorrected": "(+)",
            "decoy-share": "(*)", "intensity.own": "(+)",
        },
        _steps((_A.ATTENUATE, 30.0), (_A.ROLL_BACK, 60.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "runaway-detector", "F2", "a detector clicks by itself: oscillation or afterpulsing",
        "detector", 2.0,
        {
            "clicks.own": "+", "clicks.other": "", "outside.own": "+", "outside.other": "",
            "suppressed.own": "(+)", "live": "(-)", "announced": "(*)", "psi-minus": "(*)",
            "error-z": "(+)", "error-x": "(+)", "visibility": "(-)", "light": "",
            "uncorrected": "(+)",
            "vacuum-share": "(+)", "decoy-share": "(*)",
        },
        _steps((_A.RECALIBRATE, 60.0), (_A.FAIL_OVER, _NO_LIMIT)), within_s=15.0,
    ),
    Fault(
        "phase-misaligned", "F3", "the X bases of the senders have turned against each other",
        "link", 8.0,
        {"error-x": "+", "error-z": ""},
        _steps((_A.RECALIBRATE, 120.0), (_A.ROLL_BACK, 120.0), (_A.FAIL_OVER, _NO_LIMIT)),
    ),
    Fault(
        "encoder-misaligned", "F3", "early and late, or H and V, leak into each other", "link", 6.0,
        {"error-z": "+", "uncorrected": "(+)", "error-x": "(+)", "psi-minus": "(*)"},
        _steps((_A.RECALIBRATE, 120.0), (_A.ROLL_BACK, 120.0), (_A.FAIL_OVER, _NO_LIMIT)),
        triggers=("error-z", "uncorrected"),
    ),
    Fault(
        "relay-down", "F4", "the relay does not answer, to anybody", "link", 5.0,
        {"unreachable": "+", "relay-lost": "+"},
        _steps((_A.FAIL_OVER, 30.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "path-to-relay", "F4", "one endpoint cannot reach the relay, the other can", "party", 5.0,
        {"relay-lost.own": "+", "relay-lost.other": "", "unreachable": "(+)"},
        _steps((_A.FAIL_OVER, 30.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "board-fault", "F4", "the relay answers and its board is silent", "link", 5.0,
        {"silence": "+", "stopped": "+", "announced": "(-)", "relay-lost": "(+)", "line": "(+)"},
        _steps((_A.FAIL_OVER, 30.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "board-line", "F4", "the line between board and daemon loses frames", "link", 3.0,
        {"line": "+", "announced": "(-)", "silence": ""},
        _steps((_A.THROTTLE, 60.0), (_A.FAIL_OVER, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "dead-detector", "F4", "a detector has stopped clicking", "detector", 4.0,
        {
            "clicks.own": "-", "clicks.other": "", "announced": "-", "light": "(-)",
            "psi-minus": "(*)", "error-z": "(+)", "error-x": "(+)", "live": "",
            "uncorrected": "(+)",
            "visibility": "(-)", "vacuum-share": "(*)",
        },
        _steps((_A.RECALIBRATE, 30.0), (_A.FAIL_OVER, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "decoy-misconfigured", "F5", "a sender sends other intensities than it declares", "party",
        4.0,
        {
            "intensity.own": "*", "intensity.other": "", "vacuum.own": "(+)",
            "decoy-share.own": "(*)", "vacuum-share.own": "(*)", "light.own": "(*)",
            "announced": "(*)", "clicks": "(*)", "error-x": "(*)", "visibility": "(-)",
        },
        _steps((_A.ROLL_BACK, 30.0), (_A.HALT_SENDER, _NO_LIMIT)),
        triggers=("intensity.own", "decoy-share.own", "vacuum.own"), within_s=5.0,
    ),
    Fault(
        "tags-refused", "F6", "messages between the endpoints are not authentic", "link", 2.0,
        {"tags": "+", "peer-lost": "(+)"},
        _steps((_A.REAUTHENTICATE, 60.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "tag-key-short", "F6", "key for tags runs out", "party", 4.0,
        {"pool.own": "-", "pool.other": "(-)", "peer-lost": "(+)"},
        # A new session costs key for tags: what is short of it gets none.
        _steps((_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "applications-refused", "F6", "applications show certificates that are not accepted",
        "party", 3.0,
        {"refused.own": "+"},
        _steps((_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "path-to-peer", "F6", "the endpoints cannot reach each other", "link", 5.0,
        {"peer-lost": "+", "kme-peer": "(+)"},
        _steps((_A.REAUTHENTICATE, 60.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "kmes-parted", "keys", "the KMEs cannot reach each other", "link", 3.0,
        {"kme-peer": "+"},
        _steps((_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "audit-broken", "keys", "the audit log's chain does not hold", "party", 0.5,
        {"audit.own": "+"},
        _steps((_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "asymmetric-loss", "loss", "an arm has lost light", "party", 8.0,
        {
            "light.own": "-", "light.other": "", "darkness": "", "clicks": "(-)",
            "announced": "(-)", "vacuum-share.own": "(+)", "decoy-share.own": "(*)",
            "error-x": "(+)", "error-z": "(+)", "visibility": "(-)", "intensity.own": "",
            "uncorrected": "(+)",
        },
        _steps((_A.RECALIBRATE, 120.0), (_A.FAIL_OVER, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "fibre-cut", "cut", "nothing comes from an arm", "party", 5.0,
        {
            "light.own": "-", "light.other": "", "darkness.own": "-", "darkness.other": "",
            "clicks": "(-)", "announced": "-", "psi-minus": "(*)", "error-z": "(+)",
            "uncorrected": "(+)",
            "error-x": "(+)", "vacuum-share.own": "(+)", "decoy-share": "(*)",
            "visibility": "(-)", "delay-apart": "(*)", "width": "(*)", "intensity.own": "",
        },
        _steps((_A.FAIL_OVER, 30.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "source-dark", "cut", "a sender sends no light", "party", 3.0,
        {
            "light.own": "-", "light.other": "", "darkness.own": "-", "darkness.other": "",
            "clicks": "(-)", "announced": "-", "psi-minus": "(*)", "error-z": "(+)",
            "uncorrected": "(+)",
            "error-x": "(+)", "vacuum-share.own": "(+)", "decoy-share": "(*)",
            "visibility": "(-)", "delay-apart": "(*)", "width": "(*)", "intensity.own": "-",
            "emission.own": "-", "emission.other": "",
        },
        _steps((_A.HALT_SENDER, 30.0), (_A.CALL, _NO_LIMIT)),
        triggers=("light.own", "darkness.own", "announced", "emission.own"), within_s=5.0,
    ),
    Fault(
        "dark-count-ageing", "ageing", "a detector's dark counts have risen", "detector", 4.0,
        {
            "outside.own": "+", "outside.other": "", "clicks.own": "(+)", "clicks.other": "",
            "error-z": "(+)", "uncorrected": "(+)", "error-x": "(+)", "light": "", "live": "",
        },
        _steps((_A.RECALIBRATE, 600.0), (_A.CALL, _NO_LIMIT)), within_s=15.0,
    ),
    Fault(
        "laser-drift", "laser", "the senders' lasers have drifted apart in frequency", "link", 6.0,
        {"visibility": "-", "error-x": "(+)", "error-z": "", "laser": "(*)", "light": ""},
        _steps((_A.RECALIBRATE, 300.0), (_A.FAIL_OVER, _NO_LIMIT)),
        triggers=("visibility", "laser"), within_s=15.0,
    ),
    Fault(
        "pulses-wide", "laser", "pulses or jitter have become wider", "link", 2.0,
        {
            "width": "+", "visibility": "(-)", "outside": "(+)", "error-z": "(+)",
            "uncorrected": "(+)",
            "error-x": "(+)", "announced": "(-)", "delay": "",
        },
        _steps((_A.RECALIBRATE, 300.0), (_A.CALL, _NO_LIMIT)), within_s=15.0,
    ),
    Fault(
        "entropy-failure", "entropy", "a sender's random numbers fail their test", "party", 1.0,
        {"random.own": "+", "random.other": ""},
        _steps((_A.HALT_SENDER, 60.0), (_A.CALL, _NO_LIMIT)), within_s=5.0,
    ),
    Fault(
        "relay-suspect", "relay", "the relay may be compromised", "link", 0.5,
        {
            "breaches": "+", "lists-differ": "(+)", "error-x": "(+)", "error-z": "(*)",
            "uncorrected": "(+)",
            "announced": "(*)", "psi-minus": "(*)", "vacuum-share": "(+)", "decoy-share": "(*)",
            "unreachable": "(+)", "relay-lost": "(+)",
        },
        _steps((_A.CONTAIN, _NO_LIMIT)),
        triggers=("breaches", "lists-differ", "announced", "error-x", "psi-minus", "vacuum-share"),
        within_s=5.0, proof=("breaches", "lists-differ"),
    ),
)  # fmt: skip
"""Every fault that can be diagnosed."""

UNEXPLAINED = Fault(
    "unexplained", "unknown", "an alarm that no known fault explains", "link", 0.0, {},
    _steps((_A.CALL, _NO_LIMIT)),
)  # fmt: skip
"""What stands for alarms that are left over."""
