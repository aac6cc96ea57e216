"""Ways to a syslog server: TLS (RFC 5425), UDP (RFC 5426), a datagram socket of this machine."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import socket
import ssl
import termios
from collections.abc import Sequence
from typing import Any, Protocol

from bellrelay.settings.audit import Forward
from bellrelay.settings.model import split_address

from .syslog_format import octet_counted

__all__ = ["SyslogWay", "open_way"]

_PATIENCE_S = 10.0


class SyslogWay(Protocol):
    """A connection to one server."""

    def send(self, messages: Sequence[bytes]) -> None:
        """OSError: the connection is gone; what was sent may or may not have arrived."""

    def unacknowledged(self) -> int:
        """Bytes that the server's machine has not acknowledged. OSError: it has hung up."""

    def finish(self) -> bool:
        """Say goodbye and hang up: whether the server took everything before it answered."""

    def close(self) -> None:
        """Hang up."""


def open_way(settings: Forward) -> SyslogWay:
    """Connect. OSError: it cannot be reached, or shows another certificate."""
    if settings.transport == "tls":
        return _Tls(settings)
    return _Datagrams(settings)


class _Tls:
    def __init__(self, settings: Forward) -> None:
        assert settings.address is not None
        assert settings.tls is not None
        host, port = split_address(settings.address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(settings.tls.ca)
        if settings.tls.certificate is not None:
            context.load_cert_chain(settings.tls.certificate, settings.tls.key)
        plain = socket.create_connection((host, port), _PATIENCE_S)
        try:
            self._socket = context.wrap_socket(plain, server_hostname=settings.server_name or host)
        except BaseException:
            plain.close()
            raise
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def send(self, messages: Sequence[bytes]) -> None:
        self._socket.settimeout(_PATIENCE_S)
        self._socket.sendall(b"".join(map(octet_counted, messages)))

    def unacknowledged(self) -> int:
        self._socket.settimeout(0)
        # A syslog server says nothing; what comes is the end, or what TLS itself has to say.
        with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
            if not self._socket.recv(4096):
                raise ConnectionResetError(errno.ECONNRESET, "the server hung up")
        left = array.array("i", [0])
        fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, left)
        return left[0]

    def finish(self) -> bool:
        try:
            self._socket.settimeout(2.0)
            self._socket.unwrap()
        except OSError:
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        self._socket.close()


class _Datagrams:
    def __init__(self, settings: Forward) -> None:
        if settings.transport == "unix":
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            address: Any = str(settings.path)
        else:
            assert settings.address is not None
            found = socket.getaddrinfo(*split_address(settings.address), type=socket.SOCK_DGRAM)
            self._socket = socket.socket(found[0][0], socket.SOCK_DGRAM)
            address = found[0][4]
        self._socket.settimeout(_PATIENCE_S)
        try:
            self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise

    def send(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            try:
                self._socket.send(message)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                # Better what it is about, without the record's own line, than a way that is stuck.
                self._socket.send(message[: message.index(b'] {"') + 1])

    def unacknowledged(self) -> int:
        # An answer that nobody listens comes as the error of the next call.
        problem = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, "the server does not listen")
        return 0

    def finish(self) -> bool:
        self.close()
        return True

    def close(self) -> None:
        self._socket.close()
