"""A look at an SQLite file leaves nothing beside it, and sees what its log holds."""

import os
import sqlite3

import pytest

from bellrelay.service.read_only_sqlite import read_only


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "store.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE t (x)")
    db.execute("INSERT INTO t VALUES (1)")
    yield path, db
    db.close()


def values(path):
    db = read_only(path)
    try:
        return [x for (x,) in db.execute("SELECT x FROM t")]
    finally:
        db.close()


def test_what_is_only_in_the_log_of_a_writer_is_seen(written):
    path, db = written
    db.execute("INSERT INTO t VALUES (2)")
    names = sorted(os.listdir(path.parent))
    assert values(path) == [1, 2]
    assert sorted(os.listdir(path.parent)) == names
    db.execute("INSERT INTO t VALUES (3)")
    assert values(path) == [1, 2, 3]


def test_of_a_file_at_rest_nothing_is_made(written):
    path, db = written
    db.close()
    before = path.stat().st_mtime_ns
    assert values(path) == [1]
    assert os.listdir(path.parent) == ["store.sqlite"]
    assert path.stat().st_mtime_ns == before


def test_nothing_can_be_written(written):
    path, _ = written
    looked = read_only(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        looked.execute("INSERT INTO t VALUES (9)")
    looked.close()


def test_changes_that_nobody_has_brought_in_are_not_passed_over(written):
    path, db = written
    log = path.with_name("store.sqlite-wal").read_bytes()
    db.close()
    path.with_name("store.sqlite-wal").write_bytes(log)
    with pytest.raises(sqlite3.OperationalError, match="not brought in"):
        read_only(path)


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_only(tmp_path / "store.sqlite")
    assert list(tmp_path.iterdir()) == []
