"""What is watched: each quantity with its noise, its window, and the limits of its alarms.

A limit is absolute, or stands against what the baseline shows: so much more (`plus`), or so many
times as much (`times`). Every quantity has one instance per subject: arm or party, detector, or the
link as a whole; parts of a subject (the settings of a sender) are watched each on its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from bellrelay.distill.ladder import SETTINGS

from .fault_baseline import Baseline, decoy_events, x_events
from .fault_observation import PARTIES, DetectorCounts, Measured, Observation
from .fault_statistics import COUNTS, EVENTS, LEVEL, MEAN, SHARE, Statistic

__all__ = [
    "LINK",
    "OBSERVABLES",
    "Instance",
    "Limit",
    "Observable",
    "Sample",
    "Scope",
    "Side",
    "instances",
]

LINK = "link"
"""The subject of what belongs to no arm, party or detector."""

Sample = tuple[float, float]
"""Numerator and denominator of a statistic."""
Scope = Literal["link", "party", "detector"]
_NOTHING: Sample = (0.0, 0.0)
_LEAST_ASKED = 0.05


class Side(StrEnum):
    """Which way a quantity has moved."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Limit:
    """Where an alarm is raised and where it may be cleared."""

    raise_at: float
    clear_at: float
    against: Literal["absolute", "plus", "times"] = "absolute"

    def at(self, reference: float) -> tuple[float, float]:
        """Both, with this baseline."""
        if self.against == "plus":
            return reference + self.raise_at, reference + self.clear_at
        if self.against == "times":
            return reference * self.raise_at, reference * self.clear_at
        return self.raise_at, self.clear_at

    def __str__(self) -> str:
        form = {"absolute": "{:g}", "plus": "baseline {:+g}", "times": "{:g} of baseline"}
        text = form[self.against]
        return f"{text.format(self.raise_at)}; {text.format(self.clear_at)}"


def _absolute(_baseline: Baseline, _subject: int) -> float:
    """The reference of what needs no baseline."""
    return 0.0


def _of_baseline(_baseline: Baseline, _subject: int) -> float:
    """The reference of what is counted in units of the baseline."""
    return 1.0


@dataclass(frozen=True, eq=False)
class Observable:
    """A watched quantity.

    sample: from observation, baseline, index of the subject and of the part. reference: what the
    baseline shows; None: not watched on this link. window_s: what is added up; slow_window_s:
    beside it, for what is small and rests on few counts. raise_s, clear_s: how long the same must
    be seen. parts: names, if a subject has several. of_blocks: whether blocks tell it, which end
    long after they began.
    """

    name: str
    meaning: str
    unit: str
    scope: Scope
    statistic: Statistic
    sample: Callable[[Observation, Baseline, int, int], Sample]
    up: Limit | None = None
    down: Limit | None = None
    reference: Callable[[Baseline, int], float | None] = _absolute
    window_s: float = 2.0
    slow_window_s: float | None = None
    raise_s: float = 1.0
    clear_s: float = 10.0
    parts: tuple[str, ...] = ("",)
    of_blocks: bool = False

    @property
    def longest_window_s(self) -> float:
        """Of its windows."""
        return self.window_s if self.slow_window_s is None else self.slow_window_s

    def limit(self, side: Side) -> Limit | None:
        """The limit of this side, if it is watched."""
        return self.up if side is Side.UP else self.down


@dataclass(frozen=True)
class Instance:
    """An observable of one subject and part."""

    observable: Observable
    subject: str
    index: int
    part: int
    reference: float

    def __str__(self) -> str:
        name = self.observable.parts[self.part]
        of = " ".join(x for x in (self.subject if self.subject != LINK else "", name) if x)
        return f"{self.observable.name} of {of}" if of else self.observable.name

    def sample(self, observation: Observation, baseline: Baseline) -> Sample:
        """What an observation says; (0, 0) if nothing."""
        return self.observable.sample(observation, baseline, self.index, self.part)


def instances(baseline: Baseline) -> tuple[Instance, ...]:
    """All that is watched on a link with this baseline."""
    subjects: dict[Scope, tuple[str, ...]] = {
        "link": (LINK,),
        "party": PARTIES,
        "detector": tuple(f"detector {d}" for d in range(baseline.detectors)),
    }
    out = []
    for observable in OBSERVABLES:
        if not baseline.known and observable.reference is not _absolute:
            continue
        for index, subject in enumerate(subjects[observable.scope]):
            reference = observable.reference(baseline, index)
            if reference is not None:
                out += [
                    Instance(observable, subject, index, part, reference)
                    for part in range(len(observable.parts))
                ]
    return tuple(out)


