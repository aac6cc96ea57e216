"""Bounds that two machines round differently: one length of key on both sides, the lesser."""

from dataclasses import fields, replace

import pytest
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict

from bellrelay.distill.security import Security
from bellrelay.endpoint.agreement import Agreement
from bellrelay.endpoint.block import BlockState, Cause

FIXED = Security(secrecy=0.3, length_rule="fixed", fixed_length_bits=5000)


class Rounding(Agreement):
    """The same agreement on a machine whose arithmetic comes to other lengths."""

    by = 0

    def secret_length(self, bounds, leak_ec, discarded):
        return max(super().secret_length(bounds, leak_ec, discarded) + self.by, 0)


def play_rounding(folder, by, **options):
    """Alice and Bob, whose machines come to lengths that are off by so much each."""

    def prepare(alice, bob, _network):
        for party, off in zip((alice, bob), by, strict=True):
            values = {f.name: getattr(party.agreement, f.name) for f in fields(Agreement) if f.init}
            party.agreement = Rounding(**values)
            object.__setattr__(party.agreement, "by", off)

    return play(folder, synthetic_run(), prepare=prepare, **options)


def bits(party):
    (key,) = party.keys().values()
    return key[0] + party.rows()["1/0"].record["pool_bits"]


@pytest.mark.parametrize("by", [(0, 0), (1, 0), (0, 1), (-1, 3), (5, -60)])
def test_the_lesser_length_is_the_keys_and_no_bit_of_difference_ends_a_block(tmp_path, by):
    alice, bob = play_rounding(tmp_path, by)
    assert set(same_verdict(alice, bob).values()) == {BlockState.STORED}
    record = alice.rows()["1/0"].record
    assert record["length"] == bob.rows()["1/0"].record["length"] == bits(alice) == bits(bob)
    leak = record["leak_ec"] + record["verification_bits"]
    # 2 log2(1 / (2 epsilon)) of an epsilon of 0.03, and what the machines take off.
    assert record["length"] == int(record["private_bits"] - leak - 8.1178) + min(by)


@pytest.mark.parametrize("by", [(-9000, 0), (0, 9000)])
def test_more_than_rounding_ends_the_block(tmp_path, by):
    """One of the two reckons wrongly, and nobody knows which."""
    alice, bob = play_rounding(tmp_path, by)
    assert set(same_verdict(alice, bob).values()) == {BlockState.ABORTED}
    assert {p.rows()["1/0"].cause for p in (alice, bob)} == {str(Cause.LEDGERS_DIFFER)}


def test_an_answer_above_what_alices_bounds_allow_ends_the_block(tmp_path, monkeypatch):
    from bellrelay.endpoint import exchange_reconcile

    said = exchange_reconcile.Verified
    more = classmethod(lambda cls, body: replace(said.parse(body), length=10_000_000))
    monkeypatch.setattr(exchange_reconcile, "Verified", type("Verified", (said,), {"parse": more}))
    alice, bob = play(tmp_path, synthetic_run())
    assert set(same_verdict(alice, bob).values()) == {BlockState.ABORTED}
    assert {p.rows()["1/0"].cause for p in (alice, bob)} == {str(Cause.LEDGERS_DIFFER)}


@pytest.mark.parametrize(("by", "end"), [((0, 0), BlockState.STORED), ((-5000, 0), None)])
def test_with_the_fixed_rule_both_must_reach_it(tmp_path, by, end):
    alice, bob = play_rounding(tmp_path, by, security=FIXED)
    ends = set(same_verdict(alice, bob).values())
    if end is None:
        assert ends == {BlockState.ABORTED}
        assert {p.rows()["1/0"].cause for p in (alice, bob)} == {str(Cause.NO_KEY)}
    else:
        assert ends == {end}
        assert bits(alice) == 5000
