"""The reference page of calibration, from the steps themselves.

python -m bellrelay.control.calibration_reference > docs/reference/calibration.md
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from bellrelay.settings.reference import key_table

from .calibration_step import Step
from .calibration_steps import calibration_steps

__all__ = ["reference_page"]

_HEAD = """# Calibration

`bellrelay calibrate STEP --config relay.yaml` measures something of a relay, brings it into force,
and keeps a record. This page is made by `python -m bellrelay.control.calibration_reference`.

```sh
bellrelay calibrate --list --config relay.yaml
bellrelay calibrate hom --config relay.yaml
bellrelay calibrate --all --config relay.yaml
bellrelay calibrate hom --set span_ps=600 --dry-run --config relay.yaml
bellrelay calibrate --records --config relay.yaml
bellrelay calibrate --show 12 --config relay.yaml
bellrelay calibrate --undo 12 --config relay.yaml
```

While the relay's daemon runs, it does the work: the order is a file in the calibration's directory,
so that who may write there may calibrate. Else the board's port is opened by the command itself.
Run it as the user that the daemon runs as, so that both can write there. Several steps are run in
their order, up to the first that does not end well. Exit code 8 if one has not.

## Records, versions, undoing

Each run leaves a folder `records/NUMBER-STEP` in `calibration.directory`: `record.json` with
figures, options, board, and the relay's settings before and after; `picture.png`. A record is on
the disk, whole, before it has its name. Settings that a step changes (windows, phase, deskew, dead
time, gate outputs) become a version in the same directory, laid over the YAML by every daemon that
starts; a running board is brought up anew with them, which begins an acquisition. `--dry-run`
records what would be changed, and changes nothing.

`--undo NUMBER` puts back what that record changed, of settings and of devices, and is a record of
its own. It is refused if something has changed the same settings since: undo that first. `--undo
last` takes the last record whose change still holds. Records of a twin have `board.simulated`.

## By the clock

```yaml
calibration:
  directory: /var/lib/bellrelay/charlie-1/calibration
  at_start: [tdc]
  every:
    - {steps: [dark], hours: 6}
    - {steps: [deskew, hom], hours: 24, window: "02:00-04:00"}
  announce_s: 300
  defer_above_per_s: 2000
  defer_hours: 48
  steps: {hom: {device: delay-a, span_ps: 800, points: 21, seconds: 5}}
```

A step is due so many hours after it last ended well, by its records, whoever ran it; within its
window of the day (UTC) where it has one. Steps that disturb key generation are announced
`announce_s` ahead, and again as they begin and end: in the announcement stream, as events of kind
`calibration`, and in /health. While the relay announces more than `defer_above_per_s` outcomes a
second, they wait, at most `defer_hours` after they were due. One that has not ended well is tried
again an hour later. A step is *overdue* an hour after it was due, or, with a window, once a whole
one has passed: /health `calibration.overdue`, metric `bellrelay_relay_calibration_overdue`.

Those of `at_start` run whenever the daemon has started, without an announcement.

While a step that disturbs runs, the loops hold what they have: the relay's slot clock takes no
arrival times, and an endpoint that hears of it moves no sender (for half an hour at most, should
the relay never say that it is over).

## Steps

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + "\n".join(_section(step) for step in calibration_steps())


def _section(step: Step[Any]) -> str:
    module = sys.modules[type(step).__module__]
    paragraphs = (inspect.getdoc(module) or "").split("\n\n")[1:]
    disturbs = (
        "It disturbs key generation." if step.disturbs else "Key generation goes on beside it."
    )
    out = [f"### `{step.name}`", f"{step.about[0].upper()}{step.about[1:]}. {disturbs}"]
    out += paragraphs
    if step.options.model_fields:
        out.append(f"Options, in `calibration.steps.{step.name}` or by `--set`:")
        out.append(key_table(step.options).rstrip("\n"))
    return "\n\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
