"""What a paper would print of a block: counts, gains, error rates, bounds, disclosure, key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["key_tables"]

_SETTINGS = ("s", "mu", "nu", "o")


def key_tables(report: Mapping[str, Any]) -> list[Table]:
    """Tables for a terminal, of the object that ``bellrelay run --json`` prints."""
    tables = []
    for block in report["blocks"]:
        if "tallies" in block and "ladders" in block:
            tables.append(_counts(block))
        tables.append(_block(block, report))
    return tables


def _counts(block: Mapping[str, Any]) -> Table:
    """Gain and error rate by both parties' settings; the bits of s are not disclosed."""
    from rich.table import Table

    table = Table(title=f"Block {block['block']}: gains Q and error rates E, both outcomes")
    table.add_column("Alice \\ Bob", style="bold")
    for setting in _SETTINGS:
        table.add_column(setting, justify="right", no_wrap=True)
    tallies = block["tallies"].values()
    shares = {party: _probabilities(block["ladders"][party]) for party in ("alice", "bob")}
    for i, setting in enumerate(_SETTINGS):
        cells = []
        for j in range(len(_SETTINGS)):
            n, m = (sum(t[name][i][j] for t in tallies) for name in ("n", "m"))
            gain = n / (block["pulses"] * shares["alice"][i] * shares["bob"][j])
            error = f"{100 * m / n:.1f} %" if i and j and n else "-"
            cells.append(f"{gain:.2e}, {error}")
        table.add_row(setting, *cells)
    return table


def _probabilities(ladder: Mapping[str, float]) -> list[float]:
    lit = [ladder[f"p_{setting}"] for setting in _SETTINGS[:-1]]
    return [*lit, 1.0 - sum(lit)]


def _block(block: Mapping[str, Any], report: Mapping[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title=f"Block {block['block']}: {block['state']}", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")

    def row(label: str, key: str, form: str, scale: float = 1.0, unit: str = "") -> None:
        if block.get(key) is not None:
            value = block[key] if scale == 1.0 else scale * block[key]
            table.add_row(label, f"{value:{form}}{unit}")

    row("pulse pairs N", "pulses", ",")
    row("sifted key", "sifted_bits", ",", unit=" bits")
    row("error rate Z, corrected", "error_rate_z", ".3f", 100, " %")
    row("single-photon pairs alone, at least", "n11_lower", ",.0f")
    row("phase error rate alone, at most", "phase_error_upper", ".3f", 100, " %")
    row("private bits, at least", "private_bits", ",.0f")
    if "bounds" in block:
        # Pairs and their phase errors are bounded in one; each alone, as above, is worse.
        worst = ", ".join(f"{100 * bound['tangent']:.1f} %" for bound in block["bounds"])
        table.add_row("their worst case: phase error rate", worst)
    row("disclosed by error correction", "leak_ec", ",", unit=" bits")
    row("disclosed by verification", "verification_bits", ",", unit=" bits")
    if block.get("error_rate_z") and block.get("leak_ec"):
        table.add_row("reconciliation", f"{block['reconciliation']}, f = {_efficiency(block):.3f}")
    if "method" in block:
        table.add_row("bounds", f"{block['method']}; {block['concentration']}")
    if "epsilons" in block:
        epsilons = block["epsilons"]
        for name in ("secrecy", "correctness", "authentication", "total"):
            table.add_row(f"epsilon, {name}", f"{epsilons[name]:.2e}")
    if block["state"] == "stored":
        table.add_row("key length", f"{block['length']:,} bits")
        table.add_row("of it to the key pool", f"{block['pool_bits']:,} bits")
        table.add_row("key per pulse pair", f"{block['length'] / block['pulses']:.3e}")
        table.add_row("key per second, simulated", f"{report['key_rate_per_second']:,.0f} bit/s")
        table.add_row("keys equal on both sides", "yes" if report["keys_equal"] else "NO")
        delivered = report["delivered"]
        if delivered is not None:
            same = "the same" if delivered["equal"] else "NOT THE SAME"
            text = f"{delivered['size_bits']} bits at both KMEs, {same}"
            table.add_row("fetched by applications (ETSI 014)", text)
    else:
        table.add_row("no key", str(block["cause"]))
    return table


def _efficiency(block: Mapping[str, Any]) -> float:
    """Bits disclosed, over what Shannon asks for."""
    from bellrelay.physics.entropy import binary_entropy

    kept = block["sifted_bits"] - block["bits_discarded"]
    return float(block["leak_ec"] / (kept * binary_entropy(block["error_rate_z"])))
