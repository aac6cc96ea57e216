"""Two stores that stand for two KMEs, with the same blocks, and the way of a key through them."""

import os
import uuid
from itertools import count

from bellrelay.keys.kek_file import FileKek, write_kek_file
from bellrelay.keys.key_requests import (
    DeliveredKey,
    FetchRequest,
    PeerAnswer,
    ReserveRequest,
)
from bellrelay.keys.key_store import KeyStore, StoreSettings
from bellrelay.keys.pairs import Pair, Pairs
from bellrelay.keys.provenance import FinishedKey, Provenance
from bellrelay.keys.sealing import Keyring

KME_IDS = ("kme-a", "kme-b")
PAIRS = Pairs(
    KME_IDS,
    [Pair("bank", "alice", "bob", 2), Pair("clinic", "carol", "dave")],
    groups=[("alice", "bob", "carol", "dave")],
)
UNIT_BITS = 64
SECOND = 10**9


class Records:
    """An audit log that a test can read, or have fail."""

    def __init__(self):
        self.events = []
        self.fault = None

    def record(self, *events):
        if self.fault is not None:
            raise self.fault
        self.events += events

    def of(self, action):
        return [event for event in self.events if event.action == action]


class Clock:
    """Goes on by a nanosecond with every look, and by as much as a test says."""

    def __init__(self):
        self._ticks = count(1_800_000_000 * SECOND)
        self.ahead_ns = 0

    def __call__(self):
        return next(self._ticks) + self.ahead_ns

    def pass_s(self, seconds):
        self.ahead_ns += int(seconds * SECOND)


def keyring(folder, name="kek"):
    path = folder / f"{name}.kek"
    if not path.exists():
        write_kek_file(path)
    return Keyring(FileKek(path))


class TwoStores:
    """Two KMEs' stores.

    urls : of both, or None for SQLite files in the folder.
    """

    def __init__(self, folder, urls=None, pairs=PAIRS, clock=None, **settings):
        self.folder = folder
        self.urls = urls or tuple(str(folder / f"{kme}.sqlite") for kme in KME_IDS)
        self.clock = clock or Clock()
        self.records = (Records(), Records())
        self.settings = StoreSettings(**{"unit_bits": UNIT_BITS, **settings})
        self.blocks = {}
        self.open(pairs)

    def open(self, pairs=PAIRS, keyrings=(None, None)):
        self.pairs = pairs
        self.stores = tuple(
            KeyStore(
                url,
                kme,
                pairs,
                ring or keyring(self.folder, kme),
                records,
                self.settings,
                self.clock,
            )
            for url, kme, ring, records in zip(
                self.urls, KME_IDS, keyrings, self.records, strict=True
            )
        )
        self.a, self.b = self.stores

    def close(self):
        for store in self.stores:
            store.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

    def block(self, units=40, relay="charles", spare_bits=0, at=None):
        """A block that both have and know of each other; its name."""
        name = str(uuid.uuid4())
        bits = units * UNIT_BITS + spare_bits
        data = os.urandom((bits + 7) // 8)
        made = self.clock() if at is None else at
        facts = Provenance(name, relay, 1, len(self.blocks), made - SECOND, made, bits, RECORD)
        self.blocks[name] = (facts, data)
        for store in self.stores:
            assert store.add_block(FinishedKey(facts, bytearray(data)))
        self.share()
        return name

    def share(self):
        self.a.peer_has(self.b.usable_blocks(self.a.blocks_not_at_peer()))
        self.b.peer_has(self.a.usable_blocks(self.b.blocks_not_at_peer()))

    def reserve(self, number=1, size=UNIT_BITS, side=0, pair="bank", slaves=(), **more):
        """Reserved at that side, not known to the other."""
        (got,) = self.stores[side].reserve([request(number, size, side, pair, slaves, **more)])
        return got

    def give(self, number=1, size=UNIT_BITS, side=0, pair="bank", slaves=()):
        """Reserved, adopted and delivered: the master's keys."""
        reservations = self.reserve(number, size, side, pair, slaves)
        answers = self.stores[1 - side].adopt(reservations)
        assert answers == [PeerAnswer.ADOPTED] * number
        keys = self.stores[side].deliver([r.key_id for r in reservations])
        assert all(isinstance(key, DeliveredKey) for key in keys)
        return keys

    def fetch(self, key_ids, side=1, slave="bob", master="alice"):
        (got,) = self.stores[side].fetch([FetchRequest(slave, master, tuple(key_ids))])
        return got


RECORD = {"epsilons": {"secrecy": 1e-10, "total": 2e-10}, "phase_error_upper": 0.03, "pulses": 9}


def request(number=1, size=UNIT_BITS, side=0, pair="bank", slaves=(), **more):
    saes = {"bank": ("alice", "bob"), "clinic": ("carol", "dave")}[pair]
    return ReserveRequest(pair, saes[side], (saes[1 - side], *slaves), number, size, **more)
