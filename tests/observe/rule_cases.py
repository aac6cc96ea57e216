"""For every rule of deploy/prometheus/bellrelay.rules.yml: series under which it fires, and under
which it does not. Series are in promtool's notation, one sample a minute.
"""

from dataclasses import dataclass, field

DAY = 24 * 60


@dataclass(frozen=True)
class Alert:
    """An alert's two cases.

    firing, silent : (series, values) lists. labels : that it carries when it fires. at : minute at
    which both are looked at. value : as people read it then.
    """

    firing: list
    silent: list
    labels: dict
    at: int
    value: str


@dataclass(frozen=True)
class Record:
    """A recording's two cases: series that give `value`, and others that give `other`; the value
    None: nothing is recorded."""

    series: list
    value: float
    other_series: list
    other: float | None
    labels: dict = field(default_factory=dict)
    at: int = 120


def _board(counter, step, relay="r"):
    return (f'bellrelay_board_total{{counter="{counter}", relay="{relay}"}}', f"0+{step}x4400")


def _flat(series, value, minutes=4400):
    return (series, f"{value}+0x{minutes}")


RELAY = {"relay": "r"}
ENDPOINT = {"link": "l", "endpoint": "a"}
KME = {"kme": "k"}
UP = 'bellrelay_relay_up{relay="r", job="bellrelay-relay"}'
UP_E = 'bellrelay_endpoint_up{link="l", endpoint="a", job="bellrelay-endpoint"}'
UP_K = 'bellrelay_kme_up{kme="k", job="bellrelay-kme"}'
TARGET = 'up{relay="r", job="bellrelay-relay"}'
TARGET_E = 'up{link="l", endpoint="a", job="bellrelay-endpoint"}'
TARGET_K = 'up{kme="k", job="bellrelay-kme"}'
ENDED = 'bellrelay_endpoint_blocks_ended_total{link="l", endpoint="a", state="%s"}'
ERROR = 'bellrelay_endpoint_error_ratio{link="l", endpoint="a", basis="Z"}'
JITTER = 'bellrelay_relay_sync_jitter_seconds{relay="r"}'
REQUESTS = 'bellrelay_kme_requests_total{kme="k", method="enc_keys", code="%s"}'
BUCKET = 'bellrelay_kme_request_seconds_bucket{kme="k", method="enc_keys", le="%s"}'
COUNT = 'bellrelay_kme_request_seconds_count{kme="k", method="enc_keys"}'

# Of every objective: series that are bad, series that are good.
INDICATORS = {
    "relay-availability": (
        # The daemon is gone: its own gauge is stale, its target stands at 0.
        [(TARGET, "0+0x4400")],
        [_flat(UP, 1), _flat(TARGET, 1)],
        RELAY,
    ),
    "link-up": (
        [_flat(UP_E, 0), _flat(TARGET_E, 1)],
        [_flat(UP_E, 1), _flat(TARGET_E, 1)],
        ENDPOINT,
    ),
    "blocks-stored": (
        [(ENDED % "aborted", "0+1x4400"), (ENDED % "stored", "0+1x4400")],
        [(ENDED % "aborted", "0+0x4400"), (ENDED % "stored", "0+1x4400")],
        ENDPOINT,
    ),
    "qber": ([_flat(ERROR, 0.08)], [_flat(ERROR, 0.01)], ENDPOINT),
    "sync-jitter": ([_flat(JITTER, 3e-10)], [_flat(JITTER, 2e-11)], RELAY),
    "key-requests": (
        [(REQUESTS % 503, "0+1x4400"), (REQUESTS % 200, "0+1x4400")],
        [(REQUESTS % 503, "0+0x4400"), (REQUESTS % 200, "0+9x4400")],
        KME,
    ),
    "key-latency": (
        [(BUCKET % "0.25", "0+1x4400"), (COUNT, "0+2x4400")],
        [(BUCKET % "0.25", "0+2x4400"), (COUNT, "0+2x4400")],
        KME,
    ),
}

