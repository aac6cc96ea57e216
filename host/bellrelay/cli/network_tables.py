"""The tables that `bellrelay network` prints for a person, and what it is at while it works."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from bellrelay.cli.text_table import print_table

__all__ = ["print_network", "progress"]


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Something that takes what is being done, for a person who watches."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("begins") as status:
        yield lambda text: status.update(text)


def print_network(report: dict[str, Any]) -> None:
    """What is full, what to add, what that gives; then everything it rests on."""
    first, currency = report["first_full"], report["currency"]
    print(
        f"SIMULATION, no measurement of a network: {report['source']}; {report['relays']} relays, "
        f"{report['endpoints']} endpoints, {report['pairs']} pairs that want "
        f"{_short(report['demand_bits_per_s'])} bit/s of key in all"
    )
    for case in report["cases"]:
        _resources(case)
    print(
        f"full first: {first['resource']} ({first['name']}; {first['about']}), "
        f"at {first['at_demand']:.2f} times the demand"
    )
    _steps(report)
    _cases(report)
    _latencies(report)
    for limit in report["limits"]:
        if limit["exceeded"]:
            print(
                f"a default is too small: {limit['key']} is {limit['default']:g}, and "
                f"{limit['where']} needs {limit['needed']:g}"
            )
    if report["loss"] is not None:
        _loss(report["loss"])
    print(f"assumptions (costs in {currency}):")
    for text in report["assumptions"]:
        print(f"  - {text}")


def _resources(case: dict[str, Any]) -> None:
    _table(
        f"{case['name']}: how full (share of its time; above 100 % it cannot keep up)",
        ["resource", "of them", "mean, paper", "events", "busiest", "paper", "events",
         "wait p99", "queue", "full at"],
        [
            [
                r["resource"],
                str(r["number"]),
                _percent(r["paper"]["mean"]),
                _percent(r["events"]["mean"]),
                r["paper"]["busiest"],
                _percent(r["paper"]["most"]),
                _percent(r["events"]["of_busiest"]),
                _time(r["wait_s"] and r["wait_s"]["p99"]),
                "" if r["longest_queue"] is None else str(r["longest_queue"]),
                "never" if r["full_at_demand"] is None else f"x {r['full_at_demand']:.3g}",
            ]
            for r in sorted(case["resources"], key=lambda r: -r["paper"]["most"])
        ],
    )  # fmt: skip


def _steps(report: dict[str, Any]) -> None:
    growth = report["growth"]
    if not report["steps"]:
        print(f"{growth:g} times the demand: " + (
            f"nothing here helps {report['stuck']}" if report["stuck"] else "carried as it is"
        ))  # fmt: skip
        return
    _table(
        f"to carry {growth:g} times the demand (on paper, one after the other)",
        ["full", "at", "add", "worst pair gets", "next full at", "a year", "per key"],
        [
            [
                f"{s['full']} {s['name']}",
                f"x {s['at_demand']:.2f}",
                s["added"],
                _percent(s["worst_satisfied"]),
                f"x {s['next_at_demand']:.2f}",
                f"{s['per_year']:.0f}",
                _cost(s["per_key"]),
            ]
            for s in report["steps"]
        ],
    )
    if report["stuck"]:
        print(f"and then nothing here helps: {report['stuck']} is full")


def _cases(report: dict[str, Any]) -> None:
    currency, cases = report["currency"], report["cases"]
    rows = [
        ("relays", lambda c: str(c["relays"])),
        ("key of all pairs, bit/s", lambda c: _short(c["key_bits_per_s"]["all"])),
        ("key per pair: least, median, most, bit/s", lambda c: _three(c["key_bits_per_s"])),
        ("keys per second and pair", lambda c: _three(c["keys_per_s_per_pair"])),
        ("worst pair gets of its demand", lambda c: _percent(c["worst_satisfied"])),
        ("pairs that get less than they want", lambda c: str(c["pairs_short"])),
        ("announcements /s", lambda c: _short(c["per_second"]["announcements"])),
        ("messages /s: paper, events", lambda c: _two(c["per_second"]["messages"])),
        ("deliveries /s: paper, events", lambda c: _two(c["per_second"]["deliveries"])),
        ("blocks /s: paper, events", lambda c: _two(c["per_second"]["blocks"])),
        ("requests /s: paper, events", lambda c: _two(c["per_second"]["requests"])),
        (
            "requests without key, of",
            lambda c: f"{c['requests']['without_key']} of {c['requests']['asked']}",
        ),
        ("a block of a pair every, s", lambda c: _three(c["block_every_s"])),
        (f"{currency} a year", lambda c: f"{c['cost']['per_year']:.0f}"),
        (f"{currency} per key", lambda c: _cost(c["cost"]["per_key"])),
        ("work, hours a month", lambda c: _short(c["cost"]["hours_per_month"])),
    ]
    _table(
        "what the network gives",
        ["", *(c["name"] for c in cases)],
        [[name, *(of(c) for c in cases)] for name, of in rows],
    )


def _latencies(report: dict[str, Any]) -> None:
    names = {
        "announcements": "a batch from relay to endpoint",
        "block": "last slot of a block to key at both",
        "get_key": "Get key answered",
        "by_key_id": "Get key with key IDs answered",
    }
    _table(
        "times in the simulation",
        ["", *(f"{c['name']}: p50, p99, most" for c in report["cases"])],
        [
            [
                text,
                *(
                    ", ".join(_time(c["latency_s"][key][p]) for p in ("p50", "p99", "most"))
                    for c in report["cases"]
                ),
            ]
            for key, text in names.items()
        ],
    )


def _loss(loss: dict[str, Any]) -> None:
    median = loss["first_key_after_s"]["median"]
    print(
        f"loss of {loss['relay']} after {loss['at_s']:g} s: {loss['pairs']} pairs, "
        f"{loss['pairs_with_another_relay']} of them with another relay; {loss['with_key_again']} "
        "have had a new key before the end"
        + (f", half of them within {median:.3g} s" if median is not None else "")
        + f"; {loss['requests_without_key']} of {loss['requests']} requests found no key"
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1e5 else f"{value:.3e}"


def _three(values: dict[str, float | None]) -> str:
    return ", ".join(_short(values[k]) for k in ("least", "median", "most"))


def _two(values: dict[str, float]) -> str:
    return f"{_short(values['paper'])}, {_short(values['events'])}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100.0 * value:.3g} %"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1.0 else f"{seconds:.3g} s"


def _cost(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    print_table(title, columns, rows, text=("busiest", "add"))
