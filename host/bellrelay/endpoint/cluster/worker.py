"""A process that works for one endpoint: connects to the scheduler, and again when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import distributed
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from bellrelay.service.background import Background
from bellrelay.service.configured import listen, usable
from bellrelay.service.health_server import HealthServer, Status
from bellrelay.settings.model import split_address

from .config import ClusterConfig
from .dask_settings import forbid_what_leaks
from .sealed_call import use_work_key
from .security import cluster_security
from .work_key import read_work_key

__all__ = ["WorkerService"]

_PAUSE_S = 1.0
_log = structlog.get_logger(__name__)


class WorkerService:
    """For :func:`bellrelay.service.run_service.run_service`."""

    failed: asyncio.Future[BaseException]

    def __init__(self, config: ClusterConfig, name: str | None = None) -> None:
        self._config = config
        self._name = name
        self._worker: distributed.Worker | None = None
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Read the key, open the port of /health; connecting when it returns.

        Raises
        ------
        ConfigError
        """
        config = self._config
        forbid_what_leaks()
        key = usable(config, "key_file", lambda: read_work_key(config.key_file, config.endpoint_id))
        self._security = usable(config, "tls", lambda: cluster_security(config.tls))
        use_work_key(key)
        self._stack.callback(use_work_key, None)
        try:
            background = Background()
            self.failed = background.failed
            health = HealthServer(config.health, self.status, _metrics)
            await listen(config, "health.listen", config.health.listen, health.start)
            self._stack.push_async_callback(health.stop)
            self._stack.push_async_callback(background.end)
            background.begin(self._run())
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Leave the cluster; what was under way is given to others."""
        await self._stack.aclose()

    async def _run(self) -> None:
        settings = self._config.worker
        host, port = split_address(self._config.scheduler)
        while True:
            worker = distributed.Worker(
                f"tls://{host}:{port}",
                nthreads=settings.threads,
                name=self._name,
                host=settings.host,
                protocol="tls",
                security=self._security,
                memory_limit=settings.memory_limit_mib << 20,
                local_directory=str(settings.directory),
                dashboard=False,
                death_timeout="10s",
            )
            try:
                async with worker:
                    self._worker = worker
                    _log.info("worker", state="connected", address=worker.address)
                    await worker.finished()
            except (OSError, TimeoutError) as error:
                _log.warning("worker", state="away", why=type(error).__name__)
            finally:
                self._worker = None
            await asyncio.sleep(_PAUSE_S)

    def alive(self) -> bool:
        """Its loop answers: that is all that it does by itself."""
        return True

    def status(self) -> Status:
        """For /health."""
        worker = self._worker
        facts: dict[str, Any] = {"endpoint_id": self._config.endpoint_id}
        if worker is None:
            return {"state": "connecting", "executing": 0, "waiting": 0, **facts}
        state = worker.state
        return {
            "state": "running",
            "address": worker.address,
            "executing": len(state.executing),
            "waiting": len(state.ready),
            **facts,
        }

    def status_line(self) -> str:
        """For systemd."""
        status = self.status()
        return f"{status['state']}, {status['executing']} calls"


def _metrics(status: Status) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "bellrelay_worker_up",
        "1 while the worker is connected to its scheduler",
        float(status["state"] == "running"),
    )
    yield GaugeMetricFamily(
        "bellrelay_worker_calls", "calls that are carried out", float(status["executing"])
    )
    yield GaugeMetricFamily(
        "bellrelay_worker_calls_waiting", "calls that wait in this worker", float(status["waiting"])
    )
