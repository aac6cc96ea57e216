"""Addresses that a daemon listens on: whether they can be had."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator

from bellrelay.settings.model import FileModel, split_address

from .finding import Finding, failed, passed
from .needs import Listening
from .running import Running

__all__ = ["check_addresses", "is_of_this_machine"]

_CHECK = "addresses"
_WHY = {
    errno.EADDRINUSE: "another program has it",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
    errno.EACCES: "ports below 1024 are not for this user",
}


def check_addresses(
    config: FileModel, listening: Iterable[Listening], running: Running | None
) -> Iterator[Finding]:
    """Bind each of them and give it back, as the daemon would.

    running : our own daemon, which has them.
    """
    for each in listening:
        error = _bind(each.address)
        if error is None and running is None:
            yield passed(_CHECK, f"{each.key}: {each.address} is free")
        elif error is None:
            yield passed(_CHECK, f"{each.key}: {each.address} is free, though the daemon runs")
        elif error.errno == errno.EADDRINUSE and running is not None:
            yield passed(_CHECK, f"{each.key}: {each.address} is in use, and the daemon runs")
        else:
            why = _WHY.get(error.errno or 0, error.strerror or str(error))
            yield failed(
                _CHECK,
                config.error(each.key, each.address, f"an address that is free ({why})"),
                _remedy(error, each),
            )


def _remedy(error: OSError, each: Listening) -> str:
    if error.errno == errno.EADDRINUSE:
        port = split_address(each.address)[1]
        return f"ss -ltnp 'sport = :{port}' names who has it; end that, or change {each.key}"
    return f"ip -brief address lists this machine's addresses; change {each.key}"


def is_of_this_machine(address: str) -> bool:
    """Whether a program on this machine could listen there, were the port free."""
    error = _bind(address)
    return error is None or error.errno in (errno.EADDRINUSE, errno.EACCES)


def _bind(address: str) -> OSError | None:
    """Why an address cannot be had; None: it can."""
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in dict.fromkeys(found):
            with socket.socket(family, kind, protocol) as probe:
                # As servers of ours have it: connections of before that are ending do not matter.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(where)
    except OSError as error:
        return error
    return None
