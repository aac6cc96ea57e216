"""Key rates beside the package `qkd` and beside published points, each with its ratio.

    python bench/keyrate_peers.py [--links N] [--json]
    python bench/keyrate_peers.py --ladders      # search the ladders of the Jungling-White points

Figures are of models, but for Wei's, which are bounds of published counts.
`docs/reference/keyrate.md` says what agrees, what does not, and why.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import qkd
from _jungling_white import DATA, LADDERS_FILE, PUBLISHED, our_key, our_ladders, relay, their_key
from qkd import _core as peer

from bellrelay.distill.estimate import estimate
from bellrelay.distill.key_length import secret_length
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import ModelledLink, finite_key
from bellrelay.distill.optimise import optimise_ladders
from bellrelay.distill.security import Method, Security
from bellrelay.distill.tally import NOT_REPORTED, Tally
from bellrelay.physics import (
    Basis,
    RelayModel,
    arm_efficiency,
    asymptotic_rate,
    best_signal,
    binary_entropy,
    gains,
    pair_error_upper,
    pair_yield_lower,
)
from bellrelay.wire.outcomes import Outcome

F = 1.16
LADDER_KEYS = ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu")
SECURITY = Security(secrecy=1e-10, correctness=1e-15)
DISTANCES_KM, BLOCKS = (0, 50, 100), (10**12, 10**13, 10**14, 10**15)


def standard_link(distance_km: float) -> RelayModel:
    """Parameters of Lo, Curty, Qi 2012 and of most papers since."""
    eta = float(arm_efficiency(distance_km / 2.0, detector_efficiency=0.145))
    return RelayModel(
        eta_a=eta,
        eta_b=eta,
        dark_count_probability=3.01e-6,
        misalignment_z=0.015,
        misalignment_x=0.015,
    )


def random_links(number: int) -> dict[str, float]:
    """Worst relative difference to the peer's gains, error rates and bounds; seconds of both."""
    rng = np.random.default_rng(4)
    worst = {"gain": 0.0, "error_rate": 0.0, "Y11": 0.0, "e11": 0.0}
    ours = theirs = 0.0
    for _ in range(number):
        a, b = (
            np.array([mu, mu * step, mu * step * vacuum])
            for mu, step, vacuum in zip(
                rng.uniform(0.1, 0.6, 2), rng.uniform(0.05, 0.4, 2), rng.choice([0, 0.01], 2),
                strict=True,
            )
        )  # fmt: skip
        eta_a, eta_b = 10.0 ** rng.uniform(-3.0, -0.5, 2)
        dark, flip = 10.0 ** rng.uniform(-8.0, -5.0), rng.uniform(0.0, 0.05)
        model = RelayModel(
            eta_a=eta_a,
            eta_b=eta_b,
            dark_count_probability=dark,
            misalignment_z=flip,
            misalignment_x=flip,
        )
        start = time.process_time()
        table = gains(model, Basis.X, a[:, None], b[None, :]).both
        lower = pair_yield_lower(a, b, table.gain)
        upper = pair_error_upper(a, b, table.errors, lower)
        ours += time.process_time() - start
        start = time.process_time()
        other = np.array([[peer.mdi_diag(x, y, eta_a, eta_b, dark, flip) for y in b] for x in a])
        q, e = other[..., 0], other[..., 0] * other[..., 1]
        their_lower = peer.mdi_y11(list(a), list(b), list(q.ravel()))
        their_upper = 0.5
        if their_lower > 0.0:
            their_upper = peer.mdi_e11(
                a[1], a[2], b[1], b[2], e[1, 1], e[2, 2], e[1, 2], e[2, 1], their_lower
            )
        theirs += time.process_time() - start
        for name, mine, other_one in (
            ("gain", table.gain, q),
            ("error_rate", table.error_rate, other[..., 1]),
            ("Y11", lower, their_lower),
            ("e11", upper, their_upper),
        ):
            scale = np.maximum(np.abs(other_one), 1e-12)
            worst[name] = max(worst[name], float(np.max(np.abs(mine - other_one) / scale)))
    return {**worst, "seconds": ours, "peer_seconds": theirs}


