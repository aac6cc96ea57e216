"""Who may read a file that holds a secret; credentials of systemd are told apart."""

import pytest

from bellrelay.service.private_file import (
    UnsafeMode,
    require_private_directory,
    require_private_file,
)


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "kek"
    path.write_bytes(bytes(32))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_ours_alone_is_taken(secret, mode):
    secret.chmod(mode)
    require_private_file(secret)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_file_that_lets_others_in_is_refused(secret, mode):
    secret.chmod(mode)
    with pytest.raises(UnsafeMode, match="chmod go="):
        require_private_file(secret)


def test_a_credential_shows_the_mask_of_its_access_list(secret, monkeypatch):
    secret.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret.parent))
    require_private_file(secret)
    for mode in (0o460, 0o444):
        secret.chmod(mode)
        with pytest.raises(UnsafeMode):
            require_private_file(secret)


def test_another_file_is_no_credential(secret, monkeypatch):
    secret.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret.parent / "credentials"))
    with pytest.raises(UnsafeMode):
        require_private_file(secret)


def test_a_link_is_refused(secret):
    link = secret.parent / "link"
    link.symlink_to(secret)
    with pytest.raises(UnsafeMode):
        require_private_file(link)


def test_a_directory_is_taken_where_one_is_wanted_and_only_there(secret):
    folder = secret.parent / "pool"
    folder.mkdir(mode=0o700)
    require_private_directory(folder)
    with pytest.raises(UnsafeMode, match="not a regular file"):
        require_private_file(folder)
    with pytest.raises(UnsafeMode, match="not a directory"):
        require_private_directory(secret)
    folder.chmod(0o750)
    with pytest.raises(UnsafeMode, match="0750 lets others in"):
        require_private_directory(folder)
