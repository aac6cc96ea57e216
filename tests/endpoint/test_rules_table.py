"""The table of rules names tests that are there, for every rule."""

import ast
import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "security-rules.md"
RULES = range(1, 28)


def rows():
    """Of the table: number of the rule, and its cells."""
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].isdigit():
            assert int(cells[0]) not in found, f"rule {cells[0]} twice"
            found[int(cells[0])] = cells[1:]
    return found


def names_in(path):
    """Names of the test functions in a file."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_rule_is_in_the_table_with_tests_that_exist():
    table = rows()
    assert list(table) == list(RULES)
    for rule, (words, where, tests) in table.items():
        assert words, rule
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
        assert named, rule
        for path, name in named:
            assert name in names_in(path), f"rule {rule}: {path}::{name}"
        for name in re.findall(r"`([a-z_.]+\.[a-z_]+)`", where):
            assert _is_there(f"bellrelay.{name}"), f"rule {rule}: {name}"


def _is_there(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        parent, _, last = name.rpartition(".")
        return last in vars(importlib.import_module(parent))
    return True


def test_tests_that_are_named_after_a_rule_are_of_a_rule_that_exists():
    for path in (ROOT / "tests").rglob("test_*.py"):
        for rule in re.findall(r"^def test_rules?_(\d+)_", path.read_text(), re.M):
            assert int(rule) in RULES, path
