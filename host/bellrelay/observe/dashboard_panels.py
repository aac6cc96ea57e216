"""What the dashboards show: three pages of panels, each with its queries, and what to read off it.

Executive: is key delivered, and is what was promised kept. On-call: what is wrong, and where.
Debug: every stage on the way of a click.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DASHBOARDS", "DashboardPage", "Panel", "Query", "Row"]


@dataclass(frozen=True)
class Query:
    """PromQL and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture.

    kind: ``graph``, ``number`` or ``state``, the latter a bar of states over time. unit: Grafana's
    word. limit: value at which a line is drawn. bad_above: whether beyond it is above.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "graph"
    limit: float | None = None
    bad_above: bool = True


@dataclass(frozen=True)
class Row:
    """Panels beside each other."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class DashboardPage:
    """A dashboard; uid is its name in links."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them."""
        return tuple(p for row in self.rows for p in row.panels)


def _q(expr: str, legend: str = "") -> Query:
    return Query(expr, legend)


_KEY_RATE = Panel(
    "Secret key rate (M1)",
    "Key stored per second, as a mean over ten minutes; its median and 95 % quantile over an hour.",
    (
        _q("bellrelay:key_bits_per_second:rate10m", "{{endpoint}}"),
        _q("bellrelay:key_bits_per_second:median1h", "{{endpoint}} median 1 h"),
        _q("bellrelay:key_bits_per_second:p95_1h", "{{endpoint}} 95 % 1 h"),
    ),
    unit="bps",
)
_QBER = Panel(
    "QBER (M4)",
    "Of the last block: in Z as corrected, in X among both mu or both nu, where 25 % is the least "
    "that coherent states allow.",
    (_q("bellrelay_endpoint_error_ratio", "{{endpoint}} {{basis}}"),),
    unit="percentunit",
)
_KEY_LEFT = Panel(
    "Key left",
    "Seconds until a pair's key is used up, at what was taken in the last hour.",
    (_q("bellrelay:key_left:seconds", "{{pair}} at {{kme}}"),),
    unit="s",
    limit=600.0,
    bad_above=False,
)
_BUDGET = Panel(
    "Error budget left",
    "Of every objective, of this month: below 0 more was spent than there was.",
    (_q("bellrelay:slo_budget_left:ratio", "{{slo}} {{relay}}{{link}}{{kme}}"),),
    unit="percentunit",
    limit=0.0,
    bad_above=False,
)
_AVAILABILITY = Panel(
    "Relay measures (M5)",
    "1 while the board is acquiring.",
    (_q("bellrelay_relay_up", "{{relay}}"),),
    kind="state",
)
_LATENCY = Panel(
    "Key issuance latency (M10)",
    "95 % of Get key answers come within this time.",
    (_q("bellrelay:key_issuance_seconds:p95_5m", "{{kme}}"),),
    unit="s",
    limit=0.25,
)
_ALERTS = Panel(
    "Alerts",
    "What fires now.",
    (_q('sum by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}}"),),
    kind="state",
)
_FAULTS = Panel(
    "Faults",
    "What the watch over the link has found, by its most likely cause.",
    (_q("bellrelay_endpoint_fault", "{{fault}} {{subject}}"),),
    kind="state",
)

_EXECUTIVE = DashboardPage(
    "bellrelay-executive",
    "bellrelay: is key delivered",
    "Key made, key left, promises kept.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Key delivered",
                    "Bits per second to applications.",
                    (_q("sum(rate(bellrelay_kme_delivered_bits_total[5m]))"),),
                    unit="bps",
                    kind="number",
                ),
                Panel(
                    "Key made",
                    "Bits per second stored at one endpoint of every link.",
                    (_q("sum(max by (link) (bellrelay:key_bits_per_second:rate10m))"),),
                    unit="bps",
                    kind="number",
                ),
                Panel(
                    "Relays that measure",
                    "Of all relays.",
                    (_q("avg(bellrelay_relay_up)"),),
                    unit="percentunit",
                    kind="number",
                ),
                Panel(
                    "Age of the last key",
                    "Since a block became key, of the link where that is longest ago.",
                    (_q("max(time() - bellrelay_endpoint_last_key_timestamp_seconds)"),),
                    unit="s",
                    kind="number",
                ),
            ),
        ),
        Row("Key", (_KEY_RATE, _KEY_LEFT)),
        Row("Promises", (_BUDGET, _AVAILABILITY, _LATENCY)),
    ),
)