GAUGES = {
    "RelayDown": Alert(
        [_flat(UP, 0)],
        [_flat(UP, 1), _flat(TARGET, 1)],
        {**RELAY, "job": "bellrelay-relay"},
        10,
        "0",
    ),
    "ClicksMissing": Alert([_board("early_0", 0)], [_board("early_0", 60_000)], RELAY, 10, "0"),
    "DetectorLoad": Alert(
        [_board("slots_not_live", 30), _board("slots", 100)],
        [_board("slots_not_live", 1), _board("slots", 100)],
        RELAY,
        20,
        "0.3",
    ),
    "Fault": Alert(
        [
            _flat(
                'bellrelay_endpoint_fault{link="l", endpoint="a", fault="fibre-cut", subject="b"}',
                1,
            )
        ],
        [
            _flat(
                'bellrelay_endpoint_fault{link="l", endpoint="a", fault="fibre-cut", subject="b"}',
                0,
            )
        ],
        {**ENDPOINT, "fault": "fibre-cut", "subject": "b"},
        10,
        "1",
    ),
    "RelayQuarantined": Alert(
        [_flat('bellrelay_endpoint_relay_quarantined{link="l", endpoint="a"}', 1)],
        [_flat('bellrelay_endpoint_relay_quarantined{link="l", endpoint="a"}', 0)],
        ENDPOINT,
        10,
        "1",
    ),
    "AuthenticationFailures": Alert(
        [
            (
                'bellrelay_endpoint_authentication_failures_total{link="l", endpoint="a"}',
                "0 0 0 1x60",
            )
        ],
        [('bellrelay_endpoint_authentication_failures_total{link="l", endpoint="a"}', "3+0x60")],
        ENDPOINT,
        8,
        "1",
    ),
    "PoolLow": Alert(
        [_flat('bellrelay_endpoint_pool_bits{link="l", endpoint="a"}', 60_000)],
        [_flat('bellrelay_endpoint_pool_bits{link="l", endpoint="a"}', 600_000)],
        ENDPOINT,
        20,
        "60000",
    ),
    "LastKeyOld": Alert(
        # The test's clock begins at 0.
        [_flat('bellrelay_endpoint_last_key_timestamp_seconds{link="l", endpoint="a"}', 0)],
        [('bellrelay_endpoint_last_key_timestamp_seconds{link="l", endpoint="a"}', "0+60x400")],
        ENDPOINT,
        90,
        "5400",
    ),
    "KeyLeft": Alert(
        [
            _flat('bellrelay_kme_own_free_bits{kme="k", pair="p"}', 25_600),
            ('bellrelay_kme_delivered_bits_total{kme="k", pair="p"}', "0+25600x400"),
        ],
        [
            _flat('bellrelay_kme_own_free_bits{kme="k", pair="p"}', 25_600_000),
            ('bellrelay_kme_delivered_bits_total{kme="k", pair="p"}', "0+25600x400"),
        ],
        {**KME, "pair": "p"},
        90,
        "60",
    ),
    "KeyLowWater": Alert(
        [_flat('bellrelay_kme_low_water{kme="k", pair="p"}', 1)],
        [_flat('bellrelay_kme_low_water{kme="k", pair="p"}', 0)],
        {**KME, "pair": "p"},
        20,
        "1",
    ),
    "KmeParted": Alert(
        [_flat(TARGET_K, 0)],
        [_flat(UP_K, 1), _flat(TARGET_K, 1)],
        {**KME, "job": "bellrelay-kme"},
        10,
        "0",
    ),
    "BridgeStands": Alert(
        [_flat('bellrelay_kme_bridge_fault{kme="k", bridge="vault"}', 1)],
        [_flat('bellrelay_kme_bridge_fault{kme="k", bridge="vault"}', 0)],
        {**KME, "bridge": "vault"},
        30,
        "1",
    ),
    "KekDue": Alert(
        [_flat('bellrelay_kme_kek_due{kme="k"}', 1)],
        [_flat('bellrelay_kme_kek_due{kme="k"}', 0)],
        KME,
        120,
        "1",
    ),
    "IntensityUnstable": Alert(
        [
            _flat(
                'bellrelay_endpoint_intensity_variance_ratio{link="l", endpoint="a", setting="mu"}',
                4e-4,
            )
        ],
        [
            _flat(
                'bellrelay_endpoint_intensity_variance_ratio{link="l", endpoint="a", setting="mu"}',
                1e-6,
            )
        ],
        {**ENDPOINT, "setting": "mu"},
        20,
        "0.0004",
    ),
    "MonitorStale": Alert(
        [_flat('bellrelay_monitor_stale{relay="r", monitor="arm-a"}', 1)],
        [_flat('bellrelay_monitor_stale{relay="r", monitor="arm-a"}', 0)],
        {**RELAY, "monitor": "arm-a"},
        10,
        "1",
    ),
    "MonitorLimits": Alert(
        [
            _flat(
                'bellrelay_monitor_beyond_limits{link="l", endpoint="a", monitor="laser", '
                'quantity="linewidth_ghz"}',
                1,
            )
        ],
        [
            _flat(
                'bellrelay_monitor_beyond_limits{link="l", endpoint="a", monitor="laser", '
                'quantity="linewidth_ghz"}',
                0,
            )
        ],
        {**ENDPOINT, "monitor": "laser", "quantity": "linewidth_ghz"},
        10,
        "1",
    ),
    "EventsLost": Alert(
        [('bellrelay_link_lost_total{relay="r", what="frames"}', "0+1x60")],
        [('bellrelay_link_lost_total{relay="r", what="frames"}', "7+0x60")],
        RELAY,
        20,
        "10",
    ),
    "BoardHot": Alert(
        [_flat('bellrelay_relay_temperature_celsius{relay="r"}', 85)],
        [_flat('bellrelay_relay_temperature_celsius{relay="r"}', 45)],
        RELAY,
        20,
        "85",
    ),
    "CalibrationOverdue": Alert(
        [_flat('bellrelay_relay_calibration_overdue{relay="r"}', 1)],
        [_flat('bellrelay_relay_calibration_overdue{relay="r"}', 0)],
        RELAY,
        120,
        "1",
    ),
}

