"""The same network by events: light that goes from pair to pair, batches, blocks, requests.

Every relay gives its pairs their windows in turns of `turn_s`. While it is lit, a batch of
announcements leaves it every `batch_s`: its daemon writes and serves it, or a broker's node does;
every endpoint that follows takes it. A pair's light adds up to blocks; a block is work for both
sides and messages between them, and then key in both KMEs. Applications ask one KME or the other.

Nothing is drawn but when requests come, where turns begin and how far blocks are at the start;
counts of photons are the expected ones.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bellrelay.control.network_file import NetworkFile
from bellrelay.control.network_links import Hop

from .event_loop import EventLoop
from .rates_file import Rates
from .resources import Resource
from .standing import standing_shares
from .stations import Cores, Process, Queue, Rounds
from .traffic import BEAT_S, Flow, Traffic, traffic
from .watched import Busy, Spread

__all__ = ["EventModel", "Loss", "PairSeen", "Seen"]

_GRAIN_S = 1.0
"""Of light, whose announcements are one piece of work for those who follow."""
_INTAKE_S = 1.0
"""A KME looks for new blocks so often: `intake.poll_s`."""


@dataclass(frozen=True)
class Loss:
    """A relay that is lost: its name, and when."""

    relay: str
    at_s: float


@dataclass
class PairSeen:
    """What became of a pair. first_key_s : seconds until its first block was key; None: it was not.

    bits : of key made. asked, refused : requests, and those for which no key was there.
    """

    blocks: int = 0
    bits: float = 0.0
    asked: int = 0
    refused: int = 0
    first_key_s: float | None = None
    moved_s: float | None = None
    first_key_after_loss_s: float | None = None


@dataclass
class Seen:
    """What was seen between the end of the warm-up and the end.

    busy : by resource and name, the share of its time. waits : in front of each. delay_s : a batch
    from the relay to where endpoints take it from. block_s : from a block's last slot to key at
    both sites. answer_s, fetch_s : of a master's request and of a slave's. longest : queue of each.
    """

    seconds: float
    events: int
    busy: dict[Resource, dict[str, float]]
    waits: dict[Resource, Spread]
    longest: dict[Resource, int]
    pairs: list[PairSeen]
    delay_s: Spread
    block_s: Spread
    answer_s: Spread
    fetch_s: Spread
    messages: int
    deliveries: int
    unfinished_blocks: int


class _Pair:
    """A pair's endpoints, KMEs and what is in store, by side."""

    def __init__(self, model: EventModel, number: int) -> None:
        loop, load = model.loop, model.network.load
        pair = model.network.pairs[number]
        self.number = number
        self.sites = (pair.a, pair.b)
        cores = [model.sites[s] for s in self.sites]
        self.following = [Process(loop, c, 1) for c in cores]
        self.workers = [Process(loop, c, load.workers) for c in cores]
        self.kmes = [[Process(loop, c, 1) for _ in range(load.stores)] for c in cores]
        commit_s = model.rates.kme.commit_s
        self.rounds = [[Rounds(loop, commit_s) for _ in range(load.stores)] for _ in cores]
        self.in_flight = Queue(loop, load.in_flight)
        self.stored = [pair.demand * load.stored_s / 2.0] * 2
        self.done: dict[str, float] = {}
        self.seen = PairSeen()


class _Relay:
    """A relay's computer and daemon, and its windows of now."""

    def __init__(self, model: EventModel, name: str, cores: int, light: float) -> None:
        self.name = name
        self.cores = Cores(model.loop, cores)
        self.daemon = Process(model.loop, self.cores, 1)
        self.light = Busy(model.loop, light)
        self.turn = 0
        """Windows of an older turn are forgotten."""
        self.lit: Hop | None = None
        self.grain_s = self.owed_s = 0.0
        """Light since endpoints were last given work, and work that each of them is owed."""


