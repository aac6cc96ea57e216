"""What runs beside an endpoint's daemon, and is handed to it from a layer above."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from prometheus_client.core import Metric

from .control_socket import Order

if TYPE_CHECKING:
    from .daemon import EndpointDaemon

__all__ = ["EndpointCompanion", "TakesOrders"]


class EndpointCompanion(Protocol):
    """Something that watches an endpoint and acts on it, and says how it does."""

    @property
    def name(self) -> str:
        """Its key in the daemon's status."""
        ...

    async def run(self, daemon: EndpointDaemon) -> None:
        """Do its rounds until it is cancelled; an exception ends the daemon. Everything is open."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Plain types, nothing secret; also before :meth:`run`."""
        ...

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Of a status as :meth:`status` gives it."""
        ...


@runtime_checkable
class TakesOrders(Protocol):
    """A companion of which a person may order something, by the daemon's control socket."""

    def orders(self) -> Mapping[str, Order]:
        """By name; no name of another's."""
        ...
