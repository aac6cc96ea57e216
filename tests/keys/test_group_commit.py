"""Rounds: what waits is done together, and nobody is kept waiting by another's queue."""

import asyncio

import pytest

from bellrelay.keys.group_commit import GroupCommit


def test_what_waits_meanwhile_is_one_round():
    rounds = []

    async def main():
        async def work(items):
            rounds.append(list(items))
            await asyncio.sleep(0.01)
            return [2 * item for item in items]

        group = GroupCommit(work, most=100)
        return await asyncio.gather(*(group.submit("a", i) for i in range(9)))

    assert asyncio.run(main()) == [2 * i for i in range(9)]
    assert rounds == [[0], list(range(1, 9))]


def test_names_take_turns_and_costs_fill_a_round():
    rounds = []

    async def main():
        async def work(items):
            rounds.append(list(items))
            await asyncio.sleep(0)
            return items

        group = GroupCommit(work, most=4)
        greedy = [asyncio.ensure_future(group.submit("greedy", f"g{i}", 2)) for i in range(5)]
        await asyncio.sleep(0)
        modest = asyncio.ensure_future(group.submit("modest", "m"))
        large = asyncio.ensure_future(group.submit("large", "l", 50))
        await asyncio.gather(*greedy, modest, large)

    asyncio.run(main())
    assert rounds[0] == ["g0"]
    assert "m" in rounds[1]
    # What costs more than a round has is a round by itself.
    assert ["l"] in rounds
    assert sorted(x for r in rounds for x in r) == ["g0", "g1", "g2", "g3", "g4", "l", "m"]


def test_what_a_round_raises_everybody_in_it_gets_and_nobody_else():
    async def main():
        async def work(items):
            await asyncio.sleep(0)
            if "bad" in items:
                raise OSError("disk")
            return items

        group = GroupCommit(work, most=1)
        ends = await asyncio.gather(
            *(group.submit(name, name) for name in ("good", "bad", "fine")), return_exceptions=True
        )
        await group.stop()
        return ends

    good, bad, fine = asyncio.run(main())
    assert (good, fine) == ("good", "fine")
    assert isinstance(bad, OSError)


def test_who_gave_up_is_not_served():
    seen = []

    async def main():
        async def work(items):
            seen.extend(items)
            await asyncio.sleep(0.01)
            return items

        group = GroupCommit(work, most=10)
        first = asyncio.ensure_future(group.submit("a", 1))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(group.submit("a", 2))
        await asyncio.sleep(0)
        assert group.waiting == 1
        second.cancel()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        await group.submit("a", 3)

    asyncio.run(main())
    assert seen == [1, 3]