def peer_finite_rate(distance_km: float, pulses: float, levels: tuple[float, ...]) -> float:
    """Curty 2014 as the peer has it: each intensity a third of the pulses, either basis half.

    By its public interface with its defaults: a tenth of the key is disclosed for its error rate.
    """

    def sender() -> qkd.Sender:
        decoy = qkd.Decoy(intensities=levels)
        return qkd.Sender(modulation=qkd.BasisKeying(decoy=decoy, bias=0.5, sift=1.0))

    analyser = qkd.BellAnalyser(
        eta=0.145, dark=3.01e-6, misalign=0.015, misalign_test=0.015, states=2
    )
    arm = qkd.Fiber(length=max(distance_km / 2.0, 1e-9), alpha=0.2)
    block = qkd.RelayBlock(n=pulses, eps_sec=SECURITY.secrecy, eps_cor=SECURITY.correctness)
    bound = qkd.TestBasisBound(f=F, block=block)
    return qkd.Swap(sender(), sender(), qkd.Relay(bell=analyser), (arm, arm), bound).run().key_rate


def finite_rows() -> list[dict[str, Any]]:
    """The same link, N, epsilons and intensities; ours throws the decoys in Z away.

    Four of nine pairs have no decoy in Z; among them every setting has a quarter on each side.
    """
    levels = (0.3, 0.1, 5e-4)
    ladder = Ladder(levels[0], *levels, p_s=0.25, p_mu=0.25, p_nu=0.25)
    rows = []
    for km in DISTANCES_KM:
        link = ModelledLink(standard_link(km), reconciliation_efficiency=F)
        for pulses in BLOCKS:
            key = finite_key(link, ladder, ladder, round(4 * pulses / 9), SECURITY)
            rows.append(
                {
                    "km": km,
                    "N": pulses,
                    "ours": key.length / pulses,
                    "peer": peer_finite_rate(km, pulses, levels),
                }
            )
    return rows


def assumed_rows() -> list[dict[str, Any]]:
    """Experiments whose detectors and N are not in what we have of them: what ours would be with
    detectors of 65 %, 1 dB in the relay, overlap 0.96 and N 1e13, or with Jungling-White's."""
    rows = []
    for name, loss_db, published, ladder in (
        ("Yin 2016, 19.5 dB", 19.5, 1380.0 / 75e6,
         Ladder(0.571, 0.169, 0.0338, 0.0, 0.893, 0.0059, 0.084)),
        ("Woodward 2021, 30 dB", 30.0, 2000.0 / 1e9,
         Ladder(0.527, 0.21, 0.0443, 0.0, 0.828, 0.0116, 0.136)),
    ):  # fmt: skip
        eta = 0.65 * 10.0 ** (-(loss_db / 2.0 + 0.5) / 10.0)
        model = RelayModel(
            eta_a=eta,
            eta_b=eta,
            dark_count_probability=1e-8,
            misalignment_z=0.01,
            misalignment_x=0.01,
            mode_overlap=0.96,
        )
        key = finite_key(ModelledLink(model), ladder, ladder, 10**13, SECURITY)
        rows.append(row(f"{name}, assumed detectors", published, key.rate))
    far = Ladder(0.22, 0.373, 0.081, 0.0, 0.315, 0.062, 0.565)
    reach = 0
    for km in range(100, 160, 5):
        if our_key(km, far, SECURITY).length > 0:
            reach = km
    rows.append(row("Chen 2021, N 1e10: reach, km, 40 % detectors", 150.0, reach))
    return rows


def wei_tally(table: dict[str, Any]) -> Tally:
    """Counts of K. Wei et al., PRX 10, 031030 (2020), table II; other cells are not in it."""
    n, m = (np.full((4, 4), NOT_REPORTED, np.int64) for _ in range(2))
    n[0, 0], n[1, 1], n[2, 2], n[3, 3] = (table[k] for k in ("ss", "mm", "vv", "oo"))
    n[1, 3], n[3, 1], n[2, 3], n[3, 2] = (table[k] for k in ("m0", "om", "v0", "ov"))
    m[2, 2], m[2, 3], m[3, 2], m[3, 3] = (table[k] for k in ("Evv", "Ev0", "Eov", "Eoo"))
    return Tally(int(table["N"]), n, m)