BITS = 'bellrelay_endpoint_key_bits_total{link="l", endpoint="a"}'
RECORDS = {
    "bellrelay:key_bits_per_second:rate10m": Record(
        [(BITS, "0+6000x400")], 100, [(BITS, "0+0x400")], 0, ENDPOINT
    ),
    "bellrelay:key_bits_per_second:median1h": Record(
        [(BITS, "0+6000x400")], 100, [(BITS, "0+0x400")], 0, ENDPOINT
    ),
    "bellrelay:key_bits_per_second:p95_1h": Record(
        [(BITS, "0+6000x400")], 100, [(BITS, "0+0x400")], 0, ENDPOINT
    ),
    "bellrelay:clicks_per_second:rate1m": Record(
        [_board("early_0", 60), _board("outside_1", 120), _board("clicks_2", 999)],
        3,
        [_board("slots", 10)],
        None,
        RELAY,
    ),
    "bellrelay:clicks_per_second:rate5m": Record(
        [_board("late_0", 60), _board("early_1", 120)], 3, [_board("slots", 10)], None, RELAY
    ),
    "bellrelay:bell_success:ratio5m": Record(
        [_board("announced_psi_minus", 1), _board("class_4", 500), _board("class_6", 4)],
        0.25,
        [_board("announced_psi_minus", 0), _board("class_4", 500), _board("class_6", 4)],
        0,
        RELAY,
    ),
    "bellrelay:not_live:ratio5m": Record(
        [_board("slots_not_live", 5), _board("slots", 100)],
        0.05,
        [_board("slots_not_live", 0), _board("slots", 0)],
        None,
        RELAY,
    ),
    "bellrelay:suppressed:ratio5m": Record(
        [_board("dead_time_0", 6), _board("early_0", 54)],
        0.1,
        [_board("dead_time_0", 0), _board("early_0", 60)],
        0,
        RELAY,
    ),
    "bellrelay:key_issuance_seconds:p95_5m": Record(
        [
            (BUCKET % "0.1", "0+60x400"),
            (BUCKET % "0.2", "0+120x400"),
            (BUCKET % "+Inf", "0+120x400"),
        ],
        0.19,
        [(BUCKET % "0.1", "0+0x400"), (BUCKET % "+Inf", "0+0x400")],
        float("nan"),
        KME,
    ),
    "bellrelay:key_left:bits": Record(
        [
            _flat('bellrelay_kme_own_free_bits{kme="k", pair="p"}', 2560),
            # What the other KME gives out is nothing that is left here.
            _flat('bellrelay_kme_units{kme="k", pair="p", side="j", state="free"}', 20),
        ],
        2560,
        [_flat('bellrelay_kme_units{kme="k", pair="p", side="j", state="free"}', 20)],
        None,
        {**KME, "pair": "p"},
    ),
    "bellrelay:key_left:seconds": Record(
        [
            _flat('bellrelay_kme_own_free_bits{kme="k", pair="p"}', 25_600),
            ('bellrelay_kme_delivered_bits_total{kme="k", pair="p"}', "0+1536x400"),
        ],
        1000,
        # Nobody takes any: there is no time after which it is gone.
        [
            _flat('bellrelay_kme_own_free_bits{kme="k", pair="p"}', 25_600),
            ('bellrelay_kme_delivered_bits_total{kme="k", pair="p"}', "5+0x400"),
        ],
        None,
        {**KME, "pair": "p"},
    ),
}
