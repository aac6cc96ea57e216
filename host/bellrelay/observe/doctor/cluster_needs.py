"""What the configuration of a cluster needs, on its scheduler's machine or a worker's."""

from __future__ import annotations

from bellrelay.endpoint.cluster.config import ClusterConfig

from .addresses import is_of_this_machine
from .needs import (
    Certificates,
    Chain,
    Connection,
    Directory,
    Listening,
    Needs,
    Package,
    PrivateFile,
)
from .shared_needs import health_needs, mutual

__all__ = ["cluster_needs"]

_OF_ITSELF = 256
"""Open files of a scheduler, or of a worker with its connections to the others."""


def cluster_needs(config: ClusterConfig) -> Needs:
    """Of the scheduler where its address is this machine's, of a worker elsewhere."""
    files = mutual(config.tls)
    make = f"bellrelay cluster key {config.key_file}, on one machine; carry it to the others"
    here = is_of_this_machine(config.scheduler)
    out = Needs(
        (Certificates("tls", files, listens=here, chain=Chain.NEEDED, names=False),),
        (PrivateFile("key_file", config.key_file, "key of the cluster's work", make),),
        (Directory("worker.directory", config.worker.directory),),
        packages=(Package("scheduler", "distributed"),),
        open_files=_OF_ITSELF,
    )
    if here:
        out += Needs(listening=(Listening("scheduler", config.scheduler),))
    else:
        out += Needs(
            connections=(Connection("scheduler", "the scheduler", config.scheduler, files),)
        )
    return out + health_needs(config.health)
