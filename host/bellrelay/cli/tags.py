"""`bellrelay tags`: recorded time tags, read, converted and analysed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bellrelay.cli.picture_path import writable_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bellrelay.tags.formats import Block, TagFile
    from bellrelay.tags.recorded_settings import RecordedSettings

_BIG = 20_000_000
"""Records from which on progress is shown."""

_FORMATS_HELP = "npz, parquet, ptu, swabian, qutag, sfifteen, sfifteen-swapped, u64"

File = Annotated[Path, typer.Argument(metavar="FILE", help="Recorded tags.", show_default=False)]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", help=f"Format of FILE, if neither magic nor extension says it: {_FORMATS_HELP}."
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings of the analysis (YAML).")
]
NeededConfig = Annotated[Path, typer.Option("--config", help="Settings of the analysis (YAML).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BlockOption = Annotated[
    int, typer.Option("--block", min=1, hidden=True, help="Tags read at a time.")
]
DEFAULT_BLOCK = 1 << 20


def _blocks(file: TagFile, n: int) -> Iterator[Block]:
    """Blocks of a file, with progress on stderr where a person waits for a big one."""
    if (file.size or 0) < _BIG or not sys.stderr.isatty():
        yield from file.blocks(n)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(file.path.name, total=file.size)
        for t, channel in file.blocks(n):
            yield t, channel
            progress.advance(task, t.size)


def _file_report(file: TagFile) -> dict[str, Any]:
    notes = file.notes
    return {
        "path": str(file.path),
        "format": file.format,
        "truncated_bytes": notes.truncated_bytes,
        "not_tags": notes.counts,
        "header": notes.facts,
    }


def _warn(file: TagFile, out_of_order: int = 0, reorder_ps: int = 0) -> None:
    if file.notes.truncated_bytes:
        print(
            f"bellrelay: {file.path}: the last record is not whole, "
            f"{file.notes.truncated_bytes} bytes left out",
            file=sys.stderr,
        )
    for kind in ("missed_events", "error", "overflow_begin", "records_missing"):
        if kind in file.notes.counts:
            number = file.notes.counts[kind]
            print(f"bellrelay: {file.path}: {kind}: {number}", file=sys.stderr)
    if out_of_order:
        print(
            f"bellrelay: {file.path}: {out_of_order} tags lie more than {reorder_ps} ps behind the "
            "latest one before them and were left out (reorder_ps)",
            file=sys.stderr,
        )


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)


def info(
    file: File,
    format: FormatOption = None,
    as_json: Json = False,
    block: BlockOption = DEFAULT_BLOCK,
) -> None:
    """What a file holds: tags by channel, first and last time, order, records that are no tags.

    Example: bellrelay tags info night.ptu --json
    """
    import numpy as np

    from bellrelay.tags.formats import open_tags

    tags = open_tags(file, format)
    per_channel = np.zeros(256, dtype=np.int64)
    first = last = previous = None
    backwards = 0
    for t, channel in _blocks(tags, block):
        if not t.size:
            continue
        per_channel += np.bincount(channel, minlength=256)
        first = int(t.min()) if first is None else min(first, int(t.min()))
        last = int(t.max()) if last is None else max(last, int(t.max()))
        backwards += int(np.count_nonzero(np.diff(t) < 0))
        backwards += previous is not None and int(t[0]) < previous
        previous = int(t[-1])
    channels = {str(c): int(per_channel[c]) for c in np.flatnonzero(per_channel)}
    report = {
        **_file_report(tags),
        "tags": int(per_channel.sum()),
        "channels": channels,
        "first_ps": first,
        "last_ps": last,
        "steps_back": backwards,
    }
    _warn(tags)
    if as_json:
        print(json.dumps(report))
        return
    span = ((last or 0) - (first or 0)) / 1e12
    rows = [[c, n, f"{n / span:.6g}" if span else "-"] for c, n in channels.items()]
    print(f"{tags.path}: {tags.format}, {report['tags']} tags in {span:.6g} s")
    _table("", ["channel", "tags", "per second"], rows)
    for key, value in {**tags.notes.facts, **tags.notes.counts, "steps_back": backwards}.items():
        print(f"{key}: {value}")


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="OUT", show_default=False)],
    format: FormatOption = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Format of OUT: npz, parquet, ptu, u64.")
    ] = None,
    as_json: Json = False,
    block: BlockOption = DEFAULT_BLOCK,
) -> None:
    """Write the tags of one file as another format.

    Example: bellrelay tags convert night.ptu night.parquet
    """
    from bellrelay.tags.formats import open_tags, write_tags

    tags = open_tags(source, format)
    total = write_tags(target, _blocks(tags, block), to)
    _warn(tags)
    if as_json:
        print(json.dumps({"source": _file_report(tags), "target": str(target), "tags": total}))
    else:
        print(f"{target}: {total} tags")


def histogram(
    file: File,
    config: NeededConfig,
    bin_ps: Annotated[int, typer.Option("--bin-ps", min=1, help="Width of a bin.")] = 100,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw it to a PNG.", callback=writable_picture),
    ] = None,
    format: FormatOption = None,
    as_json: Json = False,
    block: BlockOption = DEFAULT_BLOCK,
) -> None:
    """Arrival times in the slot per detector: clicks that the dead time leaves, before the gate.

    Bin k counts positions from k B to below (k + 1) B (floor).

    Example: bellrelay tags histogram night.ptu --config relay.yaml --bin-ps 50 --plot arrival.png
    """
    from bellrelay.tags.analysis_config import load_analysis
    from bellrelay.tags.chain import begin, feed_tags, finish, plan_chain, result
    from bellrelay.tags.formats import open_tags

    settings = load_analysis(config)
    if settings.slot_period_ps // bin_ps > 1 << 24:
        raise typer.BadParameter(f"--bin-ps {bin_ps}: more than 2**24 bins in a slot")
    tags = open_tags(file, format)
    plan = plan_chain(settings, histogram_bin_ps=bin_ps)
    state = begin(plan)
    for t, channel in _blocks(tags, block):
        state, _ = feed_tags(plan, state, t, channel)
    state, _ = finish(plan, state)
    found = result(settings, state)
    _warn(tags, found.out_of_order, settings.reorder_ps)
    names = [d.name for d in settings.detectors]
    if plot is not None:
        _draw(plot, found.histogram, bin_ps, settings)
    if as_json:
        report = {
            "file": _file_report(tags),
            "bin_ps": bin_ps,
            "slot_period_ps": settings.slot_period_ps,
            "histogram": dict(zip(names, found.histogram.tolist(), strict=True)),
            "out_of_order_tags": found.out_of_order,
        }
        print(json.dumps(report))
        return
    rows = [
        [k * bin_ps, *column] for k, column in enumerate(found.histogram.T.tolist()) if any(column)
    ]
    _table(f"clicks by position in the slot, bins of {bin_ps} ps", ["ps", *names], rows)


def _draw(path: Path, counts: NDArray[np.int64], bin_ps: int, settings: RecordedSettings) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    edges = [k * bin_ps for k in range(counts.shape[1] + 1)]
    for detector, row in zip(settings.detectors, counts, strict=True):
        axes.stairs(row, edges, label=detector.name)
    for name, (start, end) in (("early", settings.early), ("late", settings.late)):
        if start < end:
            axes.axvspan(start, end, alpha=0.15, label=name, color="tab:gray")
    axes.set_xlabel("position in the slot (ps)")
    axes.set_ylabel(f"clicks per {bin_ps} ps")
    axes.legend()
    figure.savefig(path, dpi=120, format="png")


def coincidences(
    file: File,
    window_ps: Annotated[
        int, typer.Option("--window-ps", min=0, max=1 << 50, help="W: pairs with |dt| <= W.")
    ],
    config: ConfigOption = None,
    format: FormatOption = None,
    as_json: Json = False,
    block: BlockOption = DEFAULT_BLOCK,
) -> None:
    """All pairs of tags of two channels at most W apart.

    With --config the detectors alone, by name, after deskew (dead time is not applied); without,
    all channels, by number.

    Example: bellrelay tags coincidences night.ptu --window-ps 1000 --json
    """
    from itertools import combinations

    import numpy as np

    from bellrelay.tags.analysis_config import load_analysis
    from bellrelay.tags.chain_state import OUT_OF_ORDER
    from bellrelay.tags.coincidence_stream import (
        begin_pairs,
        feed_pairs,
        finish_pairs,
        plan_pairs,
    )
    from bellrelay.tags.formats import open_tags

    settings = None if config is None else load_analysis(config)
    tags = open_tags(file, format)
    plan = plan_pairs(settings)
    state = begin_pairs(plan)
    for t, channel in _blocks(tags, block):
        state = feed_pairs(plan, state, t, channel, window_ps)
    state = finish_pairs(state, window_ps)
    if settings is None:
        names = {int(c): str(c) for c in np.flatnonzero(state.singles)}
    else:
        names = {d + 1: one.name for d, one in enumerate(settings.detectors)}
    both = state.pairs + state.pairs.T
    pairs = {f"{names[i]}-{names[j]}": int(both[i, j]) for i, j in combinations(names, 2)}
    out_of_order = int(state.scalars[OUT_OF_ORDER])
    _warn(tags, out_of_order, plan.reorder_ps)
    if as_json:
        report = {
            "file": _file_report(tags),
            "window_ps": window_ps,
            "singles": {name: int(state.singles[i]) for i, name in names.items()},
            "pairs": pairs,
            "out_of_order_tags": out_of_order,
        }
        print(json.dumps(report))
        return
    _table(f"pairs with |dt| <= {window_ps} ps", ["pair", "number"], [[*p] for p in pairs.items()])


def bsm(
    file: File,
    config: NeededConfig,
    format: FormatOption = None,
    as_json: Json = False,
    block: BlockOption = DEFAULT_BLOCK,
) -> None:
    """Bell outcomes of recorded tags: clicks by fate, slots by bitmap and class.

    Classes are patterns alone; `live` says what is left of them in slots in which every detector
    could have fired. `multi` is more_than_two and multi_click together.

    Example: bellrelay tags bsm night.ptu --config relay.yaml --json
    """
    from bellrelay.tags.analysis_config import load_analysis
    from bellrelay.tags.chain import begin, feed_tags, finish, plan_chain, result
    from bellrelay.tags.formats import open_tags

    settings = load_analysis(config)
    tags = open_tags(file, format)
    plan = plan_chain(settings)
    state = begin(plan)
    for t, channel in _blocks(tags, block):
        state, _ = feed_tags(plan, state, t, channel)
    state, _ = finish(plan, state)
    found = result(settings, state)
    _warn(tags, found.out_of_order, settings.reorder_ps)
    report: dict[str, Any] = {"file": _file_report(tags), **found.as_dict()}
    if as_json:
        print(json.dumps(report))
        return
    counts: dict[str, dict[str, int]] = report["counts"]
    columns = list(next(iter(counts.values())))
    rows = [[name, *(row[c] for c in columns)] for name, row in counts.items()]
    _table("clicks", ["detector", *columns], rows)
    live = report["live"]
    names = ["psi_minus", "psi_plus_same_detector", "psi_plus_two_detectors"]
    rows = [[name, report[name], live[name]] for name in names]
    rows += [[name, report[name], ""] for name in ("single", "same_bin", "multi")]
    rows.append(
        [
            "occupied_slots",
            report["occupied_slots"],
            report["occupied_slots"] - live["slots_not_live"],
        ]
    )
    _table("slots", ["class", "slots", "live"], rows)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    group = typer.Typer(no_args_is_help=True, help=(__doc__ or "").partition(": ")[2].capitalize())
    for command in (info, convert, histogram, coincidences, bsm):
        group.command()(command)
    app.add_typer(group, name="tags")
