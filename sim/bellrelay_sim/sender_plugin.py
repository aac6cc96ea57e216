"""The endpoint's sender plugin `simulation`: one party's sender of one or several twins.

Option: ``relays``, by the relay's id the socket of its twin's conditions (``--conditions``). The
light goes to one relay at a time: at every other one its sender is halted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .conditions_socket import tell_conditions

__all__ = ["SimulatedSender", "sender_plugin"]

_TABLE = ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu")


class SimulatedSender:
    """Tells twins what their senders are to do.

    Parameters
    ----------
    relays
        Sockets by relay's id; the light goes to the first one to begin with.
    role
        "alice" or "bob".
    """

    def __init__(self, relays: Mapping[str, Path], role: str) -> None:
        self._relays = dict(relays)
        self._role = role
        self._directed = next(iter(relays))
        self._halted = False

    def __repr__(self) -> str:
        return f"SimulatedSender({self._role}, to {self._directed})"

    def set_delay_ps(self, delay_ps: float) -> None:
        """Tell the twin of the relay that gets the light; OSError if it is not there."""
        self._tell(self._directed, delay_ps=delay_ps)

    def set_attenuation_db(self, attenuation_db: float) -> None:
        """One attenuator, whatever relay the light goes to."""
        self._tell_all(attenuation_db=attenuation_db)

    def set_rate(self, share: float) -> None:
        """One sender, whatever relay the light goes to."""
        self._tell_all(rate=share)

    def halt(self) -> None:
        """Send nothing to any relay."""
        self._halted = True
        self._tell_all(halted=True)

    def resume(self) -> None:
        """Send to the relay that the light is directed to."""
        self._halted = False
        self._direct()

    def set_ladders(self, relay_id: str, acquisition: int, ladders: Sequence[Any]) -> None:
        """Send by these ladders, each from its slot on: with first_slot, name and ladder each."""
        tables = {
            one.name: {key: float(getattr(one.ladder, key)) for key in _TABLE} for one in ladders
        }
        begins = [[int(one.first_slot), one.name] for one in ladders]
        told = {"acquisition": acquisition, "tables": tables, "from": begins}
        if relay_id in self._relays:
            self._tell_one(relay_id, ladders=told)

    def direct(self, relay_id: str) -> None:
        """Send to this relay; ValueError for one that the options do not name."""
        if relay_id not in self._relays:
            raise ValueError(f"relay {relay_id!r} is none of {', '.join(self._relays)}")
        self._directed = relay_id
        self._direct()

    def _direct(self) -> None:
        # Away from the others first: the light is nowhere twice.
        for relay in sorted(self._relays, key=lambda relay: relay == self._directed):
            self._tell_one(relay, halted=self._halted or relay != self._directed)

    def _tell_all(self, **told: Any) -> None:
        for relay in self._relays:
            self._tell_one(relay, **told)

    def _tell_one(self, relay: str, **told: Any) -> None:
        """A twin that is gone sends nothing; of the one that gets the light that is an error."""
        try:
            self._tell(relay, **told)
        except OSError:
            if relay == self._directed:
                raise

    def _tell(self, relay: str, **told: Any) -> None:
        tell_conditions(self._relays[relay], {"sender": self._role, **told})


def sender_plugin(options: Mapping[str, Any], role: str) -> SimulatedSender:
    """Entry point ``simulation`` of the group ``bellrelay.senders``.

    Raises
    ------
    ValueError
        Naming the option.
    """
    unknown = sorted(set(options) - {"relays"})
    if unknown:
        raise ValueError(f"{unknown[0]} is no option of simulation; relays is")
    relays = options.get("relays")
    if not isinstance(relays, Mapping) or not relays:
        raise ValueError("relays must give the socket of each relay's twin")
    if not all(isinstance(path, str) and path for path in relays.values()):
        raise ValueError("relays: every socket must be a path")
    return SimulatedSender({str(name): Path(path) for name, path in relays.items()}, role)
