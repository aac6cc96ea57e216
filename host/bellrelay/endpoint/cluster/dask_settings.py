"""What Dask may not do in a process that works on keys."""

from __future__ import annotations

import contextlib
import resource

import dask.config

__all__ = ["forbid_what_leaks"]


def forbid_what_leaks() -> None:
    """No core dumps, nothing spilled to a disk, no statistics of stacks, for this process.

    What is spilled would be sealed; a core dump would not.
    """
    # A unit of systemd may forbid the call; it has set the limit then.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    dask.config.set(
        {
            "distributed.worker.memory.target": False,
            "distributed.worker.memory.spill": False,
            "distributed.worker.memory.pause": 0.85,
            "distributed.worker.memory.terminate": 0.95,
            "distributed.worker.profile.enabled": False,
            "distributed.comm.require-encryption": True,
            # A worker that is killed is known for lost after so long.
            "distributed.scheduler.worker-ttl": "20s",
            "distributed.scheduler.allowed-failures": 10,
        }
    )
