"""A table on the terminal: text to the left, numbers to the right."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["print_table"]


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text: Collection[str]
) -> None:
    """Print it; the first column is text, and so are those that ``text`` names."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        left = i == 0 or column in text
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
