"""The three loops around a fast link, stepped as the daemons step them."""

import numpy as np
from fast_link import (
    BIN_PS,
    CENTRES_PS,
    CLOCK_PS,
    INTENSITIES,
    PERIOD_PS,
    PULSE_PS,
    WIDTH_PS,
)

from bellrelay.control.delay_servo import DelayServo, DelayServoSettings
from bellrelay.control.pulse_monitor import measure_pulses
from bellrelay.control.pulse_positions import TooFewCounts
from bellrelay.control.slot_servo import SlotServo, SlotServoSettings
from bellrelay.control.source_delay import source_delays
from bellrelay.physics.key_rate import infinite_decoy_rate
from bellrelay.physics.relay_model import RelayModel
from bellrelay.physics.windows import delayed_overlap, gaussian_fraction

WINDOWS = ((2000, 3000), (7000, 8000))
MEASURE_S = 5


class TrackedLink:
    """`follow`: what the relay's clock follows, "light" or "sync"; both senders are steered with
    sync, Bob alone with light."""

    def __init__(self, link, follow, relay=None, sender=None):
        self.link = link
        self.follow = follow
        self.relay = SlotServo(relay or SlotServoSettings(), CLOCK_PS)
        self.senders = [DelayServo(sender or DelayServoSettings()) for _ in range(2)]
        self.tables = [None, None]
        self.dark = [False, False]
        self.deaf = False
        self.seconds = 0

    def pull_in(self, longest_s=30.0, beat_s=0.05):
        """By the sync channel's heartbeats, until the loop is locked; seconds that took."""
        link, relay = self.link, self.relay
        while relay.lock.state != "locked":
            link.pass_time(beat_s)
            assert link.now_s < longest_s, f"{relay.filter.phase_ps} ps"
            relay.pass_time(link.now_s)
            relay.measured(link.sync_phase_ps(), link.sync_jitter_ps, link.now_s)
            link.trim = relay.decide()
        for servo in self.senders:
            servo.pass_time(link.now_s)
            servo.decide()
        return link.now_s

    def second(self):
        """One second of the link, and all decisions at its end; delays at its middle."""
        link = self.link
        link.pass_time(0.5)
        middle, late = link.now_s, link.late_ps()
        histogram = link.histogram()
        windows = [link.tracking_clicks(who) for who in (0, 1)]
        sync = np.mean([link.sync_phase_ps() for _ in range(20)])
        link.pass_time(0.5)
        self.seconds += 1
        self.relay.pass_time(link.now_s)
        if not self.deaf:
            self.relay_measures(histogram, sync, middle)
        link.trim = self.relay.decide()
        for who in (0, 1):
            self.sender_measures(who, windows[who])
        return late

    def relay_measures(self, histogram, sync, middle):
        if self.follow == "sync":
            self.relay.measured(sync, self.link.sync_jitter_ps / 20**0.5, middle)
            return
        try:
            found = measure_pulses(
                histogram,
                bin_ps=BIN_PS,
                period_ps=PERIOD_PS,
                centres_ps=CENTRES_PS,
                width_ps=WIDTH_PS,
            ).positions
        except TooFewCounts:
            return
        self.relay.measured(found.shift_ps, max(found.sigma_shift_ps, 0.5), middle)

    def sender_measures(self, who, window):
        servo, link = self.senders[who], self.link
        servo.pass_time(link.now_s)
        if not self.dark[who]:
            table = self.tables[who]
            self.tables[who] = window if table is None else table + window
        steered = self.follow == "sync" or who == 1
        if self.seconds % MEASURE_S == 0 and self.tables[who] is not None and steered:
            self.fit(servo, self.tables[who])
            self.tables[who] = None
        if steered:
            link.sender_ps[who] = servo.decide()

    def fit(self, servo, table):
        try:
            found = source_delays(table, INTENSITIES, centres_ps=CENTRES_PS, width_ps=WIDTH_PS)
        except TooFewCounts:
            return
        at = self.link.now_s - MEASURE_S / 2
        if self.follow == "sync":
            servo.measured(found.own_ps, found.sigma_own_ps, at)
        else:
            servo.measured(found.apart_ps, found.sigma_apart_ps, at)


def key_rate(late_a=0.0, late_b=0.0, eta=0.1):
    """Asymptotic key per signal pair of a link whose pulses lie so far off."""

    def kept(late):
        parts = [
            gaussian_fraction(start, end, centre + late, WIDTH_PS)
            for (start, end), centre in zip(WINDOWS, CENTRES_PS, strict=True)
        ]
        return float(np.mean(parts))

    model = RelayModel(
        eta_a=eta * kept(late_a),
        eta_b=eta * kept(late_b),
        detectors_per_port=2,
        dark_count_probability=1e-7,
        misalignment_z=0.005,
        misalignment_x=0.005,
        mode_overlap=delayed_overlap(0.98, late_a - late_b, PULSE_PS),
    )
    return float(infinite_decoy_rate(model, 0.4, 0.4))
