"""What `bellrelay keyrate` prints: gains, decoy bounds, rates, with what they rest on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from bellrelay.cli.counts_file import CountsFile
from bellrelay.cli.link_file import LinkFile
from bellrelay.distill.estimate import Estimate, estimate
from bellrelay.distill.key_length import secret_length
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import FiniteKey, ModelledLink, finite_key
from bellrelay.distill.optimise import Optimum, optimise_ladders
from bellrelay.physics import (
    Basis,
    asymptotic_rate,
    best_signal,
    binary_entropy,
    gains,
    pair_error_upper,
    pair_yield_lower,
    single_photon_gains,
)

__all__ = [
    "best_ladders",
    "best_signal_report",
    "cause",
    "counts_report",
    "key_report",
    "link_report",
    "optimum_report",
    "rates",
    "statement",
]

_DECOYS = ("mu", "nu", "o")


def link_report(file: LinkFile) -> dict[str, Any]:
    """The object that `keyrate LINK.yaml --json` prints; every figure is of a model."""
    link, alice, bob = file.modelled(), file.alice.ladder(), file.bob.ladder()
    security = file.finite.security()
    keys = [finite_key(link, alice, bob, n, security) for n in file.finite.pulses]
    report: dict[str, Any] = {
        "simulation": True,
        "link": {
            "encoding": file.link.encoding,
            "outcomes": list(file.link.outcomes),
            "eta_a": float(np.asarray(link.relay.eta_a)),
            "eta_b": float(np.asarray(link.relay.eta_b)),
            "mode_overlap": link.relay.mode_overlap,
            "live_fraction": link.live(alice, bob),
            "reconciliation_efficiency": link.reconciliation_efficiency,
        },
        **_asymptotic(link, alice, bob),
        "R_finite": {str(key.pulses): key.rate for key in keys},
        "finite": {str(key.pulses): key_report(key) for key in keys},
    }
    if file.link.slot_period_ps is not None:
        report["finite_per_second"] = {
            str(key.pulses): key.rate * 1e12 / file.link.slot_period_ps for key in keys
        }
    return report


def rates(file: LinkFile) -> dict[str, Any]:
    """The rates of a link alone, for a point of a scan; where there is no key, the cause."""
    link, alice, bob = file.modelled(), file.alice.ladder(), file.bob.ladder()
    security = file.finite.security()
    found = _asymptotic(link, alice, bob)
    keys = [finite_key(link, alice, bob, n, security) for n in file.finite.pulses]
    return {
        "eta_a": float(np.asarray(link.relay.eta_a)),
        "eta_b": float(np.asarray(link.relay.eta_b)),
        "R_infinite": found["R_infinite"],
        "R_two_decoy": found["R_two_decoy"],
        "R_finite": {str(key.pulses): key.rate for key in keys},
        "aborted": {str(key.pulses): cause(key.length, key.estimate) for key in keys},
        "method": keys[0].estimate.method if keys else None,
    }


def best_ladders(
    file: LinkFile, starts: Mapping[int, tuple[Ladder, Ladder]] | None = None
) -> dict[int, Optimum]:
    """The optimum for every N of the file; `starts` are where to begin, else the file's ladders."""
    link, security = file.modelled(), file.finite.security()
    own = (file.alice.ladder(), file.bob.ladder())
    return {
        n: optimise_ladders(link, n, security, (starts or {}).get(n, own))
        for n in file.finite.pulses
    }


def best_signal_report(file: LinkFile) -> dict[str, float]:
    """The asymptotic optimum: signals with infinitely many decoys, in live slots.

    Decoys have none: without fluctuation the best ones are infinitely weak.
    """
    link = file.modelled()
    best = best_signal(link.relay, link.reconciliation_efficiency, link.outcomes)
    return {"s_a": best.signal_a, "s_b": best.signal_b, "R_infinite": best.rate}


def optimum_report(optimum: Optimum) -> dict[str, Any]:
    """Ladders, and the block that they give."""
    return {
        "alice": asdict(optimum.alice),
        "bob": asdict(optimum.bob),
        **key_report(optimum.key),
    }


