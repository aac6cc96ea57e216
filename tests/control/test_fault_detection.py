"""Every fault, simulated: seen within its time, ranked first, and gone again once it is mended.

Daemons' statuses are what the watch gets, by the converters that run in an endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from simulated_link import State, of_endpoint, of_kme, of_relay
from simulated_statuses import ObservedLink

from bellrelay.control.fault_baseline import Baseline, measure_baseline
from bellrelay.control.fault_observation import BlockReading, Observation
from bellrelay.control.fault_signatures import FAULTS
from bellrelay.control.fault_watch import Turn, Watch

BY_NAME = {fault.name: fault for fault in FAULTS}
Change = Callable[[float, State], State]
Report = Callable[[Observation], Observation]


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return measure_baseline(ObservedLink(seed=1).run(600))


def to(**values: object) -> Change:
    return lambda _seconds, state: replace(state, **values)  # type: ignore[arg-type]


def relay(**values: object) -> Report:
    return lambda seen: of_relay(seen, **values)


def endpoint(party: int, **values: object) -> Report:
    return lambda seen: of_endpoint(seen, party, **values)


def kme(party: int, **values: object) -> Report:
    return lambda seen: of_kme(seen, party, **values)


def in_turn(*reports: Report) -> Report:
    def report(seen: Observation) -> Observation:
        for one in reports:
            seen = one(seen)
        return seen

    return report


def no_relay(seen: Observation) -> Observation:
    lost = of_endpoint(of_endpoint(seen, 0, relay_connected=False), 1, relay_connected=False)
    return replace(lost, relay=None, relay_reachable=False)


def silent_board(seen: Observation) -> Observation:
    """The daemon answers; the board's last heartbeat ages, and nothing is counted any more."""
    return of_relay(
        seen, running=False, heartbeat_age_s=3.0, slots=0, live=0, detectors=(),
        psi_minus=0, psi_plus=0, light=(None, None), delay_ps=(None, None), width_ps=None,
        visibility=None, public_z=(0, 0), public_x=(0, 0),
    )  # fmt: skip


def lossy_line(seen: Observation) -> Observation:
    assert seen.relay is not None
    return of_relay(seen, lost=int(0.05 * (seen.relay.psi_minus + seen.relay.psi_plus)))


def two_lists(seen: Observation) -> Observation:
    return replace(seen, blocks=(BlockReading(seen.time_s - 5.0, lists_differ=True),))


def uncorrected(seen: Observation) -> Observation:
    """Blocks of so many errors that no correction ends: nobody knows how many."""
    return replace(seen, blocks=tuple(replace(b, uncorrected=True) for b in seen.blocks))


AS_IS: Change = to()
TRUE: Report = in_turn()
CASES: list[tuple[str, str, str, Change, Report]] = [
    # name, fault, subject, what happens, what is reported of it
    ("both-late", "clock-drift", "link", to(delay_ps=(400.0, 400.0)), TRUE),
    (
        "running-away", "clock-drift", "link",
        lambda t, s: replace(s, delay_ps=(-150.0 * t, -150.0 * t)), TRUE,
    ),
    ("no-reference", "reference-lost", "link", AS_IS, relay(reference_locked=False)),
    ("alice-late", "arm-delay", "alice", to(delay_ps=(350.0, 0.0)), TRUE),
    ("bob-early", "arm-delay", "bob", to(delay_ps=(0.0, -350.0)), TRUE),
    ("opposite", "arms-drift", "link", to(delay_ps=(250.0, -250.0)), TRUE),
    ("opposite-a-little", "arms-drift", "link", to(delay_ps=(130.0, -130.0)), TRUE),
    ("bright", "saturation", "link", to(light=(8.0, 8.0)), TRUE),
    ("bright-alice", "bright-arm", "alice", to(light=(3.0, 1.0)), TRUE),
    ("runaway", "runaway-detector", "detector 1", to(dark_hz=(100.0, 5e6, 100.0, 100.0)), TRUE),
    ("x-bases", "phase-misaligned", "link", to(flips_x=0.5), TRUE),
    ("leak", "encoder-misaligned", "link", to(flips_z=0.05, flips_x=0.05), TRUE),
    ("half-errors", "encoder-misaligned", "link", to(flips_z=0.3, flips_x=0.3), TRUE),
    ("relay-dead", "relay-down", "link", AS_IS, no_relay),
    ("path", "path-to-relay", "bob", AS_IS, endpoint(1, relay_connected=False)),
    ("board-silent", "board-fault", "link", AS_IS, silent_board),
    ("line", "board-line", "link", AS_IS, lossy_line),
    ("no-clicks", "dead-detector", "detector 2", to(detector=(1.0, 1.0, 0.0, 1.0)), TRUE),
    ("mu-bright", "decoy-misconfigured", "alice", to(sent=((1.0, 1.3, 1.0), (1.0,) * 3)), TRUE),
    ("nu-bright", "decoy-misconfigured", "bob", to(sent=((1.0,) * 3, (1.0, 1.0, 1.2))), TRUE),
    ("vacuum", "decoy-misconfigured", "bob", AS_IS, endpoint(1, vacuum_excess=3.0)),
    ("forged", "tags-refused", "link", AS_IS, endpoint(0, tag_failures=1)),
    ("pool-dry", "tag-key-short", "alice", AS_IS, endpoint(0, pool_blocks=3.0)),
    ("certificates", "applications-refused", "bob", AS_IS, kme(1, refused=3)),
    (
        "no-peer", "path-to-peer", "link", AS_IS,
        in_turn(endpoint(0, peer_connected=False), endpoint(1, peer_connected=False)),
    ),
    ("kmes", "kmes-parted", "link", AS_IS, kme(0, peer_connected=False)),
    ("audit", "audit-broken", "alice", AS_IS, kme(0, audit_broken=True)),
    ("bent-fibre", "asymmetric-loss", "bob", to(light=(1.0, 0.5)), TRUE),
    ("cut-a", "fibre-cut", "alice", to(light=(0.0, 1.0)), TRUE),
    ("cut-b", "fibre-cut", "bob", to(light=(1.0, 0.0)), TRUE),
    (
        "no-laser", "source-dark", "alice", to(light=(0.0, 1.0)),
        lambda seen: of_endpoint(seen, 0, intensities=dark(seen, 0)),
    ),
    ("old-detector", "dark-count-ageing", "detector 3", to(dark_hz=(100.0,) * 3 + (400.0,)), TRUE),
    ("lasers-apart", "laser-drift", "link", to(overlap=0.5), TRUE),
    ("jitter", "pulses-wide", "link", to(width_ps=130.0), TRUE),
    ("stuck", "entropy-failure", "alice", AS_IS, endpoint(0, random_alarm=True)),
    ("breach", "relay-suspect", "link", AS_IS, endpoint(1, breaches=1)),
    ("two-lists", "relay-suspect", "link", AS_IS, two_lists),
    ("uncorrectable", "encoder-misaligned", "link", AS_IS, uncorrected),
]  # fmt: skip


