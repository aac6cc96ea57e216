"""The directory of versions: every change whole or not there, whatever happens while it is made."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bellrelay.control.versions import (
    ChangeUnderWay,
    NoSuchStep,
    Versions,
    VersionsError,
    VersionState,
)
from bellrelay.control.versions_diff import MISSING, Difference, differences

LADDER = {"alice": {"s": 0.4, "mu": 0.3}, "block_slots": 1_000_000}


def test_before_any_change_the_configuration_file_holds(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "v")
    assert [v.number for v in versions.history()] == [0]
    assert versions.current().number == versions.in_force().number == 0
    assert versions.current().values == {}
    assert versions.under_way() is None
    with pytest.raises(NoSuchStep, match="nothing was ever promoted"):
        versions.roll_back("why not")
    with pytest.raises(NoSuchStep, match="version 0 is good"):
        versions.promote(0)


def test_a_change_goes_its_way_and_back(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "v")
    one = versions.propose(LADDER, "more light", author="ada")
    assert (one.number, one.parent, one.state) == (1, 0, VersionState.CANDIDATE)
    assert versions.current().number == 0
    assert versions.in_force().number == 0
    versions.begin_trial(1)
    assert versions.current().number == 0
    assert versions.in_force().number == 1
    with pytest.raises(ChangeUnderWay, match="version 1 is canary"):
        versions.propose({}, "another")
    assert versions.promote(1, "better", "canary", {"rate": 1.2e-6}).state is VersionState.GOOD
    two = versions.propose({"alice": {"s": 0.5, "mu": 0.3}}, "still more")
    assert two.parent == 1
    assert versions.roll_back("worse").number == 1
    assert versions.get(2).state is VersionState.ROLLED_BACK
    assert versions.roll_back("that one too").number == 0
    assert [v.state.value for v in versions.history()[1:]] == ["rolled-back"] * 2

    again = Versions(tmp_path / "v").get(1)
    assert (again.author, again.reason, again.values) == ("ada", "more light", LADDER)
    assert [d.reason for d in again.decisions] == [
        "more light",
        "trial",
        "better",
        "that one too",
    ]
    assert again.decisions[2].evidence == {"rate": 1.2e-6}
    times = [d.utc_ns for d in again.decisions]
    assert times == sorted(times)
    snapshot = yaml.safe_load((tmp_path / "v/000001.yaml").read_text())
    assert snapshot["values"] == LADDER
    assert snapshot["reason"] == "more light"


def test_who_judged_a_version_rolls_back_no_other(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.propose({"a": 1}, "one")
    versions.promote(1)
    versions.propose({"a": 2}, "two")
    with pytest.raises(NoSuchStep, match="version 1 is good, and version 2"):
        versions.roll_back("late news of one", number=1)
    assert versions.roll_back("bad", number=2).number == 1


def test_what_no_version_can_do(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    with pytest.raises(ValueError, match="has a reason"):
        versions.propose({}, " ")
    with pytest.raises(ValueError, match=r"values\.alice\[1\]: nan"):
        versions.propose({"alice": [0.1, float("nan")]}, "x")
    with pytest.raises(ValueError, match=r"values\.p: PosixPath is not plain"):
        versions.propose({"p": tmp_path}, "x")
    with pytest.raises(NoSuchStep, match="no version 3; the last is 0"):
        versions.get(3)
    versions.propose({"s": np.float64(0.25)}, "x")
    assert versions.get(1).values == {"s": 0.25}
    versions.roll_back("no")
    with pytest.raises(NoSuchStep, match="is rolled-back: it does not become good"):
        versions.promote(1)


def test_a_snapshot_changed_by_hand_is_not_obeyed(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.propose({"s": 0.25}, "x")
    path = tmp_path / "000001.yaml"
    path.write_text(path.read_text().replace("0.25", "0.95"))
    with pytest.raises(VersionsError, match=r"000001\.yaml: was changed by hand"):
        Versions(tmp_path).current()
    path.unlink()
    with pytest.raises(VersionsError, match="is missing"):
        Versions(tmp_path).current()


def test_a_journal_of_something_else_is_an_error_with_its_line(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.propose({"s": 0.25}, "x")
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"version": 7}\n')
    with pytest.raises(VersionsError, match=r"journal\.jsonl: line 2"):
        versions.history()


def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("")
    with pytest.raises(VersionsError, match="/v: File exists"):
        Versions(tmp_path / "v")


# ---------------------------------------------------------------------- killed at any point

_CALLS = ("open", "write", "fsync", "replace", "close")


class _Killer:
    """Ends the process, as a kill would, at the nth call that touches the disk.

    A write that it ends at has written half.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        for name in _CALLS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if name == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os._exit(9)
            return call(*args, **kwargs)

        return counted


