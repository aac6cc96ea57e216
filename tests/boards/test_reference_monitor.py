"""A reference that is there, too fast, too slow, gone, and a pin that carries something else."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator

from bellrelay_boards.reference import ReferenceMonitor

CLOCK_HZ = 48_000_000
WINDOW = 2000
EXPECTED = WINDOW * 10 // 48


def _locked(periods_ps: list[float], windows_each: int, tolerance_ppm: int = 5000) -> list[int]:
    """`reference_locked` at each window's end, of a pin with these periods one after another."""
    dut = ReferenceMonitor(clock_hz=CLOCK_HZ, tolerance_ppm=tolerance_ppm, window=WINDOW, windows=3)
    out: list[int] = []
    phase = 0.0

    async def bench(ctx):
        nonlocal phase
        for period in periods_ps:
            for _ in range(windows_each):
                for _ in range(WINDOW):
                    phase = (phase + 1e12 / CLOCK_HZ / period) % 1.0 if period else 0.0
                    ctx.set(dut.pin, phase < 0.5)
                    await ctx.tick("local")
                out.append(ctx.get(dut.reference_locked))

    sim = Simulator(dut)
    sim.add_clock(1 / CLOCK_HZ, domain="local")
    sim.add_testbench(bench)
    sim.run()
    return out


def test_a_good_reference_locks_after_its_windows_and_is_lost_at_once() -> None:
    out = _locked([100_000, 0, 100_000], 5)
    assert out[:5] == [0, 0, 1, 1, 1]
    # The pin stops with a window: its count is short by that window's end.
    assert out[5:10] == [0, 0, 0, 0, 0]
    assert out[10:] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("ratio", [0.5, 0.98, 1.02, 2.0])
def test_a_wrong_frequency_never_locks(ratio: float) -> None:
    assert not any(_locked([100_000 / ratio], 5))


@pytest.mark.parametrize("ratio", [0.998, 1.002])
def test_a_deviation_within_the_tolerance_locks(ratio: float) -> None:
    assert _locked([100_000 / ratio], 5)[-1]


def test_the_deviation_is_told() -> None:
    dut = ReferenceMonitor(clock_hz=CLOCK_HZ, window=WINDOW, windows=3)

    async def bench(ctx):
        for _ in range(2 * WINDOW + 2):
            await ctx.tick("local")
        assert ctx.get(dut.deviation.as_signed()) == -EXPECTED, "a pin that stands still"

    sim = Simulator(dut)
    sim.add_clock(1 / CLOCK_HZ, domain="local")
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reference_hz": 20_000_000}, "reference_hz is 20000000; allowed: 1 to 19200000"),
        ({"window": 400}, "window is 400; allowed: from 100 periods"),
        ({"windows": 0}, "windows is 0"),
        ({"tolerance_ppm": 500_000}, "tolerance_ppm is 500000"),
    ],
)
def test_parameters_are_checked(change: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ReferenceMonitor(clock_hz=CLOCK_HZ, **change)
