"""The report of some days as one HTML page: nothing is loaded, everything stands in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape

from .calibration_audit import AuditedRun, CalibrationAudit
from .daemon_status import age_text
from .prometheus_api import Series, Trace
from .report_data import AlertHistory, Kept, ReportData
from .report_pictures import draw_alerts, draw_blocks, draw_traces
from .slo_file import LimitIndicator, Slo, SloFile
from .slo_rules import alert_name

__all__ = ["report_page"]

_NO_DATA = "no data"
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --paper: #fff; --line: #d5d9de; --soft: #5a636d;
  --bad: #b3261e; --good: #1b6e3c; --mark: #fff3cd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #15181c; --line: #3a4149;
  --soft: #a5aeb8; --bad: #ff8a80; --good: #7fd79b; --mark: #4a3c00; } }
@media print { :root { --ink: #000; --paper: #fff; --line: #bbb; --soft: #444; --bad: #b3261e;
  --good: #1b6e3c; --mark: #fff3cd; } section { break-inside: avoid-page; } body { padding: 0; } }
body { font: 16px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { margin: 2.2rem 0 .4rem; font-size: 1.25rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); } .bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); } .mark { background: var(--mark); padding: .5rem .8rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; margin: 1rem 0; }
.numbers li { list-style: none; border: 1px solid var(--line); padding: .5rem .9rem;
  min-width: 9rem; }
.numbers b { display: block; font-size: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { white-space: normal; }
figure { margin: .8rem 0; } svg { width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .85rem; }
a { color: inherit; }
"""


