"""`bellrelay network --processes`: a network of real processes on this machine, beside the model.

With a number of relays, so many are started, and watched. Without, one relay with a pair is added
after the other until the machine is full: until light, announcements or blocks fall behind, or its
memory ends.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.network_processes_model import bits_per_s, modelled
from bellrelay.cli.network_processes_plot import draw_processes
from bellrelay.cli.network_processes_report import print_processes, processes_report, step_of
from bellrelay.cli.network_processes_start import ProcessNetwork
from bellrelay.cli.network_processes_watch import (
    KEY_BITS,
    Stretch,
    blocks_of,
    measure_stretch,
    until_key,
)
from bellrelay.cli.network_tables import progress
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.control.capacity.rates_file import Rates, load_rates
from bellrelay.endpoint.block import BlockState
from bellrelay.endpoint.block_store import BlockStore

__all__ = ["Wanted", "network_of_processes", "run_processes"]

_SECONDS = 20.0
_CAUGHT_UP_S = 30.0
_MOST = 32
_PACE = 0.97
_BEHIND_S = 1.0
_MORE_BLOCKS = 2
_MEMORY_LEFT = 512 << 20


def network_of_processes(
    relays: int | None,
    pairs: int | None,
    seconds: float | None,
    seed: int,
    rates: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run it and print it, as the options of `network` say."""
    if relays is None and pairs is not None:
        raise typer.BadParameter("needs --relays, with --processes", param_hint="--pairs")
    if relays is not None and relays > _MOST:
        raise typer.BadParameter(f"at most {_MOST} with --processes", param_hint="--relays")
    each, left = divmod(pairs or relays or 1, relays or 1)
    if left or not each:
        text = f"a multiple of --relays {relays} with --processes"
        raise typer.BadParameter(text, param_hint="--pairs")
    wanted = Wanted(relays, each, _SECONDS if seconds is None else seconds, seed)
    with progress() as told:
        report = run_processes(wanted, load_rates(rates), told)
    if plot is not None:
        draw_processes(plot, report)
    if as_json:
        print(json.dumps(report))
    else:
        print_processes(report)
    if not report["check_passed"]:
        raise typer.Exit(ExitCode.CHECK_FAILED)


@dataclass(frozen=True)
class Wanted:
    """relays : None: as many as the machine holds. pairs : of every relay. seconds : watched."""

    relays: int | None
    pairs: int
    seconds: float
    seed: int


def run_processes(wanted: Wanted, rates: Rates, told: Callable[[str], None]) -> dict[str, Any]:
    """The object that `network --processes --json` prints.

    Raises
    ------
    RunFailed
        A process ended, or does not do its work.
    """
    keys_per_s = bits_per_s(wanted.pairs) / KEY_BITS
    steps: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="bellrelay-network-") as name,
        contextlib.closing(
            ProcessNetwork(Path(name), wanted.relays or _MOST, wanted.pairs)
        ) as network,
    ):
        while True:
            told(f"beside {len(network.relays)} relays: {wanted.relays or 1} and their pairs start")
            network.add(wanted.relays or 1, wanted.pairs)
            told(f"{len(network.relays)} relays, {len(network.pairs)} pairs: first keys")
            until_key(network, _CAUGHT_UP_S)
            told(f"{len(network.relays)} relays, {len(network.pairs)} pairs: watched")
            stretch = measure_stretch(network, wanted.seconds, keys_per_s)
            model = modelled([r.pairs for r in network.relays], rates, wanted.seconds, wanted.seed)
            behind = what_is_behind(network, stretch)
            steps.append(step_of(network, stretch, model, behind))
            if wanted.relays or behind or len(network.relays) == _MOST:
                break
        told("all of it ends")
        network.end_endpoints()
        equal = keys_equal(network)
    return processes_report(steps, equal, wanted.relays is None, rates)


def what_is_behind(network: ProcessNetwork, stretch: Stretch) -> list[str]:
    """What the machine does not keep up with; empty: it holds all of this."""
    out = []
    if any(stretch.pace(r.name) < _PACE for r in network.relays):
        out.append("light: twins simulate less than the time that passes")
    if any(stretch.behind_s(r.name) > _BEHIND_S for r in network.relays):
        out.append("announcements: an endpoint is more than a second behind its relay")
    before, after = stretch.before.unended, stretch.after.unended
    if any(after[p] - before[p] >= _MORE_BLOCKS for p in after):
        out.append("blocks: more of them have not ended than at the beginning")
    if stretch.available < _MEMORY_LEFT:
        out.append("memory: this machine has next to none left")
    return out


def keys_equal(network: ProcessNetwork) -> bool:
    """Whether every block that is key on both sides is the same one there. Endpoints have ended."""
    equal = True
    for pair in network.pairs:
        ends = [
            {
                r.block: r.record.get("key_id")
                for r in blocks_of(pair, role)
                if r.state is BlockState.STORED
            }
            for role in ROLES
        ]
        equal &= all(ends[0][b] == ends[1][b] for b in ends[0].keys() & ends[1].keys())
        # What a KME has taken over is no longer here; what is, is the same.
        keys = []
        for role in ROLES:
            store = BlockStore(pair.folder / f"{role}.blocks", role)
            keys.append({k.key_id: k.packed for k in store.keys()})  # noqa: SIM118
            store.close()
        equal &= all(keys[0][k] == keys[1][k] for k in keys[0].keys() & keys[1].keys())
    return equal
