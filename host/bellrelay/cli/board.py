"""`bellrelay board`: boards on the bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bellrelay.cli.exits import ExitCode

if TYPE_CHECKING:
    from bellrelay_boards.clocks import Reference

_Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
_Name = Annotated[str, typer.Argument(help="A board of `bellrelay board list`.", metavar="NAME")]
_Folder = Annotated[
    Path | None,
    typer.Option(help="Where builds are kept; default: build/boards/NAME.", metavar="FOLDER"),
]
_Port = Annotated[
    list[Path] | None,
    typer.Option(help="This port, whatever is behind it; may be given again.", metavar="PATH"),
]
_OnePort = Annotated[
    Path | None,
    typer.Option(help="The board's port; default: the only board found.", metavar="PATH"),
]
_Baud = Annotated[int, typer.Option(help="Rate of a serial line; USB has none.")]

DEFAULT_BAUD = 3_000_000


def register(app: typer.Typer) -> None:
    """Add the verb with its commands."""
    board = typer.Typer(
        no_args_is_help=True,
        help="Boards on the bench: list, build, flash, update, probe, selftest.",
    )
    board.command("list", epilog="Example: bellrelay board list --json")(list_boards)
    board.command("build", epilog="Example: bellrelay board build ecpix5-85f --report")(build)
    board.command("flash", epilog="Example: bellrelay board flash ecpix5-85f")(flash)
    board.command("update", epilog="Example: bellrelay board update IMAGE --config relay.yaml")(
        update
    )
    board.command("probe", epilog="Example: bellrelay board probe --json")(probe)
    board.command("selftest", epilog="Example: bellrelay board selftest --loop-back")(selftest)
    app.add_typer(board, name="board")


def list_boards(as_json: _Json = False) -> None:
    """Boards that can be built, with chip, link and clock."""
    from bellrelay_boards.catalogue import all_boards

    rows = []
    for name, board in all_boards().items():
        platform = board.platform()
        rows.append(
            {
                "name": name,
                "title": board.title,
                "device": platform.device,
                "speed": platform.speed,
                "link": type(board.link).__name__.lower(),
                "detectors": board.geometry.n_detectors,
                "oscillator_hz": board.clock[1],
                "config_hash": f"{board.geometry.config_hash:08x}",
            }
        )
    if as_json:
        print(json.dumps(rows))
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        print(f"{row['name']:{width}}  {row['title']}; {row['detectors']} detectors, {row['link']}")


def build(
    name: _Name,
    folder: _Folder = None,
    reference: Annotated[
        str, typer.Option(help="What the clocks follow: internal, or external (10 MHz).")
    ] = "internal",
    serial: Annotated[str, typer.Option(help="Serial number on USB.")] = "0",
    seed: Annotated[
        int | None, typer.Option(help="Seed of place and route; default: the board's own.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write the page of the reference too.")
    ] = False,
    report_folder: Annotated[
        Path, typer.Option(help="Where that page goes.", metavar="FOLDER")
    ] = Path("docs/reference/boards"),
    as_json: _Json = False,
) -> None:
    """Synthesise, place, route and pack with the open tools; check what came out.

    Exit code 8 if a gate fails: a clock that is not met at the slowest corner, a tap of a delay
    line that is not where it was asked for, a latch.
    """
    from bellrelay.cli.board_build import build_with_progress, print_report

    references: dict[str, Reference] = {"internal": "internal", "external": "external"}
    if reference not in references:
        raise typer.BadParameter(
            f"{reference!r}; allowed: {', '.join(references)}", param_hint="--reference"
        )
    result = build_with_progress(
        name,
        folder or default_folder(name),
        reference=references[reference],
        serial=serial,
        seed=seed,
        quiet=as_json,
    )
    if report:
        report_folder.mkdir(parents=True, exist_ok=True)
        (report_folder / f"{name}.md").write_text(result.markdown())
    if as_json:
        print(json.dumps(result.as_json()))
    else:
        print_report(result)
    if not result.passed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def flash(
    name: _Name,
    folder: _Folder = None,
    bitstream: Annotated[
        Path | None, typer.Option(help="Instead of the build's own.", metavar="FILE.bit")
    ] = None,
    port: _OnePort = None,
    baud: _Baud = DEFAULT_BAUD,
    wait_s: Annotated[float, typer.Option(help="How long the board may take to come back.")] = 20,
    as_json: _Json = False,
) -> None:
    """Bring a build onto a board, and see that the board that comes back is that build."""
    from bellrelay.cli.board_flash import flash_board

    result = flash_board(
        name, folder or default_folder(name), bitstream, port=port, baud=baud, wait_s=wait_s
    )
    if as_json:
        print(json.dumps(result.as_json()))
    else:
        print(f"{name} is on the board: {result.line()}")


def update(
    config: Annotated[Path, typer.Option(help="The relay's YAML.", metavar="FILE.yaml")],
    image: Annotated[
        Path | None,
        typer.Argument(help="A build's folder, or its bitstream.", metavar="IMAGE"),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            help="The build that is on the board, where no update has brought it there.",
            metavar="IMAGE",
        ),
    ] = None,
    no_return: Annotated[
        bool, typer.Option("--no-return", help="Begin without an image to return to.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an update that was stopped.")
    ] = False,
    back: Annotated[bool, typer.Option("--back", help="Return to the image before.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="What was done to the board; nothing is changed.")
    ] = False,
    wait_s: Annotated[float, typer.Option(help="How long the board may take to come back.")] = 20,
    as_json: _Json = False,
) -> None:
    """Another image onto a relay's board; back to the one before if it is not well.

    The image's identity is compared with the board's, then its delay lines are calibrated, its
    self-test is run, and its heartbeats are watched for firmware.watch_s. Stop the daemon first.
    Exit code 8 if the image was refused or not kept, 11 if no image works.
    """
    from bellrelay.cli.board_update import print_history, run_update

    if sum((image is not None, resume, back, history)) != 1:
        raise typer.BadParameter("either IMAGE, or --resume, --back or --history")
    if image is None and (previous is not None or no_return):
        raise typer.BadParameter("goes with IMAGE", param_hint="--previous, --no-return")
    if history:
        print_history(config, as_json=as_json)
        return
    code = run_update(
        config,
        image,
        previous=previous,
        no_return=no_return,
        resume=resume,
        wait_s=wait_s,
        as_json=as_json,
    )
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def probe(port: _Port = None, baud: _Baud = DEFAULT_BAUD, as_json: _Json = False) -> None:
    """Boards that are plugged in: asked who they are, nothing is written to them.

    Exit code 4 if there is none.
    """
    from bellrelay.cli.board_ports import probe_ports

    found = probe_ports(port, baud)
    if as_json:
        print(json.dumps([entry.as_json() for entry in found]))
    else:
        for entry in found:
            print(entry.line())
    if not any(entry.identity for entry in found):
        if not found and not as_json:
            print("no board found: none of the serial ports has a board's USB ids")
        raise typer.Exit(ExitCode.PORT_MISSING)


def selftest(
    port: _OnePort = None,
    baud: _Baud = DEFAULT_BAUD,
    loop_back: Annotated[
        bool, typer.Option("--loop-back", help="Then once more through a cable at the pins.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Known clicks at known times through the whole chain; pass or fail for each stage.

    The board must be idle; its registers are overwritten, the fine table is restored. Exit code 8
    if a stage fails.
    """
    from bellrelay.cli.board_ports import only_board
    from bellrelay.cli.board_selftest import run_selftest

    identity, results = run_selftest(port or only_board(baud), baud, loop_back=loop_back)
    passed = all(result.passed for result in results)
    if as_json:
        stages = [result.as_json() for result in results]
        board = identity.geometry.board
        print(json.dumps({"board": board, "passed": passed, "stages": stages}))
    else:
        width = max(len(result.stage) for result in results)
        for result in results:
            print(f"{'pass' if result.passed else 'FAIL'}  {result.stage:{width}}  {result.detail}")
    if not passed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def default_folder(name: str) -> Path:
    """Where a board's builds are kept, below the current folder."""
    return Path("build/boards") / name
