"""What `bellrelay network --processes` says: what was seen, and the model of the same beside it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bellrelay.cli.network_measure import machine
from bellrelay.cli.network_processes_model import Modelled
from bellrelay.cli.network_processes_start import SHAPE, ProcessNetwork
from bellrelay.cli.network_processes_watch import Stretch, after_last_slot_s
from bellrelay.cli.text_table import print_table
from bellrelay.control.capacity.rates_file import Rates
from bellrelay.endpoint.block import BlockState

__all__ = ["print_processes", "processes_report", "step_of"]

_KINDS = ("twin", "relay", "endpoint", "kme")


def step_of(
    network: ProcessNetwork, stretch: Stretch, model: Modelled, behind: Sequence[str]
) -> dict[str, Any]:
    """A network of some size: what was seen of it, and the model."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for name, (kind, _) in network.pids().items():
        by_kind[kind].append(name)
    cores = {kind: [stretch.cores(n) for n in names] for kind, names in by_kind.items()}
    memory = {
        kind: [stretch.after.memory[n] / 2**20 for n in names] for kind, names in by_kind.items()
    }
    rows = [row for rows in stretch.blocks.values() for row in rows]
    stored = {
        p: [r for r in rows if r.state is BlockState.STORED] for p, rows in stretch.blocks.items()
    }
    after = [after_last_slot_s(r, p) for p in network.pairs for r in stored[p.name]]
    bits = {p: sum(r.record["length"] for r in rows) for p, rows in stored.items()}
    answers = [s for asked in stretch.asked.values() for s in asked.seconds]
    endpoint_s = stretch.seconds * sum(cores["endpoint"])
    daemons = {kind: sum(c) for kind, c in cores.items() if kind != "twin"}
    return {
        "relays": len(network.relays),
        "pairs": len(network.pairs),
        "processes": len(network.pids()),
        "seconds": stretch.seconds,
        "behind": list(behind),
        "pace": _spread(stretch.pace(r.name) for r in network.relays),
        "announcements_behind_s": max(stretch.behind_s(r.name) for r in network.relays),
        "announcements_per_s": {
            "each": {r.name: stretch.announced(r.name) for r in network.relays},
            "seen": sum(stretch.announced(r.name) for r in network.relays),
            "model": sum(model.announced.values()),
        },
        "blocks": {
            "ended": len(rows),
            "with_key": sum(map(len, stored.values())),
            "per_s": {
                "seen": len(rows) / stretch.seconds,
                "model": sum(model.blocks.values()),
            },
            "endpoint_cpu_s": {
                "seen": endpoint_s / 2.0 / len(rows) if rows else None,
                "model": sum(model.endpoint_cores.values()) / sum(model.blocks.values()),
                "of_it_distilling": _mean(model.endpoint_block_s.values()),
            },
            "after_last_slot_s": {**_spread(after), "model": model.block_s},
        },
        "key_bits_per_s": {
            "each": {p: b / stretch.seconds for p, b in bits.items()},
            "seen": sum(bits.values()) / stretch.seconds,
            "model": sum(model.bits_per_s.values()),
        },
        "keys": {
            "fetched": sum(a.keys for a in stretch.asked.values()),
            "without_key": sum(a.without_key for a in stretch.asked.values()),
            "unequal": sum(a.unequal for a in stretch.asked.values()),
            "answer_s": {**_spread(answers), "model": model.answer_s},
        },
        "cores": {
            "there": os.cpu_count() or 1,
            "machine": stretch.machine_cores,
            "each": {
                kind: {**_spread(cores[kind]), "model": _model_cores(kind, model)}
                for kind in _KINDS
            },
            "daemons": {"seen": sum(daemons.values()), "model": model.cores},
        },
        "memory_mb": {
            "each": {kind: _spread(memory[kind]) for kind in _KINDS},
            "all": sum(map(sum, memory.values())),
            "available": stretch.available / 2**20,
        },
    }


def processes_report(
    steps: Sequence[dict[str, Any]], equal: bool, grown: bool, rates: Rates
) -> dict[str, Any]:
    """The object that is printed. grown : whether relays were added until something was full."""
    last = steps[-1]
    kept = [s for s in steps if not s["behind"]]
    unequal = sum(s["keys"]["unequal"] for s in steps)
    keyless = [p for p, bits in last["key_bits_per_s"]["each"].items() if not bits]
    return {
        "simulation": True,
        "machine": machine(),
        "slot_period_ps": SHAPE.slot_period_ps,
        "block_slots": SHAPE.block_slots,
        "steps": list(steps),
        "holds": {"relays": kept[-1]["relays"], "pairs": kept[-1]["pairs"]} if kept else None,
        "full": list(last["behind"]),
        "until_full": grown,
        "would_hold": _would_hold(last),
        "keys_equal": equal and not unequal,
        "without_key": [] if last["behind"] else keyless,
        "check_passed": equal and not unequal and (bool(last["behind"]) or not keyless),
        "assumptions": _assumptions(rates),
        "rates": rates.model_dump(),
    }


