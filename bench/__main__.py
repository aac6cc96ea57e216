"""Runs every benchmark of this folder, one after the other, each in a process of its own.

    python -m bench [NAME ...]

Every one prints its figures with a ratio to something measured in the same run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main(names: list[str]) -> int:
    there = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    unknown = [n for n in names if n not in there]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(there)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or there:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, str(FOLDER / f"{name}.py")], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
