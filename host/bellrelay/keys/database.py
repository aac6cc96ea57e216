"""Transactions on SQLite or PostgreSQL that happen once, whatever becomes of the connection.

One writer at a time: on SQLite by its own lock, on PostgreSQL by a lock on the one row of
``writer``, across all processes. So no two of them can hand out the same unit, and nothing ever
deadlocks or has to be serialised again; throughput comes from many requests in one transaction.

When a connection breaks during COMMIT, nobody knows whether it happened. Each transaction leaves
its name in ``operation``; after reconnecting, once we hold the writer's lock (so that a dying
backend can no longer be at it), the name is there or it is not, and the transaction is taken as
done or done again.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from bellrelay.service.private_file import require_private_file

from . import schema
from .audit_record import Audit, AuditEvent
from .store_errors import StoreError, StoreUnavailable

__all__ = ["Database", "Transaction", "database_url"]

_log = structlog.get_logger()
_BUSY_S = 30.0
_KEEP_OPERATIONS_NS = 3600 * 10**9
_PURGE_EVERY = 500
_PAUSE_S = (0.05, 0.1, 0.2, 0.5, 1.0)
T = TypeVar("T")


@dataclass
class Transaction:
    """What a step works with.

    now_ns : UTC. events : what it did, for the audit log, which has it before COMMIT.
    """

    connection: Connection
    now_ns: int
    events: list[AuditEvent] = field(default_factory=list)


def database_url(url: str) -> URL:
    """Of a URL, or of the path of an SQLite file. StoreError.

    ``postgresql://`` is taken as the dialect of psycopg 3.
    """
    if "://" not in url:
        if re.match(r"[a-z][a-z0-9+.-]+:", url):
            raise StoreError("neither the path of a file nor the URL of a database")
        return URL.create("sqlite", database=str(Path(url)))
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("the database's URL cannot be read") from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise StoreError(f"{parsed.drivername}: neither sqlite nor postgresql")
    if parsed.drivername == "sqlite" and not parsed.database:
        raise StoreError("an SQLite store needs a file")
    return parsed


class Database:
    """A database with our tables; any thread may use it.

    Parameters
    ----------
    url
        See :func:`database_url`.
    audit
        Has every event before it is committed; if it fails, nothing happens.
    clock
        UTC, ns.
    patience_s
        How long an operation waits for a database that is not there.

    Raises
    ------
    StoreError
        It cannot be used.
    """

    def __init__(
        self,
        url: str,
        audit: Audit,
        clock: Callable[[], int] = time.time_ns,
        patience_s: float = 30.0,
    ) -> None:
        self._url = database_url(url)
        self._audit = audit
        self._clock = clock
        self._patience_s = patience_s
        self._done = 0
        self._local = threading.Lock()
        self._engine = self._open()
        self.name = self._url.render_as_string(hide_password=True)

    @property
    def sqlite(self) -> bool:
        """Whether it is a file of SQLite's."""
        return self._url.drivername == "sqlite"

    def _open(self) -> Engine:
        if self.sqlite:
            return _sqlite_engine(Path(str(self._url.database)))
        return _postgresql_engine(self._url)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def create_tables(self) -> None:
        """Make what is missing. StoreUnavailable."""

        def body(transaction: Transaction) -> None:
            connection = transaction.connection
            if not self.sqlite:
                # Two processes may start at the same time.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7461352019)")
            schema.metadata.create_all(connection)
            if connection.execute(select(schema.writer)).first() is None:
                connection.execute(insert(schema.writer).values(one=1, serial=0))

        self._attempt(body, _nothing, locked=False)

    def write(self, body: Callable[[Transaction], T], discard: Callable[[T], None]) -> T:
        """Run ``body`` in a transaction and commit it, exactly once.

        Parameters
        ----------
        body
            May be called again where the connection broke; does nothing outside the transaction.
        discard
            Gets the result of a call that came to nothing: it wipes what was unsealed.

        Raises
        ------
        StoreUnavailable
            The database did not answer for ``patience_s``. Nothing is handed out; whether it is on
            disk can be unknown, and is then on record as such.
        AuditError, OSError
            It could not be put on record, so it did not happen.
        """
        return self._attempt(body, discard, locked=True)

    def _attempt(
        self, body: Callable[[Transaction], T], discard: Callable[[T], None], *, locked: bool
    ) -> T:
        operation_id = uuid.uuid4().hex
        deadline = time.monotonic() + self._patience_s
        attempt = 0
        tried: _Tried[T] | None = None
        while True:
            try:
                if tried is not None and self._find(operation_id):
                    return tried.result
                if tried is not None:
                    self._give_up(tried, discard, "failure")
                    tried = None
                return self._once(body, discard, operation_id, locked)
            except _CommitUnknown as unknown:
                tried = unknown.tried
                error: DBAPIError = unknown.error
            except DBAPIError as failed:
                error = failed
            if not _may_pass(error, self.sqlite) or time.monotonic() > deadline:
                self._give_up(tried, discard)
                raise StoreUnavailable(f"{self.name}: {_said(error)}") from None
            if attempt == 0:
                _log.warning("database gone, trying again", database=self.name, why=_said(error))
            time.sleep(_PAUSE_S[min(attempt, len(_PAUSE_S) - 1)])
            attempt += 1

    def _once(
        self,
        body: Callable[[Transaction], T],
        discard: Callable[[T], None],
        operation_id: str,
        locked: bool,
    ) -> T:
        connection = self._engine.connect().execution_options(bellrelay_write=True)
        with connection:
            begun = connection.begin()
            if locked:
                _lock(connection)
            transaction = Transaction(connection, self._clock())
            result = body(transaction)
            try:
                if locked:
                    self._note(transaction, operation_id)
                if transaction.events:
                    self._audit.record(*transaction.events)
            except BaseException:
                discard(result)
                raise
            try:
                begun.commit()
            except DBAPIError as error:
                tried = _Tried(result, transaction.events)
                if self.sqlite or not locked:
                    # SQLite says what happened: it is rolled back.
                    self._give_up(tried, discard, "failure")
                    raise
                raise _CommitUnknown(tried, error) from None
            return result

    def _note(self, transaction: Transaction, operation_id: str) -> None:
        transaction.connection.execute(
            insert(schema.operation).values(operation_id=operation_id, done_ns=transaction.now_ns)
        )
        with self._local:
            self._done += 1
            due = self._done % _PURGE_EVERY == 0
        if due:
            limit = transaction.now_ns - _KEEP_OPERATIONS_NS
            transaction.connection.execute(
                delete(schema.operation).where(schema.operation.c.done_ns < limit)
            )

    def _find(self, operation_id: str) -> bool:
        with self._engine.connect().execution_options(bellrelay_write=True) as connection:
            with connection.begin():
                # Waits for the end of whatever the lost connection was still doing.
                _lock(connection)
                found = connection.execute(
                    select(schema.operation).where(schema.operation.c.operation_id == operation_id)
                ).first()
            return found is not None

    def _give_up(
        self,
        tried: _Tried[T] | None,
        discard: Callable[[T], None],
        outcome: str = "unknown",
    ) -> None:
        """What is on record as done came to nothing, or nobody knows: that is on record, too."""
        if tried is None:
            return
        discard(tried.result)
        if tried.events:
            self._audit.record(
                *(
                    AuditEvent(e.action, e.actor, e.object_, outcome, e.details)
                    for e in tried.events
                )
            )

    def read(self, body: Callable[[Connection], T]) -> T:
        """Run a body that only reads. StoreUnavailable."""
        deadline = time.monotonic() + self._patience_s
        attempt = 0
        while True:
            try:
                with self._engine.connect() as connection:
                    return body(connection)
            except DBAPIError as error:
                if not _may_pass(error, self.sqlite) or time.monotonic() > deadline:
                    raise StoreUnavailable(f"{self.name}: {_said(error)}") from None
            time.sleep(_PAUSE_S[min(attempt, len(_PAUSE_S) - 1)])
            attempt += 1


