"""A whole gameday: the system is started, scenarios are run on it, and what is left is compared."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bellrelay.cli.gameday_delivery import KEY_BITS, deliver_everything
from bellrelay.cli.gameday_files import (
    REFILL_SHARE,
    RELAYS,
    SHAPES,
    GamedayShape,
    write_files,
)
from bellrelay.cli.gameday_operator import Operator
from bellrelay.cli.gameday_system import GamedaySystem, running_system
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import RunFailed
from bellrelay.control.gameday_report import GamedayReport
from bellrelay.control.gameday_run import Ledger, Outcome, run_scenario
from bellrelay.control.gameday_scenario import Scenario, by_runbook
from bellrelay.control.gameday_timeline import Blocks, Timeline

__all__ = ["run_gameday", "wrong_with"]

_TAKEN_S = 20.0
_LEARN_S = 30.0


def run_gameday(
    scenarios: Sequence[Scenario],
    *,
    board: str,
    together: bool,
    inject: bool,
    tell: Callable[[str], None],
    pages: Path | None = None,
    keep: Path | None = None,
) -> GamedayReport:
    """Run them all, whatever becomes of one.

    Parameters
    ----------
    together
        In one running system, one after another; otherwise each has a system of its own.
    inject
        False: nothing is done to the system.
    pages
        Folder of runbooks: nothing is done by itself, and each scenario's page is followed.
    keep
        Where the systems' folders stay, numbered; none: they are thrown away.

    Raises
    ------
    RunFailed
        The only system does not start.
    """
    groups = _by_link(scenarios) if together else [[one] for one in scenarios]
    parts: list[GamedayReport] = []
    for number, group in enumerate(groups):
        shape = replace(SHAPES[board, group[0].link], by_itself=pages is None)
        try:
            with _folder(keep, number) as folder:
                parts.append(_in_one_system(folder, group, shape, inject, tell, pages))
        except RunFailed as error:
            if len(groups) == 1:
                raise
            # What the others have shown is not thrown away for it.
            tell(f"no system: {error}")
            names = ", ".join(scenario.name for scenario in group)
            failed = f"{names}: {error}"
            parts.append(GamedayReport(board, [], 0.0, 0.0, Timeline(RELAYS, []), None, [failed]))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _by_link(scenarios: Sequence[Scenario]) -> list[list[Scenario]]:
    """Those that can share a system, in their order."""
    groups: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        groups.setdefault(scenario.link, []).append(scenario)
    return list(groups.values())


@contextlib.contextmanager
def _folder(keep: Path | None, number: int) -> Iterator[Path]:
    """An empty one. FileExistsError: something was kept there."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="gameday-") as name:
            yield Path(name)
        return
    folder = keep.absolute() / str(number)
    folder.mkdir(parents=True, mode=0o700)
    yield folder


def _in_one_system(
    folder: Path,
    scenarios: Sequence[Scenario],
    shape: GamedayShape,
    inject: bool,
    tell: Callable[[str], None],
    pages: Path | None,
) -> GamedayReport:
    begin = time.monotonic()
    failures: list[str] = []
    outcomes: list[Outcome] = []
    files = write_files(folder, shape, kmes=True)
    tell("two relays, Alice, Bob and both KMEs start")
    with running_system(files) as system:
        tell("both watches learn what is usual")
        system.learn(_LEARN_S)
        if pages is not None:
            system.operator = Operator(system, pages, tell)
            scenarios = [by_runbook(scenario) for scenario in scenarios]
        for scenario in scenarios:
            outcomes.append(run_scenario(scenario, system, tell, inject=inject))
            tell(f"{scenario.name}: {'passed' if outcomes[-1].passed else 'FAILED'}")
        delivered = None
        # People may have revoked some.
        least = _keys_of(system.ledger()) if pages is None else 1
        try:
            failures += _all_taken(system)
            delivered = deliver_everything(files, least)
        except RunFailed as error:
            failures.append(str(error))
        if delivered is not None:
            most = _keys_of(system.ledger())
            failures += wrong_with(delivered, least, most)
        timeline = Timeline(RELAYS, system.samples, _blocks(system))
        link_s = system.look().link_s
    wall_s = time.monotonic() - begin
    return GamedayReport(
        shape.board, outcomes, wall_s, link_s, timeline, delivered, failures=failures
    )


def _keys_of(ledger: Ledger) -> int:
    """That finished blocks make, less what the endpoints keep of each."""
    free = (n - int(n * REFILL_SHARE) // 16 * 16 for n in ledger.alice.values())
    return sum(bits // KEY_BITS for bits in free)


def wrong_with(delivered: Mapping[str, Any], least: int, most: int) -> list[str]:
    """What is not as it must be: all keys, once each, the same on both sides.

    least, most: keys that there were before they were fetched, and after that.
    """
    if not (delivered["equal"] and delivered["once"]):
        return [f"keys were not delivered as they must be: {delivered}"]
    if not max(least, 1) <= delivered["keys"] <= most:
        return [f"{delivered['keys']} keys were delivered; finished blocks make {least} to {most}"]
    return []


def _all_taken(system: GamedaySystem) -> list[str]:
    """Until both KMEs have taken over what was finished; what they have not."""
    end = time.monotonic() + _TAKEN_S
    while True:
        left = {role: system.waiting_keys(role) for role in ROLES}
        if not any(left.values()):
            return []
        if time.monotonic() > end:
            return [f"keys that {role}'s KME did not take: {n}" for role, n in left.items() if n]
        time.sleep(0.2)


def _blocks(system: GamedaySystem) -> Blocks:
    """Of Alice, on the time axis of the looks."""
    utc = np.array([s["utc_ns"] for s in system.samples], np.float64)
    link = np.array([s["link_s"] for s in system.samples])
    rows = system.blocks_with_key("alice")
    return Blocks(
        np.interp([float(row.changed_ns) for row in rows], utc, link).tolist(),
        [int(row.record.get("length", 0)) for row in rows],
        [row.record["errors_corrected"] / max(row.record["sifted_bits"], 1) for row in rows],
    )


def _joined(parts: Sequence[GamedayReport]) -> GamedayReport:
    """Systems that ran one after another, as one."""
    samples: list[dict[str, object]] = []
    times: list[float] = []
    bits: list[int] = []
    errors: list[float] = []
    outcomes: list[Outcome] = []
    begin = 0.0
    for part in parts:
        samples += [{**s, "link_s": s["link_s"] + begin} for s in part.timeline.samples]
        times += [at + begin for at in part.timeline.blocks.link_s]
        bits += part.timeline.blocks.bits
        errors += part.timeline.blocks.error_z
        outcomes += [outcome.later(begin) for outcome in part.outcomes]
        begin += part.link_s
    found = [part.delivered for part in parts if part.delivered is not None]
    return GamedayReport(
        parts[0].board,
        outcomes,
        sum(part.wall_s for part in parts),
        begin,
        Timeline(RELAYS, samples, Blocks(times, bits, errors)),
        {
            "keys": sum(d["keys"] for d in found),
            "bits": sum(d["bits"] for d in found),
            "equal": all(d["equal"] for d in found),
            "once": all(d["once"] for d in found),
        },
        failures=[failure for part in parts for failure in part.failures],
    )
