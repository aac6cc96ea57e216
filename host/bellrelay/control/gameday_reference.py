"""The reference page of a gameday's scenario, from the models that read it.

python -m bellrelay.control.gameday_reference > docs/reference/gameday-file.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .gameday_scenario import SCENARIOS, Scenario, load_scenario, scenarios_of

__all__ = ["reference_page"]

_HEAD = """# A scenario: `bellrelay gameday SCENARIO.yaml`

What a gameday does to a simulated link, and what it holds against its limits: [how to run
one](../how-to/gameday.md). These come along, in `bellrelay/control/scenarios`:

"""

_STEPS = """
Steps are taken in their order; the first that does not come true ends the scenario. Times are link
time since the last `inject` or `undo` before the step, told by the boards' slots: a machine that is
too slow for the simulation lets it pass more slowly, and none lets it pass more quickly than the
clock. In the end all that was injected is undone, whatever became of it; and every block that had
ended with key, before or since, must be in the stores of both endpoints with the same length.

`active` is the relay that the light is at when the step is taken, `other` the one that it is not
at. What `inject.change.to` may hold is what a simulated link may be told while it runs
(`bellrelay_sim.conditions`); `back` is the same and undoes it.

An unknown key is an error, so is a value out of range: the line names file, key, value and what is
allowed; exit code 3. This page is made by `python -m bellrelay.control.gameday_reference`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    scenarios = [load_scenario(path) for path in scenarios_of(SCENARIOS)]
    rows = [f"| `{s.name}` | {s.title} | [{s.runbook}](../../{s.runbook}) |" for s in scenarios]
    table = "\n".join(["| Name | What happens | Runbook |", "|---|---|---|", *rows])
    return _HEAD + table + "\n" + _STEPS + key_table(Scenario)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