def published_rows() -> list[dict[str, Any]]:
    """What was published, what we get from the same inputs."""
    rows = [reach_row(), anchor_row()]
    published = json.loads((DATA / "published_mdi.json").read_text())["wei2020_prx_10_031030"]
    for name in ("loss_36_dB", "loss_28_dB"):
        rows += wei_rows(f"Wei 2020, {name[5:7]} dB:", published[name])
    return rows + assumed_rows()


def wei_rows(title: str, table: dict[str, Any]) -> list[dict[str, Any]]:
    """Bounds of Wei's counts, and what the same counts give without any fluctuation."""
    (s, mu, nu), (p_s, p_mu, p_nu) = table["I"], table["P"]
    ladder = Ladder(s, mu, nu, 0.0, p_s, p_mu, p_nu)
    tally = wei_tally(table)
    bounds = estimate({Outcome.PSI_MINUS: tally}, ladder, ladder, SECURITY)
    error_rate = table["Ess"] / table["ss"]
    leak = F * table["ss"] * float(binary_entropy(error_rate))
    pairs = table["N"] * (p_s * s * np.exp(-s)) ** 2

    sent = table["N"] * np.outer(ladder.probabilities[1:], ladder.probabilities[1:])
    decoys = (mu, nu, 0.0)
    still_yield = float(pair_yield_lower(decoys, decoys, tally.n_x / sent))
    still_error = float(pair_error_upper(decoys, decoys, tally.m_x / sent, still_yield))
    gain = table["ss"] / (table["N"] * p_s**2)
    still_rate = asymptotic_rate(s, s, still_yield, still_error, gain, error_rate, F)
    # Where a longer key than the published one comes from: each bound at its own worst in the
    # paper's formula, and the other methods at the same epsilons.
    apart = bounds.n11_lower * (1.0 - float(binary_entropy(bounds.phase_error_upper))) - leak
    others = [
        (
            f"{title} bits per pair, {method}",
            secret_length(
                estimate(
                    {Outcome.PSI_MINUS: tally}, ladder, ladder, replace(SECURITY, method=method)
                ),
                int(leak),
            ),
        )
        for method in (Method.DOUBLE_SCANNING, Method.LINEAR_PROGRAM, Method.CLOSED_FORM)
    ]
    return [
        row(f"{title} single-photon yield", table["s11"], float(bounds.n11_lower / pairs)),
        row(f"{title} phase error", table["e11"], bounds.phase_error_upper),
        row(f"{title} bits per pair", table["R"], secret_length(bounds, int(leak)) / table["N"]),
        row(f"{title} bits per pair, bounds apart", table["R"], apart / table["N"]),
        *(row(what, table["R"], length / table["N"]) for what, length in others),
        row(f"{title} yield, no fluctuation", table["s11"], still_yield),
        row(f"{title} phase error, no fluctuation", table["e11"], still_error),
        row(f"{title} bits per pair, no fluctuation", table["R"], p_s**2 * float(still_rate)),
    ]


def row(what: str, published: float, ours: float) -> dict[str, Any]:
    return {"what": what, "published": published, "ours": ours, "ratio": ours / published}


def reach_row() -> dict[str, Any]:
    """Where the rate with infinitely many decoys ends."""
    low, high = 100.0, 400.0
    while high - low > 0.05:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if best_signal(standard_link(middle)).rate > 0 else (low, middle)
    return row("Lo, Curty, Qi 2012: reach, dB", 40.0, 0.2 * low)


def anchor_row() -> dict[str, Any]:
    """The peer's own anchor: yield from Z, error rate from X, three intensities, 100 km."""
    ladder = (0.55, 0.005, 0.0)
    levels = np.array(ladder)
    model = standard_link(100.0)
    z, x = (gains(model, b, levels[:, None], levels[None, :]).both for b in (Basis.Z, Basis.X))
    error = pair_error_upper(ladder, ladder, x.errors, pair_yield_lower(ladder, ladder, x.gain))
    rate = asymptotic_rate(
        ladder[0],
        ladder[0],
        pair_yield_lower(ladder, ladder, z.gain),
        error,
        z.gain[0, 0],
        z.error_rate[0, 0],
        F,
    )
    return row("qkd: anchor at 100 km, two decoys", 4.679772e-06, float(rate))


