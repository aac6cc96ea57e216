"""What may be full in a network: every resource by name, as the paper and the events have it."""

from __future__ import annotations

from enum import Enum

__all__ = ["Resource"]


class Resource(Enum):
    """A kind of thing of which there are many; each value is its name in reports."""

    LIGHT = "relay's time"
    SENDER = "sender's time"
    RELAY = "relay's daemon"
    RELAY_CORES = "relay's cores"
    BROKER = "broker's node"
    FOLLOWING = "endpoint, following"
    WORKERS = "endpoint, distilling"
    IN_FLIGHT = "blocks in flight"
    SITE = "site's cores"
    KME = "KME's process"

    @property
    def about(self) -> str:
        """What it is, and what fills it."""
        return _ABOUT[self]


_ABOUT = {
    Resource.LIGHT: "time in which a relay measures for its pairs, switching included",
    Resource.SENDER: "time in which a site's sender sends to some relay: to one at a time",
    Resource.RELAY: "the process that writes the log and serves consumers: one core",
    Resource.RELAY_CORES: "cores of a relay's computer",
    Resource.BROKER: "the writer of a broker's node: messages one after the other",
    Resource.FOLLOWING: "the thread of an endpoint that takes announcements of all its relays",
    Resource.WORKERS: "threads of an endpoint that correct and amplify blocks",
    Resource.IN_FLIGHT: "blocks of a pair in work at once, waiting for the line included",
    Resource.SITE: "cores of a site: endpoints, KMEs",
    Resource.KME: "the process of a KME: one core",
}
