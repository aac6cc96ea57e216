"""A simulated sender changes its ladder in the slots that it was told; its records say so."""

import dataclasses
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.distill.ladder import Ladder
from bellrelay.endpoint.checked_source import CheckedSource
from bellrelay.endpoint.source_log import SourceLogError
from bellrelay_sim.choices import Party
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.conditions import Conditions, changed
from bellrelay_sim.conditions_log import ConditionsLog, ConditionsReader, replayed
from bellrelay_sim.ladder_timetable import NEVER, LadderTimetable
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.sender_plugin import SimulatedSender
from bellrelay_sim.source_plugin import simulation_plugin

LINK = SimulatedLink()
OTHER = Ladder(0.2, 0.3, 0.05, 0.0, 0.8, 0.05, 0.1)
BASE = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
TABLE = {k: getattr(OTHER, k) for k in ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu")}
BASE_TABLE = {k: getattr(BASE, k) for k in TABLE}


def told(*begins, acquisition=1):
    tables = {"other": TABLE, "base": BASE_TABLE}
    used = {name for _, name in begins}
    return {
        "acquisition": acquisition,
        "tables": {n: t for n, t in tables.items() if n in used},
        "from": [list(b) for b in begins],
    }


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True), st.integers(0, 10**6))
def test_each_slot_has_the_last_that_began(slots, slot):
    begins = [(s, ("base", "other")[i % 2]) for i, s in enumerate(sorted(slots))]
    timetable = LadderTimetable.parse(told(*begins))
    assert LadderTimetable.parse(json.loads(json.dumps(timetable.values()))) == timetable
    at = [b for b in begins if b[0] <= slot]
    assert timetable.at(slot) == (at[-1] if at else None)
    after = [b[0] for b in begins if b[0] > slot]
    assert timetable.next_after(slot) == (after[0] if after else NEVER)


def test_what_is_told_later_replaces_what_was_told_of_later_slots():
    one = LadderTimetable.parse(told((10, "other"), (20, "base"), (30, "other")))
    two = one.then(LadderTimetable.parse(told((25, "other"), (40, "base"))))
    assert two.begins == ((10, "other"), (20, "base"), (25, "other"), (40, "base"))
    elsewhere = LadderTimetable.parse(told((5, "base"), acquisition=2))
    assert one.then(elsewhere) == elsewhere


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "must have"),
        (told((1, "other")) | {"tables": {}}, "has no table"),
        (told((5, "other"), (5, "other")), "must rise"),
        (told((1, "other")) | {"tables": {"other": {"s": -1.0}}}, "intensity must be"),
        (told((1, "other")) | {"from": [[1.5, "other"]]}, "no whole number"),
    ],
)
def test_what_is_no_timetable_is_refused(values, why):
    with pytest.raises(ValueError, match=why):
        changed(Conditions(LINK), {"sender": "alice", "ladders": values})


def test_light_changes_in_that_slot_and_no_other_however_it_is_cut():
    """Clicks are those of one ladder up to its last slot, whatever the chunks."""
    conditions = changed(Conditions(LINK), {"sender": "alice", "ladders": told((300_000, "other"))})

    def clicks(*cuts):
        stream = ClickStream(LINK, 600_000, changing=True)
        stream.change(conditions)
        parts = [stream.advance(c) for c in cuts] + list(stream.chunks())
        return np.concatenate([p.t for p in parts]), np.concatenate([p.channel for p in parts])

    whole = clicks()
    for other in (clicks(300_000), clicks(1, 299_999, 2), clicks(123_456, 400_000)):
        assert all(np.array_equal(a, b) for a, b in zip(whole, other, strict=True))
    plain = ClickStream(LINK, 600_000, changing=True)
    t = np.concatenate([p.t for p in plain.chunks()])
    # The light of a slot comes at most some slots later.
    border = 300_000 * LINK.slot_period_ps
    assert np.array_equal(t[t < border], whole[0][whole[0] < border])
    assert not np.array_equal(t, whole[0])


