"""`bellrelay network measure`: what work takes on this machine, for the model of a network."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["measure"]

_PAIR_BLOCKS = 4
_FEW_ANNOUNCED, _MANY_ANNOUNCED = 400_000, 1_600_000
_FAR_S = 0.1


def measure(
    out: Annotated[Path, typer.Option(help="File to write.", metavar="RATES.yaml")],
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this part anew, and keep the others of the file.",
            metavar="announcements|broker|blocks|kme|standing",
        ),
    ] = None,
) -> None:
    """Measure what announcements, blocks, messages and keys take, and write it down.

    Takes some minutes, best while the machine has nothing else to do: processor times are nearly
    the same on a busy one, the time of a step on disk is not. Needs nats-server and the extra
    `cluster` for the broker's part.
    """
    from bellrelay.cli.measured_announcements import announcement_rates
    from bellrelay.cli.measured_broker import broker_rates
    from bellrelay.cli.measured_kmes import kme_rates
    from bellrelay.cli.measured_standing import standing_rates
    from bellrelay.control.capacity.rates_file import Rates, load_rates
    from bellrelay.settings.load import check

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "announcements": announcement_rates,
        "broker": lambda: {"broker": broker_rates()},
        "blocks": lambda: {"blocks": block_rates()},
        "kme": lambda: {"kme": kme_rates()},
        "standing": lambda: {"standing": standing_rates()},
    }
    wanted = only or list(parts)
    for part in wanted:
        if part not in parts:
            raise typer.BadParameter(f"{part!r}; there are {', '.join(parts)}", param_hint="--only")
    values: dict[str, Any] = load_rates(out).model_dump() if only else {}
    values["machine"] = machine()
    values["command"] = "bellrelay network measure"
    for part in wanted:
        typer.echo(f"measuring {part}", err=True)
        values.update(parts[part]())
    check(Rates, values, str(out))
    out.write_text(yaml_of(values))


def yaml_of(values: dict[str, Any]) -> str:
    """The file's text."""
    import yaml

    return (
        "# What work takes on one machine, seconds: written by `bellrelay network measure`.\n"
        "# What each key is: docs/reference/network-model.md.\n"
        + yaml.safe_dump(_rounded(values), sort_keys=False)
    )


def machine() -> dict[str, Any]:
    """This one."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def block_rates() -> dict[str, float]:
    """Blocks of two lengths for the processor times, and a long line for the messages.

    With one block at a time, what a far peer adds to each is half a round trip for every message
    that waits for the one before it.
    """
    from bellrelay.cli.measured_pair import distilled

    few, many = (
        distilled(announced, _PAIR_BLOCKS, 0.0) for announced in (_FEW_ANNOUNCED, _MANY_ANNOUNCED)
    )
    few_s, many_s = (sum(r.cpu_s.values()) / 2.0 / _PAIR_BLOCKS for r in (few, many))
    each = max(0.0, (many_s - few_s) / (_MANY_ANNOUNCED - _FEW_ANNOUNCED))
    near, far = (distilled(_FEW_ANNOUNCED, 2, rtt_s, 1) for rtt_s in (0.0, _FAR_S))
    added = max(0.0, far.wall_s - near.wall_s) / 2.0
    return {
        "block_s": max(0.0, few_s - _FEW_ANNOUNCED * each),
        "announced_s": each,
        "messages": max(1.0, round(2.0 * added / _FAR_S)),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.machine()


def _rounded(value: Any) -> Any:
    """To three digits: more of them nobody has measured."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value
