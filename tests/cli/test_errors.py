"""Exceptions of every layer become one line and the exit code that the table gives them."""

from __future__ import annotations

import errno
import importlib

import pytest

from bellrelay.cli.errors import EXIT_CODES, explain
from bellrelay.cli.exits import ExitCode


class BoardFault(RuntimeError):
    """A class of a layer, as the table would name it."""


class CableFault(BoardFault):
    """And one below it."""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXIT_CODES, f"{__name__}.BoardFault", ExitCode.FOREIGN_PORT)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_every_class_of_the_table_exists(name: str) -> None:
    module, _, qualified = name.rpartition(".")
    found = getattr(importlib.import_module(module), qualified)
    assert issubclass(found, Exception)
    assert f"{found.__module__}.{found.__qualname__}" == name


@pytest.mark.usefixtures("table")
def test_a_subclass_has_the_code_of_its_nearest_ancestor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explain(CableFault("no answer")) == ("no answer", ExitCode.FOREIGN_PORT)
    monkeypatch.setitem(EXIT_CODES, f"{__name__}.CableFault", ExitCode.PORT_MISSING)
    assert explain(CableFault("no answer")) == ("no answer", ExitCode.PORT_MISSING)


@pytest.mark.usefixtures("table")
def test_several_lines_become_one() -> None:
    explained = explain(BoardFault("first\n\n   second\n"))
    assert explained == ("first; second", ExitCode.FOREIGN_PORT)


@pytest.mark.usefixtures("table")
def test_an_exception_without_words_gives_its_name() -> None:
    assert explain(BoardFault()) == ("BoardFault", ExitCode.FOREIGN_PORT)


@pytest.mark.usefixtures("table")
def test_a_group_of_one_is_its_member() -> None:
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [BoardFault("no answer")])])
    assert explain(nested) == ("no answer", ExitCode.FOREIGN_PORT)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_names_the_file(number: int) -> None:
    explained = explain(OSError(number, "cannot write", "segment-000001.log"))
    assert explained == ("segment-000001.log: cannot write", ExitCode.STORAGE)


def test_a_missing_package_names_its_extra() -> None:
    explained = explain(ModuleNotFoundError("No module named 'amaranth.hdl'", name="amaranth.hdl"))
    assert explained is not None
    line, code = explained
    assert code is ExitCode.MISSING_EXTRA
    assert "pip install 'bellrelay[gateware]'" in line


@pytest.mark.parametrize(
    "fault",
    [
        ValueError("ours"),
        OSError(errno.EPERM, "other"),
        ModuleNotFoundError("ours", name="bellrelay.relay.gone"),
        ExceptionGroup("two", [ValueError("a"), ValueError("b")]),
    ],
)
def test_a_fault_of_ours_is_not_explained_away(fault: Exception) -> None:
    assert explain(fault) is None


def test_codes_are_distinct_and_have_meanings() -> None:
    assert len({int(code) for code in ExitCode}) == len(ExitCode.__members__)
    assert all(code.meaning for code in ExitCode)
