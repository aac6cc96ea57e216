"""The calibration step `hom`: a Hong-Ou-Mandel scan with a delay line in one arm.

Raw tags are recorded at each delay. Pairs of clicks of the same bin at the two ports of the beam
splitter, over pairs that lie some slots apart (these know nothing of one another), dip where the
pulses meet. A Gaussian dip is fitted: visibility, centre and width, each with its standard error;
the width is that of the pulses times the square root of two. The visibility is compared with what
light of lasers can at best: 1/2 where both send the same in every slot, less with decoy states and
bits in Z, which `alice` and `bob` tell of.

It is *good* if the squared overlap of the modes (visibility over the most that there can be) may be
`least_overlap` or more and is known within 0.1; *too low* if it lies below by three standard
errors; *deeper than light of lasers can* points to wrong windows or counting. Only a good dip moves
the delay line, to the dip's centre; else it goes back to where it stood. The detectors must be
deskewed before: clicks of a pair are looked for within `window_ps`.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from bellrelay.settings.model import Model, Name, allowed, between

from .calibration_bench import Bench, TagRecording
from .calibration_step import DeviceChange, StepFailed, StepResult
from .hom_scan import (
    HomScan,
    HomVerdict,
    LightOfBin,
    analyse_scan,
    draw_scan,
    most_visibility,
    scan_delays,
)
from .lab_devices import DelayLine, LabError
from .port_pairs import PortPairs, port_pairs

__all__ = ["HomOptions", "HomStep"]


def _ladder(value: Any) -> Any:
    keys = ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu")
    if not isinstance(value, dict) or set(value) - set(keys) or {"s", "mu", "nu"} - set(value):
        raise allowed("{s, mu, nu, o, p_s, p_mu, p_nu}, as an endpoint declares it")
    return {key: float(value.get(key, 0.0)) for key in keys}


Ladder = Annotated[dict[str, float], BeforeValidator(_ladder)]


class HomOptions(Model):
    """Options of the step."""

    device: Name = Field(description="a delay line of `lab:`")
    span_ps: Annotated[float, between(1.0, 1e6, "ps")] = Field(
        default=800.0, description="width of the scan about where the delay line stands"
    )
    points: Annotated[int, between(7, 201)] = Field(default=21, description="delays")
    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=2.0, description="at each delay"
    )
    window_ps: Annotated[int, between(1, 1_000_000, "ps")] | None = Field(
        default=None,
        description="how far clicks of a pair may be apart; default: the width of the early window",
    )
    least_overlap: Annotated[float, between(0.0, 1.0)] = Field(
        default=0.9, description="squared overlap of the modes that is good enough"
    )
    alice: Ladder | None = Field(
        default=None,
        description="what she sends, as it arrives at the beam splitter up to a factor that both "
        "share; default: the same in every slot",
    )
    bob: Ladder | None = Field(default=None, description="what he sends")
    centre: bool = Field(
        default=True, description="leave the delay line at the dip's centre if the dip is good"
    )


class HomStep:
    """See :mod:`.hom_scan`. The delay line goes to the dip's centre, or back to where it stood."""

    name = "hom"
    about = "interference visibility by a delay scan: depth, centre and width of the dip"
    disturbs = True
    options: type[Model] = HomOptions

    def run(self, bench: Bench, options: HomOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        line: DelayLine = bench.lab.device(options.device, DelayLine)
        window = options.window_ps or _window(bench)
        found = line.delay_ps()
        low, high = line.range_ps
        delays = scan_delays(found, options.span_ps, options.points)
        delays = np.unique(np.clip(delays, low, high))
        if len(delays) < 7:
            raise StepFailed(
                f"lab.{options.device}: {low:g}..{high:g} ps leaves too little of a scan of "
                f"{options.span_ps:g} ps about {found:g} ps"
            )
        try:
            pairs: list[PortPairs] = []
            for delay in delays:
                bench.check_cancelled()
                line.set_delay_ps(float(delay))
                recording = bench.tags(options.seconds)
                pairs.append(_pairs(recording, bench, window))
                bench.tell(f"{delay:9.1f} ps: {pairs[-1].same} pairs, ratio {pairs[-1].ratio:.3f}")
            scan = _scan(delays, pairs, options)
            goal = _goal(scan, found, options, line.range_ps)
            line.set_delay_ps(goal)
        except BaseException as error:
            try:
                line.set_delay_ps(found)
            except (LabError, OSError, ValueError) as trouble:
                error.add_note(f"lab.{options.device} could not be put back: {trouble}")
            raise
        devices = () if goal == found else (DeviceChange(options.device, (found,), (goal,)),)
        return StepResult(
            scan.verdict is HomVerdict.GOOD,
            scan.line(),
            {**scan.as_json(), "found_ps": found, "left_ps": goal, "window_ps": window},
            devices=devices,
            draw=lambda path: draw_scan(path, scan),
        )


def _window(bench: Bench) -> int:
    early = bench.config.windows.early
    return early[1] - early[0]


def _pairs(recording: TagRecording, bench: Bench, window: int) -> PortPairs:
    pairs = port_pairs(recording, bench.config, window)
    if not all(pairs.clicks):
        raise StepFailed(
            f"{pairs.clicks[0]} clicks at port c and {pairs.clicks[1]} at port d in "
            f"{recording.seconds:g} s: no light, or detectors that are off"
        )
    return pairs


def _scan(delays: np.ndarray, pairs: list[PortPairs], options: HomOptions) -> HomScan:
    most = most_visibility(_light(options.alice), _light(options.bob))
    try:
        return analyse_scan(
            delays,
            [p.same for p in pairs],
            [p.apart for p in pairs],
            most=most,
            least_overlap=options.least_overlap,
        )
    except ValueError as error:
        raise StepFailed(f"no dip could be fitted: {error}") from None


def _light(ladder: dict[str, float] | None) -> LightOfBin:
    if ladder is None:
        return LightOfBin.constant()
    p = [ladder["p_s"], ladder["p_mu"], ladder["p_nu"]]
    return LightOfBin.of_ladder(
        [ladder[name] for name in ("s", "mu", "nu", "o")], [*p, 1.0 - sum(p)]
    )


def _goal(scan: HomScan, found: float, options: HomOptions, limits: tuple[float, float]) -> float:
    """The centre where it is well known, within the scan, and elsewhere than where we stand."""
    if not options.centre or scan.verdict is not HomVerdict.GOOD or scan.fit is None:
        return found
    centre, sigma = scan.fit.centre_ps, scan.fit.sigma_centre_ps
    inside = scan.delay_ps.min() < centre < scan.delay_ps.max()
    if not inside or abs(centre - found) <= 2.0 * sigma:
        return found
    return min(max(centre, limits[0]), limits[1])
