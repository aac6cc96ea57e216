"""Episodes of loss, told once each and never forgotten."""

from __future__ import annotations

from amaranth.sim import Simulator

from bellrelay_gateware.loss_episode import LossEpisode


def _episodes(
    losses: str, room: str, quiet: int, final: int | None = None
) -> list[tuple[int, ...]]:
    """(tick it is told in, begin, end); ``x`` in ``losses``: a lossy tick; ``-``: no room."""
    dut = LossEpisode()
    told: list[tuple[int, ...]] = []

    async def bench(ctx):
        ctx.set(dut.quiet_ticks, quiet)
        for tick, (loss, fits) in enumerate(zip(losses, room, strict=True)):
            ctx.set(dut.active, final is None or tick <= final)
            ctx.set(dut.first, tick == 0)
            ctx.set(dut.final, tick == final)
            ctx.set(dut.loss, loss == "x")
            ctx.set(dut.cut_tick, min(tick, len(losses) if final is None else final) + 1)
            ctx.set(dut.told, fits == "+")
            await ctx.tick()
            ctx.set(dut.look, 1)
            ended = ctx.get(dut.ended)
            await ctx.tick()
            ctx.set(dut.look, 0)
            if ended and fits == "+":
                told.append((tick, ctx.get(dut.begin_tick), ctx.get(dut.end_tick)))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return told


def test_quiet_ticks_end_an_episode() -> None:
    assert _episodes("..x.x...x...", "+" * 12, 3) == [(7, 2, 5), (11, 8, 9)]


def test_an_episode_that_cannot_be_told_goes_on() -> None:
    assert _episodes("x..x...", "+---+++", 1) == [(4, 0, 4)]


def test_the_end_of_the_acquisition_ends_it_also_later() -> None:
    assert _episodes(".x.x", "++++", 200, final=3) == [(3, 1, 4)]
    assert _episodes(".x.x..", "+---" + "-+", 200, final=3) == [(5, 1, 4)]
