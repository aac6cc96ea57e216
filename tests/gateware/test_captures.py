"""Captures of tags and announcements against lists: nothing is lost that is not counted."""

from __future__ import annotations

import random

from amaranth.sim import Simulator

from bellrelay_gateware.announcement_capture import AnnouncementCapture
from bellrelay_gateware.tag_capture import TagCapture


def _simulate(dut, bench) -> None:
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_tags_of_one_flush_to_the_next() -> None:
    depth, rng = 8, random.Random(1)
    dut = TagCapture(depth)
    seen = {"lost": 0, "half": 0, "kept": 0}

    async def bench(ctx):
        level: list[int] = []
        flush = False
        for tick in range(60):
            length, rate = rng.randrange(12, 30), rng.choice([0.0, 0.1, 0.5, 1.0])
            kept = level
            for clock in range(length):
                valid, time = rng.random() < rate, rng.getrandbits(56)
                assert ctx.get(dut.half) == (len(level) >= depth // 2)
                first = clock == 0 and tick > 0
                if first and flush:
                    level = []
                ctx.set(dut.tag.valid, valid)
                ctx.set(dut.tag.time, time)
                ctx.set(dut.start, first)
                ctx.set(dut.flush, flush and first)
                lost = valid and len(level) == depth
                assert ctx.get(dut.lost) == lost
                if valid and not lost:
                    level.append(time)
                seen["lost"] += lost
                seen["half"] += len(level) >= depth // 2
                # Of the bank that was handed over, one record per clock.
                if clock == 1 and tick:
                    assert ctx.get(dut.count) == (len(kept) if flush else 0)
                if tick and flush and 2 <= clock < 2 + len(kept):
                    ctx.set(dut.read_addr, clock - 2)
                if tick and flush and 4 <= clock < 4 + len(kept):
                    assert ctx.get(dut.read_data) == kept[clock - 4]
                    seen["kept"] += 1
                await ctx.tick()
            flush = rng.random() < 0.6

    _simulate(dut, bench)
    assert min(seen.values()) > 20


def test_announcements_come_out_in_order_of_their_slot() -> None:
    depths, rng = [8, 4, 2], random.Random(2)
    dut = AnnouncementCapture(depths)
    seen = {"lost": 0, "kept": 0}

    async def bench(ctx):
        slot = (1 << 40) + 5
        banks: list[list[tuple[int, int]]] = [[] for _ in depths]
        for _ in range(60):
            rate = rng.choice([0.02, 0.1, 0.6])
            flush = rng.random() < 0.7
            for clock in range(10):
                last = clock == 9
                lost = {1: 0, 2: 0}
                for p, depth in enumerate(depths):
                    valid, outcome = rng.random() < rate, rng.choice([1, 2])
                    slot += rng.randrange(1, 5000)
                    ctx.set(dut.announce[p].valid, valid)
                    ctx.set(dut.announce[p].outcome, outcome)
                    ctx.set(dut.announce[p].slot, slot)
                    if valid and len(banks[p]) < depth:
                        banks[p].append((slot, outcome))
                    elif valid:
                        lost[outcome] += 1
                ctx.set(dut.cut, last)
                ctx.set(dut.flush, flush and last)
                assert ctx.get(dut.lost_psi_minus) == lost[1]
                assert ctx.get(dut.lost_psi_plus) == lost[2]
                half = any(len(b) >= d // 2 for b, d in zip(banks, depths, strict=True))
                assert ctx.get(dut.half) == half
                seen["lost"] += sum(lost.values())
                await ctx.tick()
            for p in range(len(depths)):
                ctx.set(dut.announce[p].valid, 0)
            ctx.set(dut.cut, 0)
            ctx.set(dut.flush, 0)
            await ctx.tick().repeat(16)
            merged = sorted(record for bank in banks for record in bank)
            if not flush:
                assert ctx.get(dut.count) == 0
                continue
            assert ctx.get(dut.count) == len(merged)
            assert ctx.get(dut.psi_minus) == sum(outcome == 1 for _, outcome in merged)
            assert ctx.get(dut.psi_plus) == sum(outcome == 2 for _, outcome in merged)
            base = merged[0][0] if merged else 0
            assert ctx.get(dut.base_slot) == base
            # Now and then the bank is given up half way, as when its frame finds no room.
            wanted = merged if rng.random() < 0.7 else merged[: len(merged) // 2]
            got = []
            for clock in range(len(wanted) + 2):
                ctx.set(dut.take, clock < len(wanted))
                await ctx.tick()
                if clock >= 1:
                    got.append(ctx.get(dut.record))
            assert got[: len(wanted)] == [outcome << 28 | s - base for s, outcome in wanted]
            seen["kept"] += len(merged)
            banks = [[] for _ in depths]

    _simulate(dut, bench)
    assert min(seen.values()) > 50
