"""Tracking of a board that is reset, unplugged, deaf, or whose heartbeats are odd."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))
from pretend_board import PretendBoard

from bellrelay.control.relay_tracking import RelayTracking
from bellrelay.control.slot_servo import trim_of_rate
from bellrelay.relay.config import check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.wire.frames import FrameType
from bellrelay.wire.payloads import Heartbeat

PERIOD_PS = 10_000
BETWEEN_PS = 1000 * PERIOD_PS
PPM = 5.0


class SyncedBoard(PretendBoard):
    """A board whose sync channel runs at another rate than its clock, and whose trim works.

    A heartbeat is 50 ms of its time; `dark`: no sync tags.
    """

    dark = False

    def __init__(self, link, **options):
        self.ahead_ps = 0.0
        self.now_ps = 0
        self.tags = 0
        super().__init__(link, **options)

    def _control(self, value):
        super()._control(value)
        self.now_ps, self.ahead_ps, self.tags = 0, 0.0, 0

    def heartbeat(self, final=False):
        step = 50_000_000_000
        self.now_ps += step
        # Sync tags of a sender whose clock is slow by PPM, on a slot clock that is trimmed.
        self.ahead_ps += step * (PPM * 1e-6 + self.trim() * 2.0**-32 / 5000)
        shown = round(self.now_ps + self.ahead_ps)
        if not self.dark:
            self.tags = self.now_ps // BETWEEN_PS
        tag_ps = self.tags * BETWEEN_PS + round(self.ahead_ps)
        slot, position = divmod(tag_ps, PERIOD_PS)
        fields = {
            "module_id": self.constants[0],
            "config_hash": self.geometry.config_hash,
            "uptime_ticks": self.uptime,
            "cut_tick": self.tick,
            "cut_slot": max(shown // PERIOD_PS, self.slot + 1),
            "cut_ps": self.now_ps,
            "trim": self.trim(),
            "sync_slot": slot,
            "sync_pos": position,
        }
        totals = {**self.totals, "sync": self.tags + 1}
        beat = Heartbeat(self.state, final, fields, totals)
        return self.send(FrameType.HEARTBEAT, beat.encode(self.geometry))


@pytest.fixture
def board(tmp_path):
    made = SyncedBoard(tmp_path / "port", per_beat=0)
    yield made
    made.close()


def run(tmp_path, body):
    config = check_config(
        {
            "relay_id": "charlie",
            "port": str(tmp_path / "port"),
            "slot_period_ps": PERIOD_PS,
            "windows": {"early": [2000, 3000], "late": [7000, 8000]},
            "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
            "log": {"directory": str(tmp_path / "log")},
            "health": {"listen": "127.0.0.1:0"},
            "tracking": {
                "follow": "sync",
                "sync": {"slots_per_tag": 1000},
                "settle_s": 0.3,
                "holdover_ps": 1e4,
            },
        }
    )
    tracking = RelayTracking(config)

    async def main():
        daemon = RelayDaemon(config, companions=[tracking])
        await daemon.start()
        try:
            await asyncio.to_thread(body, daemon, tracking)
        finally:
            await daemon.stop()

    asyncio.run(main())
    return tracking


def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def held(tracking, board):
    """Whether it is locked, and the board's own phase says the same."""
    return tracking.status()["locked"] and abs(board.ahead_ps) < 50.0


def settled(tracking, board):
    """And its rate is known to some ps/s, and kept for the next acquisition."""
    if tracking._good_trim == 0 or not held(tracking, board):
        return False
    return tracking._tracker.servo.filter.sigma_rate_ps_per_s < 20.0


def state(tracking, wanted):
    return tracking.status()["state"] == wanted


def test_a_reset_board_is_tracked_anew_with_the_trim_that_was_good(tmp_path, board, monkeypatch):
    def body(daemon, tracking):
        written, write = {}, daemon.session.write_live
        monkeypatch.setattr(
            daemon.session,
            "write_live",
            lambda number, *what: (written.setdefault(number, what), write(number, *what)),
        )
        until(lambda: settled(tracking, board))
        good = board.trim()
        assert abs(good + trim_of_rate(PPM * 1e6, 5000)) < trim_of_rate(5e3, 5000)
        board.unplug()
        until(lambda: state(tracking, "waiting"))
        assert not tracking.status()["locked"]
        board.reset()
        board.plug()
        until(lambda: daemon.session.account is not None and daemon.session.account.acquisition > 1)
        until(lambda: 2 in written and held(tracking, board))
        # The first write of the new acquisition, before anything was measured in it.
        assert written[1] != written[2]
        name, trim = written[2]
        assert name == "trim"
        assert abs(trim - good) < trim_of_rate(2e4, 5000)

    run(tmp_path, body)


def test_an_unplugged_line_goes_on_with_the_same_acquisition(tmp_path, board):
    def body(daemon, tracking):
        until(lambda: held(tracking, board))
        board.unplug()
        until(lambda: state(tracking, "waiting"))
        time.sleep(0.3)
        board.plug()
        until(lambda: held(tracking, board))
        assert daemon.session.account.acquisition == 1
        assert tracking.status()["rate_ppm"] == pytest.approx(PPM, abs=0.01)

    run(tmp_path, body)


def test_answers_that_are_lost_do_not_mislead_the_loop(tmp_path, board):
    """The board takes every trim, and answers none for a while."""

    def body(_daemon, tracking):
        until(lambda: held(tracking, board))
        board.mute = True
        until(lambda: "no answer" in tracking.status()["not_written"].lower())
        time.sleep(1.5)
        board.mute = False
        until(lambda: tracking.status()["not_written"] == "")
        until(lambda: held(tracking, board))
        assert tracking.status()["rate_ppm"] == pytest.approx(PPM, abs=0.05)

    run(tmp_path, body)


def test_a_fault_of_the_program_is_an_alarm_and_tracking_goes_on(tmp_path, board, monkeypatch):
    def body(_daemon, tracking):
        until(lambda: held(tracking, board))
        tracker = tracking._tracker
        monkeypatch.setattr(tracker, "heartbeat", lambda _beat: 1 / 0)
        until(lambda: "ZeroDivisionError" in (tracking.status()["alarm"] or ""))
        until(lambda: tracking._tracker is not tracker)
        until(lambda: held(tracking, board))
        assert tracking.status()["alarm"] is None

    run(tmp_path, body)


def test_no_sync_tags_are_holdover_with_the_last_good_rate_and_back(tmp_path, board):
    def body(_daemon, tracking):
        until(lambda: settled(tracking, board))
        good = board.trim()
        board.dark = True
        until(lambda: state(tracking, "holdover"))
        assert tracking.status()["alarm"] == "holdover"
        assert abs(board.trim() - good) < trim_of_rate(1e3, 5000)
        board.dark = False
        until(lambda: held(tracking, board))
        kinds = [(e["kind"], e.get("state")) for e in _daemon.events]
        assert ("slot-clock", "holdover") in kinds

    run(tmp_path, body)