# --------------------------------------------------------------------- what observations say


def _measured(value: Measured | None, unit: float = 1.0) -> Sample:
    # A fit that failed is no measurement, whatever it left in its fields.
    if value is None or not (value.sigma > 0.0 and math.isfinite(value.value + value.sigma)):
        return _NOTHING
    weight = (unit / value.sigma) ** 2
    return value.value / unit * weight, weight


def _flag(value: bool | None) -> Sample:
    return _NOTHING if value is None else (float(value), 1.0)


def _dark(o: Observation) -> bool:
    """Whether a sender has been asked to send next to nothing: then nothing is known of light."""
    return any(asked.light * asked.slots < _LEAST_ASKED for asked in o.asked)


def _no_more(o: Observation, counted: float, expected: float) -> Sample:
    """Counts, taken for what is expected if they are more while something is asked of a sender.

    Detectors that were blind see more as less is sent. What would be an alarm by that must not
    hold what was asked; light, live and suppressed tell whether the cause is gone.
    """
    if all(asked.calibrated for asked in o.asked):
        return counted, expected
    return min(counted, expected), expected


def _light(o: Observation, base: Baseline, arm: int, _part: int) -> Sample:
    usual = (base.light[arm] or 0.0) * o.asked[arm].light
    if o.relay is None or not usual or _dark(o):
        return _NOTHING
    return _measured(o.relay.light[arm], usual)


def _delay(o: Observation, _base: Baseline, arm: int, _part: int) -> Sample:
    return _NOTHING if o.relay is None else _measured(o.relay.delay_ps[arm])


