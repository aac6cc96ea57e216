"""What these tests share: certificates of an authority of their own, and of a stranger."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Of the parties of a test."""
    from kme_certificates import Authority

    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Another authority, which nobody trusts."""
    from kme_certificates import Authority

    return Authority(tmp_path_factory.mktemp("stranger"), "another authority")
