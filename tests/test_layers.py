"""Imports run downwards only: the contracts of pyproject.toml, and that they leave nothing out."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOST_PACKAGES = {
    f"bellrelay.{folder.parent.name}" for folder in (ROOT / "host/bellrelay").glob("*/__init__.py")
}
# What each may import of the host; DESIGN, "Layers".
HOST_PACKAGES_OPEN_TO = {
    "gateware-imports-wire-alone": {"bellrelay.wire"},
    "simulation-imports": {"bellrelay.physics", "bellrelay.tags", "bellrelay.wire"},
}


@pytest.fixture(scope="module")
def contracts() -> dict[str, dict[str, Any]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract for contract in declared}


def lint_imports(config: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [program, "--config", config, "--no-cache"],
        cwd=config.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_are_kept() -> None:
    result = lint_imports(ROOT / "pyproject.toml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_breach_is_seen(tmp_path: Path) -> None:
    """The sieve has a bottom: `cli` imports `exits`, and a contract against that is broken."""
    config = tmp_path / "breach.toml"
    config.write_text(
        '[tool.importlinter]\nroot_packages = ["bellrelay"]\n'
        '[[tool.importlinter.contracts]]\nname = "breached"\ntype = "forbidden"\n'
        'source_modules = ["bellrelay.cli.main"]\nforbidden_modules = ["bellrelay.cli.exits"]\n'
    )
    result = lint_imports(config)
    assert result.returncode != 0
    assert "bellrelay.cli.main -> bellrelay.cli.exits" in result.stdout


@pytest.mark.parametrize("contract", HOST_PACKAGES_OPEN_TO)
def test_every_host_package_is_open_or_forbidden(
    contracts: dict[str, dict[str, Any]], contract: str
) -> None:
    forbidden = {
        name for name in contracts[contract]["forbidden_modules"] if name.startswith("bellrelay.")
    }
    assert forbidden == HOST_PACKAGES - HOST_PACKAGES_OPEN_TO[contract]


def test_every_host_package_but_the_command_line_stands_alone(
    contracts: dict[str, dict[str, Any]],
) -> None:
    sources = set(contracts["host-stands-alone"]["source_modules"])
    assert sources == HOST_PACKAGES - {"bellrelay.cli"}
