"""Live progress of a run, on stderr."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["RunProgress"]


class RunProgress:
    """A bar over the slots with the outcomes so far; nothing if quiet."""

    def __init__(self, slots: int, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:5.1f} %"),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet,
        )
        self._task = self._progress.add_task("simulating", total=slots, text="", start=False)

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(text, highlight=False)

    def update(self, slots: int, psi_minus: int, psi_plus: int, error_rate_z: float) -> None:
        """Slots simulated, and what has been announced and checked of them."""
        self._progress.start_task(self._task)
        errors = "-" if error_rate_z != error_rate_z else f"{100 * error_rate_z:.2f} %"
        text = f"psi- {psi_minus:,}  psi+ {psi_plus:,}  E_Z {errors}"
        self._progress.update(self._task, completed=slots, text=text)
