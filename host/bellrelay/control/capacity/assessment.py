"""How much a network carries, what is full first, and what it takes to carry more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bellrelay.control.network_cost import Bill, bill
from bellrelay.control.network_file import NetworkFile
from bellrelay.control.network_links import Hop

from .additions import Addition, add_for
from .event_model import EventModel, Loss, Seen
from .on_paper import Full, Paper, on_paper
from .rates_file import Rates
from .traffic import Traffic, links, traffic

__all__ = ["Assessment", "Case", "Length", "Step", "assess"]

_SECONDS_PER_YEAR = 365.25 * 86400.0
_MOST_STEPS = 40


@dataclass(frozen=True)
class Length:
    """Of every run by events."""

    seconds: float
    warm_up_s: float
    seed: int


@dataclass(frozen=True)
class Case:
    """A network, on paper and (where it was run) by events."""

    name: str
    network: NetworkFile
    flows: Traffic
    paper: Paper
    bill: Bill
    seen: Seen | None = None

    @property
    def keys_per_s(self) -> float:
        """Of all pairs: what they get, in keys of the size that is asked for."""
        return self.flows.schedule.total_bits_per_s / self.network.load.key_bits

    @property
    def cost_per_key(self) -> float:
        """Prices spread over the years, and all that is paid every year. inf: there is no key."""
        keys = self.keys_per_s * _SECONDS_PER_YEAR
        return self.bill.per_year / keys if keys else float("inf")


@dataclass(frozen=True)
class Step:
    """What was full, at which demand, what was added, and what the network is then."""

    full: Full
    at_demand: float
    addition: Addition
    case: Case


@dataclass(frozen=True)
class Assessment:
    """now : as the file has it. grown : with the demand that it is to grow to.

    steps : what is added until that is carried, one after the other. carried : the last of them.
    stuck : what is full and cannot be helped, if that is how it ends.
    """

    now: Case
    growth: float
    grown: Case
    steps: tuple[Step, ...]
    carried: Case
    stuck: Full | None


def assess(
    network: NetworkFile,
    rates: Rates,
    length: Length,
    growth: float,
    loss: Loss | None = None,
    told: Callable[[str], None] = lambda _text: None,
) -> Assessment:
    """The whole of it.

    Parameters
    ----------
    growth
        Demand, times what the file has, that is to be carried.
    loss
        Of a relay, in the run of the network as it is.
    told
        Gets what is being done.

    Raises
    ------
    TrustedRoute
    """
    told("links")
    found = links(network)
    now = _case("now", network, found, rates)
    more = network.with_demand(growth)
    grown = _case(f"{growth:g} times the demand", more, found, rates)
    told("additions")
    steps = tuple(_steps(grown, rates))
    carried = steps[-1].case if steps else grown
    left = carried.paper.first
    told("events, as it is")
    now = _run(now, found, rates, length, loss)
    if growth != 1.0:
        told("events, grown")
        grown = _run(grown, found, rates, length, None)
    else:
        grown = now
    if steps:
        told("events, with what was added")
        carried = _run(carried, links(carried.network), rates, length, None)
    else:
        carried = grown
    return Assessment(now, growth, grown, steps, carried, left if left.busiest[1] > 1.0 else None)


def _case(name: str, network: NetworkFile, found: list[Hop], rates: Rates) -> Case:
    flows = traffic(network, found)
    return Case(name, network, flows, on_paper(flows, rates), bill(network))


def _run(case: Case, found: list[Hop], rates: Rates, length: Length, loss: Loss | None) -> Case:
    model = EventModel(case.flows, rates, found, length.seed, loss)
    seen = model.run(length.seconds, length.warm_up_s)
    return Case(case.name, case.network, case.flows, case.paper, case.bill, seen)


def _steps(grown: Case, rates: Rates) -> Iterator[Step]:
    """One addition after the other until nothing is full."""
    case = grown
    for _ in range(_MOST_STEPS):
        full = case.paper.first
        if full.busiest[1] <= 1.0:
            return
        addition = add_for(full, case.network)
        if addition is None:
            return
        at = full.growth
        case = _case("with what was added", addition.network, links(addition.network), rates)
        yield Step(full, at, addition, case)
