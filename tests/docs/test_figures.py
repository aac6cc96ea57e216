"""The pictures of the pages on the site are made by commands, and those commands run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_figures", DOCS / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_shown_and_made_by_a_command_beside_it(figures: ModuleType) -> None:
    text = (DOCS / "physics.md").read_text()
    shown = set(re.findall(r"!\[[^\]]+\]\(figures/([a-z-]+)\.png\)", text))
    made = set(re.findall(r"docs/figures\.py --only ([a-z-]+)", text))
    made |= set(re.findall(r"--plot docs/figures/([a-z-]+)\.png", text))
    assert shown == made == {path.stem for path in (DOCS / "figures").iterdir()}
    assert made - {"rates"} == set(figures.FIGURES)


def test_a_picture_is_drawn_anew(figures: ModuleType, tmp_path: Path) -> None:
    for name in figures.FIGURES:
        drawn = figures.draw(name, tmp_path).read_bytes()
        committed = (DOCS / "figures" / f"{name}.png").read_bytes()
        assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
        # Width and height; what lies between differs with fonts and versions.
        assert drawn[16:24] == committed[16:24]
