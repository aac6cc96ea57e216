"""A PostgreSQL server and a SoftHSM2 token of our own, and how to kill the former."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

POSTGRESQL_LINE = "apt-get install postgresql"
SOFTHSM_LINE = "apt-get install softhsm2"
_SOFTHSM_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


def postgresql_programs():
    """Folder with initdb and postgres, or None; Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    whole = [f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()]
    return max(whole, key=lambda f: int(f.parent.name), default=None)


def softhsm_module():
    """The PKCS#11 library of SoftHSM2, or None."""
    if shutil.which("softhsm2-util") is None:
        return None
    return next((Path(path) for path in _SOFTHSM_MODULES if Path(path).exists()), None)


class PostgresServer:
    """A server on a port of its own, with fsync as it should be; `url` has the password in it."""

    def __init__(self, programs):
        self._programs = programs
        # The server refuses to run as root, and its user cannot look into pytest's folders.
        self._user = "postgres" if os.geteuid() == 0 else None
        # In memory where that can be: a process that is killed does not test the disk.
        memory = os.access("/dev/shm", os.W_OK | os.X_OK)
        folder = tempfile.mkdtemp(prefix="bellrelay-pg-", dir="/dev/shm" if memory else "/tmp")
        self._folder = Path(folder)
        self._password = secrets.token_hex(12)
        self._process = None
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if self._user:
            owner = pwd.getpwnam(self._user)
            for path in (self._folder, password_file):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb",
            *("--pgdata", self._folder / "data", "--username", "bell", "--encoding", "UTF8"),
            *(
                "--auth",
                "scram-sha-256",
                "--pwfile",
                password_file,
                "--no-sync",
                "--no-instructions",
            ),
        )
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    @property
    def url(self):
        return f"postgresql://bell:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def password(self):
        return self._password

    def _as(self):
        return {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}

    def _run(self, program, *arguments):
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            capture_output=True,
            cwd=self._folder,
            **self._as(),
        )

    def new_database(self):
        """URL of a fresh, empty name space: as good as a database, and made much faster."""
        import psycopg

        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}?options=-csearch_path%3D{name}"

    def start(self):
        log = (self._folder / "log").open("ab")
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 60,
            "shared_buffers": "16MB",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data", *options],
            stdout=log,
            stderr=log,
            cwd=self._folder,
            **self._as(),
        )
        log.close()
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _answers(self):
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self):
        """SIGKILL to the server and all of its children, at once."""
        children = _children(self._process.pid)
        for pid in (self._process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            # Reaped by init; the server does not start while one of them holds its memory.
            if time.monotonic() > deadline or all(_is_zombie(pid) for pid in children):
                break
            time.sleep(0.01)

    def destroy(self):
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _children(parent):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _is_zombie(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


class SoftHsm:
    """A token of SoftHSM2 in a folder of its own; one per process, as the module reads its
    configuration once."""

    token_label = "bellrelay"
    pin = "271828"

    def __init__(self, module, folder):
        self.module = module
        self.folder = folder
        (folder / "tokens").mkdir()
        configuration = folder / "softhsm2.conf"
        configuration.write_text(
            f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n"
        )
        self.environment = {"SOFTHSM2_CONF": str(configuration)}
        subprocess.run(
            [
                *("softhsm2-util", "--init-token", "--free", "--label", self.token_label),
                *("--so-pin", "31415926", "--pin", self.pin),
            ],
            check=True,
            capture_output=True,
            env={**os.environ, **self.environment},
        )
        self.pin_file = folder / "pin"
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(self.pin + "\n")
