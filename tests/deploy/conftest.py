"""Helpers of these tests, beside them; and the manifests of deploy/kubernetes, built once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from manifests import Manifests


@pytest.fixture(scope="session")
def built() -> Manifests:
    """Documents of each overlay."""
    return Manifests.built()
