"""The scheduler of one endpoint's cluster, and workers beside it as work is waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from distributed import Scheduler, SpecCluster
from distributed.deploy.spec import ProcessInterface
from prometheus_client.core import GaugeMetricFamily, Metric

from bellrelay.service.background import Background
from bellrelay.service.configured import listen, usable
from bellrelay.service.health_server import HealthServer, Status
from bellrelay.settings.model import split_address

from .config import ClusterConfig
from .dask_settings import forbid_what_leaks
from .security import cluster_security

__all__ = ["SchedulerService"]

_LEAVE_S = 10.0
_log = structlog.get_logger(__name__)


class _WorkerProcess(ProcessInterface):
    """A worker that the scheduler's process starts and ends."""

    def __init__(
        self, scheduler: str, name: str | int | None = None, command: Sequence[str] = ()
    ) -> None:
        super().__init__(scheduler=scheduler, name=name)
        self._command = (*command, "--name", str(name))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(*self._command)
        await super().start()

    async def close(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _LEAVE_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        await super().close()


class SchedulerService:
    """For :func:`bellrelay.service.run_service.run_service`.

    Parameters
    ----------
    worker_command
        Starts a worker with the same configuration; ``--name NAME`` is added to it.
    """

    failed: asyncio.Future[BaseException]

    def __init__(self, config: ClusterConfig, worker_command: Sequence[str]) -> None:
        self._config = config
        self._worker_command = tuple(worker_command)
        self._scheduler: Scheduler | None = None
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        ConfigError
        """
        config = self._config
        forbid_what_leaks()
        security = usable(config, "tls", lambda: cluster_security(config.tls))
        host, port = split_address(config.scheduler)
        options: dict[str, Any] = {
            "security": security,
            "host": host,
            "port": port,
            "protocol": "tls",
            "dashboard": False,
        }
        try:
            background = Background()
            self.failed = background.failed
            if config.adaptive is None:
                self._scheduler = Scheduler(**options)
                await listen(config, "scheduler", config.scheduler, self._begin)
            else:
                await listen(config, "scheduler", config.scheduler, lambda: self._adapt(options))
            health = HealthServer(config.health, self.status, _metrics)
            await listen(config, "health.listen", config.health.listen, health.start)
            self._stack.push_async_callback(health.stop)
            self._stack.push_async_callback(background.end)
            background.begin(self._until_closed())
        except BaseException:
            await self._stack.aclose()
            raise

    async def _begin(self) -> None:
        scheduler = self._scheduler
        assert scheduler is not None
        await scheduler
        self._stack.push_async_callback(scheduler.close)

    async def _adapt(self, options: dict[str, Any]) -> None:
        adaptive = self._config.adaptive
        assert adaptive is not None
        cluster = SpecCluster(
            scheduler={"cls": Scheduler, "options": options},
            worker={"cls": _WorkerProcess, "options": {"command": self._worker_command}},
            security=options["security"],
            asynchronous=True,
            silence_logs=False,
            name=f"bellrelay-{self._config.endpoint_id}",
        )
        await cluster
        self._stack.push_async_callback(self._close, cluster)
        self._scheduler = cluster.scheduler
        cluster.adapt(
            minimum=adaptive.minimum,
            maximum=adaptive.maximum,
            target_duration=f"{adaptive.target_s}s",
        )

    @staticmethod
    async def _close(cluster: SpecCluster) -> None:
        closing = cluster.close()
        if closing is not None:
            await closing

    async def _until_closed(self) -> None:
        scheduler = self._scheduler
        assert scheduler is not None
        await scheduler.finished()
        raise RuntimeError("the scheduler has ended")

    async def stop(self) -> None:
        """End; endpoint and workers wait for the next, or do the work themselves."""
        await self._stack.aclose()

    def alive(self) -> bool:
        """Its loop answers: that is all that it does by itself."""
        return True

    def status(self) -> Status:
        """For /health."""
        scheduler = self._scheduler
        if scheduler is None:
            return {"state": "starting", "workers": 0, "calls": 0, "waiting": 0}
        queued = len(scheduler.queued) + len(scheduler.unrunnable)
        return {
            "state": "running",
            "endpoint_id": self._config.endpoint_id,
            "workers": len(scheduler.workers),
            "calls": len(scheduler.tasks),
            "waiting": queued,
        }

    def status_line(self) -> str:
        """For systemd."""
        status = self.status()
        return f"{status['workers']} workers, {status['calls']} calls"


def _metrics(status: Status) -> Iterable[Metric]:
    for name, help_text, key in (
        ("workers", "workers that are connected", "workers"),
        ("calls", "calls that the cluster has", "calls"),
        ("calls_waiting", "calls that no worker has taken", "waiting"),
    ):
        yield GaugeMetricFamily(f"bellrelay_cluster_{name}", help_text, float(status[key]))