_ONCALL = DashboardPage(
    "bellrelay-oncall",
    "bellrelay: what is wrong",
    "From the alert to the part: top to bottom as light and key go.",
    (
        Row("Alarms", (_ALERTS, _FAULTS)),
        Row(
            "Relay",
            (
                _AVAILABILITY,
                Panel(
                    "Detection rate (M2)",
                    "Clicks of all detectors, those that dead time suppressed included.",
                    (_q("bellrelay:clicks_per_second:rate1m", "{{relay}}"),),
                    unit="cps",
                ),
                Panel(
                    "Dead time (M8)",
                    "Slots in which a detector was dead, and hits that were suppressed.",
                    (
                        _q("bellrelay:not_live:ratio5m", "not live {{relay}}"),
                        _q("bellrelay:suppressed:ratio5m", "suppressed {{relay}}"),
                    ),
                    unit="percentunit",
                    limit=0.1,
                ),
                Panel(
                    "Bell success ratio (M3)",
                    "Announced slots, of all with clicks in two cells or more.",
                    (_q("bellrelay:bell_success:ratio5m", "{{relay}}"),),
                    unit="percentunit",
                ),
            ),
        ),
        Row(
            "Endpoints",
            (
                _QBER,
                Panel(
                    "Blocks that ended",
                    "Per hour; those without key by cause.",
                    (
                        _q(
                            "sum by (endpoint, state, cause) "
                            "(increase(bellrelay_endpoint_blocks_ended_total[1h]))",
                            "{{endpoint}} {{state}} {{cause}}",
                        ),
                    ),
                ),
                Panel(
                    "Authentication failures (M7)",
                    "Tags that do not fit, and peers that contradict themselves.",
                    (
                        _q(
                            "increase(bellrelay_endpoint_authentication_failures_total[10m])",
                            "{{endpoint}}",
                        ),
                    ),
                ),
                Panel(
                    "Key for authentication",
                    "Bits left in the pool.",
                    (_q("bellrelay_endpoint_pool_bits", "{{endpoint}}"),),
                    unit="bits",
                    limit=65536.0,
                    bad_above=False,
                ),
            ),
        ),
        Row(
            "Key delivery",
            (
                _KEY_LEFT,
                Panel(
                    "Answers of the KMEs",
                    "Per second, by code.",
                    (
                        _q(
                            "sum by (kme, code) (rate(bellrelay_kme_requests_total[5m]))",
                            "{{kme}} {{code}}",
                        ),
                    ),
                    unit="reqps",
                ),
                _LATENCY,
            ),
        ),
    ),
)

