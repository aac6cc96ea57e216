"""The reference page of the SLO file, from the model that reads it.

python -m bellrelay.observe.slo_reference > docs/reference/slo-file.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .slo_file import SloFile

__all__ = ["reference_page"]

_HEAD = """# Service level objectives

One YAML says what is promised, how fast a budget may burn, which quantities alarm by themselves,
and who is told: [deploy/slo.yaml](../../deploy/slo.yaml). From it are made the rules of Prometheus
and the routes of Alertmanager:

```sh
python -m bellrelay.observe.slo_rules deploy/slo.yaml > deploy/prometheus/bellrelay.rules.yml
python -m bellrelay.observe.alert_routes deploy/slo.yaml > deploy/prometheus/alertmanager.yml
```

For every objective the rules record `bellrelay:slo_errors:ratio_WINDOW`, the share of bad events or
of bad time in every window, and `bellrelay:slo_budget_left:ratio`: 1 with the whole budget left, 0
with none, below 0 with more spent than there was. An alert on a budget fires while it burns too
fast in a long window and in a short one beside it (Google, The Site Reliability Workbook,
chapter 5): the long one says that it matters, the short one that it still goes on. Where events are
rare, gauges say more than rates: key left, age of the last key, pool of authentication key.

Alerts are grouped per relay, or per pair; while a relay is down, what follows from that says
nothing new. This page is made by `python -m bellrelay.observe.slo_reference`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(SloFile)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
