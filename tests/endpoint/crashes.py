"""Has an endpoint, both or the network die at a named moment of a run."""

import asyncio
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from two_endpoints import Crash, play


@dataclass
class Death:
    """At which moment of whose what dies.

    deed : ``dies``, ``the other dies``, ``both die`` or ``the network breaks``. passed : how often
    the moment comes before. then : called with both parties before they come back.
    """

    who: str
    moment: str
    deed: str = "dies"
    passed: int = 0
    then: object = None
    came: bool = field(default=False, init=False)


def play_deaths(folder, run, *deaths, beforehand=None, **options):
    """As :func:`play`, with deaths that come one after the other.

    beforehand : called with both parties and the network before they start.
    Returns Alice, Bob, and all moments of the run as (who, name) in their order.
    """
    waiting, moments = list(deaths), []

    def prepare(alice, bob, network):
        if beforehand:
            beforehand(alice, bob, network)
        for party, other in ((alice, bob), (bob, alice)):
            checkpoint = _checkpoint(waiting, moments, party, other, network)
            party.settings = replace(party.settings, checkpoint=checkpoint)

    alice, bob = play(folder, run, prepare=prepare, **options)
    return alice, bob, moments


def _checkpoint(waiting, moments, party, other, network):
    def at(moment):
        moments.append((party.name, moment))
        if not waiting or (waiting[0].who, waiting[0].moment) != (party.name, moment):
            return
        death = waiting[0]
        if death.passed:
            death.passed -= 1
            return
        del waiting[0]
        death.came = True
        if death.then:
            death.then(party, other)
        if death.deed == "the network breaks":
            network.cut()
        if death.deed in ("the other dies", "both die"):
            _die(other)
        if death.deed in ("dies", "both die"):
            raise Crash

    return at


def _die(party):
    """From outside, wherever it is."""

    async def dead(task):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise Crash

    if party.task is not None and not party.task.done():
        # Nobody looks into a store that is being closed.
        party.store = SimpleNamespace(blocks=list, close=party.store.close)
        party.task = asyncio.ensure_future(dead(party.task))
