"""Pictures of a report: SVG that stands in the page, in the page's own colour of text.

Times without data are gaps, never lines drawn across.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .prometheus_api import Trace
from .report_data import AlertHistory, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_alerts", "draw_blocks", "draw_traces"]

_INK = "#123454"
"""Becomes the page's colour of text; nothing else may be drawn in it."""
_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c564b", "#7f7f7f")
"""M. Okabe and K. Ito's colours, those that are seen on white and on black."""
_STYLES = ("-", "--", ":", "-.")
_BAD = "#d62728"
_MOST_ALERTS = 20


def draw_traces(
    traces: Sequence[Trace],
    span: Span,
    label: Callable[[Mapping[str, str]], str],
    unit: str,
    *,
    scale: float = 1.0,
    limit: float | None = None,
    bottom: float | None = 0.0,
    log: bool = False,
) -> str:
    """Lines over time; `limit` is drawn across, in the same unit as the traces."""

    def draw(axes: Axes) -> None:
        for at, trace in enumerate(traces):
            times, values = _with_gaps(trace, span.step_s)
            colour, style = _SERIES[at % len(_SERIES)], _STYLES[at // len(_SERIES) % 4]
            # A point by itself would be no line.
            alone = len(times) == 1
            axes.plot(
                times,
                scale * values,
                color=colour,
                ls="" if alone else style,
                marker="o" if alone else "",
                lw=1.4,
                label=label(trace.labels),
            )
        if limit is not None:
            axes.axhline(scale * limit, color=_BAD, lw=1.0, ls=":")
        if log:
            axes.set_yscale("log")
        elif bottom is not None:
            axes.set_ylim(bottom=min(bottom, axes.get_ylim()[0]) if bottom < 0 else bottom)
        axes.set_ylabel(unit)
        _legend(axes, len(traces))

    return _svg(draw, span, 2.6)


def draw_blocks(ended_by_day: Sequence[Trace], span: Span) -> str:
    """Blocks that ended, a bar a day: with key upwards, without by cause on top of it."""

    def draw(axes: Axes) -> None:
        height: dict[float, float] = {}
        names: dict[str, dict[float, float]] = {}
        for trace in ended_by_day:
            name = trace.labels.get("cause") or trace.labels.get("state", "")
            for at, value in zip(trace.times_s, trace.values, strict=True):
                days = names.setdefault(name, {})
                days[at] = days.get(at, 0.0) + value
        shown = {n: days for n, days in names.items() if sum(days.values()) >= 0.5}
        order = sorted(shown, key=lambda n: (n != "stored", -sum(shown[n].values())))
        for at, name in enumerate(order):
            days = shown[name]
            times = sorted(days)
            below = [height.get(t, 0.0) for t in times]
            axes.bar(
                [_at(t - 43200.0) for t in times],
                [days[t] for t in times],
                0.8,
                below,
                color=_SERIES[2] if name == "stored" else _SERIES[(at + 2) % len(_SERIES)],
                label="with key" if name == "stored" else name,
            )
            for t in times:
                height[t] = height.get(t, 0.0) + days[t]
        axes.set_ylabel("blocks a day")
        _legend(axes, len(order))

    return _svg(draw, span, 2.6)


def draw_alerts(alerts: Sequence[AlertHistory], span: Span) -> str:
    """When each fired."""
    shown = alerts[:_MOST_ALERTS]

    def draw(axes: Axes) -> None:
        for row, alert in enumerate(shown):
            for begin, end in alert.times:
                axes.barh(
                    row,
                    _at(end) - _at(begin),
                    left=_at(begin),
                    height=0.6,
                    color=_BAD if alert.severity == "page" else _SERIES[4],
                    # Seconds of a month would not be seen.
                    edgecolor=_BAD if alert.severity == "page" else _SERIES[4],
                    lw=1.0,
                )
        axes.set_yticks(range(len(shown)), [_name(a) for a in shown], fontsize="small")
        axes.set_ylim(len(shown) - 0.4, -0.6)

    return _svg(draw, span, 0.8 + 0.28 * len(shown))


def _name(alert: AlertHistory) -> str:
    of = " ".join(v for k, v in alert.labels.items() if k not in ("slo", "window"))
    return f"{alert.name} {of}".strip()[:48]


def _at(utc_s: float) -> float:
    """Matplotlib's days."""
    return utc_s / 86400.0


def _with_gaps(trace: Trace, step_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times = np.array(trace.times_s, float)
    values = np.array(trace.values, float)
    holes = np.flatnonzero(np.diff(times) > 1.5 * step_s) + 1
    times = np.insert(times, holes, times[holes] - step_s)
    return times / 86400.0, np.insert(values, holes, np.nan)


def _legend(axes: Axes, number: int) -> None:
    if number:
        axes.legend(
            fontsize="x-small", ncols=min(number, 4), loc="lower left", bbox_to_anchor=(0.0, 1.0),
            frameon=False, labelcolor=_INK,
        )  # fmt: skip


def _svg(draw: Callable[[Any], None], span: Span, height: float) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    # Text stays text: it is found by a search, and read out. Ids are the same in every run.
    style: Any = {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "svg.hashsalt": "bellrelay",
        "font.family": "sans-serif",
        "font.size": 9.0,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "grid.color": _INK,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8.6, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        axes.set_xlim(_at(span.start_s), _at(span.end_s))
        locator = AutoDateLocator(tz=UTC)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
        axes.grid(alpha=0.15)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = out.getvalue().replace(_INK, "currentColor")
    # Within a page: no prologue, and as wide as there is room.
    text = text[text.index("<svg") :]
    return re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", _no_height(text), count=1)


def _no_height(text: str) -> str:
    head, rest = text.split(">", 1)
    return re.sub(r' height="[^"]*"', "", head, count=1) + ">" + rest
