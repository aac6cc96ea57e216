"""Alice and Bob without light: plans, talk and companions, blocks that end as a model says.

What a process of theirs holds is made anew from its disk whenever it dies.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import yaml

from bellrelay.control.ladder_changes import LadderChanges
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.agreement import agreement_of
from bellrelay.endpoint.block import BlockId, BlockState, Cause
from bellrelay.endpoint.block_store import BlockRow
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.parameter_plan import ParameterPlan
from bellrelay.endpoint.parameter_talk import ParameterTalk
from bellrelay.wire.peer_messages import Change

LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}
WANTED = {"alice": {"s": 0.5}, "bob": {"s": 0.5}}
RELAY = "charles"
LEAD = 2


def endpoint_config(role, folder, **changes):
    me, peer = (("alice", "bob"), ("bob", "alice"))[role == "bob"]
    way = "listen" if role == "alice" else "connect"
    files = {"certificate": "c", "key": "k", "ca": "a"}
    values = {
        "endpoint_id": me,
        "peer_id": peer,
        "role": role,
        "relay": {"id": RELAY, "unix_socket": "announcements"},
        "peer": {way: "127.0.0.1:1", "name": peer, "tls": files},
        "source": {"plugin": "simulation"},
        "alice": dict(LADDER),
        "bob": dict(LADDER),
        "block": {"slots": 20000},
        "store": {"directory": str(folder)},
        "key_pool": {"file": str(folder / "pool")},
        "intensity_monitor": {"input": "none"},
        "changes": {
            "directory": str(folder / "versions"),
            "lead_blocks": LEAD,
            "min_blocks": 4,
            "key_rate_tolerance": 0.05,
        },
    }
    values |= yaml.safe_load(yaml.safe_dump(changes))
    return check_endpoint_config(values)


@dataclass
class Planner:
    """One side. objection : why it takes no candidate, or None."""

    role: str
    folder: object
    objection: object = None
    options: dict = field(default_factory=dict)
    rows: list = field(default_factory=list)
    next: int = 0
    starts: int = 0

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self):
        self.starts += 1
        config = endpoint_config(self.role, self.folder, **self.options)
        self.config, self.agreement = config, agreement_of(config)
        agreement = self.agreement
        self.plan = ParameterPlan(
            self.folder / "parameters.json", agreement.parameters, agreement.digest
        )
        self.talk = ParameterTalk(
            Role(self.role), self.plan, self._coming, LEAD, lambda _p: self.objection
        )
        self.changes = LadderChanges(config)
        self.daemon = SimpleNamespace(
            parameters=self.talk, store=SimpleNamespace(ended_since=self._ended_since)
        )
        self.talk.asked = self.changes._asked(self.daemon)

    @property
    def versions(self):
        return self.changes.versions

    def _coming(self):
        return {RELAY: BlockId(1, self.next)}

    def _ended_since(self, changed_ns):
        return [row for row in self.rows if row.changed_ns >= changed_ns]

    def parameters(self, index):
        return self.plan.parameters(RELAY, BlockId(1, index))


@dataclass
class Link:
    """Blocks of both. key : key per pulse and QBER of a block, by its two sets of parameters."""

    alice: Planner
    bob: Planner
    model: object
    seed: int = 1
    lose: object = None
    sent: dict = field(default_factory=dict)
    waiting: list = field(default_factory=list)
    connected: bool = False

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)

    @property
    def both(self):
        return (self.alice, self.bob)

    def session(self):
        """A session begins: what was under way is lost."""
        self.waiting = []
        for party, other in (self.both, self.both[::-1]):
            self.waiting += [(other, change.encode()) for change in party.talk.greeting()]

    def round(self):
        """What was said arrives, companions do a round, and a block is sent and ends."""
        if not self.connected:
            self.session()
            self.connected = True
        arriving, self.waiting = self.waiting, []
        for party, body in arriving:
            if self.lose is not None and self.lose():
                # A message is lost with its session alone.
                self.session()
                break
            other = self.both[self.both.index(party) - 1]
            answers = party.talk.told(Change.parse(body))
            self.waiting += [(other, change.encode()) for change in answers]
        for party, other in (self.both, self.both[::-1]):
            said = party.changes.round(party.daemon)
            self.waiting += [(other, change.encode()) for change in said]
        self._block()

    def _block(self):
        index = self.alice.next
        sets = [party.parameters(index) for party in self.both]
        self.sent[index] = sets
        for party in self.both:
            party.next = index + 1
        known = all(
            other.plan.known(own.digest) is not None
            for own, other in zip(sets, self.both[::-1], strict=True)
        )
        result = self.model(sets, self.random) if known else None
        for party in self.both:
            party.rows.append(_row(index, sets, result, known))

    def run(self, rounds):
        for _ in range(rounds):
            self.round()
        return self

    def until(self, done, rounds=400):
        """Go on until that holds; returns the number of rounds."""
        for n in range(rounds):
            if done():
                return n
            self.round()
        raise AssertionError(f"not in {rounds} rounds")


_clock = iter(range(1, 1 << 62))


def _row(index, sets, result, known):
    import time

    # Later than any decision that was made before, and in order.
    changed = time.time_ns() + next(_clock)
    block = BlockId(1, index)
    if result is None or not known:
        cause = Cause.NO_KEY if known else Cause.PARAMETERS
        return BlockRow(block, BlockState.ABORTED, str(cause), "", 0, b"", {}, 0, changed)
    rate, qber = result
    record = {
        "parameters": {
            name: s.digest.hex()[:16] for name, s in zip(("alice", "bob"), sets, strict=True)
        },
        "pulses": 10**9,
        "length": int(rate * 10**9),
        "sifted_bits": 10**5,
        "errors_corrected": int(qber * 10**5),
    }
    return BlockRow(block, BlockState.STORED, "", "", 0, b"", record, 0, changed)


def pair(folder, model, *, seed=1, lose=None, **options):
    """A link of a fresh Alice and Bob."""
    parties = [Planner(role, folder / role, options=options) for role in ("alice", "bob")]
    return Link(*parties, model, seed, lose)