def _nothing(_result: object) -> None:
    pass


@dataclass(frozen=True)
class _Tried(Generic[T]):
    result: T
    events: Sequence[AuditEvent]


class _CommitUnknown(Exception):
    def __init__(self, tried: _Tried[Any], error: DBAPIError) -> None:
        super().__init__()
        self.tried = tried
        self.error = error


def _lock(connection: Connection) -> None:
    # SQLite has its lock since BEGIN IMMEDIATE.
    if connection.dialect.name != "sqlite":
        connection.execute(select(schema.writer.c.one).with_for_update()).one()


def _may_pass(error: DBAPIError, sqlite: bool) -> bool:
    """Whether trying again may help: a connection that broke, a server that starts."""
    if sqlite:
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _said(error: DBAPIError) -> str:
    """The driver's words without the statement and its values."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


def _create_private(path: Path) -> None:
    """Make the file, before SQLite could with the modes that the umask leaves.

    One that is there is not touched: closing any descriptor of it would drop the locks that other
    connections of this process hold on it (POSIX), and the next process to close the database would
    take itself for the last one and remove the write-ahead log that we still write.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _sqlite_engine(path: Path) -> Engine:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create_private(path)
        require_private_file(path)
    except OSError as error:
        raise StoreError(f"{path}: {error}") from None
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        hide_parameters=True,
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: object) -> None:
        # BEGIN is ours to say.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # What is wiped is overwritten: it does not stay on the disk's free pages.
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("bellrelay_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL) -> Engine:
    try:
        engine = create_engine(
            url, hide_parameters=True, isolation_level="READ COMMITTED", pool_size=8
        )
    except ModuleNotFoundError:
        raise
    except ArgumentError:
        raise StoreError("the database's URL cannot be used") from None

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.autocommit = True
        with connection.cursor() as cursor:
            fsync = cursor.execute("SHOW fsync").fetchone()[0]
            cursor.execute("SET synchronous_commit = on")
            cursor.execute(f"SET lock_timeout = '{int(_BUSY_S)}s'")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{int(_BUSY_S)}s'")
        connection.autocommit = False
        if fsync != "on":
            raise StoreError(
                "PostgreSQL runs with fsync off: keys that were handed out would come back"
            )

    return engine
