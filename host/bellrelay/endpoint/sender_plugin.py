"""From `sender: {plugin: NAME, ...}` to what the endpoint may ask of its sender.

A plugin is an entry point of the group ``bellrelay.senders``. Called with its options and the role
("alice" or "bob"), it checks the options, naming what is wrong in a ValueError, and returns a
:class:`Sender`. It need not be able to do everything: :class:`SenderCannot` says so.

Nothing that is asked here may depend on a choice of the sender's that is still secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bellrelay.distill.ladder import Ladder
from bellrelay.settings.plugins import configured_plugin

from .config import EndpointConfig

__all__ = [
    "GROUP",
    "LadderFrom",
    "LadderSender",
    "NoSender",
    "Sender",
    "SenderCannot",
    "load_sender",
]

GROUP = "bellrelay.senders"


class SenderCannot(Exception):
    """This sender has no such actuator."""


class Sender(Protocol):
    """One party's sender. What it cannot do raises SenderCannot, what fails OSError."""

    def set_delay_ps(self, delay_ps: float) -> None:
        """Send this much later than by itself: laser and modulators alike, every setting alike."""
        ...

    def set_attenuation_db(self, attenuation_db: float) -> None:
        """Attenuate all settings by so much beyond what was calibrated; 0 takes it back."""
        ...

    def set_rate(self, share: float) -> None:
        """Send in this share of the slots only, 0 < share <= 1; the others are recorded unsent.

        In which, the slot's number alone says, so that both parties send in the same.
        """
        ...

    def halt(self) -> None:
        """Send nothing, until :meth:`resume`; the slots are recorded as not sent."""
        ...

    def resume(self) -> None:
        """Send again."""
        ...

    def direct(self, relay_id: str) -> None:
        """Send to this relay and to no other."""
        ...


@dataclass(frozen=True)
class LadderFrom:
    """From this slot on, this ladder; by this name it is called in records and readings."""

    first_slot: int
    name: str
    ladder: Ladder


@runtime_checkable
class LadderSender(Protocol):
    """A sender that may change its ladder from one slot to the next, and records by which it sent.

    Which slots those are is fixed, and told, before any of them is sent.
    """

    def set_ladders(self, relay_id: str, acquisition: int, ladders: Sequence[LadderFrom]) -> None:
        """In this order, each until the next begins, the last one for ever.

        It replaces what was told of these and later slots; slots that have been sent stay as they
        were sent. SenderCannot: not these intensities, or not so soon.
        """
        ...


class NoSender:
    """The sender of an endpoint that has no `sender:`, which nothing can be asked of."""

    def set_delay_ps(self, delay_ps: float) -> None:
        raise self._cannot()

    def set_attenuation_db(self, attenuation_db: float) -> None:
        raise self._cannot()

    def set_rate(self, share: float) -> None:
        raise self._cannot()

    def halt(self) -> None:
        raise self._cannot()

    def resume(self) -> None:
        raise self._cannot()

    def direct(self, relay_id: str) -> None:
        raise self._cannot()

    @staticmethod
    def _cannot() -> SenderCannot:
        return SenderCannot("the configuration names no sender")


def load_sender(config: EndpointConfig) -> Sender:
    """The sender that the configuration names.

    Raises
    ------
    ConfigError
        No such plugin, or it refuses its options.
    """
    if config.sender is None:
        return NoSender()
    sender: Sender = configured_plugin(config, "sender", GROUP, config.sender, config.role)
    return sender
