"""A folder per calibration that was run: figures, picture, and what was before and after.

``records/000042-hom/record.json`` and ``picture.png``. A record is made whole beside its place, is
on the disk, and then gets its name: whoever is killed leaves it or none. It is never changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Record", "Records", "RecordsError"]

_RECORD, _PICTURE = "record.json", "picture.png"
_NAME = re.compile(r"(\d{6,})-([a-z0-9-]+)")


class RecordsError(OSError):
    """A record cannot be written, or is not what was written."""

    def __str__(self) -> str:
        return str(self.args[-1])


@dataclass(frozen=True)
class Record:
    """One run. values : what record.json says. picture : its file, None if there is none."""

    number: int
    step: str
    values: Mapping[str, Any]
    picture: Path | None


class Records:
    """Those of one relay, in its calibration's directory; from any number of processes.

    Raises
    ------
    RecordsError, OSError
        By every method.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "records"
        self._folder.mkdir(parents=True, exist_ok=True)
        # By step: the newest record that was looked at, and the last that ended well.
        self._well: dict[str, tuple[int, Record | None]] = {}

    def add(
        self,
        step: str,
        values: Mapping[str, Any],
        draw: Callable[[Path], None] | None = None,
    ) -> Record:
        """Write a record; a picture that cannot be drawn is told in it and costs nothing else."""
        with self._locked():
            number = max((number for number, _ in self._names()), default=0) + 1
            place = self._folder / f"{number:06d}-{step}"
            partial = self._folder / f".{number:06d}.new"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            values = {"number": number, "step": step, **values}
            if draw is not None:
                try:
                    draw(partial / _PICTURE)
                except Exception as error:
                    (partial / _PICTURE).unlink(missing_ok=True)
                    values["picture_failed"] = f"{type(error).__name__}: {error}"
            text = json.dumps(_plain(values), indent=1, allow_nan=False)
            (partial / _RECORD).write_text(text, encoding="utf-8")
            for name in (_RECORD, _PICTURE):
                with contextlib.suppress(FileNotFoundError), (partial / name).open("rb") as file:
                    os.fsync(file.fileno())
            _sync(partial)
            partial.rename(place)
            _sync(self._folder)
        return self.get(number)

    def get(self, number: int) -> Record:
        """One by its number. RecordsError: there is none."""
        for found, step in self._names():
            if found == number:
                return self._read(found, step)
        raise RecordsError(f"{self._folder}: there is no record {number}")

    def all(self) -> list[Record]:
        """Oldest first."""
        return [self._read(number, step) for number, step in self._names()]

    def last_well(self, step: str) -> Record | None:
        """The last run of a step that ended well; a record that cannot be read is none.

        Only what has come since the last call is read.
        """
        numbers = [number for number, name in self._names() if name == step]
        looked, found = self._well.get(step, (0, None))
        for number in reversed(numbers):
            if number <= looked:
                break
            try:
                record = self._read(number, step)
            except RecordsError:
                continue
            if record.values.get("ok"):
                found = record
                break
        self._well[step] = (max(numbers, default=0), found)
        return found

    def _names(self) -> list[tuple[int, str]]:
        found = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted((int(match[1]), match[2]) for match in found if match)

    def _read(self, number: int, step: str) -> Record:
        folder = self._folder / f"{number:06d}-{step}"
        try:
            values = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordsError(f"{folder / _RECORD}: cannot be read: {error}") from None
        picture = folder / _PICTURE
        return Record(number, step, values, picture if picture.exists() else None)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        file = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def _plain(value: Any) -> Any:
    """What JSON can say: a number that is none is null."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
