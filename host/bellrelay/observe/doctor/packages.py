"""Packages and programs that this configuration needs."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Iterator

from bellrelay.settings.extras import EXTRA_OF_MODULE
from bellrelay.settings.model import FileModel

from .finding import Finding, failed, passed
from .needs import Package, Program

__all__ = ["check_packages", "check_programs"]

_CHECK = "packages"


def check_packages(packages: Iterable[Package]) -> Iterator[Finding]:
    """Whether they are installed; none of them is imported."""
    for package in packages:
        if importlib.util.find_spec(package.module) is not None:
            yield passed(_CHECK, f"{package.key}: {package.module} is installed")
            continue
        extra = EXTRA_OF_MODULE[package.module]
        missing = ModuleNotFoundError(
            f"{package.key} needs the package {package.module!r}", name=package.module
        )
        yield failed(_CHECK, missing, f"pip install 'bellrelay[{extra}]'")


def check_programs(config: FileModel, programs: Iterable[Program]) -> Iterator[Finding]:
    """Whether they would be found when they are wanted."""
    for program in programs:
        found = shutil.which(program.name)
        if found is not None:
            yield passed(_CHECK, f"{program.key}: {found}")
            continue
        error = config.error(program.key, program.name, "a program that is found and may be run")
        yield failed(_CHECK, error, f"install it, or write its whole path into {program.key}")
