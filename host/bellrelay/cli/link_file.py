"""The YAML of `bellrelay keyrate`: a link, what both parties send, and how much of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import ModelledLink
from bellrelay.distill.security import Method, OutcomeRule, Security
from bellrelay.physics import (
    DeadTime,
    RelayModel,
    arm_efficiency,
    dark_count_probability,
    overlap_of_visibility,
)
from bellrelay.physics.relay_model import Encoding
from bellrelay.settings.load import load
from bellrelay.settings.model import FileModel, Model, allowed, between
from bellrelay.wire.outcomes import Outcome

__all__ = [
    "OUTCOMES",
    "Finite",
    "Link",
    "LinkFile",
    "Outcomes",
    "Party",
    "ScanKind",
    "load_link_file",
]

OUTCOMES = {"psi-minus": Outcome.PSI_MINUS, "psi-plus": Outcome.PSI_PLUS}

_NEED_A_DARK_VACUUM = ("double-scanning", "closed-form")

ScanKind = Literal["distance", "loss"]

Probability = Annotated[float, between(0.0, 1.0)]
Intensity = Annotated[float, between(0.0, 3.0, "photons per pulse")]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def per_arm(high: float, unit: str) -> BeforeValidator:
    """Two arms from a number, of which each gets half, or from [Alice's, Bob's]."""
    error = allowed(f"0 to {high:g} {unit} in all, or [Alice's arm, Bob's arm]")

    def check(value: Any) -> tuple[float, float]:
        both = isinstance(value, list | tuple)
        if both and len(value) != 2:
            raise error
        numbers = [_number(v) for v in (value if both else (value,))]
        if not all(n is not None and 0.0 <= n <= high for n in numbers):
            raise error
        first = float(numbers[0] or 0.0)
        return (first, float(numbers[1] or 0.0)) if both else (first / 2.0, first / 2.0)

    return BeforeValidator(check)


def _pulses(value: Any) -> tuple[int, ...]:
    listed = value if isinstance(value, list | tuple) else (value,)
    numbers = [_number(v) for v in listed]
    out = []
    for number in numbers:
        if number is None or not 1.0 <= number <= 1e18:
            raise allowed("1 to 1e+18 pulse pairs, a number or a list of them")
        out.append(round(number))
    return tuple(out)


def _outcomes(value: Any) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    known = isinstance(listed, list | tuple) and all(v in OUTCOMES for v in listed)
    if not known or not listed or len(set(listed)) != len(listed):
        raise allowed("one or both of psi-plus, psi-minus")
    return tuple(listed)


Outcomes = Annotated[tuple[str, ...], BeforeValidator(_outcomes)]


class Link(Model):
    """From both sources to announced outcomes."""

    encoding: Literal["time-bin", "polarisation"] = Field(
        default="time-bin", description="how a photon carries its bit"
    )
    eta_a: Probability | None = Field(
        default=None, description="Alice's arm: probability from source to click"
    )
    eta_b: Probability | None = Field(default=None, description="Bob's arm")
    length_km: Annotated[
        tuple[float, float],
        per_arm(2000.0, "km"),
        WithJsonSchema({"type": "number"}),
    ] = Field(default=(0.0, 0.0), description="instead of eta: fibre, half of it in each arm")
    attenuation: Annotated[float, between(0.0, 10.0, "dB/km")] = Field(
        default=0.2, description="of the fibre"
    )
    loss: Annotated[tuple[float, float], per_arm(200.0, "dB"), WithJsonSchema({})] = Field(
        default=(0.0, 0.0), description="losses beside fibre and detector, half in each arm"
    )
    detector_efficiency: Probability = Field(default=1.0, description="of every detector")
    detectors_per_port: Literal[1, 2] = Field(
        default=1, description="time-bin: 2 stand behind a further 50:50 splitter"
    )
    dark_count_probability: Annotated[float, between(0.0, 0.5)] | None = Field(
        default=None, description="per detector and window; or a rate and a window"
    )
    dark_count_rate: Annotated[float, between(0.0, 1e9, "Hz")] = Field(
        default=0.0, description="of one detector, with window_ps"
    )
    window_ps: Annotated[float, between(0.0, 1e7, "ps")] = Field(
        default=0.0, description="width of a gate window"
    )
    misalignment_z: Probability = Field(
        default=0.0, description="probability that an announced bit of Z is flipped"
    )
    misalignment_x: Probability = Field(default=0.0, description="the same in X")
    mode_overlap: Probability | None = Field(
        default=None, description="M of the two pulses, 1 if neither it nor the visibility is given"
    )
    visibility: Annotated[float, between(0.0, 0.5)] | None = Field(
        default=None,
        description="instead: of the dip of weak pulses of equal strength, M / 2",
    )
    outcomes: Outcomes = Field(
        default=("psi-plus", "psi-minus"), description="what the relay announces; pooled"
    )
    slot_period_ps: Annotated[float, between(1.0, 1e9, "ps")] | None = Field(
        default=None, description="for rates per second, and needed for dead time"
    )
    dead_time_ps: Annotated[float, between(0.0, 1e9, "ps")] = Field(
        default=0.0, description="of every detector"
    )
    dead_time: Literal["extending", "non-extending"] = Field(
        default="non-extending", description="whether a suppressed click makes it dead anew"
    )
    bin_distance_ps: Annotated[float, between(0.0, 1e9, "ps")] | None = Field(
        default=None, description="time-bin: early to late; half a slot unless given"
    )

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        given = self.model_fields_set
        budget = sorted(given & {"length_km", "loss", "detector_efficiency"})
        for name in ("eta_a", "eta_b"):
            other = "eta_b" if name == "eta_a" else "eta_a"
            if getattr(self, name) is None and (getattr(self, other) is not None or not budget):
                out.append((name, None, "0 to 1; or length_km, loss, detector_efficiency"))
        if budget and (self.eta_a is not None or self.eta_b is not None):
            value = getattr(self, budget[0])
            out.append((budget[0], value, "nothing beside eta_a and eta_b, which include it"))
        if self.dark_count_probability is not None and "dark_count_rate" in given:
            out.append(
                ("dark_count_rate", self.dark_count_rate, "nothing beside dark_count_probability")
            )
        if "dark_count_rate" in given and "window_ps" not in given:
            out.append(("window_ps", None, "the width of a window, with dark_count_rate"))
        if self.mode_overlap is not None and self.visibility is not None:
            out.append(("visibility", self.visibility, "nothing beside mode_overlap"))
        if self.encoding == "polarisation" and self.detectors_per_port != 1:
            out.append(("detectors_per_port", self.detectors_per_port, "1 with polarisation"))
        if self.dead_time_ps > 0.0 and self.slot_period_ps is None:
            out.append(("slot_period_ps", None, "a period, with dead_time_ps"))
        if self.bin_distance_ps is not None and (
            self.slot_period_ps is None or not self.bin_distance_ps < self.slot_period_ps
        ):
            out.append(("bin_distance_ps", self.bin_distance_ps, "less than slot_period_ps"))
        return out

    @property
    def etas(self) -> tuple[float, float]:
        """From source to click, Alice's and Bob's arm."""
        if self.eta_a is not None and self.eta_b is not None:
            return self.eta_a, self.eta_b
        a, b = (
            float(arm_efficiency(length, self.attenuation, loss, self.detector_efficiency))
            for length, loss in zip(self.length_km, self.loss, strict=True)
        )
        return a, b

    @property
    def announced(self) -> tuple[Outcome, ...]:
        """The outcomes as the wire has them."""
        return tuple(OUTCOMES[name] for name in self.outcomes)

    def scanned(self, kind: ScanKind, value: float) -> Link:
        """This link at another length (km) or loss (dB), of both arms together.

        The file's own length or loss is replaced, divided over the arms as there; a link given by
        eta gets it added, half in each arm.
        """
        if self.eta_a is not None and self.eta_b is not None:
            db = value * (self.attenuation if kind == "distance" else 1.0)
            factor = 10.0 ** (-db / 20.0)
            return self.model_copy(
                update={"eta_a": self.eta_a * factor, "eta_b": self.eta_b * factor}
            )
        name = "length_km" if kind == "distance" else "loss"
        a, b = getattr(self, name)
        share = a / (a + b) if a + b > 0.0 else 0.5
        return self.model_copy(update={name: (share * value, (1.0 - share) * value)})

    def model(self) -> RelayModel:
        """The closed forms' view of this link, for live slots."""
        eta_a, eta_b = self.etas
        dark = self.dark_count_probability
        if dark is None:
            dark = dark_count_probability(self.dark_count_rate, self.window_ps)
        overlap = 1.0 if self.mode_overlap is None else self.mode_overlap
        if self.visibility is not None:
            overlap = float(overlap_of_visibility(self.visibility))
        scheme = self.dead_time_scheme()
        return RelayModel(
            encoding=Encoding(self.encoding),
            eta_a=eta_a,
            eta_b=eta_b,
            detectors_per_port=self.detectors_per_port,
            dark_count_probability=dark,
            misalignment_z=self.misalignment_z,
            misalignment_x=self.misalignment_x,
            mode_overlap=overlap,
            same_detector=scheme is None or scheme.same_detector,
        )

    def dead_time_scheme(self) -> DeadTime | None:
        """Dead time against the slots; none if there is no dead time."""
        if self.dead_time_ps == 0.0 or self.slot_period_ps is None:
            return None
        distance = self.bin_distance_ps
        if self.encoding == "polarisation":
            distance = 0.0
        elif distance is None:
            distance = self.slot_period_ps / 2.0
        return DeadTime(
            self.dead_time_ps, self.slot_period_ps, distance, self.dead_time == "extending"
        )


