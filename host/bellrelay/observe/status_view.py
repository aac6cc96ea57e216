"""The terminal view of `bellrelay status --watch`: everybody in a table, one of them in full."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import DataTable, Footer, Static

from .daemon_status import Condition, DaemonStatus, utc_text
from .status_report import StatusReport

__all__ = ["StatusView"]

_SECONDS = 1.0
_NARROW = 80
_MARKS = {
    Condition.WELL: ("●", "green"),
    Condition.DEGRADED: ("▲", "dark_orange"),
    Condition.UNREACHABLE: ("✖", "red"),
}
"""Of a state: a mark and a colour, since not everybody sees both."""
_DARK, _LIGHT = "textual-dark", "textual-light"


class StatusView(App[None]):
    """Runs until q is pressed.

    Parameters
    ----------
    ask
        Gives a report; called once a second, and not again before it is done.
    seconds
        From one question to the next.

    Attributes
    ----------
    report : StatusReport or None
        The newest.
    """

    TITLE = "bellrelay status"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: auto; padding: 0 1; background: $panel; }
    #faults { height: auto; max-height: 40%; padding: 0 1; }
    #everybody { height: 1fr; min-height: 4; }
    #one { height: 1fr; min-height: 4; border-top: solid $primary; padding: 0 1; }
    #one:focus { border-top: solid $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("r", "again", "Ask now"),
        ("p", "pause", "Pause"),
        ("w", "next_wrong", "Next that is not well"),
        ("d", "dark", "Dark, light"),
    ]

    def __init__(
        self, ask: Callable[[], Awaitable[StatusReport]], seconds: float = _SECONDS
    ) -> None:
        super().__init__()
        self._ask = ask
        self._seconds = seconds
        self._asking = False
        self._paused = False
        self._narrow: bool | None = None
        self._failed = ""
        self.report: StatusReport | None = None

    def compose(self) -> ComposeResult:
        """Head, faults, everybody, and one in full."""
        yield Static("asks ...", id="head")
        yield Static("", id="faults")
        with Vertical():
            yield DataTable(id="everybody", cursor_type="row", zebra_stripes=True)
            with VerticalScroll(id="one"):
                yield Static("", id="detail")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self.theme = _DARK
        self.query_one(DataTable).focus()
        self.set_interval(self._seconds, self._tick)
        self._tick()

    def on_resize(self, event: events.Resize) -> None:
        """Fewer columns where there is no room."""
        narrow = event.size.width < _NARROW
        if narrow != self._narrow:
            self._narrow = narrow
            self._show()

    # ------------------------------------------------------------------------------- asking

    def _tick(self) -> None:
        if not self._paused:
            self.action_again()

    def action_again(self) -> None:
        """Ask now, unless an answer is under way."""
        if not self._asking:
            self._asking = True
            self.run_worker(self._take(), exit_on_error=False)

    async def _take(self) -> None:
        try:
            self.report = await self._ask()
            self._failed = ""
        except Exception as error:
            # The view stays: what it shows is then old, and it says so.
            self._failed = f"{type(error).__name__}: {error}"
        finally:
            self._asking = False
        self._show()

    # ------------------------------------------------------------------------------ showing

    def action_pause(self) -> None:
        """Hold what is shown, to read it; again: go on."""
        self._paused = not self._paused
        self._show()

    def action_dark(self) -> None:
        """Dark or light."""
        self.theme = _LIGHT if self.theme == _DARK else _DARK

    def action_next_wrong(self) -> None:
        """Put the cursor on the next one that is not well."""
        if self.report is None:
            return
        table = self.query_one(DataTable)
        daemons = self.report.daemons
        for step in range(1, len(daemons) + 1):
            at = (table.cursor_row + step) % len(daemons)
            if daemons[at].condition is not Condition.WELL:
                table.move_cursor(row=at)
                return

    def on_data_table_row_highlighted(self, _event: DataTable.RowHighlighted) -> None:
        """Show it in full."""
        self._show_one()

    def _show(self) -> None:
        report = self.report
        self.query_one("#head", Static).update(self._head())
        if report is None:
            return
        self.query_one("#faults", Static).update(_faults(report))
        table = self.query_one(DataTable)
        row = table.cursor_row
        table.clear(columns=True)
        names = ("Who", "State") if self._narrow else ("Who", "What", "State", "Since (UTC)")
        table.add_columns(*names, "What it says")
        for daemon in report.daemons:
            table.add_row(*self._row(daemon))
        table.move_cursor(row=min(row, len(report.daemons) - 1), scroll=False)
        self._show_one()

    def _head(self) -> Text:
        if self._failed:
            return Text(f"no answer, what is shown is old: {self._failed}", style="bold red")
        if self.report is None:
            return Text("asks ...")
        mark, colour = _MARKS[self.report.condition]
        said = Text(f"{mark} {self.report.condition}", style=f"bold {colour}")
        said.append(f"  {utc_text(self.report.utc_ns)}", style="bold")
        if self._paused:
            said.append("  paused", style="bold reverse")
        if self.report.prometheus:
            said.append(f"  {self.report.prometheus}", style="red")
        return said

    def _row(self, daemon: DaemonStatus) -> list[Text]:
        mark, colour = _MARKS[daemon.condition]
        state = Text(f"{mark} {daemon.state or daemon.condition}", style=colour)
        worst = next((f.title for f in daemon.faults), "") or next(iter(daemon.wrong), "")
        says = Text(worst, style=colour) if worst else Text(_short(daemon))
        if self._narrow:
            return [Text(daemon.name, style="bold"), state, says]
        what = f"{daemon.kind} (simulation)" if daemon.simulated else str(daemon.kind)
        since = "" if daemon.since_utc_ns is None else utc_text(daemon.since_utc_ns)
        since = since.removesuffix(" UTC")
        return [Text(daemon.name, style="bold"), Text(what), state, Text(since), says]

    def _show_one(self) -> None:
        report = self.report
        if report is None or not report.daemons:
            return
        at = min(max(self.query_one(DataTable).cursor_row, 0), len(report.daemons) - 1)
        self.query_one("#detail", Static).update(_detail(report.daemons[at]))


def _short(daemon: DaemonStatus) -> str:
    """What fits into a line: what matters most of each kind."""
    wanted = ("slot clock", "counts", "key", "relay")
    says = dict(daemon.says)
    found = [says[label] for label in wanted if label in says]
    return found[0] if found else next((f"{label}: {text}" for label, text in daemon.says), "")


def _faults(report: StatusReport) -> Text:
    return Text("\n").join(
        Text.assemble(
            (fault.name, "bold red"),
            f" of {fault.subject}" if fault.subject else "",
            f": {fault.title}  ",
            (fault.runbook, "underline"),
        )
        for fault in report.faults
    )


def _detail(daemon: DaemonStatus) -> Text:
    lines = [Text.assemble((daemon.name, "bold"), (f"  {daemon.kind}, {daemon.url}", "dim"))]
    lines += [Text(wrong, style="red") for wrong in daemon.wrong]
    for fault in daemon.faults:
        lines.append(Text(f"{fault.name}: {fault.title}", style="red"))
        lines.append(Text.assemble("    ", (fault.runbook, "underline")))
    lines += [Text.assemble((f"{label}: ", "dim"), text) for label, text in daemon.says]
    return Text("\n").join(lines)
