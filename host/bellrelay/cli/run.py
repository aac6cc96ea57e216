"""`bellrelay run`: everything on this machine, from simulated photons to checked outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.picture_path import writable_picture

if TYPE_CHECKING:
    from bellrelay.cli.run_progress import RunProgress
    from bellrelay.wire.geometry import BoardGeometry
    from bellrelay_sim.link import SimulatedLink


class BoardsDiffer(Exception):
    """The event board did not send what the gateware sends."""


COMPARED_SLOTS = 50_000


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run", epilog="Example: bellrelay run --slots 1e7 --json --plot arrivals.png")(run)


def run(
    config: Annotated[
        Path | None,
        typer.Option(help="The simulated link; default: a short one.", metavar="FILE.yaml"),
    ] = None,
    board: Annotated[
        str, typer.Option(help="event (fast model of the gateware) or gateware (Verilator).")
    ] = "event",
    slots: Annotated[
        float | None, typer.Option(help="Slots to simulate; default 2e9, gateware 2e5.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the link's own.")] = None,
    plot: Annotated[
        Path,
        typer.Option(
            help="Where the picture of arrival times goes.",
            metavar="FILE.png",
            callback=writable_picture,
        ),
    ] = Path("bellrelay-run.png"),
    compare: Annotated[
        bool, typer.Option(help="Put the first slots through both boards and compare.")
    ] = True,
    keys: Annotated[
        bool, typer.Option(help="Alice and Bob distil a key from the announcements.")
    ] = True,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="A new folder for the KMEs: start them again there, and fetch what key is left.",
            metavar="FOLDER",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Simulated photons through a board that is not there, the daemons, and a key on both sides.

    The event board does the volume; before it may, the first slots go through it and through the
    gateware under Verilator, and every byte of their frames must be the same.
    """
    import dataclasses

    if keep is not None:
        _make_empty(keep)

    from bellrelay.cli.run_link import DEFAULT_LINK, DEFAULT_SLOTS
    from bellrelay_sim.link_config import link_and_geometry, load_link

    if board not in DEFAULT_SLOTS:
        raise typer.BadParameter(f"{board!r}; allowed: event, gateware", param_hint="--board")
    number = int(DEFAULT_SLOTS[board] if slots is None else slots)
    if number < 1:
        raise typer.BadParameter(f"{number}; allowed: at least 1", param_hint="--slots")
    if config is None:
        link, geometry = link_and_geometry(DEFAULT_LINK)
    else:
        link, geometry = load_link(config)
    if seed is not None:
        link = dataclasses.replace(link, seed=seed)

    from bellrelay.cli.run_endpoints import can_distill
    from bellrelay.cli.run_progress import RunProgress
    from bellrelay.cli.run_report import plot_arrival_times, report_table
    from bellrelay.cli.run_system import run_system

    with RunProgress(number, quiet=as_json) as progress:
        comparison = None
        if board == "event" and compare:
            comparison = _compare(link, geometry, min(number, COMPARED_SLOTS), progress)
        distill = keys and can_distill(link)
        if keys and not distill:
            progress.say("no key: the senders do not send the four intensities")
        report, histogram = run_system(
            link, geometry, config, board, number, seed, comparison, progress, distill, keep
        )
    if histogram is not None:
        names = tuple(d.name for d in link.detectors)
        windows = dict(zip(("early", "late"), link.windows(), strict=False))
        plot_arrival_times(histogram, windows, names, link.slot_period_ps, plot)
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        from rich.console import Console

        console = Console()
        for table in report_table(report):
            console.print(table)
        if histogram is not None:
            console.print(f"arrival times: {plot}")
        if keep is not None and report.delivery is not None:
            console.print(f"KMEs, to be started again: {keep}/alice.yaml, {keep}/bob.yaml")
    if not report.check_passed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _make_empty(keep: Path) -> None:
    try:
        keep.mkdir(mode=0o700, exist_ok=True)
        filled = any(keep.iterdir())
    except OSError as error:
        raise typer.BadParameter(f"{keep}: {error.strerror}", param_hint="--keep") from None
    if filled:
        raise typer.BadParameter(f"{keep} is not empty", param_hint="--keep")


def _compare(
    link: SimulatedLink, geometry: BoardGeometry, slots: int, progress: RunProgress
) -> dict[str, Any]:
    """Put the first slots through both boards; what came of it, for the report."""
    from dataclasses import asdict

    from bellrelay.cli.run_system import link_registers
    from bellrelay_sim.board_script import acquisition_script
    from bellrelay_sim.clicks import ClickStream
    from bellrelay_sim.compare import compare_boards
    from bellrelay_sim.event_board import EventBoard
    from bellrelay_sim.gateware_board import GatewareBoard

    progress.say(f"first {slots:,} slots through both boards (builds the gateware once)")
    clicks = ClickStream(link, slots).advance(slots)
    ticks = slots * link.slot_period_ps // geometry.tick_ps + 1
    registers = link_registers(link, geometry)
    # Raw tags and frequent heartbeats too: more to compare.
    registers["stream_mask"] = ((1 << geometry.n_channels) - 1,)
    registers["heartbeat_ticks"] = (2,)
    script = acquisition_script(geometry, registers, clicks.t, clicks.channel, ticks)
    gateware = GatewareBoard(geometry)
    try:
        result = compare_boards(EventBoard(geometry), gateware, script)
    finally:
        gateware.close()
    if not result.identical:
        raise BoardsDiffer(f"event board and gateware differ: {result.first_difference}")
    frames = ", ".join(f"{n} {kind}" for kind, n in result.frames.items())
    progress.say(
        f"gateware and event board agree: {result.bytes_compared:,} bytes the same "
        f"({frames}); the event board does the rest"
    )
    return {"slots": slots, "clicks": int(clicks.t.size), **asdict(result)}