def report_page(data: ReportData, file: SloFile, audit: CalibrationAudit, made_utc_s: float) -> str:
    """The whole page."""
    span = data.span
    title = f"bellrelay: the {span.name} until {_time(span.end_s)} UTC"
    body = [
        f"<h1>{_e(title)}</h1>",
        f'<p class="soft">From {_time(span.start_s)} UTC; made {_time(made_utc_s)} UTC. '
        "Averages over steps of "
        f"{age_text(span.step_s)}; where nothing was measured there is a gap.</p>",
        _simulation(data, audit),
        '<p class="mark bad">Prometheus has no data of these days.</p>' if data.empty else "",
        _numbers(data),
        _objectives(data, file),
        _availability(data),
        _blocks(data),
        _detectors(data, audit),
        _key(data, file),
        _calibration(data, audit),
        _alerts(data, file),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_e(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


# ------------------------------------------------------------------------------------- its parts


def _simulation(data: ReportData, audit: CalibrationAudit) -> str:
    twins = set(data.simulated) | {run.relay for run in audit.runs if run.simulated}
    if not twins:
        return ""
    names = _e(", ".join(sorted(twins)))
    return (
        f'<p class="mark"><b>Simulation.</b> Twins, not boards: {names}. No figure of these '
        "relays, nor of the keys and errors of their links, is of light or of a detector that "
        "exists.</p>"
    )


def _numbers(data: ReportData) -> str:
    """What is read first."""
    relays = [k.bad for k in data.kept if _is_relay_up(k.slo) and k.bad is not None]
    shares = [_share(1.0 - bad) for bad in relays]
    bits = sum(_by_link(data.key_bits).values())
    failed, ended = _failed(data.ended)
    broken = [k for k in data.kept if k.bad is not None and k.bad > 1.0 - k.slo.target]
    items = [
        ("relays measured", ", ".join(shares) or _NO_DATA),
        ("key made", f"{bits:,.0f} bits" if data.key_bits else _NO_DATA),
        ("blocks without key", f"{failed:.0f} of {ended:.0f}" if data.ended else _NO_DATA),
        ("objectives missed", f"{len(broken)} of {len(data.kept)}"),
        ("alerts", f"{sum(max(len(a.times), 1) for a in data.alerts)}"),
    ]
    cells = "".join(f"<li><b>{_e(value)}</b>{_e(name)}</li>" for name, value in items)
    return f'<ul class="numbers">{cells}</ul>'


def _is_relay_up(slo: Slo) -> bool:
    return slo.indicator.up is not None and slo.indicator.up.gauge == "bellrelay_relay_up"


def _objectives(data: ReportData, file: SloFile) -> str:
    rows = [_row_of(kept, file) for kept in data.kept]
    head = [
        "Objective",
        "Of",
        "#Target",
        "#Reached in these days",
        f"#Spent of the {file.window} budget",
        "#Left at the end",
        "Runbook",
    ]
    picture = partial(
        draw_traces,
        data.budgets,
        data.span,
        lambda labels: " ".join([labels.get("slo", ""), *_of(labels, ("slo", "__name__"))]),
        "budget left / %",
        scale=100.0,
        limit=0.0,
        bottom=None,
    )
    return _section(
        "What was promised",
        "An error budget is what a target leaves: at 99.5 % in 30 d, 3.6 h. Below 0, more was "
        "spent than there was.",
        _table(head, rows),
        _figure(picture, "Budget left over time.", data.budgets),
    )


def _row_of(kept: Kept, file: SloFile) -> list[str]:
    missed = kept.bad is not None and kept.bad > 1.0 - kept.slo.target
    reached = _NO_DATA if kept.bad is None else _share(1.0 - kept.bad)
    spent = _NO_DATA if kept.spent is None else f"{100 * kept.spent:.1f} %"
    left = _NO_DATA if kept.left is None else f"{100 * kept.left:.1f} %"
    gone = kept.left is not None and kept.left <= 0.0
    return [
        _e(f"{kept.slo.name}: {kept.slo.title}"),
        _e(", ".join(kept.labels.values()) or "nobody"),
        f"{100 * kept.slo.target:g} %",
        _marked(reached, missed),
        _marked(spent, kept.spent is not None and kept.spent > 1.0),
        _marked(left, gone),
        _runbook(file, kept.slo.runbook),
    ]


def _availability(data: ReportData) -> str:
    parts, rows = [], []
    for name, traces in data.measured.items():
        recorded = {_label(s.labels): s.value for s in data.recorded.get(name, ())}
        found = [k for k in data.kept if k.slo.name == name]
        for kept in found:
            known = min(recorded.get(_label(kept.labels), 0.0), 1.0)
            share = away = _NO_DATA
            if kept.bad is not None:
                share, away = _share(1.0 - kept.bad), age_text(kept.bad * known * data.span.seconds)
            rows.append(
                [_e(kept.slo.title), _e(_of_relay(data, kept.labels)), share, away, _share(known)]
            )
        picture = partial(
            draw_traces, traces, data.span, partial(_of_relay, data), "of the time / %", scale=100.0
        )
        parts.append(_figure(picture, f"{found[0].slo.title}: share of each step.", traces))
    head = ["What", "Of", "#Of the recorded time", "#Away", "#Recorded"]
    text = "Time of which there is no record counts neither for nor against: see the last column."
    return _section("Availability", text, _table(head, rows), *parts)


def _blocks(data: ReportData) -> str:
    rows = [
        [
            _e(_label(s.labels, ("state", "cause"))),
            _e(s.labels.get("cause", "")) or "with key",
            f"{s.value:.0f}",
        ]
        for s in sorted(data.ended, key=lambda s: -s.value)
        if s.value >= 0.5
    ]
    picture = partial(draw_blocks, data.ended_by_day, data.span)
    return _section(
        "Sifting, and blocks that failed",
        "Blocks that ended, by why they made no key. Counts come from scrapes and may be off by "
        "one at the edges; blocks of a relay to which no light was sent are not counted.",
        _table(["Of", "Cause", "#Blocks"], rows),
        _figure(picture, "Blocks that ended, by day.", data.ended_by_day),
    )


def _detectors(data: ReportData, audit: CalibrationAudit) -> str:
    name = partial(_of_relay, data)
    outside = {name(t.labels): _mean(t.values) for t in data.outside}
    rows = [
        [
            _e(name(t.labels)),
            f"{_mean(t.values):,.0f}",
            f"{min(t.values):,.0f}",
            f"{max(t.values):,.0f}",
            f"{outside[name(t.labels)]:,.1f}" if name(t.labels) in outside else _NO_DATA,
        ]
        for t in data.clicks
    ]
    dark = [
        [
            _e(f"{d.relay} {d.detector}{' (simulation)' if d.simulated else ''}"),
            f"{d.rate_hz:,.1f}",
            f"{d.low_hz:,.1f} to {d.high_hz:,.1f}",
            _time(d.utc_s),
        ]
        for d in audit.dark
    ]

    def picture(traces: Sequence[Trace], unit: str, caption: str, scale: float = 1.0) -> str:
        drawn = partial(draw_traces, traces, data.span, name, unit, scale=scale)
        return _figure(drawn, caption, traces)

    return _section(
        "Detectors",
        "Clicks outside the windows are dark counts, afterpulses and stray light: a detector "
        "whose share of them rises by itself ages.",
        _table(["Detector", "#Clicks/s", "#Least", "#Most", "#Outside the windows/s"], rows),
        picture(data.clicks, "clicks / s", "Clicks, those that dead time suppressed included."),
        picture(data.outside, "outside / s", "Clicks outside the windows."),
        picture(data.live, "live / %", "Slots in which every detector could have fired.", 100.0),
        "<h3>Dark counts</h3>",
        _table(["Detector", "#Rate/s", "#Interval", "Measured (UTC)"], dark)
        if dark
        else "<p>Not measured: no record of the calibration step <code>dark</code>.</p>",
        picture(data.dark, "dark / s", "Dark counts, by the last calibration that looked."),
    )


def _key(data: ReportData, file: SloFile) -> str:
    rows = [[_e(_label(s.labels)), f"{s.value:,.0f}"] for s in data.key_bits]
    rate = partial(draw_traces, data.key_rate, data.span, _label, "bits / s")
    pictures = [_figure(rate, "Secret key stored, per second.", data.key_rate)]
    for basis, caption in (
        ("Z", "QBER in Z, as corrected."),
        ("X", "QBER in X, both mu or both nu: 25 % is the least that coherent states allow."),
    ):
        traces = [t for t in data.errors if t.labels.get("basis") == basis]
        drawn = partial(
            draw_traces,
            traces,
            data.span,
            lambda labels: _label(labels, ("basis",)),
            "errors / %",
            scale=100.0,
            limit=_limit(file, f'basis="{basis}"'),
        )
        pictures.append(_figure(drawn, caption, traces))
    return _section("Key and errors", "", _table(["Of", "#Bits of key"], rows), *pictures)


def _limit(file: SloFile, label: str) -> float | None:
    """Where an objective draws the line, if one is about this."""
    limits: Iterable[LimitIndicator] = (
        slo.indicator.limit for slo in file.slos if slo.indicator.limit is not None
    )
    wanted = "bellrelay_endpoint_error_ratio{" + label + "}"
    return next((one.above for one in limits if one.expr == wanted), None)


def _calibration(data: ReportData, audit: CalibrationAudit) -> str:
    rows = [_row_of_run(run) for run in reversed(audit.runs)]
    end = data.span.end_s
    last = [
        [
            _e(s.labels.get("relay", "")),
            _e(s.labels.get("step", "")),
            _time(s.value),
            age_text(max(end - s.value, 0.0)),
        ]
        for s in data.last_well
    ]
    overdue = [
        f'<p class="bad">{_e(s.labels.get("relay", ""))}: a step was overdue for '
        f"{_share(s.value)} of the recorded time.</p>"
        for s in data.overdue
        if s.value > 0.0
    ]
    unread = [f'<p class="bad">{_e(line)}</p>' for line in audit.unread]
    nothing = "" if data.overdue else "<p>Whether a step was overdue: no data.</p>"
    head = ["When (UTC)", "Relay", "Step", "Result", "What came into force", "By whom, why"]
    return _section(
        "Calibration",
        "Every run, newest first, from the relays' records.",
        *unread,
        *overdue,
        nothing,
        _table(head, rows) if rows else "<p>Nothing was run in these days.</p>",
        "<h3>When each step last ended well</h3>",
        _table(["Relay", "Step", "When (UTC)", "#Before the end"], last),
    )


def _row_of_run(run: AuditedRun) -> list[str]:
    changes = "".join(
        f"<div>{_e(key)}: {_e(before)} → {_e(after)}</div>" for key, before, after in run.changes
    )
    if run.dry:
        changes += "<div>a dry run: nothing</div>"
    if run.undone_by is not None:
        changes += f'<div class="bad">undone by record {run.undone_by}</div>'
    return [
        _time(run.utc_s),
        _e(f"{run.relay}{' (simulation)' if run.simulated else ''}"),
        _e(f"{run.step} (record {run.number})"),
        f"{_marked('well' if run.ok else 'failed', not run.ok)}: {_e(run.text)}",
        changes or "nothing",
        _e(": ".join(part for part in (run.author, run.why) if part)),
    ]


def _alerts(data: ReportData, file: SloFile) -> str:
    runbooks = _runbooks_by_alert(file)
    rows = [
        [
            _marked(_e(a.name), a.severity == "page"),
            _e(a.severity),
            _e(", ".join(f"{k} {v}" for k, v in a.labels.items())),
            str(len(a.times)) if a.times else "1",
            age_text(a.seconds),
            _first(a),
            _runbook(file, runbooks[a.name]) if a.name in runbooks else "",
        ]
        for a in data.alerts
    ]
    if not rows:
        return _section("Alerts", "None fired." if not data.empty else "No data.")
    head = ["Alert", "Severity", "Of", "#Times", "#For", "First, last (UTC)", "Runbook"]
    return _section(
        "Alerts",
        "",
        _table(head, rows),
        _figure(
            partial(draw_alerts, data.alerts, data.span),
            "When each fired; pages in red.",
            data.alerts,
        ),
    )


def _first(alert: AlertHistory) -> str:
    if not alert.times:
        return "for less than a minute"
    return f"{_time(alert.times[0][0])}, {_time(alert.times[-1][0])}"


def _runbooks_by_alert(file: SloFile) -> dict[str, str]:
    found = {alert_name(g.name): g.runbook for g in file.gauges}
    return found | {f"{alert_name(s.name)}Burn": s.runbook for s in file.slos}


# ------------------------------------------------------------------------------------- its forms


def _e(text: object) -> str:
    return escape(str(text))


def _section(title: str, text: str, *parts: str) -> str:
    about = f'<p class="soft">{_e(text)}</p>' if text else ""
    return f"<section><h2>{_e(title)}</h2>{about}{''.join(parts)}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already; a heading that begins with # is of numbers."""
    if not rows:
        return f"<p>{_NO_DATA.capitalize()}.</p>"
    kinds = [' class="number"' if name.startswith("#") else "" for name in head]
    names = "".join(
        f"<th{kind}>{_e(name.removeprefix('#'))}</th>"
        for name, kind in zip(head, kinds, strict=True)
    )
    lines = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _figure(draw: Callable[[], str], caption: str, of: Sequence[object]) -> str:
    if not of:
        return f'<p class="soft">{_e(caption)} {_NO_DATA.capitalize()}.</p>'
    return f"<figure>{draw()}<figcaption>{_e(caption)}</figcaption></figure>"


def _marked(text: str, bad: bool) -> str:
    return f'<span class="bad">{text}</span>' if bad else text


def _runbook(file: SloFile, page: str) -> str:
    return f'<a href="{_e(file.runbooks + page)}.md">{_e(page)}</a>'


def _time(utc_s: float) -> str:
    return f"{datetime.fromtimestamp(utc_s, UTC):%Y-%m-%d %H:%M}"


def _share(share: float) -> str:
    return f"{100 * share:.3f} %" if 0.99 <= share < 1.0 else f"{100 * share:.1f} %"


def _of(labels: Mapping[str, str], without: Sequence[str] = ()) -> list[str]:
    leave = {"__name__", "job", "instance", *without}
    return [value for key, value in sorted(labels.items()) if key not in leave and value]


def _label(labels: Mapping[str, str], without: Sequence[str] = ()) -> str:
    return " ".join(_of(labels, ("slo", *without)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _of_relay(data: ReportData, labels: Mapping[str, str]) -> str:
    """As a legend has it; a picture that is cut out still says that it is of a twin."""
    relay = labels.get("relay", "")
    detector = f" detector {labels['detector']}" if "detector" in labels else ""
    rest = _label(labels, ("relay", "detector"))
    twin = " (simulation)" if relay in data.simulated else ""
    return f"{relay}{detector}{' ' if relay and rest else ''}{rest}{twin}"


def _failed(ended: Sequence[Series]) -> tuple[float, float]:
    failed = sum(s.value for s in ended if s.labels.get("state") != "stored")
    return failed, sum(s.value for s in ended)


def _by_link(key_bits: Sequence[Series]) -> dict[str, float]:
    """Both endpoints store the same key: it counts once."""
    out: dict[str, float] = {}
    for s in key_bits:
        link = s.labels.get("link", "")
        out[link] = max(out.get(link, 0.0), s.value)
    return out
