"""Images that a board has had, and a journal of how each came onto it.

``images/ID/`` holds a bitstream with the record of its build; it is there, whole and on the disk,
before the journal names it. The journal is appended to before every act on the board, one line per
step, so that whoever is stopped at any point leaves behind what was being done, with which image,
and which one to return to. Each line carries the SHA-256 of the line before: a journal that was
changed afterwards does not read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from .firmware_image import BUILD_RECORD, FirmwareImage, ImageUnusable, read_image

__all__ = ["FirmwareStore", "JournalBroken", "Standing", "Step", "StoreBusy"]

_JOURNAL, _LOCK, _IMAGES, _BITSTREAM = "journal.jsonl", "lock", "images", "top.bit"


class JournalBroken(OSError):
    """The journal, or an image that it names, is not what was written."""

    def __str__(self) -> str:
        return str(self.args[-1])


class StoreBusy(OSError):
    """Another update is under way in this directory."""

    def __str__(self) -> str:
        return str(self.args[-1])


class Step(StrEnum):
    """A line of the journal. What is about to be done on the board is written before it is done."""

    ADOPTED = "adopted"
    """An image that is on the board, though no update has brought it there."""
    BEGUN = "begun"
    RETURNING = "returning"
    """The image did not do: back to the one before."""
    FLASHING = "flashing"
    FLASHED = "flashed"
    IDENTIFIED = "identified"
    INSTALLED = "installed"
    """End of an update: the image is on the board, and healthy."""
    RETURNED = "returned"
    """End of an update: the image before is on the board again, and healthy."""
    FAILED = "failed"
    """Neither image works; the update stays open."""


@dataclass(frozen=True)
class Standing:
    """Where the board stands, as far as the journal knows.

    Attributes
    ----------
    installed : id of the image that was last known to be on the board and well, or None
    update : number of the last update, 0 before the first
    open : whether that update has not ended
    image, previous : of that update: ids
    returning : whether it is on its way back
    step : its last one
    """

    installed: str | None = None
    update: int = 0
    open: bool = False
    image: str | None = None
    previous: str | None = None
    returning: bool = False
    step: Step | None = None


class FirmwareStore:
    """The directory of one board; one process at a time has it.

    Parameters
    ----------
    directory
        Its own; made if it is missing.

    Raises
    ------
    StoreBusy, JournalBroken, OSError
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _IMAGES).mkdir(exist_ok=True)
        self._lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StoreBusy(
                errno.EBUSY, f"{directory}: another update is under way here (fuser {_LOCK})"
            ) from None
        try:
            self._journal = os.open(
                directory / _JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644
            )
            _sync_folder(directory)
            self._drop_torn_line()
            self._lines = self._read()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> FirmwareStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next process in."""
        os.close(self._journal)
        os.close(self._lock)

    # ------------------------------------------------------------------------------- images

    def keep(self, image: FirmwareImage) -> FirmwareImage:
        """Copy an image into the directory, down to the disk; the copy.

        Raises
        ------
        OSError, ImageUnusable
            It cannot be copied, or the copy is another file.
        """
        folder = self.directory / _IMAGES / image.id
        with contextlib.suppress(ImageUnusable):
            kept = read_image(folder)
            if kept.sha256 == image.sha256:
                return kept
        partial = folder.with_name(f".{image.id}.new")
        for leftover in (partial, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        for source, name in ((image.bitstream, _BITSTREAM), (image.record, BUILD_RECORD)):
            shutil.copyfile(source, partial / name)
            with (partial / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(partial)
        partial.rename(folder)
        _sync_folder(folder.parent)
        return read_image(folder)

    def image(self, image_id: str) -> FirmwareImage:
        """An image that was kept. JournalBroken: it is not there, or not what was kept."""
        try:
            image = read_image(self.directory / _IMAGES / image_id)
        except ImageUnusable as error:
            raise JournalBroken(errno.EIO, f"a kept image cannot be used: {error}") from None
        if image.id != image_id:
            raise JournalBroken(errno.EIO, f"{image.bitstream}: is another image than {image_id}")
        return image

    # ------------------------------------------------------------------------------ journal

    @property
    def lines(self) -> tuple[Mapping[str, Any], ...]:
        """The journal, oldest first."""
        return tuple(self._lines)

    def write(self, step: Step, update: int, **values: Any) -> None:
        """Append a line; it is on the disk when this returns."""
        line = {"update": update, "utc_ns": time.time_ns(), "step": step, **values}
        line["before"] = self._chain()
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        size = os.fstat(self._journal).st_size
        try:
            left = memoryview(text)
            while left:
                left = left[os.write(self._journal, left) :]
            os.fsync(self._journal)
        except OSError:
            os.ftruncate(self._journal, size)
            raise
        self._lines.append(json.loads(text))
        self._last = text

    def standing(self) -> Standing:
        """What the journal comes to."""
        now = Standing()
        for line in self._lines:
            step = Step(line["step"])
            if step is Step.ADOPTED:
                now = replace(now, installed=line["image"])
                continue
            if step is Step.BEGUN:
                now = replace(
                    now,
                    update=line["update"],
                    open=True,
                    image=line["image"],
                    previous=line["previous"],
                    returning=line.get("returning", False),
                )
            elif step is Step.RETURNING:
                now = replace(now, returning=True)
            elif step is Step.INSTALLED:
                now = replace(now, open=False, installed=now.image)
            elif step is Step.RETURNED:
                now = replace(now, open=False, installed=now.previous)
            now = replace(now, step=step)
        return now

    def _chain(self) -> str:
        return hashlib.sha256(self._last).hexdigest() if self._lines else ""

    def _drop_torn_line(self) -> None:
        """What was not written to its end was never decided."""
        size = os.fstat(self._journal).st_size
        whole = os.pread(self._journal, size, 0).rfind(b"\n") + 1
        if whole < size:
            os.ftruncate(self._journal, whole)
            os.fsync(self._journal)

    def _read(self) -> list[Mapping[str, Any]]:
        path = self.directory / _JOURNAL
        text = os.pread(self._journal, os.fstat(self._journal).st_size, 0)
        out: list[Mapping[str, Any]] = []
        before = ""
        self._last = b""
        for at, raw in enumerate(text.splitlines(keepends=True), 1):
            try:
                line = json.loads(raw)
                Step(line["step"])
                chained = line["before"] == before
            except (ValueError, KeyError, TypeError):
                raise JournalBroken(errno.EIO, f"{path}: line {at} is not ours") from None
            if not chained:
                raise JournalBroken(
                    errno.EIO, f"{path}: line {at} does not follow from the one before: changed"
                )
            out.append(line)
            self._last = raw
            before = hashlib.sha256(raw).hexdigest()
        return out


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
