"""How to add a stage: what the page shows of files stands in them, and what it names is there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from bellrelay_gateware.prove import PROOFS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/how-to/gateware-stage.md"
TEXT = PAGE.read_text()


def lines(text: str) -> str:
    """Without what indents all of it."""
    return "\n".join(line.strip() for line in textwrap.dedent(text).splitlines() if line.strip())


def test_what_is_shown_of_a_file_stands_in_it() -> None:
    shown = re.findall(r"^```python\n# (\S+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert len(shown) == TEXT.count("```python")
    for name, fragment in shown:
        assert lines(fragment) in lines((ROOT / name).read_text()), (name, fragment)


def test_files_and_proofs_that_it_names_are_there() -> None:
    named = re.findall(r"`?((?:gateware|host|sim|tests)/[\w/]+\.py)`?", TEXT)
    assert len(set(named)) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []
    folders = ("gateware/bellrelay_gateware", "host/bellrelay/tags", "host/bellrelay/relay")
    beside = re.findall(r"`(\w+\.py)`", TEXT)
    assert [n for n in beside if not any((ROOT / folder / n).exists() for folder in folders)] == []
    wanted = re.findall(r"--only (\S+)", TEXT)
    assert set(wanted) <= {proof.name for proof in PROOFS}
    assert wanted != []
