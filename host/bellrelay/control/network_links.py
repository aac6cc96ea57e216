"""Key rates between sites that share a relay: the model of every link that a network allows."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import FiniteKey, ModelledLink, expected_tallies, finite_key
from bellrelay.distill.optimise import optimise_ladders
from bellrelay.distill.security import Security
from bellrelay.physics import DeadTime, Encoding, RelayModel, arm_efficiency, dark_count_probability

from .network_file import DetectorType, Fibre, NetworkFile, RelayPlace

__all__ = ["Hop", "hops"]

_PS_PER_S = 1e12
_STEPS = 150
"""Of a search for the best ladders: within a few per cent of what more of them find."""


@dataclass(frozen=True)
class Hop:
    """Two sites and a relay that both reach.

    a, b: names of the sites, as the file has them in order. loss_db: of the fibres of both arms.
    bits_per_s: key while the relay serves them alone; 0 where there is none, for the cause.
    block_s: time that a block takes then. announced_per_s, sifted_per_s: announcements and bits of
    sifted key then.
    """

    a: str
    b: str
    relay: str
    loss_db: float
    bits_per_s: float
    block_s: float
    cause: str | None
    announced_per_s: float = 0.0
    sifted_per_s: float = 0.0

    def joins(self, one: str, other: str) -> bool:
        """Whether it is between these two."""
        return {one, other} == {self.a, self.b}


def hops(
    network: NetworkFile,
    optimise: bool = False,
    wanted: Collection[frozenset[str]] | None = None,
) -> Iterator[Hop]:
    """Every hop of a network, one after the other, as some take their time.

    Parameters
    ----------
    wanted
        Pairs of sites; None: all that share a relay.
    optimise
        Find the best ladders of every hop (seconds to a minute each). Otherwise each takes the
        file's ladder as it is, or with decoys that arrive equally strong, whichever gives more.
    """
    types = {d.name: d for d in network.detectors}
    place = {s.name: i for i, s in enumerate(network.sites)}
    for relay in network.relays:
        mine = sorted(
            (f for f in network.fibres if f.relay == relay.name), key=lambda f: place[f.site]
        )
        for first, second in combinations(mine, 2):
            if wanted is not None and frozenset((first.site, second.site)) not in wanted:
                continue
            yield _hop(network, relay, types[relay.detectors], first, second, optimise)


def _hop(
    network: NetworkFile,
    relay: RelayPlace,
    detector: DetectorType,
    first: Fibre,
    second: Fibre,
    optimise: bool,
) -> Hop:
    senders, finite = network.senders, network.finite
    eta_a, eta_b = (
        float(arm_efficiency(f.length_km, f.attenuation, f.loss, detector.efficiency))
        for f in (first, second)
    )
    period = senders.slot_period_ps
    polarised = senders.encoding == "polarisation"
    dead_time = None
    if detector.dead_time_ps > 0.0:
        dead_time = DeadTime(detector.dead_time_ps, period, 0.0 if polarised else period / 2.0)
    overlap = senders.mode_overlap if detector.mode_overlap is None else detector.mode_overlap
    model = RelayModel(
        encoding=Encoding(senders.encoding),
        eta_a=eta_a,
        eta_b=eta_b,
        detectors_per_port=relay.detectors_per_port,
        dark_count_probability=dark_count_probability(detector.dark_count_rate, senders.window_ps),
        misalignment_z=senders.misalignment_z,
        misalignment_x=senders.misalignment_x,
        mode_overlap=overlap,
        same_detector=dead_time is None or dead_time.same_detector,
    )
    link = ModelledLink(
        model, dead_time=dead_time, reconciliation_efficiency=finite.reconciliation_efficiency
    )
    pulses = round(finite.pulses)
    best = _best_key(link, senders.ladder.ladder(), pulses, finite.security(), optimise)
    key = best.key
    cause = key.estimate.aborted or "leak-exceeds-private-bits"
    return Hop(
        first.site,
        second.site,
        relay.name,
        sum(f.length_km * f.attenuation + f.loss for f in (first, second)),
        key.rate * _PS_PER_S / period,
        pulses * period / _PS_PER_S,
        None if key.length > 0 else cause,
        best.announced * _PS_PER_S / (pulses * period),
        key.estimate.sifted * _PS_PER_S / (pulses * period),
    )


@dataclass(frozen=True)
class _Best:
    """Key of a block with some ladders, and how many announcements it has."""

    key: FiniteKey
    announced: float


@lru_cache(maxsize=4096)
def _best_key(
    link: ModelledLink, ladder: Ladder, pulses: int, security: Security, optimise: bool
) -> _Best:
    # Options share most of their hops: each is computed once.
    eta_a, eta_b = float(link.relay.eta_a), float(link.relay.eta_b)  # type: ignore[arg-type]
    ladders = [(ladder, ladder), *_matched(ladder, eta_a, eta_b)]
    keys = [finite_key(link, a, b, pulses, security) for a, b in ladders]
    best = max(range(len(keys)), key=lambda k: keys[k].length)
    chosen, key = ladders[best], keys[best]
    if optimise:
        found = optimise_ladders(link, pulses, security, chosen, _STEPS)
        a, b = (replace(x, vacuum_limit=ladder.vacuum_limit) for x in (found.alice, found.bob))
        better = finite_key(link, a, b, pulses, security)
        if better.length > key.length:
            chosen, key = (a, b), better
    tallies = expected_tallies(link, *chosen, pulses).values()
    return _Best(key, float(sum(t.n.sum() for t in tallies)))


def _matched(ladder: Ladder, eta_a: float, eta_b: float) -> Iterator[tuple[Ladder, Ladder]]:
    """The same with decoys that interfere at equal strength, on arms that differ."""
    if min(eta_a, eta_b) <= 0.0 or math.isclose(eta_a, eta_b):
        return
    shift = math.sqrt(eta_b / eta_a)
    # Stronger than the signal, decoys show hardly any single photons.
    most = max(ladder.s, ladder.mu) / (ladder.mu * max(shift, 1.0 / shift))
    for scale in {1.0, min(1.0, most)}:
        try:
            yield tuple(  # type: ignore[misc]
                replace(ladder, mu=ladder.mu * f * scale, nu=ladder.nu * f * scale)
                for f in (shift, 1.0 / shift)
            )
        except ValueError:
            continue
