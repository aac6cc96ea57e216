"""The relay's tracking in its daemon, on a twin: pulled in, held, held over, published."""

import math

import numpy as np
import pytest
from tracked_relay import TrackedRelay, late_ps

from bellrelay.control.tag_positions import TagPositions
from bellrelay.relay.announcement_log import LogReader
from bellrelay.relay.config import check_config
from bellrelay.settings.model import ConfigError
from bellrelay.tags.slot_clock import SlotClock
from bellrelay.wire.messages import Announced
from bellrelay.wire.tracking import TrackingClicks

SYNC = {"slots_per_tag": 1000}
LINK = {"clock_offset_ppm": 5.0, "sync": {"slots_per_tag": 1000, "jitter_ps": 20.0}}
DRIFT = 10_000 / 3600


@pytest.mark.parametrize("follow", [pytest.param("light", marks=pytest.mark.soak), "sync"])
def test_five_ppm_are_pulled_in_and_held_while_fibres_drift(follow, tmp_path):
    link = {**LINK, "arm_a": {"drift_ps_per_s": DRIFT}, "arm_b": {"drift_ps_per_s": -DRIFT}}
    tracking = {"follow": follow, "sync": SYNC, "settle_s": 0.3}
    with TrackedRelay(tmp_path, link, tracking) as relay:
        relay.until_state("locked")
        began_s = relay.link_s()
        relay.until(lambda: relay.link_s() > began_s + 0.7)
        errors = relay.errors_ps(4)
        status = relay.status()
        health = relay.daemon.status()["tracking"]
    assert np.sqrt(np.mean(errors**2)) < 50.0
    assert status["rate_ppm"] == pytest.approx(5.0, abs=0.01)
    assert status["state"] == "locked"
    assert health["alarm"] is None
    # What the simulation puts on the sync channel, and on the light.
    assert status["jitter_from"] == "sync"
    assert status["jitter_ps"] == pytest.approx(20.0, rel=0.4)
    detector_ps = relay.link.detectors[0].jitter_ps
    width_ps = math.hypot(relay.link.pulse_sigma_ps, detector_ps)
    assert status["width_ps"]["value"] == pytest.approx(width_ps, rel=0.05)


def test_five_ppm_are_pulled_in_by_raw_tags_where_there_is_no_sync_channel(tmp_path):
    """Into the right slot: tests/control/test_light_pull_in.py."""
    link = {"clock_offset_ppm": 5.0, "arm_a": {"eta": 0.02}, "arm_b": {"eta": 0.02}}
    changes = {"raw_tags": {"stream": True}}
    with TrackedRelay(tmp_path, link, {"settle_s": 0.3}, changes) as relay:
        relay.until(lambda: relay.status().get("follow") == "tags")
        relay.until_state("locked")
        errors = relay.errors_ps(4)
        status = relay.status()
    assert np.sqrt(np.mean(errors**2)) < 50.0
    assert status["follow"] == "light"
    assert status["rate_ppm"] == pytest.approx(5.0, abs=0.01)


def said_beside_heartbeats(log):
    events = [r.values for r in LogReader(log, 0) if not isinstance(r, Announced)]
    return {e.get("slot_clock") for e in events if e["kind"] == "heartbeat"}


def test_without_light_and_sync_it_holds_over_and_comes_back(tmp_path):
    link = {"clock_offset_ppm": 0.0}
    tracking = {"settle_s": 0.3, "patience_s": 0.3, "holdover_ps": 12.0}
    with TrackedRelay(tmp_path, link, tracking) as relay:
        relay.until_state("locked")
        relay.command({"arm_a": {"eta": 0.0}, "arm_b": {"eta": 0.0}})
        relay.until(lambda: relay.status()["holdover"])
        trim = relay.status()["trim"]
        relay.until_state("lost")
        lost = relay.status()
        assert lost["alarm"] == "holdover has lasted too long"
        # It goes on with what it knew.
        assert abs(lost["trim"] - trim) < 2000
        relay.command({"arm_a": {"eta": 0.1}, "arm_b": {"eta": 0.1}})
        relay.until_state("locked")
        assert relay.status()["losses"] == 1
        # Who comes later learns it from a heartbeat; they are put on record every second.
        relay.until(lambda: "locked" in said_beside_heartbeats(tmp_path / "log"))
        kinds = [(e["kind"], e.get("state")) for e in relay.daemon.events]
    states = [state for kind, state in kinds if kind == "slot-clock"]
    assert states[:4] == ["acquiring", "locked", "holdover", "lost"]


