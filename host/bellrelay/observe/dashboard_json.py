"""Dashboards of Grafana, made by its own library from :mod:`.dashboard_panels`.

    python -m bellrelay.observe.dashboard_json deploy/grafana

writes one JSON file each, to be provisioned or imported. Needs the extra ``dev``.
"""

from __future__ import annotations

import string
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode, VizOrientation
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
)

from .dashboard_panels import DASHBOARDS, DashboardPage, Panel

__all__ = ["dashboard_json"]

_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_WIDTH = 24
_HEIGHT = 8
_LOW = 4
_BUILDERS: dict[str, Any] = {
    "graph": timeseries.Panel,
    "number": stat.Panel,
    "state": statetimeline.Panel,
}


def dashboard_json(page: DashboardPage) -> str:
    """The JSON of a dashboard, as Grafana imports it."""
    built = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags(["bellrelay"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(
            dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus")
        )
    )
    y = 0
    for row in page.rows:
        built = built.with_row(dashboard.Row(row.title).grid_pos(GridPos(h=1, w=_WIDTH, x=0, y=y)))
        y += 1
        height = _LOW if all(p.kind == "number" for p in row.panels) else _HEIGHT
        width = _WIDTH // len(row.panels)
        for at, panel in enumerate(row.panels):
            place = GridPos(h=height, w=width, x=at * width, y=y)
            built = built.with_panel(_panel(panel).grid_pos(place))
        y += height
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _panel(panel: Panel) -> Any:
    builder = (
        _BUILDERS[panel.kind]()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
    )
    for letter, query in zip(string.ascii_uppercase, panel.queries, strict=False):
        builder = builder.with_target(
            prometheus.Dataquery()
            .ref_id(letter)
            .expr(query.expr)
            .legend_format(query.legend or "__auto")
            .datasource(_SOURCE)
        )
    if panel.limit is not None:
        colours = ("green", "red") if panel.bad_above else ("red", "green")
        steps = [Threshold(color=colours[0]), Threshold(value=panel.limit, color=colours[1])]
        thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
        builder = builder.thresholds(thresholds)
        if panel.kind == "graph":
            style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
            builder = builder.thresholds_style(style)
    if panel.kind == "number":
        last = common.ReduceDataOptions().calcs(["lastNotNull"])
        builder = builder.orientation(VizOrientation.AUTO).reduce_options(last)
    return builder


def main(folder: Path) -> None:
    """Write all dashboards into a folder."""
    for page in DASHBOARDS:
        (folder / f"{page.uid}.json").write_text(dashboard_json(page), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
