"""What a piece of work takes on a machine, as `bellrelay network measure` wrote it down.

Nothing here is assumed: every figure is a time that somebody measured, with the machine and the
command beside it. `rates.yaml` beside this module is what is used where nobody names another file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bellrelay.settings.load import load
from bellrelay.settings.model import FileModel, Model, between

__all__ = ["DEFAULT_RATES", "Rates", "load_rates"]

DEFAULT_RATES = Path(__file__).with_name("rates.yaml")

Seconds = Annotated[float, between(0.0, 1e4, "s")]


class Machine(Model):
    """Where it was measured."""

    processor: str = Field(description="as the system names it")
    cores: Annotated[int, between(1, 100_000)] = Field(description="that it has")
    python: str = Field(description="version")
    system: str = Field(description="kernel and its version")
    utc: str = Field(description="when")


class Announcements(Model):
    """Processor time for announcements that go together, in one batch."""

    batch_s: Seconds = Field(description="for a batch, however many are in it")
    announcement_s: Seconds = Field(description="for each announcement in it")

    def seconds(self, announcements: float) -> float:
        """For a batch of so many."""
        return self.batch_s + announcements * self.announcement_s


class Broker(Announcements):
    """Processor time of a broker's node for a message: to write it down, and to hand it out."""

    deliver_s: Seconds = Field(description="to hand a message to one consumer")
    source: str = Field(description="which broker, and what was measured")


class Blocks(Model):
    """Distillation of a block, on one side."""

    block_s: Seconds = Field(description="processor time for a block, however long it is")
    announced_s: Seconds = Field(description="for each announcement of the block")
    messages: Annotated[float, between(1.0, 1e5)] = Field(
        description="that follow each other between the two sides: half a round trip each"
    )

    def seconds(self, announced: float) -> float:
        """Processor time for a block with so many announcements."""
        return self.block_s + announced * self.announced_s


class Requests(Model):
    """Processor time of a KME for a request."""

    request_s: Seconds = Field(description="for a request")
    key_s: Seconds = Field(description="for each key in it")

    def seconds(self, keys: float) -> float:
        """For a request for so many keys."""
        return self.request_s + keys * self.key_s


class Kme(Model):
    """What a key costs two KMEs."""

    get: Requests = Field(description="the KME that a master asks")
    adopt: Requests = Field(description="the other, which sets the same key aside")
    fetch: Requests = Field(description="the other, when the slave fetches it")
    commit_s: Seconds = Field(description="a step made durable on the disk; many share one")


class Standing(Model):
    """Cores that a process computes on while it has nothing to do; 0: it is not counted."""

    relay: Annotated[float, between(0.0, 1.0, "cores")] = Field(
        default=0.0, description="a relay's daemon, with its board's heartbeats"
    )
    endpoint: Annotated[float, between(0.0, 1.0, "cores")] = Field(
        default=0.0, description="an endpoint's daemon, while its relay announces nothing"
    )
    kme: Annotated[float, between(0.0, 1.0, "cores")] = Field(
        default=0.0, description="a KME's daemon, with no request and no block"
    )


class Rates(FileModel):
    """Everything that was measured."""

    machine: Machine
    command: str = Field(description="which made this file")
    relay: Announcements = Field(description="a relay writes announcements into its log")
    fan_out: Announcements = Field(description="a relay sends them to one consumer, over TLS")
    follow: Announcements = Field(description="an endpoint takes them and checks the rules")
    broker: Broker
    blocks: Blocks
    kme: Kme
    standing: Standing = Standing()


def load_rates(path: Path | None = None) -> Rates:
    """Read a file of rates; None: those that come with this program.

    Raises
    ------
    bellrelay.settings.model.ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(Rates, DEFAULT_RATES if path is None else path)