def test_a_reference_that_is_gone_stops_the_loop_and_is_told(tmp_path):
    file = tmp_path / "reference"
    file.write_text("locked offset_ps=3\n")
    tracking = {
        "settle_s": 0.3,
        "patience_s": 0.3,
        "reference": {"file": str(file), "stale_s": 3600.0},
    }
    with TrackedRelay(tmp_path, {}, tracking) as relay:
        relay.until_state("locked")
        assert relay.status()["reference"]["state"] == "locked"
        file.write_text("free\n")
        relay.until(lambda: relay.status()["reference_locked"] is False)
        relay.until(lambda: relay.status()["holdover"])
        file.write_text("locked\n")
        relay.until_state("locked")


@pytest.mark.soak
def test_another_acquisition_begins_with_the_trim_that_was_good(tmp_path):
    tracking = {"sync": SYNC, "settle_s": 0.3}
    with TrackedRelay(tmp_path, LINK, tracking) as relay:
        relay.until_state("locked")
        began_s = relay.link_s()
        relay.until(lambda: relay.link_s() > began_s + 0.5)
        trim = relay.status()["trim"]
        values = relay.config.model_copy(update={"phase_ps": 10})
        relay.daemon.reconfigure(values)
        relay.until(lambda: relay.daemon.status()["acquisition"] == 2)
        relay.until(lambda: abs(relay.board_trim() - trim) < 5e5)
        relay.until_state("locked")
        relay.tracking.resynchronise()
        relay.until_state("locked")
        assert relay.status()["rate_ppm"] == pytest.approx(5.0, abs=0.05)