def jungling_white_rows() -> list[dict[str, Any]]:
    """Their 24 points: their own bound with our gains, and our key, in bits per block of 1e10."""
    ladders = our_ladders()
    rows = []
    for published in PUBLISHED["rows"]:
        km = published["L_km_total"]
        theirs, ours = their_key(published), our_key(km, ladders[km], SECURITY)
        rows.append(
            {
                "km": km,
                "published": published["key_bits_published"],
                "their_bound_again": theirs.length,
                "sent_share": theirs.sent_share,
                "ours": ours.length,
                "ratio": ours.length / published["key_bits_published"],
            }
        )
    return rows


def search_ladders() -> None:
    """Optimise a ladder for each of their distances, each from the last, and write them."""
    start = Ladder(s=0.58, mu=0.2, nu=0.06, o=0.0, p_s=0.78, p_mu=0.04, p_nu=0.15)
    found = {}
    for published in PUBLISHED["rows"]:
        km = published["L_km_total"]
        link = ModelledLink(relay(km), reconciliation_efficiency=PUBLISHED["settings"]["f"])
        best = optimise_ladders(link, int(PUBLISHED["settings"]["N"]), SECURITY, (start, start))
        start = best.alice
        values = {k: round(v, 5) for k, v in asdict(best.alice).items() if k in LADDER_KEYS}
        found[str(km)] = values
        print(km, best.key.length, best.key.length / published["key_bits_published"], flush=True)
    lines = ",\n".join(f' "{km}": {json.dumps(ladder)}' for km, ladder in found.items())
    LADDERS_FILE.write_text("{\n" + lines + "\n}\n")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--links", type=int, default=300, help="random links for gains and bounds")
    parser.add_argument("--ladders", action="store_true", help="search ladders anew, write them")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.ladders:
        search_ladders()
        return 0
    result = {
        "simulated": True,
        "links": random_links(options.links),
        "finite": finite_rows(),
        "published": published_rows(),
        "jungling_white": jungling_white_rows(),
    }
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        report(result)
    ahead = [r for r in result["finite"] if r["peer"] > r["ours"]]
    short = [r for r in result["jungling_white"] if r["ratio"] < 1.0]
    return 1 if ahead or short else 0


def report(result: dict[str, Any]) -> None:
    links = result["links"]
    print("gains and bounds beside qkd, worst relative difference on random links:")
    print("  " + ", ".join(f"{k} {links[k]:.1e}" for k in ("gain", "error_rate", "Y11", "e11")))
    print(f"  time {links['seconds'] / links['peer_seconds']:.1f} of the peer's")
    print(f"\nfinite key per pair sent beside qkd (Curty 2014), {epsilons()}:")
    print(f"{'km':>6}{'N':>10}{'ours':>12}{'peer':>12}{'ratio':>8}")
    for r in result["finite"]:
        ratio = f"{r['ours'] / r['peer']:8.2f}" if r["peer"] else "       -"
        print(f"{r['km']:>6}{r['N']:>10.0e}{r['ours']:>12.3e}{r['peer']:>12.3e}{ratio}")
    print(f"\npublished points, {epsilons()}:")
    print(f"{'':<48}{'published':>12}{'ours':>12}{'ratio':>8}")
    for r in result["published"]:
        print(f"{r['what']:<48}{r['published']:>12.4g}{r['ours']:>12.4g}{r['ratio']:>8.3f}")
    print("\nJungling-White, N 1e10, bits; ours with the ladders in tests/data:")
    print(
        f"{'km':>6}{'published':>12}{'their bound':>14}{'pairs sent':>12}{'ours':>12}{'ratio':>8}"
    )
    for r in result["jungling_white"]:
        print(
            f"{r['km']:>6}{r['published']:>12.0f}{r['their_bound_again'] / r['published']:>14.9f}"
            f"{r['sent_share']:>12.2f}{r['ours']:>12}{r['ratio']:>8.2f}"
        )


def epsilons() -> str:
    return f"secrecy {SECURITY.secrecy:g}, correctness {SECURITY.correctness:g}, f {F}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