def _would_hold(step: dict[str, Any]) -> dict[str, float]:
    """Relays of this kind until all cores compute: by what was seen, and by the model."""
    cores = step["cores"]
    twins = cores["each"]["twin"]["mean"]
    daemons = {k: cores["daemons"][k] / step["relays"] for k in ("seen", "model")}
    return {
        "seen": cores["there"] / (twins + daemons["seen"]),
        "model": cores["there"] / (twins + daemons["model"]),
        "model_without_twins": cores["there"] / daemons["model"],
    }


def _assumptions(rates: Rates) -> list[str]:
    here, there = machine(), rates.machine
    same = here["processor"] == there.processor and here["cores"] == there.cores
    slot_us = SHAPE.slot_period_ps / 1e6
    return [
        "Light is simulated, and boards are: processes, announcements, blocks, keys and all that "
        "they cost are real. Twins are no part of a network; their processor time is told by "
        "itself.",
        f"Slots of {slot_us:g} us, arms that lose {100.0 * (1.0 - SHAPE.eta):.0f} %, a window of "
        f"{SHAPE.block_slots:,} slots of every pair in each block: a gameday's bright link, so "
        "that blocks of seconds make key.",
        "Applications ask for all key that the model says a pair makes, a key of 256 bits at a "
        "time, and fetch it at the other KME at once.",
        f"Model: rates of `{rates.command}` on {there.processor}, {there.cores} cores, {there.utc}"
        + ("." if same else ", which is another machine than this one."),
        "The model counts announcements, blocks, requests, and what daemons compute while they "
        "have nothing to do (`standing` of the rates); tests of a sender's random choices, and the "
        "drawing of what the simulation chose, it does not. Processes of this machine share its "
        "cores and its disk; in the model every site has cores of its own.",
    ]


def _model_cores(kind: str, model: Modelled) -> float | None:
    of = {"relay": model.relay_cores, "endpoint": model.endpoint_cores, "kme": model.kme_cores}
    return _mean(of[kind].values()) if kind in of else None


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _spread(values: Iterable[float]) -> dict[str, float | None]:
    there = list(values)
    if not there:
        return {"mean": None, "least": None, "most": None}
    return {"mean": statistics.fmean(there), "least": min(there), "most": max(there)}


def print_processes(report: dict[str, Any]) -> None:
    """For a person."""
    steps, where = report["steps"], report["machine"]
    print(
        f"simulated light, real processes, on {where['processor']}, {where['cores']} cores; "
        "seen, and (model)"
    )
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("pairs", lambda s: str(s["pairs"])),
        ("processes", lambda s: str(s["processes"])),
        ("announcements /s", lambda s: _beside(s["announcements_per_s"])),
        ("key of all pairs, bit/s", lambda s: _beside(s["key_bits_per_s"])),
        (
            "key of the worst pair, bit/s",
            lambda s: _short(min(s["key_bits_per_s"]["each"].values())),
        ),
        ("blocks /s", lambda s: _beside(s["blocks"]["per_s"])),
        ("a block, CPU s of a side", lambda s: _beside(s["blocks"]["endpoint_cpu_s"])),
        (
            "last slot to key, s",
            lambda s: _beside(s["blocks"]["after_last_slot_s"], "mean"),
        ),
        ("keys fetched", lambda s: str(s["keys"]["fetched"])),
        ("a key at both, s", lambda s: _beside(s["keys"]["answer_s"], "mean")),
        *(
            (f"cores of a {kind}", lambda s, kind=kind: _beside(s["cores"]["each"][kind], "mean"))
            for kind in _KINDS
        ),
        ("cores of all daemons", lambda s: _beside(s["cores"]["daemons"])),
        ("cores of the machine", lambda s: _short(s["cores"]["machine"])),
        *(
            (
                f"memory of a {kind}, MB",
                lambda s, kind=kind: _short(s["memory_mb"]["each"][kind]["mean"]),
            )
            for kind in _KINDS
        ),
        ("light, of the time", lambda s: _short(s["pace"]["least"])),
        ("announcements behind, s", lambda s: _short(s["announcements_behind_s"])),
    ]  # fmt: skip
    print_table(
        "a network on this machine",
        ["relays", *(str(s["relays"]) for s in steps)],
        [[name, *(of(s) for s in steps)] for name, of in rows],
        text=(),
    )
    for text in report["full"]:
        print(f"full: {text}")
    if report["holds"] is None:
        print("this machine does not hold it")
    elif report["until_full"]:
        held = report["holds"]
        print(f"this machine holds {held['relays']} relays with {held['pairs']} pairs")
    would = report["would_hold"]
    print(
        f"all cores compute with {would['seen']:.1f} relays by what was seen, with "
        f"{would['model']:.1f} by the model and the twins, {would['model_without_twins']:.0f} "
        "without twins"
    )
    print("keys are the same on both sides" if report["keys_equal"] else "KEYS DIFFER")
    for name in report["without_key"]:
        print(f"no key: {name}")
    print("assumptions:")
    for text in report["assumptions"]:
        print(f"  - {text}")


def _beside(both: dict[str, Any], key: str = "seen") -> str:
    model = both.get("model")
    return _short(both[key]) + (f" ({_short(model)})" if model is not None else "")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1e5 else f"{value:.2e}"
