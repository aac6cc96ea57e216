"""Lets these tests import what they share; and spares them bounds that they know, and disks."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 1 << 30


@pytest.fixture
def tmp_path(tmp_path):
    """In memory where there is room. What dies here are processes, never the machine, so that what
    they have written need not reach a disk: most of the time would go into waiting for one."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="bellrelay-test-", dir=_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def bounds_once(monkeypatch):
    """Tests of the same block over and over: bounds of the same counts are computed once."""
    from bellrelay.endpoint.agreement import Agreement

    estimate = Agreement.estimate

    def remembered(agreement, tallies, *ladders):
        counts = repr(sorted((o, t.pulses, t.n.tolist(), t.m.tolist()) for o, t in tallies.items()))
        key = (agreement.digest, counts, ladders)
        if key not in _bounds:
            _bounds[key] = estimate(agreement, tallies, *ladders)
        return _bounds[key]

    monkeypatch.setattr(Agreement, "estimate", remembered)


_bounds = {}