def dark(seen: Observation, party: int) -> tuple[object, ...]:
    end = seen.endpoints[party]
    assert end is not None
    return tuple(None if m is None else replace(m, value=m.value - 1.0) for m in end.intensities)


def test_every_fault_has_a_case() -> None:
    assert {case[1] for case in CASES} == set(BY_NAME)


@pytest.mark.parametrize(
    ("fault", "subject", "change", "report"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
@pytest.mark.parametrize("seed", [7, 8])
def test_a_fault_is_seen_in_time_and_ranked_first(
    baseline: Baseline, fault: str, subject: str, change: Change, report: Report, seed: int
) -> None:
    link, watch = ObservedLink(seed=seed), Watch(baseline)
    assert watch.observe(link.run(40)) == []
    # Where a fault shows in blocks or sums alone, it comes slowly.
    within_s = BY_NAME[fault].within_s or 30.0
    notices = watch.observe(link.run(int(within_s), change, report))
    raised = [
        n for n in notices if n.turn is Turn.RAISED and (n.fault, n.subject) == (fault, subject)
    ]
    assert raised, [(n.turn.value, n.fault, n.subject) for n in notices]
    watch.observe(link.run(5, lambda _t, s: change(within_s, s), report))
    first = watch.faults[0]
    assert (first.fault.name, first.subject) == (fault, subject)
    assert len(watch.faults) == 1
    assert first.probability > 0.5
    assert first.candidates[0].evidence[0].weight > 0.0


@pytest.mark.parametrize(
    "name", ["both-late", "cut-b", "bright", "mu-bright", "relay-dead", "leak"]
)
def test_a_mended_link_is_quiet_again(baseline: Baseline, name: str) -> None:
    """What is still to clear, and blocks that began before, are no new fault."""
    _, fault, subject, change, report = next(c for c in CASES if c[0] == name)
    link, watch = ObservedLink(seed=9), Watch(baseline)
    watch.observe(link.run(40))
    watch.observe(link.run(62, change, report))
    link.link.state = State()
    notices = watch.observe(link.run(400))
    assert {(n.fault, n.subject) for n in notices} == {(fault, subject)}
    assert [n.turn for n in notices].count(Turn.CLEARED) == 1
    assert watch.faults == ()
    assert watch.alarms == ()


def test_two_faults_at_once(baseline: Baseline) -> None:
    link, watch = ObservedLink(seed=5), Watch(baseline)
    watch.observe(link.run(40))
    watch.observe(
        link.run(12, to(dark_hz=(600.0, 100.0, 100.0, 100.0)), endpoint(1, pool_blocks=1.0))
    )
    assert {(f.fault.name, f.subject) for f in watch.faults} == {
        ("dark-count-ageing", "detector 0"),
        ("tag-key-short", "bob"),
    }


def test_an_arm_is_named_without_a_monitor_of_light(baseline: Baseline) -> None:
    """From settings of finished blocks alone: one sender's make no difference any more."""
    blind = replace(baseline, light=(None, None), width_ps=None, visibility=None)
    link, watch = ObservedLink(seed=6), Watch(blind)
    unseen = relay(light=(None, None), delay_ps=(None, None), width_ps=None, visibility=None)
    assert watch.observe(link.run(40, report=unseen)) == []
    watch.observe(link.run(30, to(light=(1.0, 0.1)), unseen))
    arms = [f for f in watch.faults if f.fault.family in ("loss", "cut")]
    assert [f.subject for f in arms] == ["bob"]
