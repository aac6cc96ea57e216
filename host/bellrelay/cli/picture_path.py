"""Where a picture goes, looked at before the work of which it is the result."""

from __future__ import annotations

import os
from pathlib import Path

import typer

__all__ = ["writable_picture"]


def writable_picture(path: Path | None) -> Path | None:
    """The callback of an option that names a picture.

    Raises
    ------
    typer.BadParameter
        Nothing can be written there.
    """
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
        raise typer.BadParameter(f"{path} cannot be written")
    return path
