"""From an endpoint's configuration to its cluster, or to the line that says why not."""

from __future__ import annotations

from concurrent.futures import Executor

from bellrelay.endpoint.config import EndpointConfig
from bellrelay.service.configured import usable

from .executor import ClusterExecutor
from .security import cluster_security, shared_authority
from .settings import ClusterSettings
from .work_key import WorkKey, read_work_key

__all__ = ["begin_cluster", "check_cluster"]


def check_cluster(config: EndpointConfig, settings: ClusterSettings) -> WorkKey:
    """Look at the files that a cluster needs.

    Raises
    ------
    ConfigError
        One of them cannot be used, or the cluster's authority signs certificates of others, too.
    """
    usable(config, "cluster.tls", lambda: cluster_security(settings.tls))
    others = [config.peer.tls.ca, *(r.tls.ca for r in config.relays if r.tls is not None)]
    shared = shared_authority(settings.tls.ca, others)
    if shared is not None:
        raise config.error(
            "cluster.tls.ca",
            str(settings.tls.ca),
            f"an authority of this cluster alone, not that of {shared}: who has a certificate of "
            "it can have workers execute anything",
        )
    return usable(
        config, "cluster.key_file", lambda: read_work_key(settings.key_file, config.endpoint_id)
    )


def begin_cluster(
    config: EndpointConfig, settings: ClusterSettings, home: Executor
) -> ClusterExecutor:
    """Connecting when it returns. ConfigError as :func:`check_cluster`."""
    return ClusterExecutor(settings, check_cluster(config, settings), home)
