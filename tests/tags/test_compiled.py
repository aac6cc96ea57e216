"""The cache of compiled loops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_LOOPS = {
    "inner.py": "from .compiled import compiled\n\n@compiled\ndef inner():\n    return 1\n",
    "outer.py": (
        "from .compiled import compiled\nfrom .inner import inner\n\n"
        "@compiled\ndef outer():\n    return inner()\n"
    ),
    "__init__.py": "",
}


def test_an_edit_in_a_callee_of_another_file_is_noticed(tmp_path: Path) -> None:
    import bellrelay.tags.compiled as compiled

    package = tmp_path / "loops"
    package.mkdir()
    (package / "compiled.py").write_text(Path(compiled.__file__).read_text())
    for name, text in _LOOPS.items():
        (package / name).write_text(text)

    def run() -> str:
        command = [sys.executable, "-c", "from loops.outer import outer; print(outer())"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.check_output(command, env=environment, text=True).strip()

    assert run() == "1"
    (package / "inner.py").write_text(_LOOPS["inner.py"].replace("return 1", "return 22"))
    assert run() == "22"


def test_an_edit_in_a_package_that_borrows_the_decorator_is_noticed(tmp_path: Path) -> None:
    package = tmp_path / "borrowed"
    package.mkdir()
    for name, text in _LOOPS.items():
        (package / name).write_text(text.replace("from .compiled", "from bellrelay.tags.compiled"))

    def run() -> str:
        command = [sys.executable, "-c", "from borrowed.outer import outer; print(outer())"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.check_output(command, env=environment, text=True).strip()

    assert run() == "1"
    (package / "inner.py").write_text((package / "inner.py").read_text().replace("1", "22"))
    assert run() == "22"
