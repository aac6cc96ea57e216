"""What a gameday ends with: one JSON object, and a page for people with its timeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .gameday_run import Outcome
from .gameday_timeline import Timeline, draw_timeline

__all__ = ["GamedayReport", "write_report"]


@dataclass(frozen=True)
class GamedayReport:
    """Of a whole gameday.

    outcomes : of the scenarios, in the order in which they were run. delivered : keys that
    applications fetched at the end from both KMEs: number, whether all were the same on both sides,
    whether each came once; None if there were no KMEs. timeline : what was seen meanwhile.
    """

    board: str
    outcomes: Sequence[Outcome]
    wall_s: float
    link_s: float
    timeline: Timeline
    delivered: Mapping[str, Any] | None = None
    failures: Sequence[str] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every scenario did, and what was delivered was right."""
        return not self.failures and all(outcome.passed for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "simulation": True,
            "board": self.board,
            "passed": self.passed,
            "wall_s": round(self.wall_s, 1),
            "link_s": round(self.link_s, 1),
            "scenarios": [
                {
                    "name": o.scenario,
                    "title": o.title,
                    "passed": o.passed,
                    "failures": o.failures,
                    "detection_s": o.detection_s,
                    "mitigation_s": o.mitigation_s,
                    "recovery_s": o.recovery_s,
                    "link_s": [round(o.begun_s, 1), round(o.ended_s, 1)],
                    "finished_blocks": {"before": o.finished_before, "after": o.finished_after},
                    "steps": o.steps,
                    "marks": [asdict(mark) for mark in o.marks],
                }
                for o in self.outcomes
            ],
            "delivered": None if self.delivered is None else dict(self.delivered),
            "failures": list(self.failures),
        }

    def as_markdown(self) -> str:
        """For people; the picture lies beside it."""
        lines = [
            f"# Gameday: {'passed' if self.passed else 'FAILED'}",
            "",
            f"A simulation: {self.board} board, {self.link_s:.0f} s of link time in "
            f"{self.wall_s:.0f} s. Times are link time after the injection.",
            "",
            "![timeline](timeline.png)",
            "",
            "| Scenario | | Told after | Mitigated after | Key again after | Finished blocks |",
            "|---|---|---|---|---|---|",
        ]
        for o in self.outcomes:
            lines.append(
                f"| {o.scenario} | {'passed' if o.passed else 'FAILED'} | {_s(o.detection_s)} | "
                f"{_s(o.mitigation_s)} | {_s(o.recovery_s)} | "
                f"{o.finished_before} before, {o.finished_after} after, none lost |"
                if o.passed
                else f"| {o.scenario} | FAILED | {_s(o.detection_s)} | {_s(o.mitigation_s)} | "
                f"{_s(o.recovery_s)} | {o.finished_before} before, {o.finished_after} after |"
            )
        if self.delivered is not None:
            d = self.delivered
            lines += [
                "",
                f"Applications fetched {d['keys']} keys from both KMEs at the end, "
                f"{d['bits']} bits: {'all the same' if d['equal'] else 'NOT THE SAME'} on both "
                f"sides, {'each once' if d['once'] else 'SOME TWICE'}.",
            ]
        for failure in self.failures:
            lines += ["", f"**{failure}**"]
        for o in self.outcomes:
            lines += ["", f"## {o.scenario}", "", f"{o.title}.", ""]
            lines += ["| Step | After | Allowed | What |", "|---|---|---|---|"]
            for step in o.steps:
                lines.append(
                    f"| {step['step']} | {_s(step.get('after_s'))} | {_s(step.get('within_s'))} | "
                    f"{_what(step)} |"
                )
            lines += [f"\n**{failure}**" for failure in o.failures]
        return "\n".join(lines) + "\n"


def write_report(report: GamedayReport, folder: Path) -> None:
    """``report.json``, ``report.md`` and ``timeline.png``. OSError: the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report.as_json(), indent=1))
    (folder / "report.md").write_text(report.as_markdown())
    draw_timeline(report.timeline, report.outcomes, folder / "timeline.png")


def _s(value: Any) -> str:
    return "" if value is None else f"{float(value):.1f} s"


def _what(step: Mapping[str, Any]) -> str:
    known = {"step", "link_s", "after_s", "within_s", "ok"}
    said = ", ".join(f"{k} {v}" for k, v in step.items() if k not in known and v != "")
    return said if step.get("ok") else f"{said} **failed**".strip()
