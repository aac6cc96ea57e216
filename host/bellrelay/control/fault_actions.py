"""What may be done about a fault, and who is asked to do it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Action", "Actuator", "Order", "Step"]


class Action(StrEnum):
    """Mitigations; the text is what a person reads."""

    RESYNCHRONISE = "re-sync", "set the slot clock and the senders' delays anew from histograms"
    HOLD_OVER = "holdover", "hold the clock's last good rate until the reference is back"
    THROTTLE = "throttle", "send and announce less, so that detectors and line keep up"
    ATTENUATE = "attenuate", "ask the sender for more attenuation"
    RECALIBRATE = "recalibrate", "run the calibration that this fault names"
    FAIL_OVER = "fail-over", "move both endpoints to the next relay"
    ROLL_BACK = "roll-back", "go back to the last parameters that were good"
    REAUTHENTICATE = "re-authenticate", "end the session, begin one with fresh key for tags"
    HALT_SENDER = "halt-sender", "stop the sender; what it sent since the last good test is no key"
    CONTAIN = "contain", "suspend the relay's keys, archive its records, fail over"
    CALL = "call", "nothing is done by itself: a person follows the runbook"

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Action:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @property
    def aimed(self) -> bool:
        """Whether it is done to one sender, so that the wrong one would suffer."""
        return self in (Action.ATTENUATE, Action.ROLL_BACK, Action.HALT_SENDER)


@dataclass(frozen=True)
class Step:
    """An action, and how long the fault may last after it before the next step is taken."""

    action: Action
    wait_s: float


@dataclass(frozen=True)
class Order:
    """An action that is due: against which fault, of which subject, at which link time.

    relay: by whose watch it was found; empty if that is no relay's. reason: why a person wants it;
    empty: the fault is the reason.
    """

    action: Action
    fault: str
    subject: str
    time_s: float
    runbook: str
    relay: str = ""
    reason: str = ""

    @property
    def why(self) -> str:
        """For the logs of all whom it touches."""
        if self.reason:
            return f"{self.reason} ({self.fault} {self.subject})"
        return f"{self.fault} of {self.subject}"


class Actuator(Protocol):
    """Carries orders out: the daemons, a gameday, a test."""

    def carry_out(self, order: Order) -> None:
        """Begin what is ordered; returns at once. An exception is noted, and the watch goes on."""
        ...
