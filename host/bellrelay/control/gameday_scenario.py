"""A gameday's scenario: what its YAML says, step by step.

Steps are taken in their order. Times are link time, counted from the last injection or undoing
before the step: `detect` within 5 s means within 5 s of what was done to the link.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bellrelay.settings.load import load
from bellrelay.settings.model import FileModel, Model, Name, allowed, between

from .fault_actions import Action
from .fault_signatures import FAULTS

__all__ = [
    "DRILLS",
    "SCENARIOS",
    "Change",
    "Clear",
    "Detect",
    "Expire",
    "Follow",
    "Healthy",
    "Inject",
    "Keys",
    "Moved",
    "Order",
    "Propose",
    "Quarantined",
    "Quiet",
    "Scenario",
    "Step",
    "Undo",
    "Wait",
    "by_runbook",
    "load_scenario",
    "scenarios_of",
]

SCENARIOS = Path(__file__).parent / "scenarios"
"""Those that come along."""
DRILLS = Path(__file__).parent / "drills"
"""More of them, one for every runbook that a simulated link can need: with `--by-runbook`."""
HARD_S = 5.0
"""Link time in which a hard fault must be seen."""
MOVE_S = 10.0
"""Link time in which light goes to the next relay, and its first announcements come."""

_Seconds = Annotated[float, between(0.1, 3600.0, "s of link time")]
_LATEST = "it must have come true by then"
Relay = Literal["active", "other", "charles", "diana"]
_FAULTS = {fault.name for fault in FAULTS}
_ACTIONS = {str(action) for action in Action}


class Change(Model):
    """What nature or a sender does on a simulated link (`--conditions` of the twin)."""

    relay: Relay = Field(default="active", description="of which relay's link")
    to: dict[str, Any] = Field(description="as bellrelay_sim.conditions takes it")
    back: dict[str, Any] = Field(description="the same, to undo it")


class Expire(Model):
    """An endpoint is started again with a certificate that has expired."""

    who: Literal["alice", "bob"] = Field(description="the endpoint")


class Propose(Model):
    """An operator proposes other intensities, on trial in a share of the blocks."""

    factors: dict[str, float] = Field(
        description="by setting, proposed over what both senders send now"
    )
    share: Annotated[float, between(0.01, 1.0)] = Field(default=0.5, description="of the blocks")


class Inject(Model):
    """What is done to the system; exactly one."""

    change: Change | None = Field(default=None, description="something changes on the link")
    kill: str | None = Field(
        default=None,
        description="a process is killed: a relay (`active`, `other`), `alice`, `bob`, `kme-bob`",
    )
    stop: tuple[str, ...] | None = Field(
        default=None, description="processes are asked to end, in this order"
    )
    unplug: Relay | None = Field(default=None, description="a relay's board is pulled out")
    lie: Relay | None = Field(
        default=None, description="a relay's announcements are tampered with: slots come twice"
    )
    expire: Expire | None = None
    drain: Literal[True] | None = Field(
        default=None,
        description="both endpoints are started again with pools that are nearly empty",
    )
    move: Relay | None = Field(default=None, description="a planned move to this relay is ordered")
    propose: Propose | None = None

    @model_validator(mode="after")
    def _one(self) -> Inject:
        _exactly_one(self)
        return self

    @property
    def what(self) -> str:
        """In a few words, for people."""
        (name, value), *_ = _given(self)
        if isinstance(value, Change):
            return f"{value.relay}: {_short(value.to)}"
        if isinstance(value, Expire):
            return f"certificate of {value.who} expires"
        if name == "drain":
            return "pools of key for tags are nearly empty"
        if isinstance(value, Propose):
            return f"other intensities are proposed: {_short(value.factors)}"
        return f"{name} {value if isinstance(value, str) else ', '.join(self.stop or ())}"


class Healthy(Model):
    """Nothing is wrong at the active relay, and key is made."""

    keys: Annotated[int, between(1, 1000)] = Field(default=1, description="blocks with key, anew")
    within_s: _Seconds = Field(default=90.0, description=_LATEST)


class Detect(Model):
    """A fault is told."""

    faults: tuple[str, ...] = Field(min_length=1, description="one of these")
    subject: str | None = Field(default=None, description="whose; none: anybody's")
    within_s: _Seconds = Field(default=HARD_S, description=_LATEST)

    @model_validator(mode="after")
    def _known(self) -> Detect:
        unknown = sorted(set(self.faults) - _FAULTS)
        if unknown:
            raise allowed("faults of docs/reference/faults.md")
        return self


class Order(Model):
    """Something is ordered against it, and done."""

    actions: tuple[str, ...] = Field(min_length=1, description="one of these")
    done: bool = Field(default=True, description="false: told to people, who have to do it")
    within_s: _Seconds = Field(default=10.0, description=_LATEST)

    @model_validator(mode="after")
    def _known(self) -> Order:
        if set(self.actions) - _ACTIONS:
            raise allowed(", ".join(sorted(_ACTIONS)))
        return self


class Moved(Model):
    """Light is at another relay than at the last injection, and its first announcements came."""

    within_s: _Seconds = Field(default=MOVE_S, description=_LATEST)


class Quarantined(Model):
    """Both endpoints believe the relay of the last injection nothing more."""

    within_s: _Seconds = Field(default=HARD_S, description=_LATEST)


class Keys(Model):
    """Key is made again, on both sides."""

    blocks: Annotated[int, between(1, 1000)] = Field(default=1, description="with key, anew")
    backlog: bool = Field(
        default=False, description="also every block that was announced since the injection"
    )
    within_s: _Seconds = Field(default=60.0, description=_LATEST)


class Quiet(Model):
    """For so long no fault is told."""

    seconds: _Seconds = Field(default=5.0, description="for so long")


class Wait(Model):
    """Time passes."""

    seconds: _Seconds = Field(default=10.0, description="for so long")


class Clear(Model):
    """No fault is there any more."""

    within_s: _Seconds = Field(default=60.0, description=_LATEST)


class Follow(Model):
    """A runbook's commands are carried out as they are written, until the fault is over.

    The page is the one that the fault names which was told last; where none was told, the
    scenario's.
    """

    within_s: _Seconds = Field(
        default=60.0, description="after the last command, the fault must be over by then"
    )


class Undo(Model):
    """All that was injected is undone, the last first; ends when the daemons are back."""

    within_s: _Seconds = Field(default=60.0, description=_LATEST)


class Step(Model):
    """One step; exactly one of these."""

    healthy: Healthy | None = None
    inject: Inject | None = None
    detect: Detect | None = None
    order: Order | None = None
    moved: Moved | None = None
    quarantined: Quarantined | None = None
    keys: Keys | None = None
    quiet: Quiet | None = None
    wait: Wait | None = None
    clear: Clear | None = None
    follow: Follow | None = None
    undo: Undo | None = None

    @model_validator(mode="after")
    def _one(self) -> Step:
        _exactly_one(self)
        return self

    @property
    def value(self) -> Model:
        """The one that is given."""
        (_, value), *_ = _given(self)
        assert isinstance(value, Model)
        return value

    @property
    def kind(self) -> str:
        """Its name."""
        (name, _), *_ = _given(self)
        return name


class Scenario(FileModel):
    """Everything that a scenario's YAML says."""

    name: Name = Field(description="of the scenario: that of its file")
    title: str = Field(description="what happens, for people")
    runbook: str = Field(default="", description="page for a person")
    last: bool = Field(
        default=False,
        description="after all others where several share a system: what it leaves takes minutes "
        "to settle",
    )
    link: Literal["bright", "dim"] = Field(
        default="bright",
        description="`bright`: arms lose next to nothing, so that short blocks make key; `dim`: "
        "they may bring more light than the detectors can follow. Scenarios of different links "
        "share no system",
    )
    steps: tuple[Step, ...] = Field(min_length=1, description="in this order")

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        injected = False
        for n, step in enumerate(self.steps):
            injected |= step.inject is not None
            if step.kind in ("detect", "moved", "quarantined", "undo") and not injected:
                out.append((f"steps.{n}", step.kind, "after an injection"))
        return out


