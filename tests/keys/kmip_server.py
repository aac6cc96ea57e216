"""PyKMIP's server, as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cryptography.x509.oid import ExtendedKeyUsageOID
from kme_certificates import Authority


class KmipServer:
    """Its certificates, ``kmip.crt`` and ``NAME.crt`` of clients, are signed into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.authority.issue("kmip", dns=["kmip"])
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        (folder / "policy").mkdir()
        self._config = folder / "server.conf"
        self._config.write_text(
            "[server]\n"
            f"hostname=127.0.0.1\nport={self.port}\n"
            f"certificate_path={folder}/kmip.crt\nkey_path={folder}/kmip.key\n"
            f"ca_path={folder}/ca.crt\nauth_suite=TLS1.2\npolicy_path={folder}/policy\n"
            f"enable_tls_client_auth=True\ndatabase_path={folder}/kmip.sqlite\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def client(self, name: str) -> dict[str, str]:
        """The `tls` of a client of this name."""
        certificate, key, _ = self.authority.issue(name, usages=[ExtendedKeyUsageOID.CLIENT_AUTH])
        return {"certificate": str(certificate), "key": str(key), "ca": str(self.authority.ca)}

    def start(self) -> None:
        program = "from kmip.services.server.server import main; main()"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-c", program),
                *("-f", str(self._config), "-l", str(self.folder / "server.log")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "server.err").open("wb"),
            start_new_session=True,
        )
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                said = (self.folder / "server.err").read_text()
                assert self._process.poll() is None, said
                assert time.monotonic() < end, said
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
