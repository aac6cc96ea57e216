"""A thousand SAEs at two KMEs, which are killed meanwhile, and the database of one of them.

What must hold: no key is given to two, none is given twice, both sides' are the same, none is lost.
A key whose answer was on its way when a KME died may not have arrived; it counts as given.
"""

import asyncio
import hashlib
import json
import time
import urllib.request

import pytest
from kme_clients import Client, Duty, Ledger, contexts_of, run_clients
from kme_processes import kme_processes, wait_until
from two_sites import SITES, TwoSites

from bellrelay.keys.audit_record import AuditEvent
from bellrelay.keys.cutting import unit_id
from bellrelay.keys.key_states import KeyState
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.keys.open_store import open_store

PAIRS = [(f"pair-{i}", f"sae-a{i}", f"sae-b{i}", 1 + i % 2) for i in range(6)]
UNIT_BYTES = 32


class NoAudit:
    def record(self, *events: AuditEvent) -> None:
        pass


def clients_of(sites, number, ledger):
    """Half of the masters at either KME."""
    saes = [sae for _, a, b, _ in PAIRS for sae in (a, b)]
    contexts = contexts_of(sites, saes)
    port = sites.ports
    clients = []
    for i in range(number):
        _, a, b, _ = PAIRS[i % len(PAIRS)]
        duty = (
            Duty(a, port["kme-a"], b, port["kme-b"])
            if i // len(PAIRS) % 2
            else Duty(b, port["kme-b"], a, port["kme-a"])
        )
        clients.append(Client(duty, contexts, ledger, i))
    return clients


def check(sites, blocks, ledger, clients, rounds):
    """What clients saw against what was there, and both stores against each other."""
    assert not ledger.twice
    assert len(ledger.given) == clients * rounds
    assert set(ledger.taken) | ledger.lost == set(ledger.given)
    assert all(ledger.taken[key_id] == ledger.given[key_id] for key_id in ledger.taken)
    units = {}
    for name, bits in blocks:
        for index in range(len(bits) // UNIT_BYTES):
            unit = unit_id((name, index))
            units[unit] = bits[index * UNIT_BYTES : (index + 1) * UNIT_BYTES]
    assert all(units[key_id] == key for key_id, key in ledger.given.items())
    digests = {hashlib.sha256(key).digest() for key in ledger.given.values()}
    assert len(digests) == len(ledger.given)

    stores = {site: open_store(load_kme_config(sites.config(site)), NoAudit()) for site in SITES}
    try:
        free, states = {}, {}
        for site, store in stores.items():
            counts = store.counts()
            free[site] = {place: n.free + n.waiting for place, n in counts.items()}
            states[site] = {}
            after = ""
            while keys := store.keys(after=after, limit=5000):
                states[site] |= {key.key_id: key for key in keys}
                after = keys[-1].key_id
            # Nothing is left half done.
            assert not store.undelivered()
        assert free["kme-a"] == free["kme-b"]
        assert set(states["kme-a"]) == set(states["kme-b"])
        # Every unit is free at both, or a key's at both.
        assert sum(free["kme-a"].values()) + len(states["kme-a"]) == len(units)
        # A master has every key that is no longer free, and whoever was told of it is on record.
        for key_id, key in states["kme-a"].items():
            owner = SITES[key.side]
            assert key.master in states[owner][key_id].taken
            assert states["kme-a"][key_id].units == states["kme-b"][key_id].units
        for key_id in ledger.given:
            for site in SITES:
                assert states[site][key_id].state is KeyState.CONSUMED
        unheard = set(states["kme-a"]) - set(ledger.given)
        return len(unheard)
    finally:
        for store in stores.values():
            store.close()


def run(sites, clients, rounds, deaths, patience_s):
    """``deaths`` : share of all keys given, and what dies then; each is over before the next."""
    ledger = Ledger()

    async def die():
        for share, death in deaths:
            while len(ledger.given) < share * clients * rounds:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(death)

    made = clients_of(sites, clients, ledger)
    asyncio.run(run_clients(made, rounds, patience_s, die))
    print(ledger.answers, "broken", ledger.broken, "not heard", len(ledger.lost))
    return ledger


def again(process):
    """Kill a KME, and start it as systemd would."""

    def death():
        process.kill()
        time.sleep(0.2)
        process.start()

    return death


def finish(processes):
    """Time for what was not delivered to go back, and an orderly end."""

    def quiet():
        for process in processes.values():
            port = load_kme_config(process.config).health.listen
            with urllib.request.urlopen(f"http://{port}/health", timeout=10) as answer:
                status = json.load(answer)
            if status["keys_to_return"] or status["requests_waiting"]:
                return False
        return True

    wait_until(quiet)
    for process in processes.values():
        assert process.stop() == 0


@pytest.mark.needs_server
def test_a_thousand_clients_while_both_kmes_and_the_database_are_killed(tmp_path, postgresql):
    sites = TwoSites(tmp_path, PAIRS, store_urls={"kme-a": postgresql.new_database()})
    clients, rounds = 1000, 2
    blocks = sites.add_blocks(8, 1000)

    def database():
        postgresql.kill()
        time.sleep(0.2)
        postgresql.start()

    with kme_processes(sites) as processes:
        deaths = [
            (0.2, again(processes["kme-a"])),
            (0.45, again(processes["kme-b"])),
            (0.7, database),
        ]
        ledger = run(sites, clients, rounds, deaths, 200)
        finish(processes)
    check(sites, blocks, ledger, clients, rounds)


@pytest.mark.soak
@pytest.mark.needs_server
def test_many_deaths(tmp_path, postgresql):
    urls = {site: postgresql.new_database() for site in SITES}
    sites = TwoSites(tmp_path, PAIRS, store_urls=urls)
    clients, rounds = 1000, 20
    blocks = sites.add_blocks(40, 1000)

    def database():
        postgresql.kill()
        time.sleep(0.2)
        postgresql.start()

    with kme_processes(sites) as processes:
        who = [again(processes["kme-a"]), database, again(processes["kme-b"])]
        deaths = [(0.05 + 0.05 * i, who[i % 3]) for i in range(18)]
        ledger = run(sites, clients, rounds, deaths, 1800)
        finish(processes)
    check(sites, blocks, ledger, clients, rounds)
