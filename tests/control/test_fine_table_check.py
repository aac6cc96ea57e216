"""A board's fine times held against their calibration and against its tags."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from simulated_bench import relay_config

from bellrelay.control.calibration_bench import TagRecording
from bellrelay.control.calibration_step import StepFailed
from bellrelay.control.fine_table_check import check_channel
from bellrelay.control.step_tdc import TdcOptions, TdcStep
from bellrelay.relay.board import NotAcquiring
from bellrelay.tags.linearity import code_times_ps
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import FineState
from bellrelay_sim.board import fine_table
from bellrelay_sim.tapped_line import made_up_line
from bellrelay_sim.timing_errors import calibrate

CLOCK = 10_000


def line_counts() -> np.ndarray:
    """Of a delay line that is simulated, as the gateware counts."""
    return calibrate([made_up_line(3)], samples_log2=16).counts[0]


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return line_counts()


def tables(counts: np.ndarray) -> np.ndarray:
    times = code_times_ps(counts, CLOCK // 2)
    return np.concatenate((times, times + CLOCK // 2))


def test_a_calibrated_line_is_as_its_model_is(counts: np.ndarray) -> None:
    table = tables(counts)
    found = check_channel(table, counts, CLOCK, table[[3, 50, 300]])
    assert found.faults == ()
    assert found.measured
    assert found.codes == np.count_nonzero(counts)
    assert found.widest_ps == pytest.approx(5_000 * counts.max() / counts.sum())
    # Error of a uniform arrival that is given the middle of its code, drawn instead of summed up.
    rng = np.random.default_rng(2)
    edges = np.concatenate(([0.0], np.cumsum(counts) / counts.sum() * 5_000))
    x = rng.uniform(0, 5_000, 200_000)
    code = np.searchsorted(edges, x, side="right") - 1
    middle = (edges[code] + edges[code + 1]) / 2
    assert found.quantisation_rms_ps == pytest.approx(np.std(x - middle), rel=0.02)


def test_what_does_not_belong_together_is_told(counts: np.ndarray) -> None:
    table = tables(counts)
    other = np.roll(counts, 1)
    assert "not that of its calibration" in check_channel(table, other, CLOCK, table[:9]).faults[0]
    strange = np.array([table[5], next(t for t in range(CLOCK) if t not in set(table.tolist()))])
    (fault,) = check_channel(table, counts, CLOCK, strange).faults
    assert "50 % of the tags" in fault
    falling = table.copy()
    falling[10] = falling[9] - 1
    assert any(
        "does not grow" in f for f in check_channel(falling, counts, CLOCK, table[:0]).faults
    )


def test_a_board_without_lines_has_its_table() -> None:
    table = fine_table(BoardGeometry())
    found = check_channel(table, np.zeros(128, np.int64), 5_000, table)
    assert not found.measured
    assert found.faults == ()
    assert found.codes == 256
    assert found.widest_ps == pytest.approx(5_000 / 256, rel=0.05)
    assert found.quantisation_rms_ps == pytest.approx(5_000 / 256 / np.sqrt(12), rel=0.05)


# ------------------------------------------------------------------------------------- the step


class LinesBench:
    """A board with delay lines, or without."""

    def __init__(self, counts: np.ndarray, *, lines: bool = True) -> None:
        self.config = relay_config()
        self.geometry = dataclasses.replace(
            BoardGeometry(n_detectors=2), clock_period_ps=CLOCK, code_bits=9, capture_depth=128
        )
        self.session: Any = SimpleNamespace(
            account=SimpleNamespace(acquisition=4), read=self.read, write_live=self.write
        )
        self.lines, self.counts = lines, counts
        self.busy, self.refuse, self.runs, self.failed = 0, 2, 5, 0
        self.commands: list[tuple[int, str, int]] = []

    def write(self, acquisition: int, name: str, value: int) -> None:
        if self.refuse:
            self.refuse -= 1
            raise NotAcquiring("another command is under way")
        self.commands.append((acquisition, name, value))
        if self.lines:
            self.runs += 1
            self.busy = max(self.busy, 3)

    def read(self, acquisition: int, name: str) -> tuple[int, ...]:
        assert acquisition == 4
        if name == "fine_state":
            self.busy -= self.busy > 0
            return (
                (FineState.BUSY if self.busy else 0) | FineState.SKEW_VALID | self.failed << 16,
            )
        table = tables(self.counts)
        values: dict[str, Any] = {
            "fine_runs": [self.runs],
            "fine": np.tile(table, 3),
            "fine_counts": np.tile(self.counts * self.lines, 3),
            "fine_mdegc": [41_000],
            "fine_skew_ps": [0, 12, -7],
        }
        return tuple(int(v) for v in values[name])

    def tags(self, _seconds: float) -> TagRecording:
        t = tables(self.counts)[::7] + CLOCK * np.arange(len(tables(self.counts)[::7]))
        return TagRecording({0: t, 1: t}, 0, 10**9, 0)

    def check_cancelled(self) -> None:
        pass


def tdc(bench: LinesBench, **options: Any):  # type: ignore[no-untyped-def]
    return TdcStep().run(bench, TdcOptions(**options))  # type: ignore[arg-type]


def test_the_step_has_the_board_calibrate_and_reads_what_came_of_it(
    counts: np.ndarray, tmp_path: Path
) -> None:
    bench = LinesBench(counts)
    result = tdc(bench)
    assert result.ok, result.text
    assert bench.commands == [(4, "fine_command", 1)]
    assert result.figures["calibrated_now"]
    assert result.figures["skew_ps"] == [0, 12, -7]
    assert [one["name"] for one in result.figures["channels"]] == ["D0", "D1", "sync"]
    assert result.draw is not None
    result.draw(tmp_path / "tdc.png")
    assert (tmp_path / "tdc.png").read_bytes().startswith(b"\x89PNG")


def test_without_lines_or_without_being_asked_nothing_is_calibrated(counts: np.ndarray) -> None:
    result = tdc(LinesBench(counts, lines=False))
    assert result.ok
    assert "no delay lines" in result.text
    assert not result.figures["calibrated_now"]
    bench = LinesBench(counts)
    assert tdc(bench, calibrate=False).ok
    assert bench.commands == []


def test_a_wide_code_and_a_failed_run_are_not_as_they_should_be(counts: np.ndarray) -> None:
    bench = LinesBench(counts)
    result = tdc(bench, most_ps=20.0)
    assert not result.ok
    assert "D0: a code of" in result.text
    bench.failed = 0b010
    result = tdc(bench)
    assert not result.ok
    assert "D1: its last calibration failed" in result.text
    assert "D0" not in result.text


def test_a_calibration_that_does_not_end_is_told(counts: np.ndarray) -> None:
    bench = LinesBench(counts)
    bench.busy = 10**6
    with pytest.raises(StepFailed, match="not over after"):
        tdc(bench, wait_s=0.2)


def test_lines_are_told_apart() -> None:
    """The check of the check: codes of another line are not those of this one's calibration."""
    one = line_counts()
    other = calibrate([made_up_line(4)], samples_log2=16).counts[0]
    found = check_channel(tables(one), other, CLOCK, np.empty(0, np.int64))
    assert "not that of its calibration" in found.faults[0]
