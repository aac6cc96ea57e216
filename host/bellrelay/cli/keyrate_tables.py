"""The tables that `bellrelay keyrate` prints for a person, and progress while it works."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["print_counts", "print_link", "print_scan", "progress"]


def progress(values: Sequence[float], name: str) -> Iterator[float]:
    """The values, with a bar on stderr where a person watches."""
    if not sys.stderr.isatty():
        yield from values
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(values, description=name, console=Console(stderr=True), transient=True)


def print_link(report: dict[str, Any]) -> None:
    """A link: gains and error rates, asymptotic rates, one row per block length."""
    link = report["link"]
    print(
        f"model of a {link['encoding']} link, {' and '.join(link['outcomes'])}: "
        f"eta {link['eta_a']:.4g} and {link['eta_b']:.4g}, "
        f"live fraction {link['live_fraction']:.4g}"
    )
    rows = [["Z s, s", _short(report["Q_Z"]), _percent(report["E_Z"])]]
    rows += [
        [f"X {name.replace('_', ', ')}", _short(cell["Q"]), _percent(cell["E"])]
        for name, cell in report["X"].items()
    ]
    _table("per pair sent at these settings", ["settings", "gain Q", "error rate E"], rows)
    _table(
        "single-photon pairs, without finite statistics",
        ["", "Y11", "e11 in X", "per signal pair"],
        [
            [
                "infinite decoys: the model's own",
                _short(report["Y11"]),
                _percent(report["e11_X"]),
                _short(report["R_infinite"]),
            ],
            [
                "two decoys: bounds",
                _short(report["Y11_X_L"]),
                _percent(report["e11_X_U"]),
                _short(report["R_two_decoy"]),
            ],
        ],
    )
    if report["finite"]:
        print_finite(report["finite"], "keys of finite blocks")
    if report.get("best_signal"):
        best = report["best_signal"]
        print(
            f"best signals with infinite decoys: {best['s_a']:.4f} and {best['s_b']:.4f}, "
            f"rate {_short(best['R_infinite'])} per signal pair in live slots"
        )
    if report.get("optimised"):
        print_ladders(report["optimised"])
        print_finite(report["optimised"], "keys of finite blocks with the best ladders")


def print_ladders(optima: dict[str, dict[str, Any]]) -> None:
    """The best ladders by N; one row for both parties where they are the same."""
    names = ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu")
    rows = []
    for n, best in optima.items():
        parties = ("alice", "bob") if best["alice"] != best["bob"] else ("both",)
        for party in parties:
            ladder = best["alice" if party == "both" else party]
            rows.append([_short(float(n)), party, *(f"{ladder[name]:.4f}" for name in names)])
    _table("best ladders", ["N", "party", *names], rows)


def print_finite(blocks: dict[str, dict[str, Any]], title: str) -> None:
    """Blocks by their number of pulses, and what their keys rest on."""
    rows = [
        [
            _short(float(n)),
            _short(block["n_z"]),
            _short(block["n11_L"]),
            _percent(block["e_phase_U"]),
            _short(block["leak_ec"]),
            _short(block["length"]),
            _short(block["rate"]),
        ]
        for n, block in blocks.items()
    ]
    _table(
        title,
        ["N", "sifted", "n11 >=", "e_ph <=", "leak_EC", "bits", "per pair"],
        rows,
    )
    for n, block in blocks.items():
        if block["aborted"]:
            print(f"N = {_short(float(n))}: no key: {block['aborted']}")
    _print_statement(next(iter(blocks.values())))


def print_counts(report: dict[str, Any]) -> None:
    """A block's counts: one line of results, one of what they rest on."""
    source = "as counted" if report["leak_ec_counted"] else "f n h(E)"
    _table(
        "key of the counts",
        ["N", "n11 >=", "e_ph <=", f"leak_EC {source}", "bits", "per pair"],
        [
            [
                _short(report["pulses"]),
                _short(report["n11_L"]),
                _percent(report["e_phase_U"]),
                _short(report["leak_ec"]),
                f"{report['length']}",
                _short(report["rate"]),
            ]
        ],
    )
    if report["not_reported"]:
        print(f"cells done without: {', '.join(report['not_reported'])}")
    if report["aborted"]:
        print(f"no key: {report['aborted']}")
    _print_statement(report)


def print_scan(report: dict[str, Any]) -> None:
    """A row per point."""
    points = report["points"]
    lengths = list(points[0]["R_finite"]) if points else []
    best = lengths if points and "optimised" in points[0] else []
    rows = [
        [
            f"{point['at']:g}",
            _short(point["R_infinite"]),
            _short(point["R_two_decoy"]),
            *(_short(point["R_finite"][n]) for n in lengths),
            *(_short(point["optimised"][n]["rate"]) for n in best),
        ]
        for point in points
    ]
    _table(
        "a model's rates: R_inf, R_decoy per signal pair; by N per pair sent",
        [
            report["unit"],
            "R_inf",
            "R_decoy",
            *(f"N {float(n):.0e}" for n in lengths),
            *(f"{float(n):.0e} best" for n in best),
        ],
        rows,
    )
    epsilon = report["epsilon"]
    print(
        f"secrecy {epsilon['secrecy']:g}, correctness {epsilon['correctness']:g}; "
        f"{points[0]['method'] if points else ''}"
    )


def _print_statement(block: dict[str, Any]) -> None:
    epsilon = block["epsilon"]
    print(
        f"secrecy {epsilon['secrecy']:.3g}, correctness {epsilon['correctness']:.3g}; "
        f"{block['method']}; {block['concentration']}; "
        f"outcomes {block['outcome_rule']}, length {block['length_rule']}"
    )


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100.0 * value:.2f} %"


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
