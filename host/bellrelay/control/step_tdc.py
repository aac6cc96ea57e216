"""The calibration step `tdc`: linearity of the board's fine times.

The board calibrates its own delay lines by code density; with `calibrate` it is told to do that
now, channel by channel, each blind for some 55 ms meanwhile. The step reads what came of it and
holds table, code density and raw tags against each other: a table that does not grow, that is not
the one of its calibration, or tags with times of no code are faults, and so are codes wider than
`most_ps`.

A board without delay lines has a table, and no calibration; its figures are the table's.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bellrelay.relay.board import NotAcquiring
from bellrelay.settings.model import Model, between
from bellrelay.wire.access import NoAnswer
from bellrelay.wire.registers import Calibrate, FineState

from .calibration_bench import Bench
from .calibration_step import StepFailed, StepResult
from .fine_table_check import FineChannel, check_channel

__all__ = ["TdcOptions", "TdcStep"]

_TRIES_S = 5.0
_LOOK_S = 0.05


class TdcOptions(Model):
    """Options of the step."""

    calibrate: bool = Field(default=True, description="have the board measure its lines first")
    wait_s: Annotated[float, between(0.1, 600.0, "s")] = Field(
        default=10.0, description="longest time that this may take"
    )
    seconds: Annotated[float, between(0.001, 3600.0, "s of the board's time")] = Field(
        default=0.2, description="for so long raw tags are collected"
    )
    most_ps: Annotated[float, between(1.0, 1e5, "ps")] = Field(
        default=150.0, description="a channel with a wider code is not as it should be"
    )


class TdcStep:
    """See the module, and :mod:`.fine_table_check`."""

    name = "tdc"
    about = "fine times of the board: table, code density, non-linearity"
    disturbs = True
    options: type[Model] = TdcOptions

    def run(self, bench: Bench, options: TdcOptions) -> StepResult:
        """See :class:`~.calibration_step.Step`."""
        geometry = bench.geometry
        names = [d.name for d in bench.config.detectors] + [bench.config.sync.name]
        before = self._read(bench, "fine_runs")[0]
        if options.calibrate:
            self._calibrate(bench, before, options.wait_s)
        channels = geometry.n_channels
        state = self._read(bench, "fine_state")[0]
        runs = self._read(bench, "fine_runs")[0]
        table = np.array(self._read(bench, "fine"), np.int64).reshape(channels, -1)
        counts = np.array(self._read(bench, "fine_counts"), np.int64).reshape(channels, -1)
        recording = bench.tags(options.seconds)
        found = [
            check_channel(
                table[channel],
                counts[channel],
                geometry.clock_period_ps,
                recording.of(channel) % geometry.clock_period_ps,
            )
            for channel in range(channels)
        ]
        failed = [name for at, name in enumerate(names) if state >> (16 + at) & 1]
        wrong = [
            f"{name}: {fault}"
            for name, one in zip(names, found, strict=True)
            for fault in one.faults
        ]
        wrong += [
            f"{name}: a code of {one.widest_ps:.0f} ps"
            for name, one in zip(names, found, strict=True)
            if one.widest_ps > options.most_ps
        ]
        wrong += [f"{name}: its last calibration failed" for name in failed]
        widest = max(one.widest_ps for one in found)
        error = max(one.quantisation_rms_ps for one in found)
        text = "; ".join(wrong) or (
            f"widest code {widest:.0f} ps, {error:.1f} ps RMS"
            + ("" if any(one.measured for one in found) else " by the table: no delay lines")
        )
        return StepResult(
            not wrong,
            text,
            {
                "channels": [
                    {"name": name, **asdict(one)} for name, one in zip(names, found, strict=True)
                ],
                "runs": runs,
                "calibrated_now": runs != before,
                "mdegc": self._read(bench, "fine_mdegc")[0],
                "skew_ps": list(self._read(bench, "fine_skew_ps"))
                if state & FineState.SKEW_VALID
                else None,
            },
            draw=lambda path: _draw(path, names, table, found),
        )

    def _calibrate(self, bench: Bench, before: int, wait_s: float) -> None:
        account = bench.session.account
        if account is None:
            raise StepFailed("the board does not acquire")
        end = time.monotonic() + _TRIES_S
        while True:
            try:
                bench.session.write_live(account.acquisition, "fine_command", Calibrate.TABLES)
                break
            except (NotAcquiring, NoAnswer):
                if time.monotonic() >= end:
                    raise
                time.sleep(_LOOK_S)
        end = time.monotonic() + wait_s
        while True:
            bench.check_cancelled()
            busy = self._read(bench, "fine_state")[0] & FineState.BUSY
            if not busy:
                # A board without lines is never busy, and has run nothing.
                return
            if time.monotonic() >= end:
                raise StepFailed(f"the board's calibration was not over after {wait_s:g} s")
            time.sleep(_LOOK_S)

    @staticmethod
    def _read(bench: Bench, name: str) -> tuple[int, ...]:
        account = bench.session.account
        if account is None:
            raise StepFailed("the board does not acquire")
        end = time.monotonic() + _TRIES_S
        while True:
            try:
                return bench.session.read(account.acquisition, name)
            except NotAcquiring:
                # Another command may be under way, the tracking's for example.
                if time.monotonic() >= end:
                    raise
                time.sleep(_LOOK_S)


def _draw(path: Path, names: list[str], table: NDArray[np.int64], found: list[FineChannel]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, times, one in zip(names, table, found, strict=True):
        label = f"{name}: {one.quantisation_rms_ps:.1f} ps RMS, DNL {one.differential:.2f}"
        axes.step(np.arange(len(times)), times, where="mid", lw=0.8, label=label)
    axes.set_xlabel("code")
    axes.set_ylabel("time in the clock (ps)")
    axes.set_title("fine times", fontsize="small")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
