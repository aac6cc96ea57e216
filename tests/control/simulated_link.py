"""What a link's parts would report, second by second: closed forms, counting noise, slow wander."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bellrelay.control.fault_baseline import x_events
from bellrelay.control.fault_observation import (
    BlockReading,
    DetectorCounts,
    EndpointReading,
    KmeReading,
    Measured,
    Observation,
    RelayReading,
)
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import ModelledLink, expected_tallies, sent_settings
from bellrelay.distill.tally import pooled
from bellrelay.physics import (
    Basis,
    DeadTime,
    RelayModel,
    click_probabilities,
    dark_count_probability,
    delayed_overlap,
    dip_visibility,
    gains,
    gaussian_fraction,
)
from bellrelay.wire.outcomes import Outcome

SLOT_PS = 10_000.0
SLOTS_PER_S = 1e12 / SLOT_PS
WINDOW_PS = 1000.0
BLOCK_S = 5
TRACKING = 0.02
"""Slots whose settings and bits are public, beside those that make key."""
LADDER = Ladder(s=0.4, mu=0.3, nu=0.05, o=0.0, p_s=0.45, p_mu=0.15, p_nu=0.3)
DEAD_TIME = DeadTime(50_000.0, SLOT_PS, 5_000.0)


@dataclass(frozen=True)
class State:
    """What the link is like; `light` are factors on the arms, `sent` on the intensities s to nu."""

    eta: float = 0.02
    light: tuple[float, float] = (1.0, 1.0)
    delay_ps: tuple[float, float] = (0.0, 0.0)
    width_ps: float = 80.0
    dark_hz: tuple[float, ...] = (100.0,) * 4
    detector: tuple[float, ...] = (1.0,) * 4
    overlap: float = 0.96
    flips_z: float = 0.004
    flips_x: float = 0.01
    sent: tuple[tuple[float, float, float], tuple[float, float, float]] = ((1.0,) * 3, (1.0,) * 3)


@dataclass(frozen=True)
class Expected:
    """Means per second, and per slot where it says so."""

    clicks: np.ndarray
    suppressed: np.ndarray
    outside: np.ndarray
    live: float
    psi_minus: float
    psi_plus: float
    n: np.ndarray
    m: np.ndarray
    error_z: float
    visibility: float


@lru_cache(maxsize=4096)
def expected(state: State) -> Expected:
    kept = [
        gaussian_fraction(-WINDOW_PS / 2, WINDOW_PS / 2, d, state.width_ps) for d in state.delay_ps
    ]
    arriving = [state.eta * light for light in state.light]
    overlap = delayed_overlap(
        state.overlap, state.delay_ps[0] - state.delay_ps[1], state.width_ps / 1.5
    )
    model = RelayModel(
        eta_a=min(arriving[0] * kept[0], 1.0),
        eta_b=min(arriving[1] * kept[1], 1.0),
        detectors_per_port=2,
        detector_efficiency=state.detector,
        dark_count_probability=tuple(dark_count_probability(h, WINDOW_PS) for h in state.dark_hz),
        misalignment_z=state.flips_z,
        misalignment_x=state.flips_x,
        mode_overlap=overlap,
        same_detector=DEAD_TIME.same_detector,
    )
    ladders = [
        Ladder(
            s=LADDER.s * f[0], mu=LADDER.mu * f[1], nu=LADDER.nu * f[2], o=0.0,
            p_s=LADDER.p_s, p_mu=LADDER.p_mu, p_nu=LADDER.p_nu,
        )
        for f in state.sent
    ]  # fmt: skip
    hit = click_probabilities(model, *(sent_settings(ladder) for ladder in ladders))[2]
    alive = 1.0 / (1.0 + 5.0 * hit)
    link = ModelledLink(model, dead_time=DEAD_TIME)
    tallies = expected_tallies(link, *ladders, 1)
    both = pooled(tallies)
    signal = gains(model, Basis.Z, ladders[0].s, ladders[1].s).both
    means = [float(ladder.probabilities @ ladder.intensities) for ladder in ladders]
    stray = sum(
        a * (1.0 - k) * mean for a, k, mean in zip(arriving, kept, means, strict=True)
    ) / 4 * np.array(state.detector)  # fmt: skip
    return Expected(
        clicks=SLOTS_PER_S * hit * alive,
        suppressed=SLOTS_PER_S * hit * (1.0 - alive),
        outside=np.array(state.dark_hz) * (1.0 - 2 * WINDOW_PS / SLOT_PS) + SLOTS_PER_S * stray,
        live=link.live(*ladders),
        psi_minus=SLOTS_PER_S * float(tallies[Outcome.PSI_MINUS].n.sum()),
        psi_plus=SLOTS_PER_S * float(tallies[Outcome.PSI_PLUS].n.sum()),
        n=SLOTS_PER_S * both.n,
        m=SLOTS_PER_S * both.m,
        error_z=float(signal.error_rate),
        visibility=float(
            dip_visibility(overlap, arriving[1] / arriving[0] if arriving[0] > 0.0 else 0.0)
        ),
    )


class SimulatedLink:
    """Observations, one per second. `report` may change what is reported, after the noise."""

    def __init__(self, state: State | None = None, seed: int = 1) -> None:
        self.state = state or State()
        self.time_s = 0.0
        self._rng = np.random.default_rng(seed)
        self._wander: dict[str, float] = {}
        self._block = np.zeros((2, 4, 4), np.int64)
        self._z = np.zeros(2, np.int64)
        self._usual = self.state

    def run(
        self,
        seconds: int,
        change: Callable[[float, State], State] | None = None,
        report: Callable[[Observation], Observation] | None = None,
    ) -> list[Observation]:
        """`change` gives the state at so many seconds from now, by the one at the beginning."""
        rng, first = self._rng, self.state
        wander = {
            name: self._ou(name, seconds, tau_s, rms)
            for name, tau_s, rms in (
                ("light_a", 600.0, 0.02), ("light_b", 600.0, 0.02),
                ("delay_a", 30.0, 20.0), ("delay_b", 30.0, 20.0),
                ("laser_a", 300.0, 0.05), ("laser_b", 300.0, 0.05),
                ("sent_a", 300.0, 0.004), ("sent_b", 300.0, 0.004),
            )
        }  # fmt: skip
        out = []
        for k in range(seconds):
            if change is not None:
                self.state = change(float(k), first)
            at = {name: float(values[k]) for name, values in wander.items()}
            seen = self._second(expected(self.state), at, rng)
            out.append(seen if report is None else report(seen))
        return out

    def _ou(self, name: str, n: int, tau_s: float, rms: float) -> np.ndarray:
        """Ornstein-Uhlenbeck: Gaussian, with a memory of tau."""
        from scipy.signal import lfilter

        keep = np.exp(-1.0 / tau_s)
        kicks = self._rng.normal(0.0, rms * np.sqrt(1.0 - keep**2), n)
        start = self._wander.get(name, self._rng.normal(0.0, rms))
        path, _ = lfilter([1.0], [1.0, -keep], kicks, zi=np.array([keep * start]))
        self._wander[name] = float(path[-1])
        return path

    def _second(
        self, mean: Expected, at: dict[str, float], rng: np.random.Generator
    ) -> Observation:
        state = self.state
        self.time_s += 1.0
        both = 1.0 + 0.5 * (at["light_a"] + at["light_b"])
        pairs = (1.0 + at["light_a"]) * (1.0 + at["light_b"])
        clicks = rng.poisson(np.maximum(mean.clicks * both, 0.0))
        suppressed = rng.poisson(mean.suppressed * both)
        outside = rng.poisson(mean.outside)
        live = int(rng.binomial(int(SLOTS_PER_S), min(mean.live, 1.0)))
        minus, plus = rng.poisson((mean.psi_minus * pairs, mean.psi_plus * pairs))
        n = rng.poisson(mean.n * pairs)
        m = rng.binomial(n, np.minimum(mean.m / np.maximum(mean.n, 1e-300), 1.0))
        self._block += np.array([n, m])
        self._z += (n[0, 0], rng.binomial(n[0, 0], mean.error_z))
        blocks: tuple[BlockReading, ...] = ()
        if int(self.time_s) % BLOCK_S == 0:
            blocks = (
                BlockReading(
                    self.time_s - BLOCK_S, self._block[0].copy(), self._block[1].copy(),
                    int(self._z[0]), int(self._z[1]),
                ),
            )  # fmt: skip
            self._block[:] = 0
            self._z[:] = 0
        public = rng.poisson(TRACKING * n) if n[0, 0] else np.zeros((4, 4), np.int64)
        wrong = rng.binomial(public, np.minimum(mean.m / np.maximum(mean.n, 1e-300), 1.0))
        wrong[0, 0] = rng.binomial(public[0, 0], mean.error_z)
        noise = iter(rng.normal(size=16))

        def measured(value: float, sigma: float) -> Measured:
            return Measured(float(value + sigma * next(noise)), sigma)

        usual = self._usual.eta
        light = tuple(
            measured(state.eta * f * _mean_factor(sent) * (1.0 + at[w]), 0.006 * usual)
            for f, sent, w in zip(state.light, state.sent, ("light_a", "light_b"), strict=True)
        )
        delay = tuple(
            measured(d + at[w], 6.0) if f > 0.05 else None
            for d, f, w in zip(state.delay_ps, state.light, ("delay_a", "delay_b"), strict=True)
        )
        ends = tuple(
            EndpointReading(
                relay_connected=True,
                peer_connected=True,
                pool_blocks=1000.0,
                random_alarm=False,
                intensities=tuple(  # type: ignore[arg-type]
                    measured(f * (1.0 + at[f"sent_{p}"]), 0.003) for f in state.sent[i]
                ),
                vacuum_excess=0.2,
                laser_ghz=measured(at[f"laser_{p}"], 0.05),
            )
            for i, p in enumerate("ab")
        )
        relay = RelayReading(
            running=True,
            heartbeat_age_s=0.05,
            slots=int(SLOTS_PER_S),
            live=live,
            detectors=tuple(
                DetectorCounts(int(c), int(s), int(o))
                for c, s, o in zip(clicks, suppressed, outside, strict=True)
            ),
            psi_minus=int(minus),
            psi_plus=int(plus),
            light=light,  # type: ignore[arg-type]
            delay_ps=delay,  # type: ignore[arg-type]
            width_ps=measured(state.width_ps, 0.4),
            visibility=measured(mean.visibility, 0.008),
            reference_locked=True,
            public_z=(int(wrong[0, 0]), int(public[0, 0])),
            public_x=(x_events(wrong), x_events(public)),
        )
        kme = KmeReading(peer_connected=True)
        return Observation(
            self.time_s,
            1.0,
            relay,
            True,
            ends,
            (kme, kme),
            blocks,  # type: ignore[arg-type]
        )


def _mean_factor(sent: tuple[float, float, float]) -> float:
    weights = LADDER.probabilities[:3] * LADDER.intensities[:3]
    return float(weights @ np.array(sent) / weights.sum())


def of_relay(seen: Observation, **values: object) -> Observation:
    assert seen.relay is not None
    return replace(seen, relay=replace(seen.relay, **values))


def of_endpoint(seen: Observation, party: int, **values: object) -> Observation:
    ends = list(seen.endpoints)
    end = ends[party]
    assert end is not None
    ends[party] = replace(end, **values)
    return replace(seen, endpoints=tuple(ends))


def of_kme(seen: Observation, party: int, **values: object) -> Observation:
    kmes = list(seen.kmes)
    kme = kmes[party]
    assert kme is not None
    kmes[party] = replace(kme, **values)
    return replace(seen, kmes=tuple(kmes))
