"""Calls of one verb: with its JSON, or with the error that a person sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main


def app_of(register: Callable[[typer.Typer], None]) -> typer.Typer:
    """A program with this verb alone."""
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def written(folder: Path, content: object) -> Path:
    """A YAML file with this content."""
    path = folder / "file.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def json_of(app: typer.Typer, verb: str, *words: object) -> Any:
    """What the verb prints with --json; it must succeed."""
    ran = CliRunner().invoke(app, [verb, *map(str, words), "--json"], catch_exceptions=False)
    assert ran.exit_code == ExitCode.OK, ran.output
    return json.loads(ran.stdout)


def failure_of(capsys: pytest.CaptureFixture[str], verb: str, *words: object) -> tuple[int, str]:
    """Exit code and stderr of a whole call."""
    with pytest.raises(SystemExit) as ended:
        main([verb, *map(str, words)])
    return int(ended.value.code or 0), capsys.readouterr().err
