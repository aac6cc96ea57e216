"""Settings that change while a link runs, as numbered versions: who, when, why, and what became.

A directory holds one YAML snapshot per version and a journal. A snapshot is written once and never
changed. Everything that is decided about it (proposed, on trial, good, rolled back) is a line of
the journal, which is only ever appended to, so that one write makes each change: whoever is killed
at any point leaves the state before it or after it. A snapshot without its line in the journal was
never proposed; the next proposal takes its place.

Version 0 is the configuration file itself: nothing is overlaid on it. At most one version is under
way (candidate, canary) at a time; the last promoted one that was not rolled back is current.

Readers need no lock. Writers hold one, for as long as a write takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from .versions_diff import Difference, differences

__all__ = [
    "ChangeUnderWay",
    "Decision",
    "NoSuchStep",
    "Version",
    "VersionState",
    "Versions",
    "VersionsError",
]

_JOURNAL = "journal.jsonl"
_LOCK = "lock"
_POLL_S = 0.02
_LONGEST_VALUES = 1 << 20


class VersionsError(OSError):
    """The directory cannot be used, or what is in it is not what was written."""

    def __str__(self) -> str:
        return str(self.args[0])


class NoSuchStep(VersionsError):
    """No version has that number, or it is not in a state from which the step leads."""


class ChangeUnderWay(NoSuchStep):
    """Another version is a candidate or on trial: one change at a time."""


class VersionState(StrEnum):
    """What a version is. Only `good` ones are ever returned to."""

    CANDIDATE = "candidate"
    CANARY = "canary"
    GOOD = "good"
    ROLLED_BACK = "rolled-back"

    @property
    def under_way(self) -> bool:
        """Whether it is still to be decided."""
        return self in (VersionState.CANDIDATE, VersionState.CANARY)


_STEPS = {
    VersionState.CANARY: (VersionState.CANDIDATE,),
    VersionState.GOOD: (VersionState.CANDIDATE, VersionState.CANARY),
    VersionState.ROLLED_BACK: (VersionState.CANDIDATE, VersionState.CANARY, VersionState.GOOD),
}


@dataclass(frozen=True)
class Decision:
    """A line of the journal about one version; state None: a note, which changes nothing."""

    utc_ns: int
    state: VersionState | None
    author: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """A version as it stands.

    number : from 1; 0 is the configuration file. parent : the version that was current when it was
    proposed. values : what it lays over the configuration. decisions : all of them, oldest first.
    """

    number: int
    parent: int | None
    author: str
    utc_ns: int
    reason: str
    state: VersionState
    values: Mapping[str, Any] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()


_BASE = Version(0, None, "", 0, "the configuration file", VersionState.GOOD)


class Versions:
    """The versions of one kind of settings; from any thread and any number of processes.

    Parameters
    ----------
    directory
        Its own; made if it is missing.
    patience_s
        Longest wait for another writer.

    Raises
    ------
    VersionsError
        By every method: the directory cannot be used, or a file of it was changed by hand.
    """

    def __init__(self, directory: Path, *, patience_s: float = 10.0) -> None:
        self.directory = directory
        self._patience_s = patience_s
        self._read: tuple[tuple[int, int, int], list[Version]] | None = None
        with _named(directory):
            if not directory.is_dir():
                directory.mkdir(mode=0o755, parents=True)
                _sync(directory.parent)

    # ------------------------------------------------------------------------------- reading

    def history(self) -> list[Version]:
        """All versions, oldest first; the first is the configuration file."""
        path = self.directory / _JOURNAL
        with _named(path):
            try:
                file = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return [_BASE]
            try:
                status = os.fstat(file)
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._read is None or self._read[0] != stamp:
                    self._read = (stamp, self._parse(os.pread(file, status.st_size, 0)))
            finally:
                os.close(file)
        return list(self._read[1])

    def get(self, number: int) -> Version:
        """A version by its number. NoSuchStep: there is none."""
        return _at(self.history(), number)

    def current(self) -> Version:
        """The last one that was promoted and not rolled back; the configuration file before any."""
        return _current(self.history())

    def under_way(self) -> Version | None:
        """The candidate, or the one on trial."""
        return _under_way(self.history())

    def in_force(self) -> Version:
        """What holds where a trial is one of time, not of a share: the one on trial, or current."""
        history = self.history()
        trial = _under_way(history)
        on_trial = trial is not None and trial.state is VersionState.CANARY
        return trial if trial is not None and on_trial else _current(history)

    def diff(self, before: int, after: int) -> list[Difference]:
        """What two versions say differently, by key."""
        history = self.history()
        return differences(_at(history, before).values, _at(history, after).values)

    # ------------------------------------------------------------------------------- writing

    def propose(self, values: Mapping[str, Any], reason: str, author: str | None = None) -> Version:
        """A new candidate: plain values, as YAML writes them.

        Raises
        ------
        ChangeUnderWay
            One change at a time.
        ValueError
            There is no reason given, or the values are not plain.
        """
        if not reason.strip():
            raise ValueError("a change has a reason")
        _plain(values, "values")
        with self._writing() as (journal, history):
            busy = _under_way(history)
            if busy is not None:
                raise ChangeUnderWay(
                    f"{self.directory}: version {busy.number} is {busy.state}: promote it or roll "
                    "it back first"
                )
            number = history[-1].number + 1
            now, author = time.time_ns(), _author(author)
            about = {
                "version": number,
                "parent": _current(history).number,
                "author": author,
                "utc_ns": now,
                "reason": reason,
            }
            text = yaml.safe_dump({**about, "values": _copy(values)}, sort_keys=False).encode()
            if len(text) > _LONGEST_VALUES:
                raise ValueError(f"values of {len(text)} bytes; {_LONGEST_VALUES} are allowed")
            self._write_snapshot(number, text)
            digest = hashlib.sha256(text).hexdigest()
            state = VersionState.CANDIDATE
            self._append(journal, {**about, "state": state, "sha256": digest})
        return self.get(number)

    def begin_trial(self, number: int, reason: str = "", author: str | None = None) -> Version:
        """A candidate goes on trial. NoSuchStep: it is no candidate."""
        return self._step(number, VersionState.CANARY, reason or "trial", author, {})

    def promote(
        self,
        number: int,
        reason: str = "",
        author: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Version:
        """A version under way is good, and current from now on. NoSuchStep: it is not under way."""
        return self._step(number, VersionState.GOOD, reason or "promoted", author, evidence or {})

    def roll_back(
        self,
        reason: str,
        author: str | None = None,
        evidence: Mapping[str, Any] | None = None,
        number: int | None = None,
    ) -> Version:
        """Take back the version under way, or else the current one; returns what holds then.

        Parameters
        ----------
        number
            Only this one: who judged a version rolls back no other that came meanwhile.

        Raises
        ------
        NoSuchStep
            There is only the configuration file, or ``number`` is neither under way nor current.
        """
        with self._writing() as (journal, history):
            taken = _under_way(history) or _current(history)
            if taken.number == 0:
                raise NoSuchStep(f"{self.directory}: nothing was ever promoted: nothing to go back")
            if number is not None and number != taken.number:
                state = _at(history, number).state
                raise NoSuchStep(
                    f"{self.directory}: version {number} is {state}, and version {taken.number} "
                    "is what a roll-back takes back"
                )
            self._decide(
                journal, taken.number, VersionState.ROLLED_BACK, reason, author, evidence or {}
            )
        return self.current()

    def note(
        self,
        number: int,
        reason: str,
        author: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Version:
        """Write down something about a version; its state stays."""
        with self._writing() as (journal, history):
            _at(history, number)
            self._decide(journal, number, None, reason, author, evidence or {})
        return self.get(number)

    def _step(
        self,
        number: int,
        state: VersionState,
        reason: str,
        author: str | None,
        evidence: Mapping[str, Any],
    ) -> Version:
        with self._writing() as (journal, history):
            found = _at(history, number)
            if number == 0 or found.state not in _STEPS[state]:
                raise NoSuchStep(
                    f"{self.directory}: version {number} is {found.state}: it does not become "
                    f"{state}"
                )
            self._decide(journal, number, state, reason, author, evidence)
        return self.get(number)

    def _decide(
        self,
        journal: int,
        number: int,
        state: VersionState | None,
        reason: str,
        author: str | None,
        evidence: Mapping[str, Any],
    ) -> None:
        _plain(evidence, "evidence")
        line = {
            "version": number,
            "utc_ns": time.time_ns(),
            "state": state,
            "author": _author(author),
            "reason": reason,
            "evidence": _copy(evidence),
        }
        self._append(journal, line)

    # ----------------------------------------------------------------------------- the files

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[int, list[Version]]]:
        """The journal, open to append, and what it says; nobody else writes."""
        with _named(self.directory), contextlib.ExitStack() as stack:
            lock = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            stack.callback(os.close, lock)
            self._wait_for(lock)
            # Its name is durable before its first line: that follows a snapshot, which is synced.
            path = self.directory / _JOURNAL
            journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            stack.callback(os.close, journal)
            # What a writer that died left behind its last whole line was never decided.
            size = os.fstat(journal).st_size
            whole = os.pread(journal, size, 0).rfind(b"\n") + 1
            if whole < size:
                os.ftruncate(journal, whole)
                os.fsync(journal)
            yield journal, self.history()

    def _wait_for(self, lock: int) -> None:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise VersionsError(
                        f"{self.directory}: another process has been writing for "
                        f"{self._patience_s:g} s (see who holds {_LOCK}: fuser)"
                    ) from None
                time.sleep(_POLL_S)
            else:
                return

    def _append(self, journal: int, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        size = os.fstat(journal).st_size
        try:
            _write(journal, text)
            os.fsync(journal)
        except OSError:
            # A full disk: readers must not take a line that may be gone after a loss of power.
            os.ftruncate(journal, size)
            raise

    def _write_snapshot(self, number: int, text: bytes) -> None:
        path = self._snapshot(number)
        partial = path.with_suffix(".new")
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _write(file, text)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(partial, path)
        _sync(self.directory)

    def _snapshot(self, number: int) -> Path:
        return self.directory / f"{number:06d}.yaml"

    def _parse(self, text: bytes) -> list[Version]:
        history = [_BASE]
        for at, raw in enumerate(text.split(b"\n")[:-1], 1):
            try:
                line = json.loads(raw)
                number = line["version"]
                state = None if line["state"] is None else VersionState(line["state"])
                decision = Decision(
                    line["utc_ns"], state, line["author"], line["reason"], line.get("evidence", {})
                )
                if number == len(history) and state is VersionState.CANDIDATE:
                    values = self._values(number, line["sha256"])
                    history.append(
                        Version(
                            number,
                            line["parent"],
                            decision.author,
                            decision.utc_ns,
                            decision.reason,
                            state,
                            values,
                            (decision,),
                        )
                    )
                else:
                    old = history[number]
                    history[number] = replace(
                        old, state=state or old.state, decisions=(*old.decisions, decision)
                    )
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise VersionsError(
                    f"{self.directory / _JOURNAL}: line {at} is not one of this program ({error})"
                ) from None
        return history

    def _values(self, number: int, digest: str) -> Mapping[str, Any]:
        path = self._snapshot(number)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            raise VersionsError(f"{path}: is missing; versions are never deleted") from None
        if hashlib.sha256(text).hexdigest() != digest:
            raise VersionsError(
                f"{path}: was changed by hand; put it back, and propose what you want instead"
            )
        values: Mapping[str, Any] = yaml.safe_load(text)["values"]
        return values


def _at(history: list[Version], number: int) -> Version:
    if not 0 <= number < len(history):
        raise NoSuchStep(f"there is no version {number}; the last is {len(history) - 1}")
    return history[number]


def _current(history: list[Version]) -> Version:
    """The good one that was promoted last."""
    # One is under way at a time, so that they are promoted in the order of their numbers.
    return max((v for v in history if v.state is VersionState.GOOD), key=lambda v: v.number)


def _under_way(history: list[Version]) -> Version | None:
    last = history[-1]
    return last if last.state.under_way else None


def _author(author: str | None) -> str:
    if author is not None:
        return author
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _plain(value: object, name: str) -> None:
    """ValueError unless it reads back from JSON and YAML as what it was."""
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{name}: {value} is no number to keep")
        return
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _plain(item, f"{name}[{i}]")
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{name}: key {key!r}: keys are text")
            _plain(item, f"{name}.{key}")
        return
    raise ValueError(f"{name}: {type(value).__name__} is not plain: numbers, text, lists, mappings")


def _copy(value: Any) -> Any:
    """Of the built-in types themselves: what YAML writes without tags."""
    if isinstance(value, Mapping):
        return {str(k): _copy(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(v) for v in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None


def _write(file: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[os.write(file, left) :]


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the operating system say which file."""
    try:
        yield
    except VersionsError:
        raise
    except OSError as error:
        raise VersionsError(f"{path}: {error.strerror or error}") from error
