"""The terminal view without a terminal: what it shows, what keys do, how narrow it may be.

With BELLRELAY_PICTURES set to a folder, the picture of the documentation is written there.
"""

import asyncio
import copy
import os
import re
from pathlib import Path

import pytest
from health_pages import HealthPages, recorded
from textual.widgets import DataTable, Static

from bellrelay.observe.daemon_status import Condition
from bellrelay.observe.slo_file import load_slo_file
from bellrelay.observe.status_file import StatusFile
from bellrelay.observe.status_report import StatusAsker
from bellrelay.observe.status_view import StatusView

ROOT = Path(__file__).resolve().parents[2]
SLO = load_slo_file(ROOT / "deploy" / "slo.yaml")
SIZE = (118, 36)
LONGEST_S = 60.0
RECORDED_NS = recorded("cut")["alice"]["last_block"]["last_key_utc_ns"] + 4 * 10**9
"""When that was said."""


def shown(app, name):
    return str(app.query_one(name, Static).render())


def cells(app):
    table = app.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]


async def until(pilot, true):
    end = asyncio.get_running_loop().time() + LONGEST_S
    while not true():
        assert asyncio.get_running_loop().time() < end
        await pilot.pause(0.05)


def viewed(said, look, size=SIZE, seconds=1.0):
    """Run a view of recorded daemons, and look at it once it shows them."""

    async def run():
        with HealthPages(said) as pages:
            file = StatusFile(**pages.values())
            async with StatusAsker(file, SLO, lambda: RECORDED_NS) as asker:
                app = StatusView(asker.ask, seconds)
                async with app.run_test(size=size) as pilot:
                    await until(pilot, lambda: app.report is not None and cells(app))
                    await look(app, pilot, pages)

    asyncio.run(run())


def test_everybody_and_what_is_wrong():
    async def look(app, pilot, _pages):
        rows = cells(app)
        assert [row[0] for row in rows] == [
            "charles", "diana", "alice", "bob", "kme-alice", "kme-bob"
        ]  # fmt: skip
        assert "▲ degraded" in shown(app, "#head")
        # The page that says what to do, with its address.
        faults = shown(app, "#faults")
        assert "fibre-cut of alice: nothing comes from an arm" in faults
        assert "https://runbooks.example.net/fibre-cut.md" in faults
        folder = os.environ.get("BELLRELAY_PICTURES")
        if folder:
            await pilot.press("down", "down")
            await pilot.pause()
            # Without the address of a font: it would be asked for.
            picture = re.sub(r',?\s*url\("https?:[^;]*', "", app.export_screenshot())
            Path(folder, "status-watch.svg").write_text(picture)

    viewed(recorded("cut"), look)


def test_it_is_asked_for_again_by_itself():
    async def look(app, pilot, pages):
        assert cells(app)[3][2].endswith("running")
        # He dies, and is there again: nobody presses a key.
        bob, pages.said["bob"] = pages.said["bob"], None
        await until(pilot, lambda: cells(app)[3][2] == "✖ unreachable")
        assert "✖ unreachable" in shown(app, "#head")
        pages.said["bob"] = bob
        await until(pilot, lambda: cells(app)[3][2].endswith("running"))

    viewed(recorded("cut"), look, seconds=0.1)


def test_keys_reach_everything():
    async def look(app, pilot, pages):
        table = app.query_one(DataTable)
        assert table.has_focus
        assert "charles" in shown(app, "#detail")
        await pilot.press("down", "down")
        await until(pilot, lambda: "last good block" in shown(app, "#detail"))
        # To the next that is not well, and around.
        await pilot.press("home")
        await pilot.press("w")
        assert app.report.daemons[table.cursor_row].condition is not Condition.WELL
        # Paused, it stays as it is; then it goes on.
        await pilot.press("p")
        await pilot.pause()
        assert "paused" in shown(app, "#head")
        before = app.report
        await pilot.pause(0.5)
        assert app.report is before
        await pilot.press("r")
        await until(pilot, lambda: app.report is not before)
        await pilot.press("p")
        await pilot.pause()
        assert "paused" not in shown(app, "#head")
        theme = app.theme
        await pilot.press("d")
        assert app.theme != theme
        # All of one is read by keys, too.
        await pilot.press("tab")
        await pilot.pause()
        assert app.query_one("#one").has_focus
        await pilot.press("q")

    viewed(recorded("cut"), look, seconds=0.1)


def test_the_cursor_stays_where_it_was():
    async def look(app, pilot, _pages):
        await pilot.press("down", "down", "down")
        before = app.report
        await until(pilot, lambda: app.report is not before)
        await pilot.pause()
        assert app.query_one(DataTable).cursor_row == 3
        assert shown(app, "#detail").startswith("bob")

    viewed(recorded("cut"), look, seconds=0.1)


@pytest.mark.parametrize("size", [(40, 24), (60, 16)])
def test_a_narrow_terminal_shows_who_is_not_well(size):
    async def look(app, pilot, _pages):
        await pilot.pause()
        table = app.query_one(DataTable)
        assert len(table.columns) == 3
        rows = cells(app)
        assert rows[2][1].startswith("▲")
        # Name and state fit; what is left may be scrolled to.
        widths = [column.get_render_width(table) for column in table.ordered_columns[:2]]
        assert sum(widths) < size[0]

    viewed(recorded("cut"), look, size)


def test_wide_again_shows_more():
    async def look(app, pilot, _pages):
        assert len(app.query_one(DataTable).columns) == 3
        await pilot.resize_terminal(120, 30)
        await until(pilot, lambda: len(app.query_one(DataTable).columns) == 5)

    viewed(recorded("cut"), look, (40, 24))


def test_what_fails_is_told_and_does_not_end_it():
    said = copy.deepcopy(recorded("cut"))

    async def run():
        fail = False

        with HealthPages(said) as pages:
            async with StatusAsker(StatusFile(**pages.values()), SLO) as asker:

                async def ask():
                    if fail:
                        raise ValueError("no such thing")
                    return await asker.ask()

                app = StatusView(ask, 0.1)
                async with app.run_test(size=SIZE) as pilot:
                    await until(pilot, lambda: app.report is not None)
                    fail = True
                    await until(pilot, lambda: "what is shown is old" in shown(app, "#head"))
                    assert "no such thing" in shown(app, "#head")
                    fail = False
                    await until(pilot, lambda: "degraded" in shown(app, "#head"))

    asyncio.run(run())
