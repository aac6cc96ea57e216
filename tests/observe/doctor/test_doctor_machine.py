"""What `bellrelay doctor` says of the machine: directories, addresses, clock, limits, packages."""

import errno
import fcntl
import os
import socket
import tempfile

import pytest
from found_states import AnyFile, contents, states

from bellrelay.observe.doctor.addresses import check_addresses, is_of_this_machine
from bellrelay.observe.doctor.clock import KernelClock, check_clock, kernel_clock
from bellrelay.observe.doctor.directories import LITTLE_MB, StorageFault, check_directories
from bellrelay.observe.doctor.needs import Directory, Listening, Package, PrivateFile, Program
from bellrelay.observe.doctor.open_files import check_open_files
from bellrelay.observe.doctor.packages import check_packages, check_programs
from bellrelay.observe.doctor.private_files import check_private_files
from bellrelay.observe.doctor.running import Running, is_locked
from bellrelay.settings.model import ConfigError

MB = 1_000_000


def room(mb):
    return lambda _path: mb * MB


MUCH = room(10**6)


def of_directory(path, grow=0, free=MUCH):
    (found,) = check_directories([Directory("log.directory", path, grow)], free)
    return found


def test_a_directory_is_tried_and_left_as_it_was(tmp_path):
    (tmp_path / "1.brlog").write_bytes(bytes(1000))
    before = contents(tmp_path)
    found = of_directory(tmp_path)
    assert (found.state, "writable, locks hold" in found.detail) == ("passed", True)
    made_later = of_directory(tmp_path / "a" / "b")
    assert made_later.state == "passed"
    assert "will be made in it" in made_later.detail
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("free_mb", "grow_mb", "state", "words"),
    [
        (0, 0, "failed", "it is full"),
        (LITTLE_MB - 1, 0, "warning", "less than"),
        (LITTLE_MB + 1, 0, "passed", "free"),
        (3000, 4096, "warning", "may grow by 4096 MB more"),
        (5000, 4096, "passed", "free"),
    ],
)
def test_room_is_held_against_what_the_daemon_may_take(tmp_path, free_mb, grow_mb, state, words):
    found = of_directory(tmp_path, grow_mb, room(free_mb))
    assert (found.state, words in found.detail) == (state, True), found
    assert isinstance(found.error, StorageFault) == (state == "failed")


def test_what_is_there_already_needs_no_more_room(tmp_path):
    with open(tmp_path / "1.brlog", "wb") as file:
        file.truncate(3000 * MB)
    assert of_directory(tmp_path, 4096, room(2000)).state == "passed"


