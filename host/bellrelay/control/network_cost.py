"""What a network costs, in money and in people's time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .network_file import Cost, NetworkFile

__all__ = ["Bill", "Item", "bill"]

_MONTHS = 12.0


@dataclass(frozen=True)
class Item:
    """So many of something: price in all, cost per year in all, hours per month in all."""

    what: str
    number: float
    price: float
    per_year: float
    hours_per_month: float


@dataclass(frozen=True)
class Bill:
    """All of a network. currency, years, hour: as the file has them."""

    items: tuple[Item, ...]
    currency: str
    years: float
    hour: float

    @property
    def price(self) -> float:
        """To be paid once."""
        return sum(i.price for i in self.items)

    @property
    def hours_per_month(self) -> float:
        """Operations load: work of people."""
        return sum(i.hours_per_month for i in self.items)

    @property
    def running_per_year(self) -> float:
        """To be paid every year, work of people included."""
        work = self.hours_per_month * _MONTHS * self.hour
        return sum(i.per_year for i in self.items) + work

    @property
    def per_year(self) -> float:
        """The same with the prices spread over the years."""
        return self.price / self.years + self.running_per_year


def bill(network: NetworkFile) -> Bill:
    """The bill of a network: what is there already is in it, so that options compare."""
    costs = network.costs
    return Bill(tuple(_items(network)), costs.currency, costs.years, costs.hour)


def _items(network: NetworkFile) -> Iterator[Item]:
    costs = network.costs
    trusted = sum(s.trusted for s in network.sites)
    for what, number, cost in (
        ("senders", len(network.sites), costs.sender),
        ("relays", len(network.relays), costs.relay),
        ("trusted nodes", trusted, costs.trusted_node),
    ):
        if number:
            yield Item(
                what, number, number * cost.price, number * cost.per_year,
                number * cost.hours_per_month,
            )  # fmt: skip
    load = network.load
    cores = sum(s.cores or load.site_cores for s in network.sites)
    cores += sum(r.cores or load.relay_cores for r in network.relays)
    nodes = load.broker_nodes if load.announcements == "broker" else 0
    for what, number, cost in (
        ("cores", cores, costs.core),
        ("broker nodes", nodes, costs.broker_node),
    ):
        # Whoever names no price counts none.
        if number and cost != Cost():
            yield Item(
                what, number, number * cost.price, number * cost.per_year,
                number * cost.hours_per_month,
            )  # fmt: skip
    of_one = 4 if network.senders.encoding == "polarisation" else 2
    for kind in network.detectors:
        number = sum(
            of_one * r.detectors_per_port for r in network.relays if r.detectors == kind.name
        )
        if number:
            yield Item(
                f"detectors {kind.name}", number, number * kind.price, number * kind.per_year,
                number * kind.hours_per_month,
            )  # fmt: skip
    length_km = sum(f.length_km for f in network.fibres)
    yield Item(
        "km of fibre", length_km, 0.0, length_km * costs.fibre.per_km_year,
        len(network.fibres) * costs.fibre.hours_per_month,
    )  # fmt: skip