def _apart(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    if o.relay is None:
        return _NOTHING
    a, b = o.relay.delay_ps
    if a is None or b is None:
        return _NOTHING
    return _measured(Measured(a.value - b.value, (a.sigma**2 + b.sigma**2) ** 0.5))


def _width(o: Observation, base: Baseline, _index: int, _part: int) -> Sample:
    if o.relay is None or not base.width_ps:
        return _NOTHING
    return _measured(o.relay.width_ps, base.width_ps)


def _visibility(o: Observation, base: Baseline, _index: int, _part: int) -> Sample:
    if o.relay is None or not base.visibility:
        return _NOTHING
    return _measured(o.relay.visibility, base.visibility)


def _reference_lost(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    if o.relay is None or o.relay.reference_locked is None:
        return _NOTHING
    return _flag(not o.relay.reference_locked)


def _detector(o: Observation, d: int) -> DetectorCounts | None:
    # A board that does not acquire counts nothing, which says nothing of a detector.
    if o.relay is None or not o.relay.slots or d >= len(o.relay.detectors):
        return None
    return o.relay.detectors[d]


def _span(o: Observation) -> float:
    return o.span_s if o.relay is None or o.relay.span_s is None else o.relay.span_s


def _clicks(o: Observation, base: Baseline, d: int, _part: int) -> Sample:
    counts = _detector(o, d)
    if counts is None or _dark(o):
        return _NOTHING
    lit = sum(asked.light * asked.slots for asked in o.asked) / len(o.asked)
    return _no_more(o, counts.clicks, base.clicks_per_s[d] * _span(o) * lit)


def _outside(o: Observation, base: Baseline, d: int, _part: int) -> Sample:
    counts = _detector(o, d)
    return _NOTHING if counts is None else (counts.outside, base.outside_per_s[d] * _span(o))


def _suppressed(o: Observation, _base: Baseline, d: int, _part: int) -> Sample:
    counts = _detector(o, d)
    if counts is None:
        return _NOTHING
    return counts.suppressed, counts.suppressed + counts.clicks


def _live(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    return _NOTHING if o.relay is None else (float(o.relay.live), float(o.relay.slots))


def _announced(o: Observation, base: Baseline, _index: int, _part: int) -> Sample:
    if o.relay is None or _dark(o):
        return _NOTHING
    # Senders of a share of the slots send in the same ones.
    pairs = math.prod(asked.light for asked in o.asked) * min(asked.slots for asked in o.asked)
    announced = float(o.relay.psi_minus + o.relay.psi_plus)
    return _no_more(o, announced, base.announced * o.relay.live * pairs)


def _psi_minus(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    if o.relay is None or _dark(o):
        return _NOTHING
    return float(o.relay.psi_minus), float(o.relay.psi_minus + o.relay.psi_plus)


def _error_z(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    wrong, events = (0, 0) if o.relay is None else o.relay.public_z
    for block in o.blocks:
        wrong, events = wrong + block.corrected, events + block.sifted
    return float(wrong), float(events)


def _error_x(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    wrong, events = (0, 0) if o.relay is None else o.relay.public_x
    for block in o.blocks:
        if block.n is not None and block.m is not None:
            wrong, events = wrong + x_events(block.m), events + x_events(block.n)
    return float(wrong), float(events)


def _slow_z(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    return _NOTHING if o.slow_z is None else (o.slow_z, 1.0)


def _slow_x(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    return _NOTHING if o.slow_x is None else (o.slow_x, 1.0)


def _vacuum_share(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    tables = [b.n for b in o.blocks if b.n is not None]
    return (
        float(sum(decoy_events(n, party)[0] for n in tables)),
        float(sum(int(n.sum()) for n in tables)),
    )


def _decoy_share(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    found = [decoy_events(b.n, party) for b in o.blocks if b.n is not None]
    return float(sum(f[1] for f in found)), float(sum(f[2] for f in found))


def _intensity(o: Observation, _base: Baseline, party: int, setting: int) -> Sample:
    end = o.endpoints[party]
    # Whether the monitor sits before or behind what attenuates, nobody says.
    if end is None or o.asked[party].light != 1.0:
        return _NOTHING
    return _measured(end.intensities[setting])


def _vacuum_excess(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    end = o.endpoints[party]
    return _NOTHING if end is None or end.vacuum_excess is None else (end.vacuum_excess, 1.0)


def _laser(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    end = o.endpoints[party]
    return _NOTHING if end is None else _measured(end.laser_ghz)


def _random(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    end = o.endpoints[party]
    return _NOTHING if end is None else _flag(end.random_alarm)


def _relay_lost(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    end = o.endpoints[party]
    return _NOTHING if end is None else _flag(not end.relay_connected)


def _peer_lost(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    ends = [e for e in o.endpoints if e is not None]
    return _flag(any(not e.peer_connected for e in ends)) if ends else _NOTHING


def _tags(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    ends = [e for e in o.endpoints if e is not None]
    return (float(sum(e.tag_failures for e in ends)), 1.0) if ends else _NOTHING


def _pool(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    end = o.endpoints[party]
    return _NOTHING if end is None or end.pool_blocks is None else (end.pool_blocks, 1.0)


def _breaches(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    ends = [e for e in o.endpoints if e is not None]
    return (float(sum(e.breaches for e in ends)), 1.0) if ends else _NOTHING


def _lists(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    return (float(sum(b.lists_differ for b in o.blocks)), 1.0) if o.blocks else _NOTHING


def _uncorrected(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    return (float(sum(b.uncorrected for b in o.blocks)), 1.0) if o.blocks else _NOTHING


def _unreachable(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    return _NOTHING if o.relay_reachable is None else _flag(not o.relay_reachable)


def _stopped(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    return _NOTHING if o.relay is None else _flag(not o.relay.running)


def _silence(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    # Before the first heartbeat nobody knows; `stopped` tells of a board that never comes.
    if o.relay is None or not math.isfinite(o.relay.heartbeat_age_s):
        return _NOTHING
    return o.relay.heartbeat_age_s, 1.0


def _line(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    if o.relay is None:
        return _NOTHING
    sent = o.relay.psi_minus + o.relay.psi_plus + o.relay.lost
    return float(o.relay.lost), float(sent)


def _kme_peer(o: Observation, _base: Baseline, _index: int, _part: int) -> Sample:
    kmes = [k for k in o.kmes if k is not None]
    return _flag(any(not k.peer_connected for k in kmes)) if kmes else _NOTHING


def _refused(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    kme = o.kmes[party]
    return _NOTHING if kme is None else (float(kme.refused), 1.0)


def _audit(o: Observation, _base: Baseline, party: int, _part: int) -> Sample:
    kme = o.kmes[party]
    return _NOTHING if kme is None else _flag(kme.audit_broken)


OBSERVABLES: tuple[Observable, ...] = (
    Observable(
        "light", "light of an arm in the tracking slots", "of baseline", "party", MEAN, _light,
        up=Limit(1.35, 1.2), down=Limit(0.75, 0.85), reference=lambda b, arm: b.light[arm],
    ),
    Observable(
        "darkness", "light of an arm is all but gone", "of baseline", "party", MEAN, _light,
        down=Limit(0.08, 0.2), reference=lambda b, arm: b.light[arm],
    ),
    Observable(
        "delay", "arrival of an arm's pulses against where they belong", "ps", "party", MEAN,
        _delay, up=Limit(150.0, 75.0), down=Limit(-150.0, -75.0),
    ),
    Observable(
        "delay-apart", "arrival of Alice's pulses against Bob's", "ps", "link", MEAN, _apart,
        up=Limit(150.0, 75.0), down=Limit(-150.0, -75.0),
    ),
    Observable(
        "width", "width of the arrivals", "of baseline", "link", MEAN, _width,
        up=Limit(1.3, 1.15), reference=lambda b, _: b.width_ps,
    ),
    Observable(
        "reference", "the clock has lost what it locks to", "", "link", LEVEL, _reference_lost,
        up=Limit(0.5, 0.5), raise_s=2.0,
    ),
    Observable(
        "clicks", "clicks of a detector", "of baseline", "detector", COUNTS, _clicks,
        up=Limit(2.0, 1.6), down=Limit(0.4, 0.55), reference=_of_baseline,
    ),
    Observable(
        "outside", "clicks of a detector outside the windows", "of baseline", "detector", COUNTS,
        _outside, up=Limit(2.0, 1.5), reference=_of_baseline, window_s=10.0,
    ),
    Observable(
        "suppressed", "hits of a detector that its dead time suppressed", "of hits", "detector",
        SHARE, _suppressed, up=Limit(0.1, 0.05, "plus"),
        reference=lambda b, d: b.suppressed_share[d],
    ),
    Observable(
        "live", "slots in which every detector could have fired", "of slots", "link", SHARE, _live,
        down=Limit(0.8, 0.9, "times"), reference=lambda b, _: b.live,
    ),
    Observable(
        "announced", "Bell outcomes per live slot", "of baseline", "link", COUNTS, _announced,
        up=Limit(1.5, 1.3), down=Limit(0.6, 0.75), reference=_of_baseline, window_s=4.0,
    ),
    Observable(
        "psi-minus", "psi-minus among the outcomes", "of outcomes", "link", SHARE, _psi_minus,
        up=Limit(0.1, 0.05, "plus"), down=Limit(-0.1, -0.05, "plus"),
        reference=lambda b, _: b.psi_minus_share, window_s=4.0,
    ),
    Observable(
        "error-z", "errors that correction found", "of sifted bits", "link", SHARE, _error_z,
        up=Limit(0.02, 0.01, "plus"), reference=lambda b, _: b.error_z,
        window_s=6.0, slow_window_s=60.0, raise_s=0.0, clear_s=60.0, of_blocks=True,
    ),
    Observable(
        "error-x", "errors in X, both mu or both nu", "of disclosed bits", "link", SHARE, _error_x,
        up=Limit(0.03, 0.015, "plus"), reference=lambda b, _: b.error_x,
        window_s=6.0, slow_window_s=300.0, raise_s=0.0, clear_s=60.0, of_blocks=True,
    ),
    Observable(
        "error-z-slow", "small rise of `error-z` over minutes to hours", "of what is beyond noise",
        "link", LEVEL, _slow_z, up=Limit(1.0, 0.5), reference=_of_baseline, raise_s=0.0,
    ),
    Observable(
        "error-x-slow", "small rise of `error-x` over minutes to hours", "of what is beyond noise",
        "link", LEVEL, _slow_x, up=Limit(1.0, 0.5), reference=_of_baseline, raise_s=0.0,
    ),
    Observable(
        "visibility", "visibility of the Hong-Ou-Mandel dip", "of baseline", "link", MEAN,
        _visibility, down=Limit(0.88, 0.94), reference=lambda b, _: b.visibility, window_s=10.0,
    ),
    Observable(
        "vacuum-share", "a sender's announced events with nothing sent", "of events", "party",
        SHARE, _vacuum_share, up=Limit(0.03, 0.015, "plus"),
        reference=lambda b, party: b.vacuum_share[party],
        window_s=6.0, slow_window_s=60.0, raise_s=1.5, clear_s=60.0, of_blocks=True,
    ),
    Observable(
        "decoy-share", "of a sender's decoys among the events, those with mu", "of decoys", "party",
        SHARE, _decoy_share, up=Limit(0.06, 0.03, "plus"), down=Limit(-0.06, -0.03, "plus"),
        reference=lambda b, party: b.decoy_share[party],
        window_s=6.0, slow_window_s=60.0, raise_s=1.5, clear_s=60.0, of_blocks=True,
    ),
    Observable(
        "intensity", "measured intensity over the declared one", "", "party", MEAN, _intensity,
        up=Limit(1.05, 1.03), down=Limit(0.95, 0.97), parts=SETTINGS[:3],
    ),
    Observable(
        "emission", "measured intensity is all but gone", "", "party", MEAN, _intensity,
        down=Limit(0.1, 0.3), parts=SETTINGS[:3],
    ),
    Observable(
        "vacuum", "light in the vacuum setting over what is allowed", "", "party", LEVEL,
        _vacuum_excess, up=Limit(1.0, 0.8), raise_s=2.0,
    ),
    Observable(
        "laser", "optical frequency against where it belongs", "GHz", "party", MEAN, _laser,
        up=Limit(0.5, 0.25), down=Limit(-0.5, -0.25), window_s=10.0,
    ),
    Observable(
        "random", "a health test of the random source fails", "", "party", LEVEL, _random,
        up=Limit(0.5, 0.5), raise_s=0.0,
    ),
    Observable(
        "relay-lost", "an endpoint has no connection to the relay", "", "party", LEVEL,
        _relay_lost, up=Limit(0.5, 0.5), raise_s=2.0,
    ),
    Observable(
        "peer-lost", "the endpoints have no connection to each other", "", "link", LEVEL,
        _peer_lost, up=Limit(0.5, 0.5), raise_s=3.0,
    ),
    Observable(
        "tags", "tags that do not fit, and contradictions of a peer", "", "link", EVENTS, _tags,
        up=Limit(0.5, 0.5), window_s=60.0, raise_s=0.0,
    ),
    Observable(
        "pool", "blocks that the key for tags is enough for", "blocks", "party", LEVEL, _pool,
        down=Limit(20.0, 40.0), raise_s=0.0,
    ),
    Observable(
        "breaches", "announcements that no honest relay makes", "", "link", EVENTS, _breaches,
        up=Limit(0.5, 0.5), window_s=60.0, raise_s=0.0, clear_s=600.0,
    ),
    Observable(
        "lists-differ", "blocks of which the relay told each side another list", "", "link",
        EVENTS, _lists, up=Limit(0.5, 0.5), window_s=600.0, raise_s=0.0, clear_s=600.0,
    ),
    Observable(
        "uncorrected", "blocks with more errors than could be corrected", "", "link", EVENTS,
        _uncorrected, up=Limit(1.5, 0.5), window_s=600.0, raise_s=0.0, clear_s=60.0,
        of_blocks=True,
    ),
    Observable(
        "unreachable", "nothing answers for the relay", "", "link", LEVEL, _unreachable,
        up=Limit(0.5, 0.5), raise_s=2.0,
    ),
    Observable(
        "stopped", "the relay's board is not acquiring", "", "link", LEVEL, _stopped,
        up=Limit(0.5, 0.5), raise_s=2.0,
    ),
    Observable(
        "silence", "since the board's last heartbeat", "s", "link", LEVEL, _silence,
        up=Limit(2.0, 0.5), raise_s=0.0,
    ),
    Observable(
        "line", "frames that the board's line lost", "of announcements", "link", SHARE, _line,
        up=Limit(0.01, 0.002), window_s=10.0,
    ),
    Observable(
        "kme-peer", "the KMEs have no connection to each other", "", "link", LEVEL, _kme_peer,
        up=Limit(0.5, 0.5), raise_s=3.0,
    ),
    Observable(
        "refused", "applications refused for their certificate", "", "party", EVENTS, _refused,
        up=Limit(4.5, 0.5), window_s=60.0, raise_s=0.0,
    ),
    Observable(
        "audit", "the chain of the audit log is broken", "", "party", LEVEL, _audit,
        up=Limit(0.5, 0.5), raise_s=0.0,
    ),
)  # fmt: skip
