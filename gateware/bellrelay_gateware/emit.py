"""``python -m bellrelay_gateware.emit``: the relay as Verilog, for a geometry given as options."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args

from amaranth.back import verilog
from amaranth.hdl import Signal, Value

from bellrelay.wire.geometry import BoardGeometry

from .relay import FrontEnd, Relay
from .relay_uart import RelayUart

__all__ = ["main", "relay_verilog"]


def relay_verilog(
    geometry: BoardGeometry,
    *,
    front_end: FrontEnd = "codes",
    git_revision: int = 0,
    name: str = "relay",
    uart: tuple[int, int] | None = None,
) -> str:
    """Verilog of the relay, one module ``name`` with ``clk`` and ``rst`` at the top.

    Parameters
    ----------
    uart
        Clock in hertz and baud: the link is then a serial line instead of byte streams.
    """
    top: Relay | RelayUart = Relay(geometry, front_end=front_end, git_revision=git_revision)
    if uart is not None:
        top = RelayUart(top, clock_hz=uart[0], baud=uart[1])
    ports = {}
    for path, _, value in top.signature.flatten(top):
        cast = Value.cast(value)
        # The ready of a stream that is always ready is a constant, and no port.
        if isinstance(cast, Signal):
            ports["_".join(map(str, path))] = (cast, None)  # what drives it gives its direction
    # Without source lines: the text is the same wherever it is made, and is a key of caches.
    return str(
        verilog.convert(top, name=name, ports=ports, emit_src=False, strip_internal_attrs=True)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0, or 2 with one line on what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bellrelay_gateware.emit", description=__doc__)
    parser.add_argument("--json", type=Path, help="file with a geometry as a JSON object")
    defaults = asdict(BoardGeometry())
    for field in fields(BoardGeometry):
        default = defaults[field.name]
        parser.add_argument(
            "--" + field.name.replace("_", "-"), type=type(default), help=f"default {default}"
        )
    parser.add_argument("--front-end", choices=get_args(FrontEnd), default="codes")
    parser.add_argument("--git-revision", type=lambda s: int(s[:8], 16), default=0)
    parser.add_argument("--uart", nargs=2, type=int, metavar=("CLOCK_HZ", "BAUD"))
    parser.add_argument("--name", default="relay", help="module name")
    parser.add_argument("--output", type=Path, help="default: standard output")
    options = vars(parser.parse_args(arguments))
    try:
        given = json.loads(options["json"].read_text()) if options["json"] else {}
        given |= {f: options[f] for f in defaults if options[f] is not None}
        text = relay_verilog(
            BoardGeometry(**given),
            front_end=options["front_end"],
            git_revision=options["git_revision"],
            name=options["name"],
            uart=tuple(options["uart"]) if options["uart"] else None,
        )
        if options["output"]:
            options["output"].write_text(text)
        else:
            sys.stdout.write(text)
    except (OSError, ValueError, TypeError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
