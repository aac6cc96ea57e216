"""A block is bounded with the ladder that it was sent by, and whoever sent another makes no key."""

import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from synthetic_blocks import LADDER as SYNTHETIC
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict

from bellrelay.distill.ladder import Ladder
from bellrelay.endpoint.block import BlockAborted, BlockId, BlockState, Cause
from bellrelay.endpoint.block_parameters import BlockParameters, ladder_name
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.intensity_feed import format_reading, parse_reading
from bellrelay.endpoint.source_admission import SourceAdmission
from bellrelay.endpoint.source_log import Reading
from bellrelay.endpoint.source_plugin import load_source
from bellrelay.endpoint.source_writer import SourceWriter
from bellrelay.wire.peer_messages import Commit, Kind

S = 1_000_000_000
BASE = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, deviation=0.01, vacuum_limit=0.001)
OTHER = replace(BASE, s=0.5, p_s=0.55, p_nu=0.2)
SLOTS = 20_000
"""Of a block: twenty seconds, at a millisecond a slot."""
CANDIDATES = (2, 5)


def config(tmp_path):
    ladder = {name: getattr(BASE, name) for name in ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu")}
    values = {
        "endpoint_id": "a",
        "peer_id": "b",
        "role": "alice",
        "relay": {"id": "c", "unix_socket": "announcements"},
        "peer": {
            "connect": "b:1",
            "name": "b",
            "tls": {"certificate": "c", "key": "k", "ca": "a"},
        },
        "source": {"plugin": "files", "directory": str(tmp_path / "source")},
        "alice": ladder,
        "bob": ladder,
        "block": {"slots": SLOTS},
        "store": {"directory": str(tmp_path)},
        "key_pool": {"file": "pool"},
        "random_health": {"slots_per_block": 8000},
        "intensity_monitor": {"input": "file", "file": str(tmp_path / "readings")},
    }
    return check_endpoint_config(yaml.safe_load(yaml.safe_dump(values)))


def planned(block):
    return OTHER if block.index in CANDIDATES else BASE


class Lab:
    """Eight blocks that were sent: as planned, but for what a test has go wrong.

    sends : ladder whose choices and light a block has. records : which it says.
    """

    def __init__(self, tmp_path, sends=planned, records=planned):
        self.start = time.time_ns() - 200 * S
        random = np.random.default_rng(2)
        writer = SourceWriter(
            tmp_path / "source",
            1,
            self.start,
            1e9,
            BASE.intensities,
            BASE.probabilities,
            chunk_slots=1 << 12,
        )
        lines = []
        for index in range(8):
            sent, said = sends(BlockId(1, index)), records(BlockId(1, index))
            writer.set_ladder(said.intensities, said.probabilities)
            setting = random.choice(4, SLOTS, p=sent.probabilities).astype(np.uint8)
            bit = random.integers(0, 2, SLOTS, dtype=np.uint8)
            writer.append(index * SLOTS, setting, bit)
            begin = self.start + index * 20 * S
            name = "" if said == BASE else ladder_name(said)
            for n in range(-40 if index == 0 else 0, 40):
                at = begin + n * S // 2
                lines += [
                    format_reading(Reading(at, k, float(x), 0.0, name))
                    for k, x in enumerate(sent.intensities)
                ]
        writer.sync()
        writer.close()
        (tmp_path / "readings").write_text("".join(lines))
        values = config(tmp_path)
        self.admission = SourceAdmission(values, lambda _block: 0, None, planned)
        self.admission.expect(OTHER, 0.02)
        self.source = load_source(values)(1)

    def cause(self, index):
        try:
            self.admission(BlockId(1, index), self.source)
        except BlockAborted as aborted:
            return aborted.cause, aborted.detail
        return None, ""


def test_each_block_is_held_to_its_own_ladder(tmp_path):
    lab = Lab(tmp_path)
    assert [lab.cause(index)[0] for index in range(8)] == [None] * 8


def test_rule_26_a_sender_that_records_another_ladder_than_the_blocks_is_refused(tmp_path):
    """The candidate in a current block, and the current one in the candidate's."""

    def wrong(block):
        return OTHER if block.index == 3 else BASE

    lab = Lab(tmp_path, wrong, wrong)
    causes = {index: lab.cause(index) for index in range(8)}
    assert {i for i, (cause, _) in causes.items() if cause is Cause.SOURCE_RECORD} == {2, 3, 5}
    assert "the source declares intensities [0.5, " in causes[3][1]


def test_rule_26_one_that_lies_about_it_is_seen_by_the_power_monitor(tmp_path):
    def sends(block):
        return replace(OTHER, p_s=BASE.p_s, p_nu=BASE.p_nu) if block.index == 3 else planned(block)

    lab = Lab(tmp_path, sends)
    assert lab.cause(1)[0] is None
    cause, detail = lab.cause(3)
    assert cause is Cause.INTENSITY
    assert "s may deviate" in detail


def test_rule_26_and_by_the_shares_of_its_choices(tmp_path):
    def sends(block):
        if block.index == 3:
            return replace(BASE, p_s=OTHER.p_s, p_nu=OTHER.p_nu)
        return planned(block)

    lab = Lab(tmp_path, sends)
    cause, detail = lab.cause(3)
    assert cause is Cause.RANDOM_HEALTH
    assert "shares" in detail or "setting" in detail


def test_a_candidate_whose_light_nobody_measures_makes_no_key(tmp_path):
    lab = Lab(tmp_path)
    lines = (tmp_path / "readings").read_text().splitlines()
    silent = [line for line in lines if len(line.split()) < 5]
    (tmp_path / "readings").write_text("\n".join(silent) + "\n")
    lab.admission = SourceAdmission(config(tmp_path), lambda _block: 0, None, planned)
    assert lab.cause(2)[0] is Cause.INTENSITY
    lab.admission.expect(OTHER, 0.02)
    cause, detail = lab.cause(2)
    assert cause is Cause.UNMEASURED
    assert detail == "0 readings of s in 600 s, 20 are needed"
    assert lab.cause(1)[0] is None


def test_a_reading_names_its_ladder_or_none():
    reading = Reading(7, 1, 0.3, 1e-5, ladder_name(OTHER))
    assert parse_reading(format_reading(reading)) == reading
    with pytest.raises(ValueError, match="no name of a ladder"):
        parse_reading("7 mu 0.3 0.0 brighter")


# ------------------------------------------------------------------- what both say of a block


class Sets:
    """What one side holds: its own set in every block, and those that it knows."""

    def __init__(self, own, *known):
        self.own, self.all = own, (own, *known)

    def of_block(self, _agreement, _block):
        return self.own

    def known(self, _agreement, digest):
        return next((p for p in self.all if p.digest == digest), None)

    def greeting(self):
        return ()


A = BlockParameters(SYNTHETIC, SYNTHETIC)
B = BlockParameters(
    replace(SYNTHETIC, deviation=0.01), replace(SYNTHETIC, deviation=0.01), 0.02, 0.02
)


def holding(alice, bob):
    def prepare(*parties):
        for party, sets in zip(parties[:2], (alice, bob), strict=True):
            party.settings = replace(party.settings, parameters=sets)

    return prepare


def test_rule_26_each_sender_counts_with_the_set_that_it_says(tmp_path):
    """Plans may begin some blocks apart: then the block is bounded with one ladder of each."""
    alice, bob = play(tmp_path, synthetic_run(), prepare=holding(Sets(A, B), Sets(B, A)))
    assert set(same_verdict(alice, bob).values()) == {BlockState.STORED}
    for party in (alice, bob):
        record = party.rows()["1/0"].record
        assert record["ladders"]["alice"]["deviation"] == 0.0
        assert record["ladders"]["bob"]["deviation"] == 0.01
        assert record["parameters"] == {
            "alice": A.digest.hex()[:16],
            "bob": B.digest.hex()[:16],
        }


@pytest.mark.parametrize("side", [0, 1])
def test_rule_26_a_set_that_one_does_not_hold_ends_the_block_before_any_choice_leaves(
    tmp_path, side
):
    seen = []

    def watch(_speaker, frame):
        seen.append(frame.kind)
        return [frame.encode()]

    sets = [Sets(A, B), Sets(B)][:: 1 if side else -1]
    alice, bob = play(tmp_path, synthetic_run(), prepare=holding(*sets), tamper=watch)
    assert set(same_verdict(alice, bob).values()) == {BlockState.ABORTED}
    assert {p.rows()["1/0"].cause for p in (alice, bob)} == {str(Cause.PARAMETERS)}
    assert Kind.COMMIT in seen
    # Who holds both may have said its choices, after the peer's tag; who does not, nothing.
    assert seen.count(Kind.REVEAL) <= 1


def test_rule_26_nobody_between_them_changes_what_is_said(tmp_path):
    def tamper(speaker, frame):
        if speaker == "bob" and frame.kind is Kind.COMMIT:
            said = Commit.parse(frame.body)
            frame = replace(frame, body=replace(said, parameters=B.digest).encode())
        return [frame.encode()]

    sets = Sets(A, B)
    alice, bob = play(tmp_path, synthetic_run(), prepare=holding(sets, sets), tamper=tamper)
    assert set(same_verdict(alice, bob).values()) == {BlockState.ABORTED}
    assert str(Cause.AUTHENTICATION) in {p.rows()["1/0"].cause for p in (alice, bob)}
