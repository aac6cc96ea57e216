"""Rules about the tree itself that no compiler holds."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from bellrelay.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("host", "gateware", "sim", "boards", "tests", "bench", "deploy", "docs", ".ci")
NOT_OURS = {"__pycache__", "sim_build", "obj_dir", "build"}
# A name that does not say what is inside collects everything.
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}
# Built from pieces, so that this file does not match itself.
MACHINE_PATH = re.compile(
    "|".join(re.escape("/" + name + "/") for name in ("work", "root", "Users"))
    + "|/" + r"home/\w"
    + "|" + re.escape("../" + "shared")
)  # fmt: skip
MARKDOWN_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def files() -> list[Path]:
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    at_the_top = (path for path in ROOT.iterdir() if not path.name.startswith("."))
    return sorted(
        path
        for path in (*inside, *at_the_top)
        if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts)
    )


def pages() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def commands(page: Path) -> list[str]:
    """What is typed in a page's `sh` and `console` blocks, without prompt, comment, line breaks."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", page.read_text(), re.M | re.S)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("$ ") for line in lines if line and not line.startswith("#")]


def test_the_tree_was_found() -> None:
    assert {"pyproject.toml", "Makefile", "README.md", "test_repository.py"} <= {
        path.name for path in files()
    }


def test_names_say_what_is_inside() -> None:
    empty_names = [
        str(path.relative_to(ROOT))
        for path in files()
        if NAMES_THAT_SAY_NOTHING & {part.split(".")[0] for part in path.relative_to(ROOT).parts}
    ]
    assert empty_names == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    found = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a recording or a picture
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), 1)
            if MACHINE_PATH.search(line)
        ]
    assert found == []


def test_test_files_have_unique_names_and_no_packages() -> None:
    tests = list((ROOT / "tests").rglob("*.py"))
    names = Counter(path.name for path in tests if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
    assert "__init__.py" not in names


def test_every_source_folder_is_a_package() -> None:
    without = {
        str(path.parent.relative_to(ROOT))
        for folder in ("host", "gateware", "sim", "boards")
        for path in (ROOT / folder).glob("bellrelay*/**/*.py")
        if not (path.parent / "__init__.py").is_file()
    }
    assert without == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    verbs = {verb.name for verb in VERBS}
    unknown = []
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            typed = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            unknown += [command for word in typed if word not in targets]
        if Path(words[0]).name == "bellrelay":
            typed = [word for word in words[1:] if not word.startswith("-")]
            unknown += [command for word in typed[:1] if word not in verbs]
    assert unknown == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = [match[0] for match in MARKDOWN_LINK.findall(page.read_text())]
    broken = [
        target
        for target in targets
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()
    ]
    assert broken == []


def test_ci_is_executable() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
