"""`bellrelay board update`: what is asked of the update, and what became of it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bellrelay.cli import board_flash
from bellrelay.cli.board_ports import candidate_ports
from bellrelay.cli.board_selftest import run_selftest
from bellrelay.cli.exits import ExitCode
from bellrelay.control.firmware_board import PortBoard
from bellrelay.control.firmware_health import Check
from bellrelay.control.firmware_image import FirmwareImage, read_image
from bellrelay.control.firmware_store import FirmwareStore
from bellrelay.control.firmware_update import (
    FirmwareUpdate,
    FlashFailed,
    UpdateRefused,
    Verdict,
    Verdicts,
)
from bellrelay.relay.config import FirmwareSettings, RelayConfig, load_config
from bellrelay.relay.register_values import register_values

if TYPE_CHECKING:
    from bellrelay_boards.board import Programmer

__all__ = ["print_history", "run_update"]

_EXITS = {
    Verdicts.INSTALLED: ExitCode.OK,
    Verdicts.ALREADY: ExitCode.OK,
    Verdicts.RETURNED: ExitCode.CHECK_FAILED,
    Verdicts.FAILED: ExitCode.BOARD_DOWN,
}


def run_update(
    config_file: Path,
    image_path: Path | None,
    *,
    previous: Path | None,
    no_return: bool,
    resume: bool,
    wait_s: float,
    as_json: bool,
) -> ExitCode:
    """Install an image, go on with an open update, or (neither) return to the image before.

    Raises
    ------
    ConfigError, ImageUnusable, UpdateRefused, ProgrammerMissing, UnknownBoard
        Nothing was touched.
    PortError, AccessError, OSError
        Of the board before it was touched, or of the store.
    """
    config, settings = _settings(config_file)
    image = None if image_path is None else read_image(image_path)
    if image is not None:
        # What a board of this image could not do as it is configured, is known before.
        register_values(config, image.geometry)
    with FirmwareStore(settings.directory) as store:
        standing = store.standing()
        if image is not None:
            board = image.geometry.board
        elif standing.image is not None:
            board = store.image(standing.image).geometry.board
        else:
            raise UpdateRefused(f"{settings.directory}: there was no update yet")
        hands = PortBoard(
            config,
            settings,
            lambda wanted: _program(_programmer(board), wanted),
            lambda: _selftest(config),
        )
        _alone()
        board_flash.find_program(_programmer(board))
        update = FirmwareUpdate(store, hands, wait_s=wait_s, tell=_tell)
        if image is not None:
            verdict = update.install(
                image,
                previous=None if previous is None else read_image(previous),
                no_return=no_return,
            )
        elif resume:
            verdict = update.resume()
        else:
            verdict = update.back()
    if as_json:
        print(json.dumps(verdict.as_json()))
    else:
        _print(verdict)
    if image is None and not resume and verdict.verdict is Verdicts.RETURNED:
        return ExitCode.OK
    return _EXITS[verdict.verdict]


def print_history(config_file: Path, *, as_json: bool) -> None:
    """The journal. ConfigError, JournalBroken, StoreBusy, OSError."""
    _, settings = _settings(config_file)
    with FirmwareStore(settings.directory) as store:
        lines, standing = store.lines, store.standing()
    if as_json:
        state = {"installed": standing.installed, "open": standing.open}
        print(json.dumps({**state, "journal": [dict(line) for line in lines]}))
        return
    for line in lines:
        when = datetime.fromtimestamp(line["utc_ns"] / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        why = f": {line['why']}" if line.get("why") else ""
        print(f"{when}  update {line['update']}  {line['step']} {line.get('image', '')}{why}")
    print(f"on the board: {standing.installed or 'not known here'}")
    if standing.open:
        print(f"update {standing.update} is open: go on with --resume, or return with --back")


def _settings(config_file: Path) -> tuple[RelayConfig, FirmwareSettings]:
    config = load_config(config_file)
    if config.firmware is None:
        raise config.error("firmware", None, "{directory: DIR}, where images are kept")
    return config, config.firmware


def _alone() -> None:
    """A programmer takes the first board that it finds: there must not be two."""
    boards = candidate_ports()
    if len(boards) > 1:
        ports = ", ".join(str(port) for port, _ in boards)
        raise UpdateRefused(
            f"several boards are plugged in ({ports}), and the programmer cannot tell them apart: "
            "leave only the one that is to be updated"
        )


def _programmer(board: str) -> Programmer:
    from bellrelay_boards.catalogue import find_board

    return find_board(board).programmer


def _program(programmer: Programmer, image: FirmwareImage) -> None:
    try:
        board_flash.program_board(programmer, image.bitstream)
    except (board_flash.FlashFailed, board_flash.ProgrammerMissing) as error:
        raise FlashFailed(str(error)) from None


def _selftest(config: RelayConfig) -> list[Check]:
    _, stages = run_selftest(config.port, config.baud, loop_back=False)
    return [Check(f"self-test, {s.stage}", s.passed, s.detail) for s in stages]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(verdict: Verdict) -> None:
    def about(image: dict[str, Any]) -> str:
        return f"{image['id']} (gateware {image['gateware']}, revision {image['git_revision']})"

    for check in (*verdict.failed_checks, *verdict.checks):
        print(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.detail}")
    if verdict.verdict in (Verdicts.INSTALLED, Verdicts.ALREADY):
        print(f"{verdict.verdict}: {about(verdict.image)}")
    elif verdict.verdict is Verdicts.RETURNED and verdict.previous is not None:
        print(f"returned to {about(verdict.previous)}, because: {verdict.why}")
    else:
        print(f"FAILED: {verdict.why}\nwhat to do: {verdict.what_to_do}")
