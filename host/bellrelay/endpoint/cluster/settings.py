"""Where an endpoint's cluster is, as its YAML has it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bellrelay.settings.model import Address, Model, MutualTls, between

__all__ = ["ClusterSettings"]


class ClusterSettings(Model):
    """Machines of this endpoint alone that estimate, correct by LDPC, and amplify for it."""

    scheduler: Address = Field(description="HOST:PORT of `bellrelay cluster scheduler`")
    tls: MutualTls = Field(
        description="certificates of the cluster's own authority, which signs nothing else"
    )
    key_file: Path = Field(
        description="32 bytes of mode 0600 that this endpoint and its workers share"
    )
    patience_s: Annotated[float, between(1.0, 3600.0, "s")] = Field(
        default=30.0, description="what the cluster has not done by then is done here"
    )
    retries: Annotated[int, between(0, 100)] = Field(
        default=3, description="how often work is given to another worker after one was lost"
    )
