"""Lines of a file that grows, is rotated, cut short, and written in pieces."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.service.followed_file import FollowedFile
from bellrelay.service.line_splitter import LineSplitter


@pytest.fixture
def path(tmp_path):
    return tmp_path / "readings"


@pytest.fixture
def followed(path):
    file = FollowedFile(path, from_end=0, longest=100)
    yield file
    file.close()


def append(path, text):
    with path.open("ab") as file:
        file.write(text)


@given(st.binary(max_size=400), st.lists(st.integers(1, 40), max_size=40))
def test_lines_do_not_depend_on_the_pieces(data, lengths):
    lines = data.split(b"\n")[:-1]
    splitter = LineSplitter(20)
    found, at = [], 0
    for length in [*lengths, len(data)]:
        found += splitter.take(data[at : at + length])
        at += length
    assert found == [line for line in lines if len(line) <= 20]
    rest = data.rsplit(b"\n")[-1]
    assert splitter.too_long == sum(len(line) > 20 for line in [*lines, rest])


def test_a_line_counts_once_its_newline_is_there(path, followed):
    assert followed.read() == []
    assert not followed.there
    append(path, b"one\ntw")
    assert followed.read() == [b"one"]
    assert followed.read() == []
    append(path, b"o\n")
    assert followed.read() == [b"two"]


def test_what_was_there_before_is_read_as_far_back_as_asked(path):
    append(path, b"old\nnew\n")
    for from_end, lines in [(0, []), (3, []), (4, [b"new"]), (6, [b"new"]), (99, [b"old", b"new"])]:
        file = FollowedFile(path, from_end=from_end, longest=100)
        assert file.read() == lines
        file.close()


def test_begun_in_the_middle_of_a_line_its_rest_is_none(path, followed):
    append(path, b"half a li")
    assert followed.read() == []
    append(path, b"ne\nwhole\n")
    assert followed.read() == [b"whole"]


def test_a_file_that_is_rotated_is_read_to_its_end_first(path, followed):
    assert followed.read() == []
    append(path, b"one\n")
    assert followed.read() == [b"one"]
    append(path, b"two\nto")
    os.rename(path, path.with_suffix(".1"))
    append(path, b"three\n")
    assert followed.read() == [b"two", b"three"]
    assert followed.torn == 1


def test_a_file_that_is_away_for_a_while_is_read_from_its_beginning_then(path, followed):
    append(path, b"old\n")
    followed.read()
    append(path, b"last\n")
    os.rename(path, path.with_suffix(".1"))
    assert followed.read() == [b"last"]
    assert followed.read() == []
    append(path, b"new\n")
    assert followed.read() == [b"new"]


def test_a_file_that_is_cut_short_is_read_from_its_beginning(path, followed):
    append(path, b"one\ntwo\nthr")
    followed.read()
    path.write_bytes(b"1\n")
    assert followed.read() == [b"1"]


def test_a_line_without_an_end_is_stepped_over(path, followed):
    assert followed.read() == []
    append(path, b"x" * 101)
    assert followed.read() == []
    append(path, b"x" * 500)
    assert followed.read() == []
    append(path, b"\nok\n")
    assert followed.read() == [b"ok"]
    assert followed.too_long == 1


def test_a_file_that_cannot_be_read_is_told(path, followed):
    path.mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        followed.read()
    path.rmdir()
    assert followed.read() == []
    append(path, b"one\n")
    assert followed.read() == [b"one"]
