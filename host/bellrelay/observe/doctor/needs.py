"""What a configuration needs of its machine and of others, whatever daemon it is of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path

from bellrelay.settings.nats import BrokerServers

__all__ = [
    "Broker",
    "Certificates",
    "Chain",
    "Connection",
    "Directory",
    "Listening",
    "Needs",
    "Package",
    "PrivateFile",
    "Program",
    "TlsFiles",
    "WatchedDaemon",
]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of one end; None: it shows no certificate, or trusts as this machine does."""

    certificate: Path | None
    key: Path | None
    ca: Path | None


class Chain(Enum):
    """Whether the authority that a section names for the others signs our own certificate, too."""

    NOT_SAID = "another may sign ours"
    USUAL = "the other side's file usually names the same"
    NEEDED = "one authority signs all"


@dataclass(frozen=True)
class Certificates:
    """A section with certificates.

    key : where it stands. listens : whether others connect to who shows them. names : whether
    others look for a name in ours. revoked : list of the authority's, if one is named. ca_name : of
    the authority's key in the section.
    """

    key: str
    files: TlsFiles
    listens: bool
    chain: Chain = Chain.NOT_SAID
    names: bool = True
    revoked: Path | None = None
    ca_name: str = "ca"


@dataclass(frozen=True)
class PrivateFile:
    """A secret; what : for people. remedy : how to make it."""

    key: str
    path: Path
    what: str
    remedy: str


@dataclass(frozen=True)
class Directory:
    """Where a daemon writes; may_grow_mb : to so much, by its own settings."""

    key: str
    path: Path
    may_grow_mb: int = 0


@dataclass(frozen=True)
class Listening:
    """An address that others connect to."""

    key: str
    address: str


@dataclass(frozen=True)
class Connection:
    """An address, or a socket of this machine, that is connected to.

    tls : None: plain. name : that must stand in the other's certificate; None: none must. alone :
    whether the other side hangs up on who is connected when another one comes.
    """

    key: str
    whom: str
    address: str | Path
    tls: TlsFiles | None = None
    name: str | None = None
    alone: bool = False


@dataclass(frozen=True)
class Broker:
    """A NATS broker; name : by which it knows us."""

    key: str
    settings: BrokerServers
    name: str


@dataclass(frozen=True)
class WatchedDaemon:
    """A daemon whose /health is asked."""

    key: str
    whom: str
    url: str


@dataclass(frozen=True)
class Package:
    """A module that only this configuration needs; key : of what needs it."""

    key: str
    module: str


@dataclass(frozen=True)
class Program:
    """A program that is started; key : where it stands."""

    key: str
    name: str


@dataclass(frozen=True)
class Needs:
    """All of it. open_files : that may be open at once, if everything is used to its limits."""

    certificates: tuple[Certificates, ...] = ()
    private_files: tuple[PrivateFile, ...] = ()
    directories: tuple[Directory, ...] = ()
    listening: tuple[Listening, ...] = ()
    connections: tuple[Connection, ...] = ()
    brokers: tuple[Broker, ...] = ()
    watched: tuple[WatchedDaemon, ...] = ()
    packages: tuple[Package, ...] = ()
    programs: tuple[Program, ...] = ()
    open_files: int = 0

    def __add__(self, other: Needs) -> Needs:
        """Of both."""
        return Needs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