class Party(Model):
    """What a sender sends: mean photon numbers, and how often; o takes the rest."""

    s: Intensity = Field(description="signal, always in Z: the key comes from it alone")
    mu: Intensity = Field(description="stronger decoy, always in X")
    nu: Intensity = Field(description="weaker decoy, always in X")
    o: Intensity = Field(default=0.0, description="vacuum, or what an intensity modulator leaves")
    p_s: Probability = Field(description="probability of s")
    p_mu: Probability = Field(description="probability of mu")
    p_nu: Probability = Field(description="probability of nu")
    deviation: Annotated[float, between(0.0, 0.1)] = Field(
        default=0.0, description="relative half width within which every intensity is known"
    )

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        for name in ("s", "p_s", "p_mu", "p_nu"):
            if not getattr(self, name) > 0.0:
                out.append((name, getattr(self, name), "above 0"))
        if not self.mu > self.nu:
            out.append(("mu", self.mu, f"above nu, {self.nu}"))
        if not self.nu > self.o:
            out.append(("nu", self.nu, f"above o, {self.o}"))
        total = math.fsum((self.p_s, self.p_mu, self.p_nu))
        if not total < 1.0:
            out.append(("p_s", self.p_s, f"p_s + p_mu + p_nu below 1, here {total:g}"))
        for low, high in (("nu", "mu"), ("o", "nu")):
            below, above = getattr(self, low), getattr(self, high)
            if below < above and below * (1.0 + self.deviation) >= above * (1.0 - self.deviation):
                out.append(("deviation", self.deviation, f"less: {low} and {high} may be equal"))
        return out

    @property
    def decoys(self) -> tuple[float, float, float]:
        """Intensities mu, nu and o."""
        return self.mu, self.nu, self.o

    def ladder(self) -> Ladder:
        """What estimation takes as declared; needs `faults()` to be empty."""
        return Ladder(**self.model_dump())


