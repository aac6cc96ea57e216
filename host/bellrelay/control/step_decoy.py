"""The calibration step `decoy`: the ratios of the senders' settings against their declaration.

What was measured is asked of the endpoints, which alone know what was sent: by their power
monitors, and by the clicks in tracking slots that the relay has published, whose settings are never
key. Clicks per slot grow with the intensity sent by the same slope for all settings, on top of what
is not this sender's, so that differences to the vacuum setting stand to one another as the
intensities do, whatever is lost on the way. Light so bright that detectors hide clicks in the slot
of another shows strong settings as weaker than they are: as much as may be hidden stays open.

A ratio is *confirmed* if it lies within what the declared deviation allows (2 d / (1 - d) for a
deviation d of each of the two) by three standard errors, and *deviates* if it lies outside by as
much; in between nothing is decided, and the step has not ended well. It changes nothing: what to do
is in the runbook that it names.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from bellrelay.settings.model import Model, allowed, between

from .calibration_bench import Bench
from .calibration_step import StepFailed, StepResult
from .decoy_check import DecoyCheck, DecoyVerdict, check_clicks, check_readings
from .endpoint_health import ask_endpoint

__all__ = ["DecoyOptions", "DecoyStep", "checks_of"]

_URL = r"^https?://"


class DecoyOptions(Model):
    """Options of the step."""

    alice: str | None = Field(default=None, pattern=_URL, description="URL of Alice's /health")
    bob: str | None = Field(default=None, pattern=_URL, description="URL of Bob's /health")
    deviation: Annotated[float, between(0.0, 0.1)] = Field(
        default=0.01,
        description="relative deviation of each intensity that the endpoints declare "
        "(`alice.deviation`, `bob.deviation` of their YAML)",
    )
    seconds: Annotated[float, between(0.0, 86400.0, "s")] = Field(
        default=60.0,
        description="what was measured in so long; 0: all since the endpoints' daemons started",
    )

    @model_validator(mode="after")
    def _somebody(self) -> DecoyOptions:
        if self.alice is None and self.bob is None:
            raise allowed("alice, bob or both")
        return self


class DecoyStep:
    """See :mod:`.decoy_check`. It changes nothing: what to do about it is told."""

    name = "decoy"
    about = "ratios of signal and decoy intensities, as measured, against the declaration"
    disturbs = False
    options: type[Model] = DecoyOptions

    def run(self, bench: Bench, options: DecoyOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        urls = {"alice": options.alice, "bob": options.bob}
        asked = {who: url for who, url in urls.items() if url is not None}
        before = {who: ask_endpoint(url) for who, url in asked.items()}
        if options.seconds > 0.0:
            _wait(options.seconds, bench)
        found: dict[str, list[DecoyCheck]] = {}
        for who, url in asked.items():
            since = before[who] if options.seconds > 0.0 else {}
            found[who] = checks_of(ask_endpoint(url), who, options.deviation, since)
            for check in found[who]:
                bench.tell(f"{who}: {check.line()}")
        flat = [(who, check) for who, checks in found.items() for check in checks]
        bad = [(who, c) for who, c in flat if c.verdict is DecoyVerdict.DEVIATES]
        unsure = [who for who, checks in found.items() if not _confirmed(checks)]
        if bad:
            text = "; ".join(f"{who} {check.line()}" for who, check in bad)
            text += ": docs/runbooks/decoy-misconfigured.md"
        elif unsure:
            text = f"not decided for {', '.join(unsure)}: wait for more counts or readings"
        else:
            text = f"confirmed for {', '.join(found)}"
        return StepResult(
            not bad and not unsure,
            text,
            {who: [check.as_json() for check in checks] for who, checks in found.items()},
            draw=lambda path: _draw(path, flat),
        )


def checks_of(
    status: Mapping[str, Any], who: str, deviation: float, since: Mapping[str, Any] | None = None
) -> list[DecoyCheck]:
    """All that an endpoint's status allows, of what has come after an earlier one.

    Raises
    ------
    StepFailed
        It is another endpoint's, or nothing was measured.
    """
    if status.get("role") != who:
        raise StepFailed(f"the endpoint that was asked for {who} is {status.get('role')}")
    since = since or {}
    out, why = [], []
    try:
        out.append(_by_readings(status, since, deviation))
    except ValueError as error:
        why.append(f"power monitor: {error}")
    try:
        out.append(_by_clicks(status, since, deviation))
    except ValueError as error:
        why.append(f"tracking slots: {error}")
    if not out:
        raise StepFailed(f"{who}: nothing measured yet ({'; '.join(why)})")
    return out


def _by_readings(
    status: Mapping[str, Any], since: Mapping[str, Any], deviation: float
) -> DecoyCheck:
    totals = status.get("intensities") or []
    earlier = since.get("intensities") or [{"readings": 0, "sum": 0.0} for _ in totals]
    readings = [
        now["readings"] - then["readings"] for now, then in zip(totals, earlier, strict=False)
    ]
    sums = [now["sum"] - then["sum"] for now, then in zip(totals, earlier, strict=False)]
    spread = [t["relative_variance"] for t in totals]
    return check_readings(
        readings,
        [total / n if n > 0 else math.nan for total, n in zip(sums, readings, strict=True)],
        [math.nan if v is None else v for v in spread],
        [t["declared"] for t in totals],
        deviation,
    )


def _by_clicks(status: Mapping[str, Any], since: Mapping[str, Any], deviation: float) -> DecoyCheck:
    counts = (status.get("tracking") or {}).get("by_setting")
    if counts is None:
        raise ValueError("none, or the endpoint does not follow them")
    slots, clicks = np.array(counts["slots"]), np.array(counts["clicks"])
    earlier = (since.get("tracking") or {}).get("by_setting")
    if earlier is not None and earlier["sent"] == counts["sent"]:
        fewer = slots - np.array(earlier["slots"]), clicks - np.array(earlier["clicks"])
        # Another acquisition began meanwhile: all that is counted is newer.
        slots, clicks = fewer if (fewer[0] >= 0).all() else (slots, clicks)
    return check_clicks(slots, clicks, counts["sent"], deviation)


def _wait(seconds: float, bench: Bench) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        bench.check_cancelled()
        time.sleep(min(0.2, max(0.0, end - time.monotonic())))


def _confirmed(checks: list[DecoyCheck]) -> bool:
    return any(check.verdict is DecoyVerdict.CONFIRMED for check in checks)


def _draw(path: Path, flat: list[tuple[str, DecoyCheck]]) -> None:
    """How far each ratio is off, with three standard errors, and what is allowed, to a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = [(f"{who} {r.setting}/s\n{c.way}", r, c) for who, c in flat for r in c.ratios]
    for at, (_, ratio, check) in enumerate(rows):
        bound = 200.0 * check.allowed / (1.0 - check.allowed)
        axes.bar(at, 2 * bound, bottom=-bound, width=0.8, color="C2", alpha=0.15)
        error = 300.0 * ratio.sigma / ratio.declared
        colour = {"deviates": "C3", "confirmed": "C2"}.get(str(ratio.verdict), "C1")
        axes.errorbar([at], [100.0 * ratio.off], [error], fmt="o", color=colour, capsize=3)
    axes.axhline(0.0, color="k", lw=0.7)
    axes.set_xticks(range(len(rows)), [label for label, _, _ in rows], fontsize="x-small")
    axes.set_ylabel("ratio to the signal, measured over declared, less 1 (%)")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
