"""What these tests share: certificates of an authority of their own, and of a stranger."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Who is there on this machine answers, however slow it is; who is not is told at once."""
    from bellrelay.observe.doctor import reaching, running

    monkeypatch.setattr(reaching, "_CONNECT_S", 60.0)
    monkeypatch.setattr(running, "_ASK_S", 60.0)


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