class Finite(Model):
    """Blocks of finite length and the security asked of their keys."""

    pulses: Annotated[tuple[int, ...], BeforeValidator(_pulses), WithJsonSchema({})] = Field(
        default=(), description="N, pulse pairs sent per block"
    )
    epsilon_secrecy: Annotated[float, between(1e-60, 0.5)] = Field(
        default=1e-10, description="how far the key may be from a secret one"
    )
    epsilon_correctness: Annotated[float, between(1e-60, 0.5)] = Field(
        default=1e-15, description="probability that the keys differ unnoticed"
    )
    reconciliation_efficiency: Annotated[float, between(1.0, 10.0)] = Field(
        default=1.16, description="f: disclosed bits over n h(E)"
    )
    outcomes: Literal["pooled", "separate"] = Field(
        default="pooled", description="one bound on both Bell outcomes, or one on each"
    )
    method: Literal["weighted-counts", "double-scanning", "linear-program", "closed-form"] = Field(
        default="weighted-counts",
        description="how counts become bounds: the tightest is the first, the last the plainest",
    )

    def faults(self, alice: Party, bob: Party) -> list[tuple[str, object, str]]:
        """What contradicts what is sent: key, value, allowed."""
        if self.method not in _NEED_A_DARK_VACUUM or alice.o == bob.o == 0.0:
            return []
        return [("finite.method", self.method, "weighted-counts, linear-program; or o: 0")]

    def security(self) -> Security:
        """The same as estimation takes it."""
        return Security(
            secrecy=self.epsilon_secrecy,
            correctness=self.epsilon_correctness,
            outcomes=OutcomeRule(self.outcomes),
            method=Method(self.method),
        )


class LinkFile(FileModel):
    """Everything that the file of a link says."""

    link: Link
    alice: Party
    bob: Party
    finite: Finite = Finite()

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        parts: Sequence[tuple[str, Link | Party]] = (
            ("link", self.link),
            ("alice", self.alice),
            ("bob", self.bob),
        )
        own = [(f"{name}.{k}", v, a) for name, part in parts for k, v, a in part.faults()]
        return own + self.finite.faults(self.alice, self.bob)

    def modelled(self) -> ModelledLink:
        """The link with what is announced and disclosed."""
        return ModelledLink(
            self.link.model(),
            self.link.announced,
            self.link.dead_time_scheme(),
            self.finite.reconciliation_efficiency,
        )


def load_link_file(path: Path) -> LinkFile:
    """Read the YAML of a link.

    Raises
    ------
    bellrelay.settings.model.ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(LinkFile, path)
