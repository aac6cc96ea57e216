"""From SLOs to Alertmanager: grouped per relay, pages apart from tickets, and what is inhibited.

python -m bellrelay.observe.alert_routes deploy/slo.yaml > deploy/prometheus/alertmanager.yml
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from .slo_file import SloFile, load_slo_file
from .slo_rules import alert_name

__all__ = ["alertmanager", "alertmanager_yaml"]

_HEAD = """# Made from deploy/slo.yaml: python -m bellrelay.observe.alert_routes deploy/slo.yaml
"""


def alertmanager(file: SloFile) -> dict[str, Any]:
    """Configuration of Alertmanager: a tree of routes, receivers, inhibition."""
    routing = file.routing
    return {
        "route": {
            "receiver": "ticket",
            "group_by": ["relay", "pair"],
            "group_wait": routing.group_wait,
            "group_interval": routing.group_interval,
            "repeat_interval": routing.repeat_ticket,
            "routes": [
                {
                    "receiver": "page",
                    "matchers": ['severity="page"'],
                    "repeat_interval": routing.repeat_page,
                }
            ],
        },
        "receivers": [
            {"name": name, "webhook_configs": [{"url": url, "send_resolved": True}]}
            for name, url in (("page", routing.page), ("ticket", routing.ticket))
        ],
        "inhibit_rules": [
            {
                # Who is woken up by an objective needs no ticket about it.
                "source_matchers": ['severity="page"', 'slo=~".+"'],
                "target_matchers": ['severity="ticket"', 'slo=~".+"'],
                "equal": ["slo", "relay", "pair", "endpoint", "kme"],
            },
            *_silenced(file),
        ],
    }


def _silenced(file: SloFile) -> list[dict[str, Any]]:
    slos = {s.name for s in file.slos}
    out = []
    for gauge in file.gauges:
        if not gauge.silences:
            continue
        targets = [
            alert_name(name) + ("Burn" if name in slos else "") for name in sorted(gauge.silences)
        ]
        out.append(
            {
                "source_matchers": [f'alertname="{alert_name(gauge.name)}"'],
                "target_matchers": [f'alertname=~"{"|".join(targets)}"'],
                "equal": ["relay"],
            }
        )
    return out


def alertmanager_yaml(file: SloFile) -> str:
    """The file."""
    return _HEAD + yaml.safe_dump(alertmanager(file), sort_keys=False, width=100)


if __name__ == "__main__":
    sys.stdout.write(alertmanager_yaml(load_slo_file(Path(sys.argv[1]))))