def _in_child(work: Callable[[], object], kill_at: int) -> bool:
    """Whether the work came to its end before the kill."""
    child = os.fork()
    if child == 0:
        try:
            _Killer(kill_at)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0


def _prepared(directory: Path, steps: int) -> Versions:
    versions = Versions(directory)
    for work in _story(directory)[:steps]:
        work()
    return versions


def _story(directory: Path) -> list[Callable[[], object]]:
    v = Versions(directory)
    return [
        lambda: v.propose({"s": 0.1}, "first"),
        lambda: v.promote(1),
        lambda: v.propose({"s": 0.2}, "second"),
        lambda: v.begin_trial(2),
        lambda: v.note(2, "restarted"),
        lambda: v.roll_back("worse"),
        lambda: v.propose({"s": 0.3}, "third"),
        lambda: v.promote(3),
        lambda: v.roll_back("worse, too"),
    ]


def _seen(versions: Versions) -> list[tuple[int, VersionState, Any, int]]:
    return [(v.number, v.state, v.values, len(v.decisions)) for v in versions.history()]


@pytest.mark.parametrize("step", range(9))
def test_a_kill_at_any_call_leaves_the_state_before_or_after(tmp_path: Path, step: int) -> None:
    before = _seen(_prepared(tmp_path / "before", step))
    after = _seen(_prepared(tmp_path / "after", step + 1))
    outcomes = set()
    for at in range(1, 100):
        directory = tmp_path / f"killed{at}"
        _prepared(directory, step)
        finished = _in_child(lambda d=directory: _story(d)[step](), at)
        found = _seen(Versions(directory))
        assert found in (before, after), f"call {at}"
        outcomes.add(found == after)
        if found == before:
            # Whatever was left lying about is in nobody's way.
            _story(directory)[step]()
        assert _seen(Versions(directory)) == after
        for work in _story(directory)[step + 1 :]:
            work()
        if finished:
            break
    assert finished
    assert outcomes == {True, False}


def test_a_disk_that_fails_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = _prepared(tmp_path, 4)
    before = _seen(versions)
    real = os.fsync
    with monkeypatch.context() as patch:

        def fails(file: int) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", fails)
        with pytest.raises(VersionsError, match="No space left"):
            versions.promote(2)
    assert os.fsync is real
    assert _seen(versions) == before == _seen(Versions(tmp_path))
    assert versions.promote(2).state is VersionState.GOOD


# ------------------------------------------------------------------------- several at once


def _propose_and_decide(directory: Path, name: str, count: int) -> None:
    versions = Versions(directory)
    done = 0
    while done < count:
        try:
            number = versions.propose({"by": name}, "race").number
        except ChangeUnderWay:
            continue
        (versions.promote if done % 2 else lambda n: versions.roll_back("r", number=n))(number)
        done += 1


