"""What a build has come to: figures, gates, and the page that is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["BuildReport", "ClockResult", "LineResult", "ResourceUse"]


@dataclass(frozen=True)
class ClockResult:
    """A clock net: what it needs and what it was placed with, in MHz, at the slowest corner."""

    name: str
    constraint_mhz: float
    achieved_mhz: float

    @property
    def margin_percent(self) -> float:
        """By how much it is faster than it must be."""
        return 100.0 * (self.achieved_mhz / self.constraint_mhz - 1.0)

    @property
    def met(self) -> bool:
        """Whether it is fast enough."""
        return self.achieved_mhz >= self.constraint_mhz


@dataclass(frozen=True)
class ResourceUse:
    """Cells of one kind."""

    kind: str
    used: int
    available: int


@dataclass(frozen=True)
class LineResult:
    """A delay line that was found where it was asked for."""

    name: str
    taps: int
    first: str
    last: str


@dataclass
class BuildReport:
    """One build.

    Attributes
    ----------
    gateware_version, protocol_version, geometry
        What the board says of itself: see :func:`bellrelay.wire.access.identify`.
    reference, serial
        As :class:`~.build.BuildOptions` has them.
    bitstream, bitstream_sha256
        Path of the file, and its digest: who brings it onto a board knows it by that.
    faults
        A line of text for each gate that failed; empty if the build passes.
    seconds
        Wall time by stage.
    """

    board: str
    title: str
    device: str
    package: str
    speed: str
    seed: int
    git_revision: str
    config_hash: str
    gateware_version: str = ""
    protocol_version: int = 0
    geometry: Mapping[str, Any] = field(default_factory=dict)
    reference: str = "internal"
    serial: str = "0"
    tools: Mapping[str, str] = field(default_factory=dict)
    resources: tuple[ResourceUse, ...] = ()
    clocks: tuple[ClockResult, ...] = ()
    lines: tuple[LineResult, ...] = ()
    bitstream: str = ""
    bitstream_sha256: str = ""
    faults: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Everything, with ``passed`` and the clocks' margins."""
        out = asdict(self)
        out["tools"] = dict(self.tools)
        out["geometry"] = dict(self.geometry)
        for entry, clock in zip(out["clocks"], self.clocks, strict=True):
            entry |= {"margin_percent": round(clock.margin_percent, 1), "met": clock.met}
        return {"passed": self.passed, **out}

    def markdown(self) -> str:
        """A page for the reference; the wall times of this machine are left out."""
        tools = ", ".join(f"{name} {version}" for name, version in self.tools.items())
        verdict = "All gates hold." if self.passed else "**Gates that fail:**"
        out = [
            f"# Build of `{self.board}`",
            "",
            f"Made by `bellrelay board build {self.board} --report`. All figures are **placed**: "
            "they come from nextpnr's model of the chip at its slowest corner, none was measured "
            "on hardware.",
            "",
            f"{self.title}, {self.device} {self.package}, speed grade {self.speed}; "
            f"gateware {self.git_revision or 'unknown'}, configuration {self.config_hash}, "
            f"seed {self.seed}; {tools}.",
            "",
            verdict,
            *(f"- {fault}" for fault in self.faults),
            "",
            "| clock | needed (MHz) | placed (MHz) | margin |",
            "|---|---:|---:|---:|",
            *(
                f"| {c.name} | {c.constraint_mhz:.1f} | {c.achieved_mhz:.1f} | "
                f"{c.margin_percent:+.1f} %{'' if c.met else ' **not met**'} |"
                for c in self.clocks
            ),
            "",
            "| resource | used | of | share |",
            "|---|---:|---:|---:|",
            *(
                f"| {r.kind} | {r.used} | {r.available} | {100 * r.used / r.available:.1f} % |"
                for r in self.resources
            ),
            "",
            "| delay line | taps | first | last |",
            "|---|---:|---|---|",
            *(f"| {x.name} | {x.taps} | {x.first} | {x.last} |" for x in self.lines),
            "",
        ]
        return "\n".join(out)