class EventModel:
    """One run.

    Parameters
    ----------
    flows
        Of the network.
    rates
        What work takes.
    found
        Every link that pairs may take, for what is planned after a loss.
    loss
        A relay that is lost.
    """

    def __init__(
        self,
        flows: Traffic,
        rates: Rates,
        found: list[Hop],
        seed: int = 1,
        loss: Loss | None = None,
    ) -> None:
        self.loop = EventLoop()
        self.network: NetworkFile = flows.network
        self.rates = rates
        self._flows = flows
        self._found = found
        self._loss = loss
        self._random = random.Random(seed)
        load = self.network.load
        self.sites = {
            s.name: Cores(self.loop, s.cores or load.site_cores) for s in self.network.sites
        }
        self._senders = {s.name: Busy(self.loop, 1.0) for s in self.network.sites}
        self._sending = dict.fromkeys(self._senders, 0)
        switching = flows.schedule.settling
        self._relays = {
            r.name: _Relay(
                self, r.name, r.cores or load.relay_cores, 1.0 - switching.get(r.name, 0.0)
            )
            for r in self.network.relays
        }
        self._pairs = [_Pair(self, i) for i in range(len(self.network.pairs))]
        self._nodes = [Queue(self.loop, 1) for _ in range(load.broker_nodes)]
        self._consumers = self._who_follows()
        self._next_node = 0
        self._delay, self._block = Spread(), Spread()
        self._answer, self._fetch = Spread(), Spread()
        self._messages = self._deliveries = self._unfinished = 0
        self._lost: str | None = None

    def run(self, seconds: float, warm_up_s: float = 0.0) -> Seen:
        """So long, after a warm-up that is not looked at."""
        self._begin()
        self.loop.run(warm_up_s)
        self._forget()
        before = self.loop.events
        self.loop.run(warm_up_s + seconds)
        return self._seen(seconds, self.loop.events - before)

    # ------------------------------------------------------------------------------- the beginning

    def _who_follows(self) -> dict[str, list[tuple[_Pair, int]]]:
        at: dict[int, set[str]] = {}
        for flow in self._flows.flows:
            at.setdefault(flow.pair, set()).add(flow.hop.relay)
        out: dict[str, list[tuple[_Pair, int]]] = {name: [] for name in self._relays}
        for i, pair in enumerate(self.network.pairs):
            for relay in sorted({*pair.relays, *at.get(i, ())} & out.keys()):
                out[relay] += [(self._pairs[i], side) for side in (0, 1)]
        return out

    def _begin(self) -> None:
        for flow in self._flows.flows:
            self._pairs[flow.pair].done[flow.hop.relay] = (
                self._random.random() * flow.block_pulses * flow.slot_s
            )
        self._serve(self._flows)
        for relay in self._relays.values():
            self.loop.at(self._random.uniform(0.0, BEAT_S), self._beat(relay))
        for pair, rate in zip(self._pairs, self._flows.requests_per_s, strict=True):
            if self.network.load.requests == "bursts":
                every = self.network.load.burst_s
                self.loop.at(self._random.uniform(0.0, every), self._burst(pair, rate, every))
            else:
                self.loop.at(self._random.expovariate(rate), self._arrival(pair, rate))
        if self._loss is not None:
            self.loop.at(self._loss.at_s, self._lose)

    def _forget(self) -> None:
        for resource in self._watched().values():
            for busy, _, queue in resource.values():
                busy.restart()
                if queue is not None:
                    queue.waited = Spread()
                    queue.longest = queue.waiting
        self._delay, self._block = Spread(), Spread()
        self._answer, self._fetch = Spread(), Spread()
        self._messages = self._deliveries = 0
        for pair in self._pairs:
            pair.seen = PairSeen(first_key_s=pair.seen.first_key_s)

    # -------------------------------------------------------------------------------------- light

    def _serve(self, flows: Traffic) -> None:
        """Every relay's turns, from now on, as planned."""
        by_relay: dict[str, list[Flow]] = {}
        for flow in flows.flows:
            by_relay.setdefault(flow.hop.relay, []).append(flow)
        for place in self.network.relays:
            relay = self._relays[place.name]
            relay.turn += 1
            mine = by_relay.get(place.name, [])
            self._light(relay, None)
            if relay.name == self._lost or not mine:
                continue
            if len(mine) == 1 and mine[0].share > 1.0 - 1e-9:
                self._light(relay, mine[0])
                self._shine(relay, mine[0], float("inf"), relay.turn)
                continue
            settle = place.settle_s if len(mine) > 1 else 0.0
            start = self._random.uniform(0.0, place.turn_s)
            for flow in mine:
                length = flow.share * place.turn_s
                self._windows(relay, flow, start, settle, length, place.turn_s)
                start += settle + length

    def _windows(
        self, relay: _Relay, flow: Flow, start: float, settle: float, length: float, every: float
    ) -> None:
        turn = relay.turn

        def settle_down() -> None:
            if turn != relay.turn:
                return
            self.loop.after(settle, shine)
            self.loop.after(every, settle_down)

        def shine() -> None:
            if turn == relay.turn:
                self._light(relay, flow)
                self._shine(relay, flow, self.loop.now + length, turn)

        self.loop.after(start % every, settle_down)

    def _shine(self, relay: _Relay, flow: Flow, end: float, turn: int) -> None:
        """Light from now on: a batch for every batch_s of it."""
        length = min(self.network.load.batch_s, end - self.loop.now)

        def leave() -> None:
            if turn != relay.turn:
                return
            more = end - self.loop.now > 1e-9
            self._batch(relay, flow, length, not more)
            if more:
                self._shine(relay, flow, end, turn)
            else:
                self._light(relay, None)

        self.loop.after(length, leave)

    def _light(self, relay: _Relay, flow: Flow | None) -> None:
        """Whose light it measures from now on."""
        hop = None if flow is None else flow.hop
        for who, more in ((relay.lit, -1), (hop, 1)):
            for site in () if who is None else (who.a, who.b):
                self._sending[site] += more
                self._senders[site].now(self._sending[site])
        relay.lit = hop
        relay.light.now(0.0 if flow is None else 1.0)

    # ------------------------------------------------------------------------------- announcements

    def _beat(self, relay: _Relay) -> Callable[[], None]:
        def beat() -> None:
            if relay.name != self._lost:
                self._message(relay, 0.0, lambda: None)
                self.loop.after(BEAT_S, beat)

        return beat

    def _batch(self, relay: _Relay, flow: Flow, light_s: float, last: bool) -> None:
        """What a pair's light of so long a time was announced as."""
        pair, ended = self._pairs[flow.pair], self.loop.now
        blocks = self._blocks(pair, flow, light_s)
        relay.grain_s += light_s
        now = bool(blocks) or last or relay.grain_s >= _GRAIN_S
        if now:
            relay.grain_s = 0.0
        left = 2 * blocks

        def followed(other: _Pair) -> None:
            nonlocal left
            if other is pair and left:
                # A block's list is complete on both sides when its last batch is.
                left -= 1
                if left % 2 == 0:
                    self._collected(pair, flow, ended)

        def deliver() -> None:
            if not now:
                return
            work, relay.owed_s = relay.owed_s, 0.0
            for other, side in self._consumers[relay.name]:
                for _ in range(max(1, blocks)):
                    done = partial(followed, other)
                    other.following[side].run(work / max(1, blocks), done)

        self._message(relay, flow.hop.announced_per_s * light_s, deliver)

    def _message(self, relay: _Relay, announced: float, deliver: Callable[[], None]) -> None:
        """From the board to where endpoints take it from; then ``deliver`` is called."""
        rates, load, begun = self.rates, self.network.load, self.loop.now
        consumers = len(self._consumers[relay.name])
        self._messages += 1

        def there() -> None:
            self._delay.add(self.loop.now - begun)
            self._deliveries += consumers
            # What endpoints do for it they do for some messages at once: events are fewer so.
            relay.owed_s += rates.follow.seconds(announced)
            deliver()

        work = rates.relay.seconds(announced)
        if load.announcements == "stream":
            relay.daemon.run(work + consumers * rates.fan_out.seconds(announced), there)
            return
        copies = min(load.broker_replicas, load.broker_nodes)
        first = self._next_node
        self._next_node = (first + 1) % load.broker_nodes
        written = 0

        def wrote() -> None:
            nonlocal written
            written += 1
            if written == copies:
                self._nodes[first].hold(consumers * rates.broker.deliver_s, there)

        def publish() -> None:
            for k in range(copies):
                node = self._nodes[(first + k) % load.broker_nodes]
                node.hold(rates.broker.seconds(announced), wrote)

        relay.daemon.run(work + rates.fan_out.seconds(announced), publish)

    # -------------------------------------------------------------------------------------- blocks

    def _blocks(self, pair: _Pair, flow: Flow, light_s: float) -> int:
        """How many blocks end with this light."""
        done = pair.done.get(flow.hop.relay, 0.0) + light_s
        blocks = int(done / flow.block_light_s + 1e-9)
        pair.done[flow.hop.relay] = max(0.0, done - blocks * flow.block_light_s)
        return blocks

    def _collected(self, pair: _Pair, flow: Flow, ended: float) -> None:
        work = self.rates.blocks.seconds(flow.block_announced)
        line_s = self.rates.blocks.messages * self.network.load.peer_rtt_s / 2.0
        self._unfinished += 1

        def serve(free: Callable[[], None]) -> None:
            left = 2

            def side_done() -> None:
                nonlocal left
                left -= 1
                if not left:
                    self.loop.after(line_s, made)

            def made() -> None:
                free()
                self._unfinished -= 1
                self._block.add(self.loop.now - ended)
                self.loop.after(_INTAKE_S, lambda: self._take_in(pair, flow.block_bits))

            for worker in pair.workers:
                worker.run(work, side_done)

        pair.in_flight.take(serve)

    def _take_in(self, pair: _Pair, bits: float) -> None:
        seen, now = pair.seen, self.loop.now
        seen.blocks += 1
        seen.bits += bits
        if seen.first_key_s is None:
            seen.first_key_s = now
        if seen.moved_s is not None and seen.first_key_after_loss_s is None:
            seen.first_key_after_loss_s = now - seen.moved_s
        for side in (0, 1):
            pair.stored[side] += bits / 2.0

    # ------------------------------------------------------------------------------------ requests

    def _arrival(self, pair: _Pair, rate: float) -> Callable[[], None]:
        def arrive() -> None:
            self._ask(pair)
            self.loop.after(self._random.expovariate(rate), arrive)

        return arrive

    def _burst(self, pair: _Pair, rate: float, every: float) -> Callable[[], None]:
        owed = 0.0

        def arrive() -> None:
            nonlocal owed
            owed += rate * every
            while owed >= 1.0:
                owed -= 1.0
                self._ask(pair)
            self.loop.after(every, arrive)

        return arrive

    def _ask(self, pair: _Pair) -> None:
        """Get key at one side, reserve, adopt at the other, deliver; then the slave's fetch."""
        load, kme, rtt = self.network.load, self.rates.kme, self.network.load.peer_rtt_s
        side = self._random.getrandbits(1)
        store = self._random.randrange(load.stores) if load.stores > 1 else 0
        own, own_disk = pair.kmes[side][store], pair.rounds[side][store]
        other, other_disk = pair.kmes[1 - side][store], pair.rounds[1 - side][store]
        keys, begun = load.keys_per_request, self.loop.now
        seen = pair.seen
        seen.asked += 1
        bits = keys * load.key_bits
        if pair.stored[side] < bits:
            seen.refused += 1
            return
        pair.stored[side] -= bits
        loop = self.loop

        def reserve() -> None:
            own_disk.commit(lambda: loop.after(rtt / 2.0, adopt))

        def adopt() -> None:
            other.run(kme.adopt.seconds(keys), lambda: other_disk.commit(back))

        def back() -> None:
            loop.after(rtt / 2.0, lambda: own_disk.commit(answered))

        def answered() -> None:
            self._answer.add(loop.now - begun)
            asked = loop.now

            def fetched() -> None:
                self._fetch.add(loop.now - asked)

            other.run(kme.fetch.seconds(keys), lambda: other_disk.commit(fetched))

        own.run(kme.get.seconds(keys), reserve)

    # ---------------------------------------------------------------------------------------- loss

    def _lose(self) -> None:
        """A relay goes dark; its pairs go to others once they have heard nothing for silence_s."""
        assert self._loss is not None
        name = self._loss.relay
        self._lost = name
        relay = self._relays[name]
        relay.turn += 1
        self._light(relay, None)
        at = self.loop.now
        for flow in self._flows.flows:
            if flow.hop.relay == name:
                self._pairs[flow.pair].seen.moved_s = at
                # The rest of a block that was begun there is never announced.
                self._pairs[flow.pair].done.pop(name, None)

        def move() -> None:
            left = self.network.without_relay(name)
            planned = traffic(left, [h for h in self._found if h.relay != name])
            self._consumers[name] = []
            self._serve(planned)

        self.loop.after(self.network.load.silence_s, move)

    # --------------------------------------------------------------------------------- what is seen

    def _watched(self) -> dict[Resource, dict[str, tuple[Busy, Spread | None, Queue | None]]]:
        out: dict[Resource, dict[str, tuple[Busy, Spread | None, Queue | None]]] = {
            resource: {} for resource in Resource
        }

        def queue(resource: Resource, name: str, there: Queue) -> None:
            out[resource][name] = (there.busy, there.waited, there)

        for name, relay in self._relays.items():
            out[Resource.LIGHT][name] = (relay.light, None, None)
            queue(Resource.RELAY, name, relay.daemon.queue)
            out[Resource.RELAY_CORES][name] = (relay.cores.busy, None, None)
        if self.network.load.announcements == "broker":
            for n, node in enumerate(self._nodes):
                queue(Resource.BROKER, f"node-{n + 1}", node)
        for name, busy in self._senders.items():
            out[Resource.SENDER][name] = (busy, None, None)
        for name, cores in self.sites.items():
            out[Resource.SITE][name] = (cores.busy, None, None)
        for pair in self._pairs:
            a, b = pair.sites
            queue(Resource.IN_FLIGHT, f"{a}-{b}", pair.in_flight)
            for side, site in enumerate(pair.sites):
                name = f"{site} ({a}-{b})"
                queue(Resource.FOLLOWING, name, pair.following[side].queue)
                queue(Resource.WORKERS, name, pair.workers[side].queue)
                for k, kme in enumerate(pair.kmes[side]):
                    queue(Resource.KME, f"{name} {k}", kme.queue)
        return {resource: there for resource, there in out.items() if there}

    def _seen(self, seconds: float, events: int) -> Seen:
        watched = self._watched()
        waits: dict[Resource, Spread] = {}
        longest: Counter[Resource] = Counter()
        for resource, there in watched.items():
            for _, waited, queue in there.values():
                if waited is not None and queue is not None:
                    waits.setdefault(resource, Spread()).merge(waited)
                    longest[resource] = max(longest[resource], queue.longest)
        # Many small pieces of work all the time: nothing waits for them.
        still = standing_shares(self.network, self.rates)
        return Seen(
            seconds,
            events,
            {
                r: {n: busy.share + still.get(r, {}).get(n, 0.0) for n, (busy, _, _) in t.items()}
                for r, t in watched.items()
            },
            waits,
            dict(longest),
            [pair.seen for pair in self._pairs],
            self._delay,
            self._block,
            self._answer,
            self._fetch,
            self._messages,
            self._deliveries,
            self._unfinished,
        )
