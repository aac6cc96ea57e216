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
        slow = self.timeline.slow
        lines = [
            f"# Gameday: {'passed' if self.passed else 'FAILED'}",
            "",
            f"A simulation: {self.board} board, {_s(self.link_s)} of link time in "
            f"{self.wall_s:.0f} s. Times are link time after the injection"
            f"{', and in brackets by the clock' if slow else ''}.",
            "",
            "![timeline](timeline.png)",
            "",
            "| Scenario | | Told after | Mitigated after | Key again after | Finished blocks |",
            "|---|---|---|---|---|---|",
        ]
        for o in self.outcomes:
            told = _s(o.detection_s) + (_clock(o, "detect") if slow else "")
            done = _s(o.mitigation_s) + (_clock(o, "order", "moved") if slow else "")
            key = _s(o.recovery_s) + (_clock(o, "keys") if slow else "")
            blocks = f"{o.finished_before} before, {o.finished_after} after"
            lines.append(
                f"| {o.scenario} | passed | {told} | {done} | {key} | {blocks}, none lost |"
                if o.passed
                else f"| {o.scenario} | FAILED | {told} | {done} | {key} | {blocks} |"
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
                    f"| {step['step']} | {_after(step, slow)} | {_s(step.get('within_s'))} | "
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


def _clock(outcome: Outcome, *kinds: str) -> str:
    """What the last step of these kinds took by the clock."""
    took = [s["clock_s"] for s in outcome.steps if s["step"] in kinds and "clock_s" in s]
    return f" ({_s(took[-1])})" if took else ""


def _after(step: Mapping[str, Any], slow: bool) -> str:
    said = _s(step.get("after_s"))
    return f"{said} ({_s(step['clock_s'])})" if slow and "clock_s" in step else said


def _s(value: Any) -> str:
    if value is None:
        return ""
    return f"{float(value):.1f} s" if float(value) >= 0.095 or not value else f"{value:.1g} s"


def _what(step: Mapping[str, Any]) -> str:
    known = {"step", "link_s", "after_s", "within_s", "clock_s", "ok"}
    said = ", ".join(f"{k} {v}" for k, v in step.items() if k not in known and v != "")
    return said if step.get("ok") else f"{said} **failed**".strip()
