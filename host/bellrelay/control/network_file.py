"""The YAML of a network: sites, relays, the fibres between them, pairs that want key, and options.

`bellrelay plan` and `bellrelay network` read it; relays of a pair in their order, and where each is
reached, are what endpoints with several relays will go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from bellrelay.distill.security import Security
from bellrelay.endpoint.config import LadderSettings
from bellrelay.settings.load import load
from bellrelay.settings.model import Address, FileModel, Model, Name, allowed, between

from .network_load import Load

__all__ = [
    "Cost",
    "Costs",
    "DetectorType",
    "Fibre",
    "FibreCost",
    "FiniteBlocks",
    "NetworkFile",
    "NetworkOption",
    "Pair",
    "RelayPlace",
    "Senders",
    "Site",
    "load_network_file",
]

Fault = tuple[str, object, str]
Money = Annotated[float, between(0.0, 1e12)]
Hours = Annotated[float, between(0.0, 720.0, "hours per month")]
Share = Annotated[float, between(0.0, 1.0)]
Cores = Annotated[int, between(1, 10_000)]


def _names(value: Any) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(v, str) for v in listed):
        raise allowed("a name, or a list of names")
    return tuple(listed)


def _by_relay(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(
        isinstance(x, str) for pair in value.items() for x in pair
    ):
        raise allowed("relay: detector type, for as many relays as change")
    return dict(value)


Names = Annotated[tuple[str, ...], BeforeValidator(_names), WithJsonSchema({})]


class Site(Model):
    """A place with an endpoint: a sender, a key store, applications."""

    name: Name = Field(description="also the endpoint's id")
    trusted: bool = Field(
        default=False,
        description="whether keys of other pairs may pass through it, readable to whoever runs it",
    )
    cores: Cores | None = Field(
        default=None, description="of its computers together; none: load.site_cores"
    )


class RelayPlace(Model):
    """A relay: nobody has to trust it."""

    name: Name = Field(description="its relay_id")
    detectors: str = Field(description="name of a detector type")
    detectors_per_port: Literal[1, 2] = Field(
        default=1, description="time-bin: 2 stand behind a further 50:50 splitter"
    )
    connect: Address | None = Field(
        default=None, description="HOST:PORT of its fan-out; `plan` does not use it"
    )
    turn_s: Annotated[float, between(1.0, 1e6, "s")] = Field(
        default=3600.0, description="time in which every pair that it serves has its turn once"
    )
    settle_s: Annotated[float, between(0.0, 1e4, "s")] = Field(
        default=30.0, description="of every turn, from switching to the next pair to its first slot"
    )
    cores: Cores | None = Field(default=None, description="of its computer; none: load.relay_cores")


class Fibre(Model):
    """From a site to a relay."""

    site: str = Field(description="name of a site")
    relay: str = Field(description="name of a relay")
    length_km: Annotated[float, between(0.0, 2000.0, "km")] = Field(description="of the fibre")
    attenuation: Annotated[float, between(0.0, 10.0, "dB/km")] = Field(
        default=0.2, description="of the fibre"
    )
    loss: Annotated[float, between(0.0, 200.0, "dB")] = Field(
        default=0.0, description="connectors, filters, switches and the relay's optics"
    )


class Pair(Model):
    """Two sites that want key."""

    a: str = Field(description="name of a site; it is Alice")
    b: str = Field(description="name of another; it is Bob")
    demand: Annotated[float, between(1e-6, 1e12, "bits per second")] = Field(
        description="key that its applications use"
    )
    relays: Names = Field(
        default=(),
        description="in the order in which the pair goes to them: the others wait until the first "
        "is lost. None: any that both reach, and the plan divides their time",
    )


class DetectorType(Model):
    """Detectors that a relay may have."""

    name: Name = Field(description="of the type")
    efficiency: Share = Field(description="probability that a photon makes a click")
    dark_count_rate: Annotated[float, between(0.0, 1e9, "Hz")] = Field(description="of each")
    dead_time_ps: Annotated[float, between(0.0, 1e9, "ps")] = Field(
        default=0.0, description="of each, non-extending"
    )
    mode_overlap: Share | None = Field(
        default=None, description="M with these detectors' jitter; none: that of the senders"
    )
    price: Money = Field(default=0.0, description="of each")
    per_year: Money = Field(default=0.0, description="power, helium, service, of each")
    hours_per_month: Hours = Field(default=0.0, description="work of people, of each")


class Senders(Model):
    """What all senders are and send."""

    encoding: Literal["time-bin", "polarisation"] = Field(
        default="time-bin", description="how a photon carries its bit"
    )
    slot_period_ps: Annotated[float, between(1.0, 1e9, "ps")] = Field(description="of a slot")
    window_ps: Annotated[float, between(0.0, 1e7, "ps")] = Field(description="of a gate window")
    misalignment_z: Share = Field(default=0.005, description="flips in Z")
    misalignment_x: Share = Field(default=0.005, description="flips in X")
    mode_overlap: Share = Field(default=0.96, description="M of the two pulses")
    ladder: LadderSettings = Field(description="intensities and probabilities, of both")


class FiniteBlocks(Model):
    """Blocks, and the security of their keys."""

    pulses: Annotated[float, between(1.0, 1e18)] = Field(
        default=1e12, description="N, pairs of pulses per block"
    )
    epsilon_secrecy: Annotated[float, between(1e-60, 0.5)] = Field(
        default=1e-10, description="how far a key may be from a secret one"
    )
    epsilon_correctness: Annotated[float, between(1e-60, 0.5)] = Field(
        default=1e-15, description="probability that the keys differ unnoticed"
    )
    reconciliation_efficiency: Annotated[float, between(1.0, 10.0)] = Field(
        default=1.16, description="f: disclosed bits over n h(E)"
    )

    def security(self) -> Security:
        """The same as estimation takes it."""
        return Security(secrecy=self.epsilon_secrecy, correctness=self.epsilon_correctness)


class Cost(Model):
    """What one of something costs."""

    price: Money = Field(default=0.0, description="once")
    per_year: Money = Field(default=0.0, description="every year")
    hours_per_month: Hours = Field(default=0.0, description="work of people")


class FibreCost(Model):
    """What fibres cost."""

    per_km_year: Money = Field(default=0.0, description="lease, per km and year")
    hours_per_month: Hours = Field(default=0.0, description="work of people, of each fibre")


class Costs(Model):
    """Prices, in whatever currency."""

    currency: str = Field(default="EUR", min_length=1, max_length=8, description="for people")
    years: Annotated[float, between(0.1, 50.0)] = Field(
        default=5.0, description="over which prices are spread"
    )
    hour: Money = Field(default=0.0, description="an hour of work")
    sender: Cost = Cost()
    relay: Cost = Cost()
    trusted_node: Cost = Cost()
    fibre: FibreCost = FibreCost()
    core: Cost = Field(default=Cost(), description="of a computer of a site or a relay")
    broker_node: Cost = Field(default=Cost(), description="of the broker's cluster")


class NetworkOption(Model):
    """A change to the network, compared with what is there."""

    name: str = Field(min_length=1, max_length=40, description="for people")
    detectors: Annotated[dict[str, str], BeforeValidator(_by_relay), WithJsonSchema({})] = Field(
        default={}, description="relay that is there already: its new detector type"
    )
    relays: tuple[RelayPlace, ...] = Field(default=(), description="further relays")
    fibres: tuple[Fibre, ...] = Field(default=(), description="further fibres")
    trusted: Names = Field(default=(), description="sites that become trusted nodes")


class NetworkFile(FileModel):
    """Everything that the file of a network says."""

    sites: tuple[Site, ...] = Field(description="places with endpoints")
    relays: tuple[RelayPlace, ...] = Field(description="relays")
    fibres: tuple[Fibre, ...] = Field(description="from sites to relays")
    pairs: tuple[Pair, ...] = Field(description="who wants key with whom")
    detectors: tuple[DetectorType, ...] = Field(description="types that relays may have")
    senders: Senders
    finite: FiniteBlocks = FiniteBlocks()
    costs: Costs = Costs()
    load: Load = Load()
    options: tuple[NetworkOption, ...] = Field(default=(), description="changes to compare")

    def with_option(self, option: NetworkOption) -> NetworkFile:
        """The network that this option makes of it."""
        changed = self.model_copy(
            update={
                "sites": tuple(
                    s.model_copy(update={"trusted": s.trusted or s.name in option.trusted})
                    for s in self.sites
                ),
                "relays": (
                    *(
                        r.model_copy(
                            update={"detectors": option.detectors.get(r.name, r.detectors)}
                        )
                        for r in self.relays
                    ),
                    *option.relays,
                ),
                "fibres": (*self.fibres, *option.fibres),
                "options": (),
            }
        )
        changed._origin = self.origin
        return changed

    def with_demand(self, factor: float) -> NetworkFile:
        """The network whose pairs want so many times as much."""
        pairs = tuple(p.model_copy(update={"demand": factor * p.demand}) for p in self.pairs)
        return self.model_copy(update={"pairs": pairs})

    def cores_of(self, name: str) -> int:
        """Cores of a site or a relay."""
        for site in self.sites:
            if site.name == name:
                return site.cores or self.load.site_cores
        for relay in self.relays:
            if relay.name == name:
                return relay.cores or self.load.relay_cores
        raise KeyError(name)

    def with_load(self, **changed: object) -> NetworkFile:
        """The network with other computers."""
        return self.model_copy(update={"load": self.load.model_copy(update=changed)})

    def without_relay(self, name: str) -> NetworkFile:
        """The network after the loss of a relay."""
        return self.model_copy(
            update={
                "relays": tuple(r for r in self.relays if r.name != name),
                "fibres": tuple(f for f in self.fibres if f.relay != name),
            }
        )

    def faults(self) -> list[Fault]:
        """What contradicts itself between keys: key, value, allowed."""
        out = self._empty() + _doubles("sites", self.sites) + _doubles("detectors", self.detectors)
        out += _doubles("options", self.options)
        try:
            self.senders.ladder.ladder()
        except ValueError as error:
            out.append(("senders.ladder", self.senders.ladder.model_dump(), str(error)))
        if self.senders.encoding == "polarisation":
            out += [
                (f"relays.{i}.detectors_per_port", r.detectors_per_port, "1 with polarisation")
                for i, r in enumerate(self.relays)
                if r.detectors_per_port != 1
            ]
        sites = {s.name for s in self.sites}
        types = {d.name for d in self.detectors}
        every_relay = [*self.relays, *(r for o in self.options for r in o.relays)]
        out += _topology("", self.relays, self.fibres, sites, types, ())
        for i, pair in enumerate(self.pairs):
            out += _pair(f"pairs.{i}", pair, sites, {r.name for r in every_relay})
        ends = Counter(frozenset((p.a, p.b)) for p in self.pairs)
        out += [
            (f"pairs.{i}", f"{p.a}, {p.b}", "every pair of sites once")
            for i, p in enumerate(self.pairs)
            if ends[frozenset((p.a, p.b))] > 1
        ]
        for i, option in enumerate(self.options):
            key = f"options.{i}."
            out += _topology(key, option.relays, option.fibres, sites, types, self.relays)
            # A relay that the option adds has its type where it is added.
            known = {r.name for r in self.relays}
            out += _named(f"{key}trusted", option.trusted, sites, "site")
            out += _named(f"{key}detectors", option.detectors, known, "relay")
            out += _named(f"{key}detectors", option.detectors.values(), types, "detector type")
            out += _twice(f"{key}fibres", (*self.fibres, *option.fibres), len(self.fibres))
        return out

    def _empty(self) -> list[Fault]:
        return [
            (name, [], "at least one")
            for name in ("sites", "relays", "fibres", "pairs", "detectors")
            if not getattr(self, name)
        ]


def _topology(
    key: str,
    relays: Sequence[RelayPlace],
    fibres: Sequence[Fibre],
    sites: Iterable[str],
    types: Iterable[str],
    before: Sequence[RelayPlace],
) -> list[Fault]:
    out = _doubles(f"{key}relays", relays, {r.name for r in before})
    for i, relay in enumerate(relays):
        out += _named(f"{key}relays.{i}.detectors", [relay.detectors], types, "detector type")
    names = {r.name for r in (*before, *relays)}
    for i, fibre in enumerate(fibres):
        out += _named(f"{key}fibres.{i}.site", [fibre.site], sites, "site")
        out += _named(f"{key}fibres.{i}.relay", [fibre.relay], names, "relay")
    return out if before else out + _twice(f"{key}fibres", fibres, 0)


def _pair(key: str, pair: Pair, sites: Iterable[str], relays: Iterable[str]) -> list[Fault]:
    out = _named(f"{key}.a", [pair.a], sites, "site")
    out += _named(f"{key}.b", [pair.b], sites, "site")
    out += _named(f"{key}.relays", pair.relays, relays, "relay")
    if pair.a == pair.b:
        out.append((f"{key}.b", pair.b, "another site than a"))
    return out


def _named(key: str, names: Iterable[str], known: Iterable[str], what: str) -> list[Fault]:
    known = set(known)
    missing = [n for n in names if n not in known]
    listed = ", ".join(sorted(known)) if missing else ""
    return [(key, n, f"a {what}: {listed}") for n in missing]


def _doubles(key: str, things: Sequence[Any], before: Iterable[str] = ()) -> list[Fault]:
    seen = set(before)
    out: list[Fault] = []
    for i, thing in enumerate(things):
        if thing.name in seen:
            out.append((f"{key}.{i}.name", thing.name, "a name of its own"))
        seen.add(thing.name)
    return out


def _twice(key: str, fibres: Sequence[Fibre], first: int) -> list[Fault]:
    """Fibres from `first` on that join what another one joins."""
    seen: set[tuple[str, str]] = set()
    out: list[Fault] = []
    for i, ends in enumerate((f.site, f.relay) for f in fibres):
        if i >= first and ends in seen:
            text = "one fibre from a site to a relay"
            out.append((f"{key}.{i - first}", " to ".join(ends), text))
        seen.add(ends)
    return out


def load_network_file(path: Path) -> NetworkFile:
    """Read the YAML of a network.

    Raises
    ------
    bellrelay.settings.model.ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(NetworkFile, path)