_DEBUG = DashboardPage(
    "bellrelay-debug",
    "bellrelay: the way of a click",
    "Every stage's counts, losses by cause, and what the servos and monitors see.",
    (
        Row(
            "What comes and goes",
            (
                Panel(
                    "Highest second of a minute",
                    "Of clicks, by channel, and of all that was lost: what a mean hides.",
                    (
                        _q(
                            'bellrelay_relay_peak_per_second{what=~"clicks_.*|lost"}',
                            "{{relay}} {{what}}",
                        ),
                    ),
                    unit="cps",
                ),
                Panel(
                    "Most that waited in a minute",
                    "At relays: pieces of the line, batches for the log, bytes of raw tags; at "
                    "KMEs: requests for key.",
                    (
                        _q("bellrelay_relay_queue_peak", "{{relay}} {{queue}}"),
                        _q("bellrelay_kme_requests_waiting_peak", "{{kme}} requests"),
                    ),
                ),
                Panel(
                    "QBER in Z that one of twenty blocks exceeds",
                    "Of all blocks of ten minutes, not of the last one alone.",
                    (
                        _q(
                            "histogram_quantile(0.95, sum by (link, endpoint, le) "
                            '(rate(bellrelay_endpoint_block_error_ratio_bucket{basis="Z"}[10m])))',
                            "{{link}} {{endpoint}}",
                        ),
                    ),
                    unit="percentunit",
                    limit=0.03,
                ),
            ),
        ),
        Row(
            "Clicks by fate",
            (
                Panel(
                    "Clicks by fate",
                    "Per second and detector: in a window, outside, suppressed by dead time.",
                    (
                        _q(
                            'rate(bellrelay_board_total{counter=~"(early|late|outside|dead_time)_.*"}[1m])',
                            "{{relay}} {{counter}}",
                        ),
                    ),
                    unit="cps",
                ),
                Panel(
                    "Classes of slots",
                    "Per second: what the table makes of slots with clicks.",
                    (
                        _q(
                            'rate(bellrelay_board_total{counter=~"class_.*"}[1m])',
                            "{{relay}} {{counter}}",
                        ),
                    ),
                    unit="cps",
                ),
                Panel(
                    "Announcements received",
                    "Per second, by outcome.",
                    (
                        _q(
                            "rate(bellrelay_announcements_received_total[1m])",
                            "{{relay}} {{outcome}}",
                        ),
                    ),
                    unit="cps",
                ),
            ),
        ),
        Row(
            "Losses",
            (
                Panel(
                    "Lost on the line",
                    "Between board and daemon.",
                    (_q("rate(bellrelay_link_lost_total[5m])", "{{relay}} {{what}}"),),
                    unit="cps",
                ),
                Panel(
                    "Lost on the board",
                    "Shed or lost for want of room.",
                    (
                        _q(
                            'rate(bellrelay_board_total{counter=~"(lost|shed|tags_lost|tags_shed).*"}[5m])',
                            "{{relay}} {{counter}}",
                        ),
                    ),
                    unit="cps",
                ),
                Panel(
                    "The serial line",
                    "Bytes, frames, damage.",
                    (_q("rate(bellrelay_link_total[1m])", "{{relay}} {{what}}"),),
                ),
            ),
        ),
        Row(
            "Board and log",
            (
                Panel(
                    "Heartbeat age",
                    "Since the board's last heartbeat.",
                    (_q("bellrelay_relay_heartbeat_age_seconds", "{{relay}}"),),
                    unit="s",
                ),
                Panel(
                    "Temperature",
                    "Of the board.",
                    (_q("bellrelay_relay_temperature_celsius", "{{relay}}"),),
                    unit="celsius",
                    limit=80.0,
                ),
                Panel(
                    "Records in the log",
                    "Per second.",
                    (_q("rate(bellrelay_relay_log_durable_sequence[1m])", "{{relay}}"),),
                ),
            ),
        ),
        Row(
            "Blocks",
            (
                _KEY_RATE,
                Panel(
                    "Blocks under way",
                    "By state: the depth of the queue.",
                    (_q("bellrelay_endpoint_blocks_under_way", "{{endpoint}} {{state}}"),),
                ),
                Panel(
                    "Time of a block",
                    "From its beginning to its end, last block.",
                    (_q("bellrelay_endpoint_block_seconds", "{{endpoint}}"),),
                    unit="s",
                ),
                Panel(
                    "Phase error, upper bound",
                    "Of the last block.",
                    (_q("bellrelay_endpoint_phase_error_upper_ratio", "{{endpoint}}"),),
                    unit="percentunit",
                ),
            ),
        ),
        Row(
            "Senders",
            (
                Panel(
                    "Decoy intensity variance (M9)",
                    "Relative variance of every setting, as the power monitor has it.",
                    (
                        _q(
                            "bellrelay_endpoint_intensity_variance_ratio",
                            "{{endpoint}} {{setting}}",
                        ),
                    ),
                    limit=1e-4,
                ),
                Panel(
                    "Intensity over declared",
                    "Mean of the readings of five minutes.",
                    (
                        _q(
                            "rate(bellrelay_endpoint_intensity_sum_total[5m]) / "
                            "rate(bellrelay_endpoint_intensity_readings_total[5m]) / "
                            "(bellrelay_endpoint_intensity_declared > 0)",
                            "{{endpoint}} {{setting}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Monitors",
            (
                Panel(
                    "Optical power",
                    "As power monitors of relays and endpoints have it; a gap: stale.",
                    (_q("bellrelay_monitor_power_watts", "{{relay}}{{endpoint}} {{monitor}}"),),
                    unit="watt",
                ),
                Panel(
                    "Centre wavelength, nm",
                    "In vacuum, of wavemeters and of the strongest line of spectra.",
                    (
                        _q(
                            "bellrelay_monitor_wavelength_meters * 1e9",
                            "{{relay}}{{endpoint}} {{monitor}}",
                        ),
                    ),
                ),
                Panel(
                    "Line width",
                    "Full width at half maximum, the instrument's resolution included.",
                    (_q("bellrelay_monitor_linewidth_hertz", "{{relay}}{{endpoint}} {{monitor}}"),),
                    unit="hertz",
                ),
                Panel(
                    "Side-mode suppression",
                    "Strongest line over the strongest mode beside it, where there is one.",
                    (
                        _q(
                            "bellrelay_monitor_side_mode_suppression_decibels",
                            "{{relay}}{{endpoint}} {{monitor}}",
                        ),
                    ),
                    unit="dB",
                ),
                Panel(
                    "Stale, or beyond limits",
                    "1 while a monitor says nothing, or measures what lies outside its limits.",
                    (
                        _q("bellrelay_monitor_stale", "{{relay}}{{endpoint}} {{monitor}} stale"),
                        _q(
                            "bellrelay_monitor_beyond_limits",
                            "{{relay}}{{endpoint}} {{monitor}} {{quantity}}",
                        ),
                    ),
                    kind="state",
                ),
                Panel(
                    "Lines refused",
                    "Per minute, by cause.",
                    (
                        _q(
                            "60 * rate(bellrelay_monitor_lines_refused_total[5m])",
                            "{{relay}}{{endpoint}} {{cause}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Key stores",
            (
                Panel(
                    "Units by state",
                    "Of every pair and side.",
                    (_q("bellrelay_kme_units", "{{kme}} {{pair}} {{side}} {{state}}"),),
                ),
                Panel(
                    "Waiting",
                    "Requests that wait for a round, and keys that wait for key managers.",
                    (
                        _q("bellrelay_kme_requests_waiting", "{{kme}} requests"),
                        _q("bellrelay_kme_bridge_waiting", "{{kme}} {{bridge}}"),
                    ),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (_EXECUTIVE, _ONCALL, _DEBUG)
