"""A network as it is and with every option: key of each pair, cost, work, what a loss leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .network_cost import Bill, bill
from .network_file import NetworkFile
from .network_links import Hop, hops
from .network_schedule import Schedule, schedule

__all__ = ["AS_IT_IS", "OptionPlan", "plan_network"]

AS_IT_IS = "as it is"
"""Name of the network without any option."""


@dataclass(frozen=True)
class OptionPlan:
    """One option. after_loss: by relay, the fair schedule of what is left without it."""

    name: str
    network: NetworkFile
    hops: tuple[Hop, ...]
    schedule: Schedule
    bill: Bill
    after_loss: Mapping[str, Schedule]

    @property
    def worst_after_loss(self) -> float:
        """Share of its demand that the worst served pair gets when the worst relay is lost."""
        return min(s.worst for s in self.after_loss.values())


def plan_network(network: NetworkFile, optimise: bool = False) -> Iterator[OptionPlan]:
    """Plans of the network as it is, then of every option, in their order.

    Parameters
    ----------
    optimise
        Find the best ladders of every hop, instead of the file's.
    """
    yield _plan(AS_IT_IS, network, optimise)
    for option in network.options:
        yield _plan(option.name, network.with_option(option), optimise)


def _plan(name: str, network: NetworkFile, optimise: bool) -> OptionPlan:
    found = tuple(hops(network, optimise))
    return OptionPlan(
        name,
        network,
        found,
        schedule(network, found),
        bill(network),
        {
            relay.name: schedule(
                network.without_relay(relay.name), [h for h in found if h.relay != relay.name]
            )
            for relay in network.relays
        },
    )