def load_scenario(path: Path) -> Scenario:
    """Read a scenario.

    Raises
    ------
    ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(Scenario, path)


def scenarios_of(folder: Path) -> Iterator[Path]:
    """Files of scenarios, in the order of their names."""
    yield from sorted(folder.glob("*.yaml"))


def by_runbook(scenario: Scenario) -> Scenario:
    """The same for a person who has nothing but the runbook, and a system that does nothing itself.

    What is done to the system stays, and what it tells of that; instead of what follows, the page
    is followed, and then key must be made again.
    """
    kinds = [step.kind for step in scenario.steps]
    ordered = [step.inject is not None and step.inject.move is not None for step in scenario.steps]
    if "detect" in kinds:
        end = len(kinds) - kinds[::-1].index("detect")
    else:
        # Nobody is there to tell anything: from what people, or the system by itself, would do.
        ends = ("order", "moved", "keys", "undo")
        done = [n for n, kind in enumerate(kinds) if kind in ends or ordered[n]]
        end = min(done, default=len(kinds))
    keys = next((step for step in scenario.steps[::-1] if step.keys), Step(keys=Keys()))
    steps = (*scenario.steps[:end], Step(follow=Follow()), keys)
    return scenario.model_copy(update={"steps": steps})


def _given(model: Model) -> list[tuple[str, object]]:
    return [(name, value) for name, value in model if value is not None]


def _exactly_one(model: Model) -> None:
    if len(_given(model)) != 1:
        raise allowed("exactly one of " + ", ".join(type(model).model_fields))


def _short(values: object) -> str:
    if isinstance(values, dict):
        return ", ".join(f"{name} {_short(value)}" for name, value in values.items())
    return str(values)
