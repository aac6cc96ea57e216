"""A gateware image: a bitstream, and the record of its build that says what it is.

`bellrelay board build` leaves both in one folder: ``top.bit`` and ``build.json``. A board that runs
the image says the same of itself over its link, so that the two can be held against each other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bellrelay.wire.access import Identity
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import PROTOCOL_VERSION

__all__ = ["BUILD_RECORD", "FirmwareImage", "ImageUnusable", "read_image"]

BUILD_RECORD = "build.json"
_BITSTREAM = "top.bit"


class ImageUnusable(Exception):
    """This is no image that can be brought onto a board; nothing has been touched."""


@dataclass(frozen=True)
class FirmwareImage:
    """What a board with this image says of itself, and which file makes it one.

    Attributes
    ----------
    bitstream
        The file.
    sha256
        Its digest, hexadecimal: the image's name.
    git_revision
        Eight hexadecimal digits, zeros if unknown.
    delay_lines
        Whether it has fine time of its own, which is calibrated on the board.
    """

    bitstream: Path
    sha256: str
    geometry: BoardGeometry
    gateware_version: str
    git_revision: str
    delay_lines: bool

    @property
    def id(self) -> str:
        """Short name, for people and folders."""
        return self.sha256[:16]

    @property
    def record(self) -> Path:
        """The record of its build."""
        return self.bitstream.parent / BUILD_RECORD

    def line(self) -> str:
        """For people."""
        return (
            f"{self.id} ({self.geometry.board}, gateware {self.gateware_version}, revision "
            f"{self.git_revision}, configuration {self.geometry.config_hash:08x})"
        )

    def as_json(self) -> dict[str, Any]:
        """For scripts, and for the journal."""
        return {
            "id": self.id,
            "sha256": self.sha256,
            "board": self.geometry.board,
            "gateware": self.gateware_version,
            "git_revision": self.git_revision,
            "config_hash": f"{self.geometry.config_hash:08x}",
        }

    def differences(self, identity: Identity) -> list[str]:
        """What a board says of itself that this image would not; empty if it may be this image."""
        says = {
            "board": identity.geometry.board,
            "gateware": identity.version_text,
            "git_revision": f"{identity.git_revision:08x}",
            "config_hash": f"{identity.config_hash:08x}",
        }
        mine = self.as_json()
        return [
            f"{key} is {value}, the image's is {mine[key]}"
            for key, value in says.items()
            if value != mine[key]
        ]

    def check_file(self) -> None:
        """ImageUnusable unless the file is still the one that the record names."""
        if _digest(self.bitstream) != self.sha256:
            raise ImageUnusable(f"{self.bitstream}: is not what was built: another SHA-256")


def read_image(path: Path) -> FirmwareImage:
    """An image from a build's folder, or from a bitstream with ``build.json`` beside it.

    Raises
    ------
    ImageUnusable
        No bitstream or no record; a build whose gates failed; a record that is not of this
        bitstream, contradicts itself, or is of another version of the link than this host speaks.
    """
    bitstream = path / _BITSTREAM if path.is_dir() else path
    record = bitstream.parent / BUILD_RECORD
    try:
        built = json.loads(record.read_text(encoding="utf-8"))
        digest = _digest(bitstream)
    except OSError as error:
        what = "bitstream" if error.filename == str(bitstream) else "record of a build"
        raise ImageUnusable(
            f"{error.filename}: no {what} ({error.strerror}); make both with: bellrelay board build"
        ) from None
    except ValueError:
        raise ImageUnusable(f"{record}: not the record of a build") from None
    try:
        if not built["passed"]:
            raise ImageUnusable(f"{record}: a build whose gates failed")
        if "bitstream_sha256" not in built:
            raise ImageUnusable(
                f"{record}: an older record, without what the board says of itself; build it again"
            )
        geometry = BoardGeometry(**built["geometry"])
        image = FirmwareImage(
            bitstream=bitstream,
            sha256=str(built["bitstream_sha256"]),
            geometry=geometry,
            gateware_version=str(built["gateware_version"]),
            git_revision=str(built["git_revision"] or "0")[:8].rjust(8, "0"),
            delay_lines=bool(built["lines"]),
        )
        version, board, config_hash = (
            built[key] for key in ("protocol_version", "board", "config_hash")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ImageUnusable(f"{record}: not the record of a build ({error})") from None
    if digest != image.sha256:
        raise ImageUnusable(
            f"{bitstream}: its SHA-256 is {digest[:16]}..., the record's {image.id}...: "
            "not the file that was built"
        )
    if board != geometry.board or config_hash != f"{geometry.config_hash:08x}":
        raise ImageUnusable(f"{record}: board, geometry and configuration hash contradict")
    if version != PROTOCOL_VERSION:
        raise ImageUnusable(
            f"{record}: an image of protocol version {version}; this host speaks "
            f"{PROTOCOL_VERSION}: it could not talk to the board any more"
        )
    return image


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