def test_clicks_in_tracking_slots_are_published_as_the_board_has_them(tmp_path):
    slots = {"every": 2500, "length": 100}
    tracking = {"settle_s": 0.3, "slots": slots}
    changes = {"raw_tags": {"stream": True}}
    with TrackedRelay(tmp_path, {}, tracking, changes) as relay:
        relay.until_state("locked")
        before = relay.status()["published"]["clicks"]
        relay.until(lambda: relay.status()["published"]["clicks"] > before + 30_000)
        relay.until(lambda: relay.daemon.session.periods.last is not None)
        whole = relay.daemon.session.histogram[: relay.geometry.n_detectors].sum(axis=0)
        board_late = late_ps(whole, relay.link)
        published = relay.status()["published"]
        bell = relay.link.windows()
    # A busy machine may lose frames on the line, or tags: what they may have held is not published.
    lost = published["ranges_dropped"]
    assert lost <= 1 + published["ranges"] // 10
    assert published["clicks_late"] == 0
    found, announced = {}, []
    position, end, spoken = [], 0, []
    for record in LogReader(tmp_path / "log", 0):
        if isinstance(record, Announced):
            announced += record.slot.tolist()
        elif record.values["kind"] == "tracking":
            clicks = TrackingClicks.parse(record.values)
            assert clicks.first_slot == end or (lost and clicks.first_slot > end)
            end = clicks.end_slot
            spoken.append((clicks.first_slot, end))
            assert (clicks.slot % 2500 < 100).all()
            position.append(clicks.position_ps)
            for slot, at, detector in zip(
                clicks.slot.tolist(), clicks.position_ps.tolist(), clicks.detector, strict=True
            ):
                found.setdefault(slot, []).append((at, int(detector)))
    # Every announced tracking slot has two clicks there, in the board's own windows.
    checked = 0
    for slot in announced:
        if slot % 2500 < 100 and any(first <= slot < last for first, last in spoken):
            inside = [(at, d) for at, d in found[slot] if any(a <= at < b for a, b in bell)]
            assert len(inside) >= 2
            checked += 1
    assert checked > 20
    # And they lie where the board's own histogram of all slots has them, once it is pulled in: to
    # what a trim moves between two heartbeats, which on a busy machine are far apart.
    late = np.concatenate(position)[before:]
    counts = np.bincount(late // 16, minlength=1024)
    assert late_ps(counts, relay.link) == pytest.approx(board_late, abs=100.0)


def test_positions_are_the_slot_clock_s_own_to_a_picosecond():
    """Against the reference that the gateware is proved against, with trims that change by tick."""
    rng = np.random.default_rng(5)
    tick_clocks, clock_ps, ticks = 1024, 5000, 4000
    tick_ps = tick_clocks * clock_ps
    trims = np.repeat(rng.integers(-200_000_000, 200_000_000, 8), ticks // 8)
    clock = SlotClock(
        slot_period_ps=13333,
        phase_ps=77,
        clock_period_ps=clock_ps,
        tick_clocks=tick_clocks,
        n_ticks=ticks,
        rate=123 << 30,
        trims=[int(v) for v in trims],
    )
    ours = TagPositions(13333, 77, 123 << 30, clock_ps, int(trims[0]))
    for tick in range(0, ticks + 1):
        trim = int(trims[min(tick, ticks - 1)])
        # A heartbeat on both sides of a change: then its time is known.
        ours.heartbeat(tick * tick_ps, trim) if tick and trim == trims[tick - 1] else None
        if tick and trim != trims[tick - 1]:
            ours.heartbeat(tick * tick_ps, int(trims[tick - 1]))
            ours.heartbeat(tick * tick_ps, trim)
    t = np.sort(rng.integers(0, ticks * tick_ps, 20_000))
    slot, position, v = clock.place(t)
    our_slot, our_position = ours.place(t)
    apart = our_slot.astype(np.int64) * 13333 + our_position - v
    assert np.abs(apart).max() <= 1
    assert (our_slot == slot).mean() > 0.999
    del position


VALUES = {
    "relay_id": "charlie",
    "port": "/dev/null",
    "slot_period_ps": 10000,
    "windows": {"early": [2000, 3000], "late": [7000, 8000]},
    "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
    "log": {"directory": "log"},
}


@pytest.mark.parametrize(
    ("tracking", "others", "line"),
    [
        ({"follow": "moon"}, {}, "tracking.follow: 'moon'; allowed: 'light' or 'sync'"),
        ({"follow": "sync"}, {}, "tracking: {'follow': 'sync'}; allowed: follow: sync needs sync"),
        ({"pulse_ps": 1.0}, {}, "allowed: pulse_ps and detector_ps together"),
        ({"slots": {"length": 10}}, {}, "raw_tags.stream: False; allowed: true with tracking.slot"),
        (
            {"slots": {"every": 10, "length": 6}},
            {"raw_tags": {"stream": True}},
            "tracking.slots: {'every': 10, 'length': 6}; allowed: 6 of every 10",
        ),
        ({}, {"histogram": {"period_s": 0}}, "histogram.period_s: 0.0; allowed: 0.01 to 10 s"),
        ({}, {"histogram": {"bin_ps": 8}}, "histogram.bin_ps: 8; allowed: a histogram that spans"),
        ({"centres_ps": [1]}, {}, "tracking.centres_ps: [1]; allowed: 2 in the slot of 10000"),
        ({"limit_ppm": 500}, {}, "tracking.limit_ppm: 500; allowed: 0.01 to 90 ppm"),
        (
            {"sync": {"slots_per_tag": 10, "position_ps": 12000}},
            {},
            "tracking.sync.position_ps: 12000; allowed: 0 to 9999 ps",
        ),
    ],
)
def test_a_wrong_section_names_key_value_and_what_is_allowed(tracking, others, line):
    with pytest.raises(ConfigError) as caught:
        check_config({**VALUES, "tracking": tracking, **others})
    assert any(line in found for found in caught.value.lines), caught.value.lines