def test_records_are_of_the_ladder_that_was_sent(tmp_path):
    path = tmp_path / "conditions"
    log = ConditionsLog(path)
    now = Conditions(LINK)
    log.add(1, 0, now)
    # One that comes in time, and one that comes late: it holds from where it was taken.
    now = changed(now, {"sender": "alice", "ladders": told((1000, "other"), (2000, "base"))})
    log.add(1, 500, now)
    now = changed(now, {"sender": "alice", "ladders": told((2500, "other"))})
    log.add(1, 3000, now)
    source = simulation_plugin({"conditions": str(path)}, "alice")(1)
    checked = CheckedSource(source, 1, BASE.intensities, BASE.probabilities)
    for first, end, ladder in (
        (0, 1000, BASE),
        (1000, 2000, OTHER),
        (2000, 3000, BASE),
        (3000, 9000, OTHER),
    ):
        checked.require_ladder(first, end, ladder)
        with pytest.raises(SourceLogError, match="declares intensities"):
            checked.require_ladder(first, end, OTHER if ladder is BASE else BASE)
        with pytest.raises(SourceLogError):
            checked.require_ladder(max(first - 1, 0), end + 1, ladder)
    slots = np.arange(1000, dtype=np.uint64) + np.uint64(1000)
    share = (source.choices(slots).setting == 0).mean()
    assert abs(share - OTHER.p_s) < 0.08
    both = source.choices(np.arange(4000, dtype=np.uint64))
    expected = dataclasses.replace(
        LINK.source_log(Party.ALICE), source=now.source(Party.ALICE, 3500)
    ).choices_at(np.arange(3000, 4000, dtype=np.uint64))
    assert np.array_equal(both.setting[3000:], expected.intensity)
    log.close()


def test_a_power_monitor_sees_every_ladder_that_is_sent(tmp_path):
    path = tmp_path / "conditions"
    log = ConditionsLog(path)
    source = simulation_plugin({"conditions": str(path), "reading_noise": 0.0}, "alice")(1)
    source.readings()
    log.add(1, 0, changed(Conditions(LINK), {"sender": "alice", "ladders": told((5, "other"))}))
    log.close()
    source._measured_ns = time.time_ns() - 10**9
    readings = {(r.ladder, r.setting): r.mean for r in source.readings()}
    assert [readings["", k] for k in range(4)] == BASE.intensities.tolist()
    assert [readings["other", k] for k in range(4)] == OTHER.intensities.tolist()


def test_a_replay_of_the_log_gives_the_same_clicks(tmp_path):
    path = tmp_path / "conditions"
    log, stream = ConditionsLog(path), ClickStream(LINK, 300_000, changing=True)
    now, parts = Conditions(LINK), []
    for slot, begins in ((0, ((100_000, "other"),)), (150_000, ((200_000, "base"),))):
        parts.append(stream.advance(slot - stream.slot))
        now = changed(now, {"sender": "bob", "ladders": told(*begins)})
        log.add(1, slot, now)
        stream.change(now)
    parts += stream.chunks()
    log.close()
    again = replayed(LINK, 300_000, ConditionsReader(path, LINK).of(1))
    assert np.array_equal(np.concatenate([p.t for p in parts]), again.t)


def test_another_acquisition_has_none_that_were_told_for_this():
    now = changed(Conditions(LINK), {"sender": "alice", "ladders": told((5, "other"))})
    assert now.of_acquisition(1) == now
    assert now.of_acquisition(2) == Conditions(LINK)


def test_a_sender_is_told_as_the_endpoint_tells_it(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(
        "bellrelay_sim.sender_plugin.tell_conditions", lambda path, change: said.append(change)
    )
    sender = SimulatedSender({"charles": tmp_path}, "bob")
    sender.set_ladders("charles", 1, [SimpleNamespace(first_slot=7, name="other", ladder=OTHER)])
    now = changed(Conditions(LINK), json.loads(json.dumps(said[0])))
    assert now.source(Party.BOB, 7).intensities.tolist() == OTHER.intensities.tolist()
    assert now.source(Party.BOB, 6) == LINK.bob
