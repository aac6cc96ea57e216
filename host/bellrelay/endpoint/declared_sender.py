"""A sender of which is put down what it was asked for, and from when to when that undeclares it.

More attenuation lowers every intensity below the one that bounds are made with; from before it is
asked for until it has been taken back, blocks make no key. Fewer slots (the others are recorded
unsent, and leave the number of pulses), a delay of laser and modulators alike, a halt: none of them
changes what a slot that was sent has in it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from .sender_plugin import Sender, SenderCannot
from .undeclared_times import UndeclaredTimes

__all__ = ["DeclaredSender"]


class DeclaredSender:
    """What everybody in an endpoint asks instead of the plugin itself.

    Parameters
    ----------
    sender
        The plugin's.
    undeclared
        Consulted before a block is admitted.
    """

    def __init__(self, sender: Sender, undeclared: UndeclaredTimes) -> None:
        self._sender = sender
        self._undeclared = undeclared
        self._asked: dict[str, Any] = {}
        self._halted: set[str] = set()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A new process knows not what the one before it had asked for: take it back.

        SenderCannot, OSError: it may still be in force, and nothing is admitted.
        """
        for take_back in (self.resume, lambda: self.set_rate(1.0)):
            # What it cannot do, nobody has asked of it.
            with contextlib.suppress(SenderCannot):
                take_back()
        if self._undeclared.standing is not None:
            self.set_attenuation_db(0.0)

    def set_delay_ps(self, delay_ps: float) -> None:
        self._sender.set_delay_ps(delay_ps)
        self._asked["delay_ps"] = delay_ps

    def set_attenuation_db(self, attenuation_db: float) -> None:
        if attenuation_db != 0.0:
            self._undeclared.begin(f"{attenuation_db:g} dB beyond the calibrated attenuation")
        # If this fails, nobody knows what is sent: it stays undeclared.
        self._sender.set_attenuation_db(attenuation_db)
        if attenuation_db == 0.0:
            self._undeclared.end()
        self._asked["attenuation_db"] = attenuation_db

    def set_rate(self, share: float) -> None:
        self._sender.set_rate(share)
        self._asked["rate"] = share

    def halt(self, why: str = "asked for") -> None:
        """Send nothing until this reason, and every other one, has been taken back."""
        with self._lock:
            self._sender.halt()
            self._halted.add(why)
            self._asked["halted"] = True

    def resume(self, why: str = "asked for") -> None:
        """Send again, if nobody has another reason not to."""
        with self._lock:
            if self._halted - {why}:
                self._halted.discard(why)
                return
            self._sender.resume()
            self._halted.clear()
            self._asked["halted"] = False

    def direct(self, relay_id: str) -> None:
        self._sender.direct(relay_id)
        self._asked["relay"] = relay_id

    def status(self) -> dict[str, Any]:
        """What was asked of it since the start, and why blocks make no key now, if so."""
        return {**self._asked, "undeclared": self._undeclared.standing}
