"""What all tests share: programs that may be absent, Verilator on PATH, hypothesis' profile."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: the first example pays for a compilation by numba. print_blob: a failure that only
# another machine has seen can be replayed here.
settings.register_profile(
    "bellrelay",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("bellrelay")


def _missing(reason: str) -> None:
    """Skip, but fail where BELLRELAY_CI=1 says that everything has been installed."""
    if os.environ.get("BELLRELAY_CI") == "1":
        pytest.fail(f"{reason} (BELLRELAY_CI=1: not skipped)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """Call it with what is missing and how to install it: skips the test, but fails in CI."""
    return _missing


@pytest.fixture(scope="session")
def requires_program() -> Callable[[str, str], str]:
    """Call it with a program and the line that installs it: gives its path, or skips the test."""

    def require(name: str, install_line: str) -> str:
        path = shutil.which(name)
        if path is None:
            _missing(f"{name} is not installed: {install_line}")
        assert path is not None
        return path

    return require


@pytest.fixture(scope="session")
def verilator_on_path() -> Iterator[dict[str, str]]:
    """The environment in which Verilator runs, in `os.environ` too while the session lasts.

    cocotb's runner looks for `verilator` in the PATH of this process.
    """
    from bellrelay_sim.verilator_tool import VerilatorMissing, verilator_environment

    try:
        environment = verilator_environment()
    except VerilatorMissing as error:
        _missing(str(error))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture
def unit_instance(tmp_path: Path) -> Callable[[Path, str], Path]:
    """Call it with a unit's template and an instance's name: the instance, its program there."""

    def instance(template: Path, name: str) -> Path:
        path = tmp_path / template.name.replace("@", f"@{name}")
        text = template.read_text()
        assert "/usr/bin/bellrelay " in text
        path.write_text(text.replace("/usr/bin/bellrelay ", "/bin/true "))
        return path

    return instance


@pytest.fixture
def systemd_passes(requires_program: Callable[[str, str], str]) -> Callable[[Path], None]:
    """Call it with a unit that systemd must find no fault in, and little exposure."""

    def check(unit: Path) -> None:
        program = requires_program("systemd-analyze", "apt-get install systemd")
        # With an unknown key it says so, and yet exits 0: both must be right.
        words = [program, "verify", "--recursive-errors=no", str(unit)]
        run = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        words = [program, "security", "--offline=true", "--threshold=20", str(unit)]
        run = subprocess.run(words, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout

    return check