def test_a_file_in_its_place_and_a_place_where_nothing_can_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert "no directory" in of_directory(tmp_path / "file").detail

    def refused(**_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    found = of_directory(tmp_path)
    assert (found.state, "Permission denied" in found.detail) == ("failed", True)
    assert "install -d" in found.remedy


def test_where_this_user_may_not_look_nothing_is_claimed(tmp_path, monkeypatch):
    def hidden(_path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(type(tmp_path), "stat", hidden)
    found = of_directory(tmp_path)
    (secret,) = check_private_files([PrivateFile("kek.file", tmp_path / "kek", "KEK", "make it")])
    for each in (found, secret):
        assert (each.state, "ask as the daemon's user" in each.remedy) == ("not known", True)


def test_a_file_system_on_which_locks_do_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    found = of_directory(tmp_path)
    assert (found.state, "does not keep locks" in found.detail) == ("failed", True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_unit_brings_along_is_not_missed(monkeypatch, tmp_path):
    from bellrelay.observe.doctor import directories

    monkeypatch.setattr(directories, "_UNITS_OWN", (tmp_path / "state",))
    assert of_directory(tmp_path / "state" / "charlie-1").state == "not known"


# ------------------------------------------------------------------------------------- addresses


def of_address(address, running=None):
    (found,) = check_addresses(AnyFile(), [Listening("fan_out.listen", address)], running)
    return found


def test_an_address_that_is_free_busy_or_somebody_else_s():
    with socket.create_server(("127.0.0.1", 0)) as server:
        busy = f"127.0.0.1:{server.getsockname()[1]}"
        found = of_address(busy)
        assert (found.state, "another program has it" in found.detail) == ("failed", True)
        assert (isinstance(found.error, ConfigError), "ss -ltnp" in found.remedy) == (True, True)
        own = of_address(busy, Running())
        assert (own.state, "the daemon runs" in own.detail) == ("passed", True)
        assert is_of_this_machine(busy)
    assert of_address(busy).state == "passed"
    # RFC 5737: of nobody's machine.
    found = of_address("192.0.2.1:7410")
    assert (found.state, "not an address of this machine" in found.detail) == ("failed", True)
    assert not is_of_this_machine("192.0.2.1:7410")


# ------------------------------------------------------------------------------ clock and limits


def clock_that_says(answer):
    def ask():
        if isinstance(answer, Exception):
            raise answer
        return answer

    (found,) = check_clock(ask)
    return found


def test_the_clock_is_as_the_kernel_says():
    assert "within 2.5 ms" in clock_that_says(KernelClock(True, 0.0025)).detail
    found = clock_that_says(KernelClock(False, 16.0))
    assert (found.state, "timedatectl" in found.remedy) == ("warning", True)
    silent = PermissionError(errno.EPERM, "Operation not permitted")
    assert clock_that_says(silent).state == "not known"


def test_this_kernel_says_something_that_can_be():
    (found,) = check_clock()
    assert found.state in ("passed", "warning", "not known")
    if found.state != "not known":
        assert 0.0 <= kernel_clock().most_error_s < 1e6


def test_open_files_are_held_against_what_may_come():
    assert states(check_open_files(100, 1024)) == ["passed"]
    assert states(check_open_files(10**6, -1)) == ["passed"]
    (found,) = check_open_files(4096, 1024)
    assert (found.state, "LimitNOFILE=4096" in found.remedy) == ("warning", True)
    assert states(check_open_files(1)) == ["passed"]


# --------------------------------------------------------------------- packages, programs, secrets


def test_packages_and_programs_that_are_not_there(monkeypatch):
    from importlib import util

    assert states(check_packages([Package("nats", "nats")])) == ["passed"]
    monkeypatch.setattr(util, "find_spec", lambda _name: None)
    (found,) = check_packages([Package("nats", "nats")])
    assert found.remedy == "pip install 'bellrelay[cluster]'"
    assert isinstance(found.error, ModuleNotFoundError)
    programs = [Program("watch.contain", "sh"), Program("watch.recalibrate", "none-such-program")]
    there, missing = check_programs(AnyFile(), programs)
    assert states([there, missing]) == ["passed", "failed"]
    assert "none-such-program" in missing.detail


def test_a_secret_is_its_owner_s_alone_or_comes_with_the_unit(tmp_path):
    kek = tmp_path / "kek"
    kek.write_bytes(bytes(32))
    kek.chmod(0o600)

    def look(path):
        (found,) = check_private_files([PrivateFile("kek.file", path, "KEK", "make it")])
        return found

    assert look(kek).state == "passed"
    kek.chmod(0o640)
    assert "chmod go=" in look(kek).remedy
    assert (look(tmp_path / "other").state, look(tmp_path / "other").remedy) == (
        "failed",
        "make it",
    )
    handed = look(tmp_path.__class__("/run/credentials/bellrelay-kme@none-such.service/kek"))
    assert (handed.state, "bellrelay-kme@none-such.service" in handed.detail) == ("not known", True)


def test_a_lock_tells_that_the_daemon_runs(tmp_path):
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    with open(lock, "w") as file:
        assert not is_locked(lock)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(lock)
    assert not is_locked(lock)
