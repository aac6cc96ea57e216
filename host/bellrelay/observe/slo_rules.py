"""From SLOs to rules of Prometheus: recorded error ratios and budgets, and the alerts on them.

    python -m bellrelay.observe.slo_rules deploy/slo.yaml > deploy/prometheus/bellrelay.rules.yml

Burn rates: B. Beyer et al., The Site Reliability Workbook, chapter 5. A budget burns at 1 if the
errors would use it up exactly in the SLO's window.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from .slo_file import GaugeAlert, Slo, SloFile, load_slo_file, seconds

__all__ = ["alert_name", "bad_now", "error_ratio", "rules", "rules_yaml"]

_HEAD = """# Made from deploy/slo.yaml: python -m bellrelay.observe.slo_rules deploy/slo.yaml
"""
_RATIO = "bellrelay:slo_errors:ratio_"
_NOW = "bellrelay:slo_bad:now"


def alert_name(name: str) -> str:
    """``key-left`` as Prometheus has it: ``KeyLeft``."""
    return "".join(word.capitalize() for word in name.replace("_", "-").split("-"))


def bad_now(slo: Slo) -> str | None:
    """PromQL: how bad it is now, 0 to 1, by the SLO's labels; None where events are counted."""
    by = f"by ({', '.join(slo.by)})"
    if slo.indicator.up is not None:
        up = slo.indicator.up
        # A daemon that is gone says nothing, but its target is still there, at 0.
        there = f'{up.gauge} or on ({", ".join(slo.by)}) (0 * up{{job="{up.job}"}})'
        return f"1 - avg {by} ({there})"
    if slo.indicator.limit is not None:
        limit = slo.indicator.limit
        sign, bound = (">", limit.above) if limit.above is not None else ("<", limit.below)
        return f"avg {by} (({limit.expr}) {sign} bool {bound:g})"
    return None


def error_ratio(slo: Slo, window: str) -> str:
    """PromQL: share of bad events, or of bad time, in the last `window`, by the SLO's labels."""
    by = f"by ({', '.join(slo.by)})"
    if slo.indicator.events is not None:
        events = slo.indicator.events
        bad, total = (f"sum {by} (increase({m}[{window}]))" for m in (events.bad, events.total))
        return f"({bad} or 0 * {total}) / ({total} > 0)"
    if slo.indicator.latency is not None:
        name, brace, labels = slo.indicator.latency.histogram.partition("{")
        inner = labels.rstrip("}")
        le = f'le="{slo.indicator.latency.within_s:g}"'
        within = f"{name}_bucket{{{', '.join(filter(None, (inner, le)))}}}"
        total = f"sum {by} (increase({name}_count{brace}{labels}[{window}]))"
        return f"1 - sum {by} (increase({within}[{window}])) / ({total} > 0)"
    # Recorded first: a subquery over a month asks for more samples than a server gives.
    return f'avg_over_time({_NOW}{{slo="{slo.name}"}}[{window}])'


def rules(file: SloFile) -> dict[str, Any]:
    """What a rule file of Prometheus holds: groups for recordings, SLOs and gauges."""
    groups = [
        {
            "name": "bellrelay-recordings",
            "interval": file.evaluate,
            "rules": [{"record": r.name, "expr": r.expr} for r in file.recordings],
        }
    ]
    groups += [_slo_group(file, slo) for slo in file.slos]
    groups.append(
        {
            "name": "bellrelay-gauges",
            "interval": file.evaluate,
            "rules": [_gauge(file, g) for g in file.gauges],
        }
    )
    return {"groups": [g for g in groups if g["rules"]]}


def rules_yaml(file: SloFile) -> str:
    """The rule file."""
    return _HEAD + yaml.safe_dump(rules(file), sort_keys=False, width=100)


def _windows(file: SloFile) -> list[str]:
    every = {w for b in file.burn for w in (b.short, b.long)}
    return sorted(every, key=seconds)


def _slo_group(file: SloFile, slo: Slo) -> dict[str, Any]:
    budget = 1.0 - slo.target
    labels = {"slo": slo.name}
    now = bad_now(slo)
    out: list[dict[str, Any]] = []
    if now is not None:
        out.append({"record": _NOW, "expr": now, "labels": labels})
    out += [
        {"record": _RATIO + window, "expr": error_ratio(slo, window), "labels": labels}
        for window in (*_windows(file), file.window)
    ]
    out.append(
        {
            "record": "bellrelay:slo_budget_left:ratio",
            "expr": f'1 - {_RATIO}{file.window}{{slo="{slo.name}"}} / {budget:.6g}',
            "labels": labels,
        }
    )
    for burn in file.burn:
        limit = f"{burn.burn * budget:.6g}"
        both = [f'{_RATIO}{w}{{slo="{slo.name}"}} > {limit}' for w in (burn.long, burn.short)]
        out.append(
            {
                "alert": f"{alert_name(slo.name)}Burn",
                "expr": " and ".join(both),
                "labels": {"severity": burn.severity, "slo": slo.name, "window": burn.long},
                "annotations": {
                    "summary": f"{slo.title}: the error budget burns more than {burn.burn:g} "
                    f"times too fast, over {burn.long}",
                    "description": "{{ $value | humanizePercentage }} bad; the target is "
                    f"{100 * slo.target:g} % good in {file.window}",
                    "runbook_url": f"{file.runbooks}{slo.runbook}.md",
                },
            }
        )
    return {"name": f"bellrelay-slo-{slo.name}", "interval": file.evaluate, "rules": out}


def _gauge(file: SloFile, gauge: GaugeAlert) -> dict[str, Any]:
    return {
        "alert": alert_name(gauge.name),
        "expr": gauge.expr,
        "for": gauge.hold_off,
        "keep_firing_for": gauge.keep,
        "labels": {"severity": gauge.severity},
        "annotations": {
            "summary": gauge.title,
            "description": 'now {{ $value | printf "%.6g" }}',
            "runbook_url": f"{file.runbooks}{gauge.runbook}.md",
        },
    }


if __name__ == "__main__":
    sys.stdout.write(rules_yaml(load_slo_file(Path(sys.argv[1]))))
