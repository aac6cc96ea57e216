"""When runs begin, what a failed one leaves, how blind clocks are counted."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.calibrator import Calibrator

G = BoardGeometry(n_detectors=2, clock_period_ps=10_000, code_bits=6)
UNIT = 1000
SETTLE = 16
RUN_CLOCKS = 5000  # longer than a run of three channels


def simulate(bench, *, source=lambda channel: True, at_reset=False):
    """A source with a pulse in every sixth clock, code by code, to every selected channel."""
    dut = Calibrator(
        G,
        samples_log2=6,
        timeout_clocks=64,
        pulses_log2=2,
        settle_clocks=SETTLE,
        at_reset=at_reset,
        schedule_unit_clocks=UNIT,
    )

    async def pulses(ctx):
        clock = 0
        async for _, _, select in ctx.tick().sample(dut.select):
            clock += 1
            for c in range(G.n_channels):
                hit = clock % 6 == 0 and select >> c & 1 and source(c)
                ctx.set(dut.raw[c].hit, hit)
                ctx.set(dut.raw[c].code, clock // 6 % 64)

    async def with_ready(ctx):
        ctx.set(dut.load_ready, 1)
        await bench(ctx, dut)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_process(pulses)
    sim.add_testbench(with_ready)
    sim.run()


async def until_idle(ctx, dut, limit=RUN_CLOCKS):
    """Clocks until a run that is under way has ended."""
    for clock in range(limit):
        if not ctx.get(dut.status.busy):
            return clock
        await ctx.tick()
    raise AssertionError("busy for too long")


async def strobe(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)
    await ctx.tick()


async def quiet_for(ctx, dut, clocks):
    for _ in range(clocks):
        assert not ctx.get(dut.status.busy)
        await ctx.tick()


def test_a_command_calibrates_every_channel_once_and_counts_blind_clocks():
    async def bench(ctx, dut):
        await quiet_for(ctx, dut, 50)
        swaps, blind = [], [0] * G.n_channels
        await strobe(ctx, dut.control.start)
        while ctx.get(dut.status.busy):
            swaps.append(ctx.get(dut.swap))
            now = ctx.get(dut.blind)
            assert now in (0, 1, 2, 4)  # the others work on
            assert ctx.get(dut.select) & ~now == 0
            for c in range(G.n_channels):
                blind[c] += now >> c & 1
            await ctx.tick()
        assert [s for s in swaps if s] == [1, 2, 4]
        assert ctx.get(dut.status.calibrated) == 7
        assert ctx.get(dut.status.failed) == 0
        assert ctx.get(dut.status.runs) == 1
        assert [ctx.get(b) for b in dut.status.blind_clocks] == blind
        assert min(blind) > 4 * SETTLE + 64 * 6 - 6

    simulate(bench)


def test_a_board_begins_with_a_run():
    async def bench(ctx, dut):
        await ctx.tick().repeat(2)
        assert ctx.get(dut.status.busy)
        await until_idle(ctx, dut)
        assert ctx.get(dut.status.calibrated) == 7
        await quiet_for(ctx, dut, 50)

    simulate(bench, at_reset=True)


def test_a_channel_without_pulses_fails_and_keeps_its_table():
    async def bench(ctx, dut):
        await strobe(ctx, dut.control.start)
        swaps = 0
        while ctx.get(dut.status.busy):
            swaps |= ctx.get(dut.swap)
            await ctx.tick()
        assert swaps == 5
        assert ctx.get(dut.status.calibrated) == 5
        assert ctx.get(dut.status.failed) == 2
        assert ctx.get(dut.blind) == 0
        await strobe(ctx, dut.control.deskew)
        assert ctx.get(dut.status.skew_failed)  # without a table there is no time
        await quiet_for(ctx, dut, 50)

    simulate(bench, source=lambda channel: channel != 1)


def test_schedule_runs_again_and_again_where_it_may():
    async def bench(ctx, dut):
        ctx.set(dut.control.period, 3)
        await ctx.tick().repeat(3 * UNIT + 5)
        assert ctx.get(dut.status.due)
        await quiet_for(ctx, dut, 500)  # not without leave
        ctx.set(dut.control.permit, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.status.busy)
        ctx.set(dut.control.period, 0)
        ran = await until_idle(ctx, dut)
        assert ctx.get(dut.status.runs) == 1
        ctx.set(dut.control.period, 1 + (ran + 600) // UNIT)
        left = ctx.get(dut.control.period) * UNIT - ran
        await quiet_for(ctx, dut, left - 10)
        await ctx.tick().repeat(20)
        assert ctx.get(dut.status.busy)
        ctx.set(dut.control.period, 0)
        await until_idle(ctx, dut)
        await quiet_for(ctx, dut, 5 * UNIT)

    simulate(bench)


@pytest.mark.parametrize("sign", [1, -1])
def test_temperature_runs_when_it_has_moved_far_enough(sign):
    async def bench(ctx, dut):
        ctx.set(dut.control.permit, 1)
        ctx.set(dut.control.threshold_mdegc, 2000)
        ctx.set(dut.temperature, -500)
        await quiet_for(ctx, dut, 50)  # nothing to differ from yet
        await strobe(ctx, dut.control.start)
        await until_idle(ctx, dut)
        assert ctx.get(dut.status.mdegc) == -500
        ctx.set(dut.temperature, -500 + sign * 1999)
        await quiet_for(ctx, dut, 50)
        ctx.set(dut.temperature, -500 + sign * 2000)
        await ctx.tick().repeat(6)
        assert ctx.get(dut.status.busy)
        await until_idle(ctx, dut)
        assert ctx.get(dut.status.mdegc) == -500 + sign * 2000
        await quiet_for(ctx, dut, 50)
        assert ctx.get(dut.status.runs) == 2

    simulate(bench)


def test_skew_blinds_all_channels_and_selects_them_unless_pulses_come_from_outside():
    async def bench(ctx, dut):
        await strobe(ctx, dut.control.start)
        await until_idle(ctx, dut)
        for external in (0, 1):
            ctx.set(dut.control.external, external)
            await strobe(ctx, dut.control.deskew)
            ctx.set(dut.control.external, 0)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.blind) == 7
            assert ctx.get(dut.select) == 0
            await ctx.tick().repeat(SETTLE + 1)
            assert ctx.get(dut.blind) == 7
            assert ctx.get(dut.select) == (0 if external else 7)
            await until_idle(ctx, dut)
            assert ctx.get(dut.blind) == 0
            assert ctx.get(dut.status.skew_valid) == (not external)
            assert ctx.get(dut.status.skew_failed) == external  # no pulse came
        assert [ctx.get(s) for s in dut.status.skew_ps] == [0, 0, 0]

    simulate(bench)


def test_skew_follows_a_run_where_asked():
    async def bench(ctx, dut):
        ctx.set(dut.control.follow, 1)
        await strobe(ctx, dut.control.start)
        blind = set()
        for _ in range(RUN_CLOCKS):
            blind.add(ctx.get(dut.blind))
            await ctx.tick()
        assert not ctx.get(dut.status.busy)
        assert blind == {0, 1, 2, 4, 7}
        assert ctx.get(dut.status.skew_valid)
        assert ctx.get(dut.status.runs) == 1

    simulate(bench)


@pytest.mark.parametrize("name", ["settle_clocks", "schedule_unit_clocks"])
def test_parameters_are_checked(name):
    with pytest.raises(ValueError, match=name):
        Calibrator(G, **{name: 0})
