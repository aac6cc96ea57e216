"""The tables that `bellrelay plan` prints for a person, and progress while it works."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from bellrelay.cli.text_table import print_table
from bellrelay.control.network_plan import OptionPlan

__all__ = ["print_plan", "progress"]


def progress(plans: Iterable[OptionPlan], options: int) -> Iterator[OptionPlan]:
    """The plans, with a bar on stderr where a person watches."""
    if not sys.stderr.isatty():
        yield from plans
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(
        plans,
        total=options,
        description="options",
        console=Console(stderr=True),
        transient=True,
    )


def print_plan(report: dict[str, Any]) -> None:
    """Options against each other, then pairs and relays of each."""
    currency, options = report["currency"], report["options"]
    _table(
        "options",
        ["option", "worst pair", "less a relay", "bit/s", f"{currency} once", "a year", "h/month"],
        [
            [
                o["name"],
                _percent(o["worst_satisfied"]),
                _percent(o["worst_satisfied_after_loss"]),
                _short(o["bits_per_s"]),
                f"{o['cost']['price']:.0f}",
                f"{o['cost']['running_per_year']:.0f}",
                _short(o["hours_per_month"]),
            ]
            for o in options
        ],
    )
    for option in options:
        _table(
            f"{option['name']}: pairs",
            ["pair", "wants, bit/s", "gets", "of it", "over"],
            [_pair(pair) for pair in option["pairs"]],
        )
        _table(
            f"{option['name']}: time of the relays",
            ["relay", "serves", "switches", "idle"],
            [_relay(name, relay) for name, relay in option["relays"].items()],
        )
    dark = {
        (link["a"], link["b"], link["relay"], link["aborted"])
        for option in options
        for link in option["links"]
        if link["aborted"]
    }
    for a, b, relay, why in sorted(dark):
        print(f"no key from {a} to {b} over {relay}: {why}")
    epsilon = report["epsilon"]
    ladders = "the best ladders" if report["optimised"] else "the file's ladder"
    print(
        f"a model's figures with {ladders}: blocks of {report['pulses']:.3g} pairs, secrecy "
        f"{epsilon['secrecy']:g}, correctness {epsilon['correctness']:g}; 'worst pair': share of "
        "its demand, 'less a relay': the same after the loss of the worst relay"
    )
    if "timetable" in report:
        _print_timetable(report["timetable"])


def _print_timetable(told: dict[str, Any]) -> None:
    print(f"{told['file']}: {told['windows']} windows in a frame of {told['frame_s']:g} s")
    if told["scale"] < 1.0:
        print(
            f"  senders are wanted at two relays at once: all windows are {told['scale']:.3f} of "
            "what is planned"
        )
    for one in told["without_standby"]:
        print(f"  {one['relay']} has no time left for {one['a']} - {one['b']} if it were needed")


def _pair(pair: dict[str, Any]) -> list[str]:
    over = "; ".join(
        " + ".join(route["relays"])
        + (f" (trusting {', '.join(route['trusted'])})" if route["trusted"] else "")
        for route in pair["routes"]
    )
    return [
        f"{pair['a']} - {pair['b']}",
        _short(pair["demand"]),
        _short(pair["bits_per_s"]),
        _percent(pair["satisfied"]),
        over or "no route with key",
    ]


def _relay(name: str, relay: dict[str, Any]) -> list[str]:
    serves = ", ".join(f"{s['a']} - {s['b']} {_percent(s['share'])}" for s in relay["shares"])
    return [name, serves or "nobody", _percent(relay["settling"]), _percent(relay["idle"])]


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100.0 * value:.1f} %"


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    print_table(title, columns, rows, text=("over", "serves"))
