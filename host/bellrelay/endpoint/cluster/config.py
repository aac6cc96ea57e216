"""The YAML of an endpoint's cluster, the same for its scheduler and its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bellrelay.settings.load import load
from bellrelay.settings.model import Address, FileModel, Health, Model, MutualTls, Name, between

__all__ = ["AdaptiveSettings", "ClusterConfig", "WorkerSettings", "load_cluster_config"]


class WorkerSettings(Model):
    """A worker: one process."""

    threads: Annotated[int, between(1, 256)] = Field(default=1, description="calls at once")
    memory_limit_mib: Annotated[int, between(256, 1 << 20, "MiB")] = Field(
        default=2048, description="beyond 95 % of it the worker ends, and another does its work"
    )
    directory: Path = Field(
        default=Path("/dev/shm"), description="for Dask's own files: on a file system in memory"
    )
    host: str = Field(
        default="127.0.0.1", description="address that scheduler and workers reach it by"
    )


class AdaptiveSettings(Model):
    """How many workers the scheduler runs beside itself, by how much work is waiting."""

    minimum: Annotated[int, between(0, 1024)] = Field(
        default=0, description="so many stay when nothing is waiting"
    )
    maximum: Annotated[int, between(1, 1024)] = Field(default=2, description="so many come at most")
    target_s: Annotated[float, between(0.1, 3600.0, "s")] = Field(
        default=5.0, description="waiting work that takes longer brings a worker more"
    )


class ClusterConfig(FileModel):
    """Everything that a cluster's YAML says."""

    endpoint_id: Name = Field(description="whose cluster it is: of one endpoint, never of two")
    scheduler: Address = Field(description="HOST:PORT where the scheduler listens")
    tls: MutualTls = Field(
        description="certificates of the cluster's own authority, which signs nothing else"
    )
    key_file: Path = Field(description="32 bytes of mode 0600 that the endpoint has, too")
    worker: WorkerSettings = WorkerSettings()
    adaptive: AdaptiveSettings | None = Field(
        default=None, description="workers that the scheduler starts and ends; none: others do"
    )
    health: Health = Health()

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        if self.adaptive is not None and self.adaptive.minimum > self.adaptive.maximum:
            return [("adaptive.minimum", self.adaptive.minimum, "at most adaptive.maximum")]
        return []


def load_cluster_config(path: Path) -> ClusterConfig:
    """Read a cluster's YAML.

    Raises
    ------
    ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(ClusterConfig, path)
