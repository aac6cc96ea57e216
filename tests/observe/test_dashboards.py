"""The dashboards' files, and whether Prometheus understands what they ask.

Whether every query finds data in a run: test_scraped_run.py.
"""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from bellrelay.observe.dashboard_json import dashboard_json
from bellrelay.observe.dashboard_panels import DASHBOARDS

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana"


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.uid)
def test_what_is_committed_is_what_the_code_gives(page):
    assert (FOLDER / f"{page.uid}.json").read_text() == dashboard_json(page), (
        "python -m bellrelay.observe.dashboard_json deploy/grafana"
    )


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.uid)
def test_panels_lie_beside_each_other_and_say_what_they_show(page):
    values = json.loads(dashboard_json(page))
    taken = set()
    for panel in values["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            letters = [target["refId"] for target in panel["targets"]]
            assert letters == sorted(set(letters)) != []
    titles = [p.title for p in page.panels]
    assert len(set(titles)) == len(titles)


@pytest.mark.needs_server
def test_prometheus_understands_every_query(tmp_path, requires_program):
    promtool = requires_program("promtool", "apt-get install prometheus")
    queries = [q.expr for page in DASHBOARDS for panel in page.panels for q in panel.queries]
    rules = [{"record": f"q:{i}", "expr": expr} for i, expr in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(file.read_text().replace(")", "", 1))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert done.returncode != 0
