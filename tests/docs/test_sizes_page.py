"""The page of default sizes: its values are the code's, and all that matter are on it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "sizes.md"
ROW = re.compile(r"^\| `(bellrelay\.[\w.]+)` \| (\S+) \| (.+) \| `(.+)` \|$", re.MULTILINE)
WANTED = (
    "max_consumers",
    "retention_mb",
    "segment_mb",
    "batch_kib",
    "linger_ms",
    "max_in_flight",
    "_WAITING",
    "workers",
    "warm_up",
    "reserve_bits",
    "refill_share",
    "requests_per_s",
    "burst",
    "open_requests",
    "connections",
    "low_water",
)


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall(PAGE.read_text())


def declared(path: str) -> Any:
    """The default of a key of a configuration's model, or a constant of a module."""
    words = path.split(".")
    for end in range(len(words) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:end]))
        except ModuleNotFoundError:
            continue
        for word in words[end:]:
            fields = getattr(found, "model_fields", {})
            found = fields[word].default if word in fields else getattr(found, word)
        return found
    raise LookupError(path)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].rpartition(".")[2])
def test_a_value_of_the_page_is_the_codes(row: tuple[str, str, str, str]) -> None:
    path, value, why, command = row
    assert yaml.safe_load(value) == declared(path)
    assert "@" not in why
    assert command.startswith(("bellrelay ", "python bench/"))
    if command.startswith("python "):
        assert (PAGE.parents[2] / command.split()[1]).is_file()


def test_all_that_matter_are_on_it_and_every_row_is_read() -> None:
    text = PAGE.read_text()
    names = {row[0].rpartition(".")[2] for row in rows()}
    assert names >= set(WANTED)
    tables = [x for x in text.splitlines() if x.startswith("| `")]
    assert len(tables) == len(rows()) == len({row[0] for row in rows()})


def test_a_value_that_was_changed_in_the_code_alone_is_found(monkeypatch: Any) -> None:
    from bellrelay.endpoint import daemon

    monkeypatch.setattr(daemon, "_WAITING", 5)
    path, value, _, _ = next(row for row in rows() if row[0].endswith("_WAITING"))
    assert yaml.safe_load(value) != declared(path)
