"""`bellrelay cluster`: machines that compute for one endpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bellrelay.service.run_service import Service

_Config = Annotated[Path, typer.Option(help="The cluster's YAML.", metavar="FILE.yaml")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(
        no_args_is_help=True,
        help="A cluster of one endpoint: estimation, LDPC correction and amplification as tasks of "
        "Dask distributed, sealed with a key that this endpoint and its workers share.",
        epilog="Example: bellrelay cluster key work.key; bellrelay cluster scheduler --config "
        "cluster.yaml; on each machine: bellrelay cluster worker --config cluster.yaml",
    )
    group.command("key", epilog="Example: bellrelay cluster key work.key")(key)
    group.command("scheduler", epilog="Example: bellrelay cluster scheduler --config cluster.yaml")(
        scheduler
    )
    group.command("worker", epilog="Example: bellrelay cluster worker --config cluster.yaml")(
        worker
    )
    app.add_typer(group, name="cluster")


def key(
    path: Annotated[Path, typer.Argument(help="The new file, mode 0600.", metavar="FILE")],
) -> None:
    """Make the key that an endpoint and its workers share; carry it to them, and nowhere else."""
    from bellrelay.endpoint.cluster.work_key import KEY_BYTES
    from bellrelay.endpoint.key_files import write_new_secret

    write_new_secret(path, KEY_BYTES)
    print(f"{path}: made")


def scheduler(config: _Config) -> None:
    """Give the endpoint's work to workers; with `adaptive`, start and end workers on this machine.

    SIGTERM ends it cleanly; the endpoint then computes by itself until it is back.
    """
    from bellrelay.endpoint.cluster.config import load_cluster_config
    from bellrelay.endpoint.cluster.scheduler import SchedulerService

    settings = load_cluster_config(config)
    command = [sys.executable, "-m", "bellrelay", "cluster", "worker", "--beside-scheduler"]
    _serve(SchedulerService(settings, [*command, "--config", str(config)]))


def worker(
    config: _Config,
    name: Annotated[str | None, typer.Option(help="For people; default: its address.")] = None,
    beside_scheduler: Annotated[bool, typer.Option("--beside-scheduler", hidden=True)] = False,
) -> None:
    """Work for the endpoint; as many of these as there are cores to spare.

    SIGTERM ends it cleanly: what it had in hand goes to another worker.
    """
    from bellrelay.endpoint.cluster.config import load_cluster_config
    from bellrelay.endpoint.cluster.worker import WorkerService
    from bellrelay.settings.model import Health

    settings = load_cluster_config(config)
    if beside_scheduler:
        # The port of /health is the scheduler's.
        settings = settings.model_copy(update={"health": Health()})
    _serve(WorkerService(settings, name))


def _serve(service: Service) -> None:
    import asyncio

    from bellrelay.service.log_format import log_to_stderr
    from bellrelay.service.run_service import run_service

    log_to_stderr()
    asyncio.run(run_service(service))