def test_writers_of_several_processes_take_turns_and_readers_see_whole_states(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=_propose_and_decide, args=(tmp_path, name, 8)) for name in "abc"
    ]
    faults: list[BaseException] = []
    over = threading.Event()

    def read() -> None:
        versions, last = Versions(tmp_path), 0
        try:
            while not over.is_set():
                history = versions.history()
                assert [v.number for v in history] == list(range(len(history)))
                assert sum(v.state.under_way for v in history) <= 1
                assert len(history) >= last
                last = len(history)
        except BaseException as error:
            faults.append(error)

    reader = threading.Thread(target=read)
    for process in writers:
        process.start()
    reader.start()
    for process in writers:
        process.join(30)
    over.set()
    reader.join()
    assert not faults
    assert [p.exitcode for p in writers] == [0, 0, 0]
    history = Versions(tmp_path).history()[1:]
    assert len(history) == 24
    assert sorted(v.values["by"] for v in history) == sorted("abc" * 8)


def test_a_writer_that_does_not_come_to_an_end_is_an_error_after_a_while(tmp_path: Path) -> None:
    slow, other = Versions(tmp_path), Versions(tmp_path, patience_s=0.1)
    with slow._writing(), pytest.raises(VersionsError, match=r"has been writing for 0\.1 s"):
        other.propose({}, "x")
    assert other.propose({}, "x").number == 1


# ------------------------------------------------------------------------------ properties

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
_VALUES = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        _LEAVES,
        lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=6), c, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=_VALUES, reason=st.text(min_size=1).filter(str.strip))
def test_what_was_proposed_reads_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], reason: str
) -> None:
    directory = tmp_path_factory.mktemp("v")
    Versions(directory).propose(values, reason)
    found = Versions(directory).get(1)
    assert found.values == values
    assert found.reason == reason
    assert not differences(values, found.values)


class _Story(RuleBasedStateMachine):
    """Any order of steps, against a model in memory."""

    @initialize(directory=st.builds(lambda: None))
    def start(self, directory: None) -> None:
        import tempfile

        self.directory = tempfile.TemporaryDirectory()
        self.versions = Versions(Path(self.directory.name))
        self.states = [VersionState.GOOD]
        self.parents: list[int | None] = [None]

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()

    def _current(self) -> int:
        return max(i for i, s in enumerate(self.states) if s is VersionState.GOOD)

    @precondition(lambda self: not self.states[-1].under_way)
    @rule()
    def propose(self) -> None:
        self.parents.append(self._current())
        self.states.append(VersionState.CANDIDATE)
        self.versions.propose({"n": len(self.states)}, "a change")

    @precondition(lambda self: self.states[-1].under_way)
    @rule()
    def propose_in_vain(self) -> None:
        with pytest.raises(ChangeUnderWay):
            self.versions.propose({}, "a change")

    @precondition(lambda self: self.states[-1] is VersionState.CANDIDATE)
    @rule()
    def begin_trial(self) -> None:
        self.states[-1] = VersionState.CANARY
        self.versions.begin_trial(len(self.states) - 1)

    @precondition(lambda self: self.states[-1].under_way)
    @rule()
    def promote(self) -> None:
        self.states[-1] = VersionState.GOOD
        self.versions.promote(len(self.states) - 1)

    @precondition(lambda self: self.states[-1].under_way or self._current() > 0)
    @rule()
    def roll_back(self) -> None:
        taken = len(self.states) - 1 if self.states[-1].under_way else self._current()
        self.states[taken] = VersionState.ROLLED_BACK
        assert self.versions.roll_back("bad").number == self._current()

    @rule()
    def come_back_later(self) -> None:
        self.versions = Versions(self.versions.directory)

    @invariant()
    def as_in_the_model(self) -> None:
        if not hasattr(self, "versions"):
            return
        history = self.versions.history()
        assert [v.state for v in history] == self.states
        assert [v.parent for v in history] == self.parents
        assert self.versions.current().number == self._current()


_Story.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestStory = _Story.TestCase


def test_differences_name_the_key() -> None:
    assert differences({"a": {"s": 1, "x": [1, 2]}}, {"a": {"s": 2, "x": [1, 3]}, "b": True}) == [
        Difference("a.s", 1, 2),
        Difference("a.x[1]", 2, 3),
        Difference("b", MISSING, True),
    ]
    assert str(Difference("a.s", 1, 2)) == "a.s: 1 -> 2"
