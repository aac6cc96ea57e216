"""The finite-key points of the repository Jungling-White/MDI-QKD: their bound, and ours beside it.

Their protocol sends s, v and o in Z and w and o in X, bounds single-photon pairs from the decoys in
Z under joint constraints, and gives every bound the same share of epsilon. What is written here
follows from the published figures: it gives all 24 of them to nine digits with our gains.

Two of its steps are theirs alone. The number of single-photon pairs is that of the cells (s, s),
(v, v), and, in place of (s, v) and (v, s), of Alice's s with Alice's own v and of Bob's s with his:
pairs that nobody sends. (`sent_share` is how many are left when the parties are not mixed up.) And
error correction is charged for (s, s) alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import FiniteKey, ModelledLink, finite_key
from bellrelay.distill.security import Security
from bellrelay.physics import Basis, RelayModel, arm_efficiency, binary_entropy, gains

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
PUBLISHED = json.loads((DATA / "published_mdi.json").read_text())["jungling_white_N1e10"]
LADDERS_FILE = DATA / "jungling_white_ladders.json"
SHARES = 21


def relay(distance_km: float) -> RelayModel:
    """Their link: relay in the middle, both outcomes, detectors of 40 %."""
    settings = PUBLISHED["settings"]
    eta = float(
        arm_efficiency(distance_km / 2.0, settings["alpha"], detector_efficiency=settings["eta_d"])
    )
    return RelayModel(
        eta_a=eta,
        eta_b=eta,
        dark_count_probability=settings["pd"],
        misalignment_z=settings["ed"],
        misalignment_x=settings["ed"],
    )


def our_key(distance_km: float, ladder: Ladder, security: Security) -> FiniteKey:
    """Key of our protocol on their link with their N and f."""
    settings = PUBLISHED["settings"]
    link = ModelledLink(relay(distance_km), reconciliation_efficiency=settings["f"])
    return finite_key(link, ladder, ladder, int(settings["N"]), security)


def our_ladders() -> dict[int, Ladder]:
    """Ladders that our optimiser found for their distances."""
    return {int(km): Ladder(**v) for km, v in json.loads(LADDERS_FILE.read_text()).items()}


@dataclass(frozen=True)
class TheirKey:
    """What their bound gives: bits of key, single-photon pairs, phase error, and how many of the
    pairs that it counts are sent by anyone."""

    length: float
    pairs: float
    phase_error: float
    sent_share: float


def their_key(row: dict[str, Any]) -> TheirKey:
    """Their bound for one of the published rows, from our gains."""
    settings = PUBLISHED["settings"]
    model, pulses = relay(row["L_km_total"]), settings["N"]
    beta = math.log(SHARES / settings["eps_sec"])
    s, v, w, p_s, p_v, p_w = (row["alice"][k] for k in ("s", "v", "w", "p_s", "p_v", "p_w"))
    S, V, W, P_s, P_v, P_w = (row["bob"][k] for k in ("s", "v", "w", "p_s", "p_v", "p_w"))
    p_o, P_o = 1.0 - p_s - p_v - p_w, 1.0 - P_s - P_v - P_w

    a, b = np.array([s, v, 0.0]), np.array([S, V, 0.0])
    sent = np.outer([p_s, p_v, p_o], [P_s, P_v, P_o])
    z = gains(model, Basis.Z, a[:, None], b[None, :]).both
    counts = pulses * sent * z.gain
    # Both ways of bounding one party after the other, averaged; a coefficient of Q for every cell.
    bound = 0.5 * (_first_after_second(s, v, S, V) + _first_after_second(S, V, s, v).T)
    coefficient = bound * np.exp(a[:, None] + b[None, :]) / sent
    plus = [(0, 2), (2, 0), (1, 1), (2, 2)]
    minus = [(0, 1), (1, 0), (1, 2), (2, 1)]
    low = _joint([(coefficient[c], counts[c]) for c in plus], _mean_lower, beta)
    high = _joint([(-coefficient[c], counts[c]) for c in minus], _mean_upper, beta)
    pairs_per_yield = (
        s * S * p_s * P_s * math.exp(-s - S)
        + v * V * p_v * P_v * math.exp(-v - V)
        + s * v * p_s * p_v * math.exp(-s - v)
        + S * V * P_s * P_v * math.exp(-S - V)
    )
    really_sent = float(np.sum(np.outer(a[:2] * np.exp(-a[:2]) * [p_s, p_v],
                                        b[:2] * np.exp(-b[:2]) * [P_s, P_v])))  # fmt: skip
    mean_z = pairs_per_yield * (low - high)
    mean_x = p_w * P_w * w * W * math.exp(-w - W) * (low - high)
    pairs_z = _count_lower(mean_x + mean_z, beta) - _count_lower(mean_x, beta)

    a, b = np.array([w, 0.0]), np.array([W, 0.0])
    sent = pulses * np.outer([p_w, p_o], [P_w, P_o])
    x = gains(model, Basis.X, a[:, None], b[None, :]).both
    wrong = (
        _mean_upper(sent[0, 0] * x.errors[0, 0], beta)
        + 0.5 * math.exp(-w - W) * sent[0, 0] / sent[1, 1]
        * _mean_upper(sent[1, 1] * x.gain[1, 1], beta)
        - 0.5 * math.exp(-w) * p_w / p_o * _mean_lower(sent[1, 0] * x.gain[1, 0], beta)
        - 0.5 * math.exp(-W) * P_w / P_o * _mean_lower(sent[0, 1] * x.gain[0, 1], beta)
    )  # fmt: skip
    mean = mean_z * wrong / mean_x
    phase_error = (mean + 0.5 * (beta + math.sqrt(8.0 * beta * mean + beta**2))) / pairs_z
    signal_error = float(z.errors[0, 0] / z.gain[0, 0])
    overhead = math.log2(2.0 / settings["eps_cor"]) + 2.0 * math.log2(2e20) + 2.0 * math.log2(5e9)
    length = (
        pairs_z * (1.0 - float(binary_entropy(phase_error)))
        - counts[0, 0] * settings["f"] * float(binary_entropy(signal_error))
        - overhead
    )
    return TheirKey(length, pairs_z, phase_error, really_sent / pairs_per_yield)


def _first_after_second(s: float, v: float, S: float, V: float) -> Any:
    """Coefficients of e^(a+b) Q in a bound on Y_11: one party by three intensities, then the other.

    Rows s, v, o of the first, columns of the second.
    """
    first = s / (s * v - v * v) * np.array([-(v**2) / s**2, 1.0, -(s**2 - v**2) / s**2])
    simple = np.array([0.0, 1.0, -1.0]) / v
    scale = S / (S * V - V * V)
    weak = scale * np.array([0.0, 1.0, 0.0])
    strong = scale * np.array([-(V**2) / S**2, 0.0, -(S**2 - V**2) / S**2])
    return np.outer(first, weak) + np.outer(simple, strong)


def _joint(terms: list[tuple[float, float]], bound: Any, beta: float) -> float:
    """A sum of coefficients times means, every sum of counts bounded as one count."""
    ordered = sorted(terms)
    total, before = 0.0, 0.0
    for k, (coefficient, _) in enumerate(ordered):
        total += (coefficient - before) * bound(sum(n for _, n in ordered[k:]), beta)
        before = coefficient
    return total


def _mean_lower(n: float, beta: float) -> float:
    return max(0.0, n - 0.5 * (beta + math.sqrt(8.0 * beta * n + beta**2)))


def _mean_upper(n: float, beta: float) -> float:
    return n + beta + math.sqrt(2.0 * beta * n + beta**2)


def _count_lower(mean: float, beta: float) -> float:
    return max(0.0, mean - math.sqrt(2.0 * beta * mean))
