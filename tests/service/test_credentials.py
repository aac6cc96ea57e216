"""Files that systemd hands to a daemon's unit, and where another unit finds them."""

from pathlib import Path

import pytest

from bellrelay.service.credentials import unit_of_credential, with_own_credentials
from bellrelay.settings.load import check
from bellrelay.settings.model import FileModel, Model


class Section(Model):
    """Of a file."""

    key: Path


class File(FileModel):
    """A file of a daemon."""

    tls: Section
    more: tuple[Section, ...] = ()
    name: str = "unchanged"


RELAY = "/run/credentials/bellrelay-relay@charlie-1.service/key"


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (RELAY, "bellrelay-relay@charlie-1.service"),
        ("/run/credentials/bellrelay-kme@a.service/kek", "bellrelay-kme@a.service"),
        ("/run/credentials/sshd.service/key", None),
        ("/etc/bellrelay/charlie-1.key", None),
    ],
)
def test_whose_credential_it_is(path, unit):
    assert unit_of_credential(Path(path)) == unit


def test_they_are_taken_from_our_own_place_where_there_is_one(monkeypatch):
    values = {"tls": {"key": RELAY}, "more": [{"key": RELAY}, {"key": "/etc/key"}]}
    config = check(File, values, "relay.yaml")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert with_own_credentials(config) is config
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/run-u1.service")
    moved = with_own_credentials(config)
    own = Path("/run/credentials/run-u1.service/key")
    assert (moved.tls.key, [each.key for each in moved.more]) == (own, [own, Path("/etc/key")])
    assert (moved.origin, moved.name) == ("relay.yaml", "unchanged")
