"""A database that several engines of a process, and several processes, have open at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqlalchemy import insert, select
from store_pairs import Records

from bellrelay.keys import schema
from bellrelay.keys.database import Database

_ANOTHER = """
import sys
from bellrelay.keys.database import Database
from bellrelay.keys.schema import about
from sqlalchemy import select
database = Database(sys.argv[1], None)
print(len(database.read(lambda db: db.execute(select(about)).all())))
database.close()
"""


def rows_as_another_process_sees_them(path: Path) -> int:
    """Which opens the database and closes it again."""
    command = [sys.executable, "-c", _ANOTHER, str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def put(database: Database, name: str) -> None:
    row = insert(schema.about).values(name=name, value="")
    database.write(lambda t: t.connection.execute(row), lambda _result: None)


def test_a_second_engine_takes_no_locks_from_the_first(tmp_path: Path) -> None:
    """A daemon's store and its bridges, beside `bellrelay keys`: nothing committed is lost."""
    path = tmp_path / "keys.sqlite"
    store = Database(str(path), Records())
    store.create_tables()
    put(store, "first")
    bridges = Database(str(path), Records())
    bridges.create_tables()
    assert rows_as_another_process_sees_them(path) == 1
    for number in range(3):
        put(store, f"store {number}")
        put(bridges, f"bridges {number}")
        assert rows_as_another_process_sees_them(path) == 3 + 2 * number
    found = store.read(lambda db: db.execute(select(schema.about)).all())
    assert len(found) == 7
    store.close()
    bridges.close()