def _asymptotic(link: ModelledLink, alice: Ladder, bob: Ladder) -> dict[str, Any]:
    """Gains and rates without finite statistics, per pair of pulses sent at the settings named."""
    live = link.live(alice, bob)
    signal = link.signal(alice, bob)
    a, b = (x.intensities[1:].tolist() for x in (alice, bob))
    table = gains(link.relay, Basis.X, np.array(a)[:, None], np.array(b)[None, :])
    decoy = table.pooled(link.outcomes)
    pairs = single_photon_gains(link.relay, Basis.X).pooled(link.outcomes)
    lower = live * pair_yield_lower(a, b, decoy.gain)
    upper = pair_error_upper(a, b, live * decoy.errors, lower)
    pair_yield = live * pairs.gain

    def rate(of_yield: Any, of_error: Any) -> float:
        return float(
            asymptotic_rate(
                alice.s,
                bob.s,
                of_yield,
                of_error,
                live * signal.gain,
                signal.error_rate,
                link.reconciliation_efficiency,
            )
        )

    error_rate = decoy.error_rate
    return {
        "Q_Z": live * float(signal.gain),
        "E_Z": float(signal.error_rate),
        "X": {
            f"{first}_{second}": {
                "Q": live * float(decoy.gain[i, j]),
                "E": float(error_rate[i, j]),
            }
            for i, first in enumerate(_DECOYS)
            for j, second in enumerate(_DECOYS)
        },
        "Y11": float(pair_yield),
        "e11_X": float(pairs.error_rate),
        "Y11_X_L": float(lower),
        "e11_X_U": float(upper),
        "R_infinite": rate(pair_yield, pairs.error_rate),
        "R_two_decoy": rate(lower, upper),
    }


def key_report(key: FiniteKey) -> dict[str, Any]:
    """One block: its length and all that it rests on."""
    return {
        "length": key.length,
        "rate": key.rate,
        "n_z": key.estimate.sifted,
        "n11_L": key.estimate.n11_lower,
        "e_phase_U": key.estimate.phase_error_upper,
        "leak_ec": key.leak_ec,
        "aborted": cause(key.length, key.estimate),
        **statement(key.estimate),
    }


def cause(length: int, estimate: Estimate) -> str | None:
    """Why there is no key, or None."""
    if length > 0:
        return None
    return estimate.aborted or "leak-exceeds-private-bits"


def statement(estimate: Estimate) -> dict[str, Any]:
    """N, epsilons and bounds that a finite figure rests on."""
    ledger, security = estimate.ledger, estimate.security
    return {
        "pulses": estimate.pulses,
        "epsilon": {
            "secrecy": ledger.secrecy,
            "correctness": ledger.correctness,
            "estimate_failure": ledger.estimate_failure,
            "amplification": ledger.amplification,
            "authentication": ledger.authentication,
            "total": ledger.total,
        },
        "method": estimate.method,
        "concentration": estimate.concentration,
        "outcome_rule": security.outcomes.value,
        "length_rule": security.length_rule.value,
    }


def counts_report(file: CountsFile) -> dict[str, Any]:
    """The object that `keyrate --counts FILE --json` prints: bounds on counts, no model in them."""
    bounds = estimate(
        file.tallies(),
        file.alice.ladder(),
        file.bob.ladder(),
        file.finite.security(),
    )
    leak = file.leak_ec
    if leak is None:
        error_rate = min(file.m_z / file.n_z, 0.5) if file.n_z else 0.5
        leak = math.ceil(
            file.finite.reconciliation_efficiency * file.n_z * float(binary_entropy(error_rate))
        )
    length = secret_length(bounds, leak)
    return {
        "simulation": False,
        "length": length,
        "rate": length / file.N,
        "n11_L": bounds.n11_lower,
        "e_phase_U": bounds.phase_error_upper,
        "leak_ec": leak,
        "leak_ec_counted": file.leak_ec is not None,
        "not_reported": file.not_reported(),
        "aborted": cause(length, bounds),
        **statement(bounds),
    }
