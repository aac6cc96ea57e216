"""The reference page of faults, from the tables that the watch works by.

python -m bellrelay.control.fault_reference > docs/reference/faults.md
"""

from __future__ import annotations

import sys

from .fault_actions import Action
from .fault_observables import OBSERVABLES, Observable
from .fault_signatures import CELLS, FAULTS, UNEXPLAINED, Fault
from .fault_watch import FALSE_ALARM

__all__ = ["reference_page"]

_HEAD = f"""# Faults

What is watched on a link, which faults are told apart by it, and what is done about each. This page
is made by `python -m bellrelay.control.fault_reference`, from the tables that the watch works by.

An alarm is raised once a quantity lies beyond its limit: not by its estimate, but so far that one
which lay at the limit would show as much with a probability of {FALSE_ALARM:g} or less, by the
counts that it rests on (Poisson for clicks, binomial for shares, normal for means with an error
bar). Every observation must say so for the time to hold. It is cleared once the estimate has lain
within a narrower limit for another such time. In between nothing changes.

Errors that rise slowly are summed up block by block (Page's CUSUM, `error_drift`): the sum is
beyond noise where a link whose errors lay at the baseline, with its error bar and some slack,
would get there once in {1.0 / FALSE_ALARM:g} blocks.

From the first alarm on, all faults that it suspects are ranked: the posterior of a fault is its
weight times the probabilities below, over every quantity of which the data since then can tell
whether it has moved. What they cannot tell counts for nothing. Alarms that the likeliest fault does
not explain are diagnosed by themselves, so that several faults may be found at once. Once one of
its alarms clears, a fault recedes: what is still to clear, and blocks that began before, say
nothing new.

The first step is taken a second after a fault was told, if the faults that this step is right for
have a probability of 0.6 or more together; if it is less for ten seconds, a person is called and
nothing is done by itself. A fault that something proves is told at once; without its proof it must
have stood for three seconds, and for ten before its first step. The next step follows if the fault
lasts longer than the time in brackets.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return (
        _HEAD
        + "## Cells\n\nProbability that a fault leaves a quantity raised, as usual, lowered:\n\n"
        + _table(
            ("Cell", "Raised", "As usual", "Lowered"),
            [(f"`{cell}`" if cell else "not named", *map(str, p)) for cell, p in CELLS.items()],
        )
        + "\n## Faults\n\n"
        + "\n".join(_fault(f) for f in FAULTS)
        + f"\n### {UNEXPLAINED.name}\n\n{UNEXPLAINED.title[0].upper()}{UNEXPLAINED.title[1:]}. "
        + f"A person is called; runbook `{UNEXPLAINED.runbook}`.\n"
        + "\n## Actions\n\n"
        + _table(("Action", "What it is"), [(f"`{a}`", a.meaning) for a in Action])
        + "\n## Quantities\n\nLimits: where an alarm is raised; where it may be cleared.\n\n"
        + _table(
            ("Quantity", "Of", "Meaning", "Unit", "Above", "Below", "Window, s", "Hold, s"),
            [_observable(o) for o in OBSERVABLES],
        )
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in lines)


def _observable(o: Observable) -> tuple[str, ...]:
    windows = [w for w in (o.window_s, o.slow_window_s) if w is not None]
    return (
        f"`{o.name}`",
        o.scope + (f": {', '.join(o.parts)}" if len(o.parts) > 1 else ""),
        o.meaning,
        o.unit,
        str(o.up or ""),
        str(o.down or ""),
        ", ".join(f"{w:g}" for w in windows) if o.statistic.adds_up else "latest",
        f"{o.raise_s:g}; {o.clear_s:g}",
    )


def _fault(fault: Fault) -> str:
    moved = [f"`{key}` `{cell}`" for key, cell in fault.cells.items() if cell]
    untouched = [f"`{key}`" for key, cell in fault.cells.items() if not cell]
    triggers = fault.triggers or tuple(
        key for key, cell in fault.cells.items() if cell and not cell.startswith("(")
    )
    steps = " · ".join(
        f"{s.action}" + (f" ({s.wait_s:g} s)" if s.wait_s < float("inf") else "")
        for s in fault.steps
    )
    seen = f" Seen within {fault.within_s:g} s of link time." if fault.within_s else ""
    return (
        f"### {fault.name}\n\n"
        f"{fault.family}, of {'a ' if fault.scope != 'link' else 'the '}{fault.scope}, weight "
        f"{fault.weight:g}: {fault.title}.{seen}\n\n"
        f"- Moves: {', '.join(moved)}.\n"
        + (
            f"- Leaves untouched, which tells it from others: {', '.join(untouched)}.\n"
            * bool(untouched)
        )
        + f"- Suspected by: {', '.join(f'`{t}`' for t in triggers)}.\n"
        + (f"- Proven by: {', '.join(f'`{p}`' for p in fault.proof)}.\n" if fault.proof else "")
        + f"- Steps: {steps}. Runbook: `{fault.runbook}`.\n"
    )


if __name__ == "__main__":
    sys.stdout.write(reference_page())
