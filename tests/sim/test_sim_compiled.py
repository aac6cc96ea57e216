"""The cache of compiled loops of the simulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bellrelay_sim.compiled as compiled

_FILES = {
    "__init__.py": "",
    "timing.py": "CLOCKS = 1\n",
    "loop.py": (
        "from .compiled import njit\nfrom .timing import CLOCKS\n\n"
        "@njit(cache=True)\ndef loop():\n    return CLOCKS\n"
    ),
}


def test_a_constant_of_another_file_is_not_an_old_one(tmp_path: Path) -> None:
    package = tmp_path / "loops"
    package.mkdir()
    (package / "compiled.py").write_text(Path(compiled.__file__).read_text())
    for name, text in _FILES.items():
        (package / name).write_text(text)

    def run() -> str:
        command = [sys.executable, "-c", "from loops.loop import loop; print(loop())"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.check_output(command, env=environment, text=True).strip()

    assert run() == "1"
    (package / "timing.py").write_text("CLOCKS = 22\n")
    assert run() == "22"
