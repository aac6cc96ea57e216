"""The pictures of the page on physics, from the functions that the page names.

    python docs/figures.py            all of them, into docs/figures
    python docs/figures.py --only dip --into /tmp

`make docs-figures` makes these and the one of `bellrelay keyrate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bellrelay.control.visibility import dip_visibility_fit
from bellrelay.physics import (
    Basis,
    DeadTime,
    RelayModel,
    SentSetting,
    delayed_overlap,
    dip_visibility,
    gains,
    live_fraction,
    pair_error_upper,
    pair_yield_lower,
    single_photon_gains,
)

PULSE_PS = 100.0
"""Standard deviation of a pulse's intensity in time."""
LINK = RelayModel(
    dark_count_probability=1e-7, misalignment_z=0.005, misalignment_x=0.005, mode_overlap=0.98
)
"""deploy/link.example.yaml."""


def dip(axes: Axes) -> None:
    """Coincidences over delay: closed form, and simulated counts with the fit of a scan."""
    delay = np.linspace(-600.0, 600.0, 401)
    for overlap, ratio, style, label in (
        (1.0, 1.0, "k-", "alike, equally bright"),
        (0.9, 1.0, "C0-", "overlap M = 0.9"),
        (1.0, 0.25, "C1-", "one arm a quarter as bright"),
    ):
        axes.plot(delay, _coincidences(delay, overlap, ratio), style, label=label)
    axes.plot(
        delay, 1.0 - np.array([delayed_overlap(1.0, t, PULSE_PS) for t in delay]), "k:",
        label="single photons, M = 1",
    )  # fmt: skip
    scan = np.linspace(-600.0, 600.0, 25)
    counts = np.random.default_rng(7).poisson(3000.0 * _coincidences(scan, 0.9, 1.0))
    fit = dip_visibility_fit(scan, counts)
    label = f"simulated scan, fit V = {fit.visibility:.3f} ± {fit.sigma_visibility:.3f}"
    axes.errorbar(
        scan, counts / fit.level, np.sqrt(counts) / fit.level, fmt="C0.", lw=0.8, label=label
    )
    axes.set_xlabel("delay between the two pulses (ps)")
    axes.set_ylabel("coincidences of the two ports, of those outside")
    axes.set_ylim(0.0, 1.35)


def _coincidences(delay: np.ndarray, overlap: float, ratio: float) -> np.ndarray:
    overlaps = [delayed_overlap(overlap, float(t), PULSE_PS) for t in delay]
    return np.asarray(1.0 - dip_visibility(overlaps, ratio))


def errors(axes: Axes) -> None:
    """Error rates of both bases over the light that is sent."""
    light = np.geomspace(1e-3, 1.0, 60)
    for basis, style in ((Basis.Z, "C0-"), (Basis.X, "C1-")):
        both = gains(LINK, basis, light, light).both
        axes.plot(light, 100.0 * both.error_rate, style, label=f"{basis.name}, weak pulses")
        single = 100.0 * float(single_photon_gains(LINK, basis).both.error_rate)
        axes.axhline(single, color=style[:2], ls=":", label=f"{basis.name}, single photons")
    axes.set_xscale("log")
    axes.set_xlabel("mean photon number of both pulses, at the sources")
    axes.set_ylabel("error rate (%)")
    axes.set_ylim(0.0, 40.0)


def decoys(axes: Axes) -> None:
    """What two decoys leave of the truth, as the weaker one is made weaker."""
    weak = np.geomspace(1e-3, 0.2, 60)
    truth = single_photon_gains(LINK, Basis.X).both
    yields, wrongs = [], []
    for nu in weak:
        ladder = (0.3, float(nu), 0.0)
        both = gains(LINK, Basis.X, np.array(ladder)[:, None], np.array(ladder)[None, :]).both
        lower = pair_yield_lower(ladder, ladder, both.gain)
        yields.append(float(lower / truth.gain))
        wrongs.append(float(pair_error_upper(ladder, ladder, both.errors, lower)))
    axes.plot(weak, yields, "C0-", label="$Y_{11}$, lower bound over truth")
    axes.plot(weak, wrongs, "C1-", label="$e_{11}$, upper bound")
    axes.axhline(float(truth.error_rate), color="C1", ls=":", label="$e_{11}$, truth")
    axes.set_xscale("log")
    axes.set_xlabel("weaker decoy ν (stronger one μ = 0.3, vacuum 0)")
    axes.set_ylim(0.0, 1.05)


def dead_time(axes: Axes) -> None:
    """Live slots over the light at the relay, for detectors of 50 ns at 12.5 ns per slot."""
    light = np.geomspace(1e-3, 1.0, 60)
    for extending, style in ((False, "C0-"), (True, "C1--")):
        blind = DeadTime(50_000, 12_500, 2_500, extending)
        model = RelayModel(eta_a=1.0, eta_b=1.0, same_detector=blind.same_detector)
        live = []
        for mean in light:
            sent = [SentSetting(Basis.Z, float(mean), 1.0)]
            live.append(100.0 * live_fraction(model, blind, sent, sent))
        axes.plot(light, live, style, label="extending" if extending else "not extending")
    axes.set_xscale("log")
    axes.set_xlabel("detectable photons per slot and arm")
    axes.set_ylabel("live slots (%)")
    axes.set_ylim(0.0, 102.0)


FIGURES: dict[str, Callable[[Axes], None]] = {
    "dip": dip,
    "errors": errors,
    "decoys": decoys,
    "dead-time": dead_time,
}


def draw(name: str, folder: Path) -> Path:
    """Draw one picture to NAME.png in a folder."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    FIGURES[name](axes)
    axes.grid(which="major", alpha=0.3)
    axes.legend(fontsize="small")
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/physics.md.")
    parser.add_argument("--only", choices=FIGURES, help="this one alone")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "figures")
    chosen = parser.parse_args()
    for name in [chosen.only] if chosen.only else FIGURES:
        draw(name, chosen.into)


if __name__ == "__main__":
    main()
