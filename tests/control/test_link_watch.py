"""The companion in an endpoint: health servers that answer, a link that breaks, orders that go out.

A round takes 20 ms here, and the relay's slots say that a second has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from simulated_link import SimulatedLink, of_endpoint, of_relay
from simulated_statuses import ObservedLink, Statuses
from watched_endpoint import watched_alice

from bellrelay.control import link_watch
from bellrelay.control.baseline_file import BaselineFile
from bellrelay.control.daemon_hands import STEPS
from bellrelay.control.fault_actions import Action
from bellrelay.control.fault_baseline import measure_baseline
from bellrelay.control.fault_observation import Observation
from bellrelay.control.fault_signatures import FAULTS
from bellrelay.control.link_observer import Round
from bellrelay.control.link_watch import LinkWatch
from bellrelay.endpoint.config import EndpointConfig, WatchActions
from bellrelay.endpoint.control_socket import Refused
from bellrelay.service.health_server import HealthServer
from bellrelay.settings.model import Health

Change = Callable[[Observation], Observation]


class Stage:
    """A link, second by second: whoever asks is told of the second that the endpoint is in.

    It stands in for the daemon: what is asked of sender, channel and relays is noted.
    """

    def __init__(self, link: SimulatedLink) -> None:
        self.link = link
        self.happens: dict[str, Any] = {}
        self.report: Change = lambda seen: seen
        self.now: Round = Round(0.0)
        self.asked: list[tuple[str, Any]] = []
        self.nonsense = False
        self.step: str | None = None
        self.active = "charlie-1"
        self.others = ("charlie-2",)
        self._statuses = Statuses()
        self.store = SimpleNamespace(ended_since=lambda _ns: list(self.now.blocks))
        self.sender = SimpleNamespace(
            set_rate=lambda share: self.asked.append(("rate", share)),
            set_attenuation_db=lambda db: self.asked.append(("attenuation", db)),
            halt=lambda: self.asked.append(("halt", "")),
        )
        self.channel = SimpleNamespace(renew_session=lambda why: self.asked.append(("renew", why)))
        self.companions = (
            SimpleNamespace(resynchronise=self._noted("re-sync")),
            SimpleNamespace(recalibrate=self._noted("recalibrate")),
        )
        self.versions = SimpleNamespace(roll_back=self._roll_back)
        self.account = SimpleNamespace(status=lambda: {"bits": 10**6})
        self.pipeline = SimpleNamespace(status=lambda: {"in_work": []})
        self.relays = SimpleNamespace(
            active="charlie-1", fail_over=self._fail_over, quarantine=self._quarantine
        )

    def _roll_back(self, reason: str, author: str) -> Any:
        self.asked.append(("roll-back", (reason, author)))
        return SimpleNamespace(number=3)

    def _noted(self, what: str) -> Callable[..., Any]:
        async def do(*how: str) -> str:
            self.asked.append((what, how))
            return what

        return do

    def _fail_over(self, why: str) -> None:
        self.asked.append(("fail-over", why))
        self.relays.active = "charlie-2"

    async def _quarantine(self, relay_id: str, why: str) -> None:
        self.asked.append(("quarantine", relay_id))

    def status(self) -> dict[str, Any]:
        """Alice's; a second passes."""
        state = replace(self.link.state, **self.happens)
        (seen,) = self.link.run(1, lambda _t, _s: state, self.report)
        self.now = self._statuses.of(seen)
        return self.of_endpoint(0)

    def of_endpoint(self, party: int) -> dict[str, Any]:
        own = self.now.endpoints[party] or {}
        each: dict[str, Any] = {
            r: {"connected": own["relay"]["connected"], "quarantine": None}
            for r in ("charlie-1", *self.others)
        }
        if own["quarantined"]:
            each["charlie-1"]["quarantine"] = {"cause": "duplicate-slot"}
        return {**own, "relays": {"active": self.relays.active, "each": each}}

    def of_relay(self) -> dict[str, Any]:
        if self.nonsense:
            return {"state": "?"}
        calibration = {"running": self.step, "steps": {"tdc": {"disturbs": False}}}
        return {**(self.now.relay or {}), "calibration": calibration}


@contextlib.asynccontextmanager
async def watched(
    stage: Stage, settings: EndpointConfig, servers: dict[str, Callable[[], dict[str, Any]]]
) -> AsyncIterator[LinkWatch]:
    """The companion, running; `servers` fill in addresses of the settings by name."""
    running = []
    urls: dict[str, str] = {}
    for name, status in servers.items():
        server = HealthServer(Health(listen="127.0.0.1:0"), status, lambda _s: [])
        await server.start()
        running.append(server)
        urls[name] = f"http://127.0.0.1:{server.port}"
    assert settings.watch is not None
    watch = settings.watch.model_copy(
        update={
            "relays": {k: u for k, u in urls.items() if k.startswith("charlie")},
            "peer": urls.get("peer"),
            "kmes": tuple(u for k, u in urls.items() if k.startswith("kme")),
        }
    )
    companion = LinkWatch(settings.model_copy(update={"watch": watch}))
    task = asyncio.ensure_future(companion.run(stage))  # type: ignore[arg-type]
    try:
        yield companion
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for server in running:
            await server.stop()


async def until(companion: LinkWatch, met: Callable[[dict[str, Any]], bool], rounds: int) -> Any:
    """Until the status is as wanted; so many rounds at most."""
    end = companion.status()["rounds"] + rounds
    while True:
        status = dict(companion.status())
        if met(status):
            return status
        assert status["rounds"] < end, (status["active"], status["notices"], status["failed"])
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_watch, "_EVERY_S", 0.02)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline, of both relays."""
    path = tmp_path_factory.mktemp("baseline") / "baseline.yaml"
    baseline = measure_baseline(ObservedLink(seed=1).run(600))
    for relay_id in ("charlie-1", "charlie-2"):
        BaselineFile(path).save(relay_id, baseline, 600.0)
    return path


def everybody(stage: Stage) -> dict[str, Callable[[], dict[str, Any]]]:
    return {
        "charlie-1": stage.of_relay,
        "charlie-2": stage.of_relay,
        "peer": lambda: stage.of_endpoint(1),
        "kme-a": lambda: dict(stage.now.kmes[0] or {}),
        "kme-b": lambda: dict(stage.now.kmes[1] or {}),
    }


def test_a_cut_is_told_and_the_link_moves(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        async with watched(
            stage, watched_alice(tmp_path, baseline=str(learnt)), everybody(stage)
        ) as faults:
            status = await until(faults, lambda s: s["rounds"] >= 20, 40)
            assert status["active"] == status["notices"] == []
            assert status["relays"]["charlie-1"]["baseline"] == {"state": "known"}
            assert all(asked["answers"] for asked in status["asked"].values())
            assert len(status["asked"]) == 5
            stage.happens = {"light": (0.0, 1.0)}
            cut_at = status["rounds"]
            status = await until(faults, lambda s: s["active"], 20)
            (fault,) = status["active"]
            assert (fault["fault"], fault["subject"]) == ("fibre-cut", "alice")
            assert fault["relay"] == "charlie-1"
            assert fault["runbook"] == "docs/runbooks/fibre-cut.md"
            assert any("light of alice" in e["observable"] for e in fault["evidence"])
            assert status["rounds"] - cut_at <= 6
            page = _metrics(faults)
            assert 'bellrelay_endpoint_fault{fault="fibre-cut",subject="alice"} 1.0' in page
            status = await until(faults, lambda s: s["orders"], 10)
            assert stage.asked == [("fail-over", "fibre-cut of alice")]
            (order,) = status["orders"]
            assert (order["action"], order["outcome"]) == ("fail-over", "done")
            # The relay that was left is remembered, and the new one is healthy.
            stage.happens = {}
            stage.link.state = SimulatedLink().state
            status = await until(faults, lambda s: s["relays"]["charlie-2"]["active"], 10)
            assert status["relays"]["charlie-1"]["left"]["fault"] == "fibre-cut"
            status = await until(faults, lambda s, n=status["rounds"]: s["rounds"] > n + 40, 60)
            assert status["active"] == []
            page = _metrics(faults)
            assert 'bellrelay_endpoint_fault{fault="fibre-cut",subject="alice"} 0.0' in page
            assert (
                'bellrelay_endpoint_fault_orders_total{action="fail-over",outcome="done"} 1.0'
                in page
            )

    asyncio.run(scene())


def _metrics(companion: LinkWatch) -> str:
    registry = CollectorRegistry(auto_describe=False)

    class Collector:
        def collect(self) -> Any:
            return companion.metrics(companion.status())

    registry.register(Collector())  # type: ignore[arg-type]
    return generate_latest(registry).decode()


def test_a_baseline_is_learnt_and_used(tmp_path: Path) -> None:
    stage = Stage(SimulatedLink(seed=4))
    path = tmp_path / "baseline.yaml"

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(path), learn_s=60.0)
        async with watched(stage, settings, everybody(stage)) as faults:
            status = await until(faults, lambda s: s["rounds"] >= 15, 30)
            assert status["relays"]["charlie-1"]["baseline"]["state"] == "learning"
            # What needs no baseline is told from the first second on.
            stage.report = lambda seen: of_endpoint(seen, 1, pool_blocks=2.0)
            status = await until(faults, lambda s: s["active"], 5)
            assert status["active"][0]["fault"] == "tag-key-short"
            stage.report = lambda seen: seen
            status = await until(faults, lambda s: not s["active"], 30)
            status = await until(
                faults, lambda s: s["relays"]["charlie-1"]["baseline"]["state"] == "known", 120
            )
            stage.happens = {"light": (1.0, 0.0)}
            status = await until(faults, lambda s: s["active"], 10)
            assert status["active"][0]["fault"] == "fibre-cut"

    asyncio.run(scene())
    kept = yaml.safe_load(path.read_text())
    assert kept["version"] == 1
    assert kept["relays"]["charlie-1"]["seconds"] >= 60.0
    assert len(kept["relays"]["charlie-1"]["baseline"]["clicks_per_s"]) == 4
    assert "--new-baseline" in path.read_text()


def test_a_person_does_what_the_watch_may_not(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=6))
    path = tmp_path / "baseline.yaml"
    path.write_bytes(learnt.read_bytes())
    nothing = dict.fromkeys(WatchActions.model_fields, False)

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(path), learn_s=60.0, actions=nothing)
        async with watched(stage, settings, everybody(stage)) as faults:
            orders = faults.orders()
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.happens = {"light": (0.4, 1.0)}
            status = await until(faults, lambda s: s["active"], 20)
            assert status["active"][0]["fault"] == "asymmetric-loss"
            status = await until(faults, lambda s: s["orders"], 20)
            assert status["orders"][0]["outcome"] == "failed"
            assert stage.asked == []
            given = {"action": "throttle", "who": "root", "why": "a drill"}
            assert await orders["act"](given) == {"done": "sends in 0.5 of the slots"}
            assert stage.asked == [("rate", 0.5)]
            status = dict(faults.status())
            assert status["orders"][-1]["why"] == "a drill"
            assert status["orders"][-1]["subject"] == "root"
            assert status["in_force"]["throttle"]["fault"] == "operator"
            await orders["take-back"](given)
            assert stage.asked[-1] == ("rate", 1.0)
            # It stays as it is: what is usual is learnt anew, and the fault is none any more.
            await orders["learn"]({})
            assert faults.status()["active"] == []
            assert BaselineFile(path).load("charlie-1") is None
            assert BaselineFile(path).load("charlie-2") is not None
            status = await until(
                faults, lambda s: s["relays"]["charlie-1"]["baseline"]["state"] == "known", 150
            )
            assert status["active"] == []
            with pytest.raises(Refused, match="no relay dora; there are charlie-1, charlie-2"):
                await orders["learn"]({"relay": "dora"})

    asyncio.run(scene())


def test_without_a_file_nothing_can_be_learnt_anew(tmp_path: Path) -> None:
    stage = Stage(SimulatedLink(seed=6))

    async def scene() -> None:
        async with watched(stage, watched_alice(tmp_path), everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 3, 10)
            with pytest.raises(Refused, match=r"watch\.baseline names no file"):
                await faults.orders()["learn"]({})

    asyncio.run(scene())


def test_a_status_without_sense_ends_nothing(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        async with watched(
            stage, watched_alice(tmp_path, baseline=str(learnt)), everybody(stage)
        ) as faults:
            await until(faults, lambda s: s["rounds"] >= 5, 20)
            stage.nonsense = True
            status = await until(faults, lambda s: s["failed"], 20)
            assert "KeyError" in status["failed"]
            stage.nonsense = False
            status = await until(faults, lambda s: not s["failed"], 20)

    asyncio.run(scene())


def test_a_suspect_relay_is_contained(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=3))
    words = tmp_path / "words"
    script = "import sys; open(sys.argv[1], 'w').write('\\n'.join(sys.argv[2:]))"
    command = [sys.executable, "-c", script, str(words), "{relay}", "{reason}", "{evidence}"]

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt), contain=command)
        async with watched(stage, settings, everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.report = lambda seen: of_endpoint(seen, 0, breaches=1)
            status = await until(faults, lambda s: s["orders"], 300)
            (order,) = status["orders"]
            assert (order["action"], order["outcome"]) == ("contain", "done"), order

    asyncio.run(scene())
    assert stage.asked == [("quarantine", "charlie-1"), ("fail-over", "relay-suspect of link")]
    relay_id, reason, evidence = words.read_text().splitlines()
    assert (relay_id, reason) == ("charlie-1", "relay-suspect of link")
    assert "relay-suspect" in Path(evidence).read_text()


def test_what_contains_does_what_it_can(tmp_path: Path, learnt: Path) -> None:
    """Without a command the relay is left all the same, and a person hears what was not done."""
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        async with watched(
            stage, watched_alice(tmp_path, baseline=str(learnt)), everybody(stage)
        ) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.report = lambda seen: of_endpoint(seen, 0, breaches=1)
            status = await until(faults, lambda s: s["orders"], 30)
            (order,) = status["orders"]
            assert order["outcome"] == "failed"
            assert "watch.contain names no command" in order["what"]
            failed = status["notices"][-1]
            assert failed["turn"] == "order-failed"
            assert failed["runbook"] == "docs/runbooks/relay-suspect.md"

    asyncio.run(scene())
    assert ("quarantine", "charlie-1") in stage.asked
    assert ("fail-over", "relay-suspect of link") in stage.asked


def test_tags_that_do_not_fit_begin_a_new_session(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        async with watched(
            stage, watched_alice(tmp_path, baseline=str(learnt)), everybody(stage)
        ) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.report = lambda seen: of_endpoint(seen, 1, tag_failures=1)
            await until(faults, lambda s: s["active"], 5)
            stage.report = lambda seen: seen
            status = await until(faults, lambda s: s["orders"], 10)
            assert stage.asked == [("renew", "tags-refused of link")]
            # Not if there is no key for the tags of the next one.
            stage.account = SimpleNamespace(status=lambda: {"bits": 100})
            await until(faults, lambda s: not s["active"], 100)
            stage.report = lambda seen: of_endpoint(seen, 1, tag_failures=1)
            status = await until(faults, lambda s: s["orders"][-1]["outcome"] == "failed", 10)
            assert "100 bits of key for tags are left" in status["orders"][-1]["what"]
            assert len(stage.asked) == 1

    asyncio.run(scene())


def test_too_much_light_is_throttled_then_attenuated(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        async with watched(
            stage, watched_alice(tmp_path, baseline=str(learnt)), everybody(stage)
        ) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.happens = {"light": (8.0, 8.0)}
            status = await until(faults, lambda s: "attenuate" in s["in_force"], 80)
            assert [f["fault"] for f in status["active"]] == ["saturation"]
            assert set(status["in_force"]) == {"throttle", "attenuate"}
            await until(faults, lambda s: len(stage.asked) >= 3, 80)
            assert [what for what, _ in stage.asked] == ["rate", "attenuation", "fail-over"]

            # The next relay can do with all the light: it is due to be taken back.
            def due(status: dict[str, Any]) -> bool:
                return all(f["taken_back_in_s"] is not None for f in status["in_force"].values())

            status = await until(faults, due, 10)
            assert set(status["in_force"]) == {"throttle", "attenuate"}

    asyncio.run(scene())


def test_what_other_companions_can_do_is_asked_of_them(tmp_path: Path, learnt: Path) -> None:
    """A late arm: its delay loop begins anew, then a calibration, then another relay."""
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt))
        async with watched(stage, settings, everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.happens = {"delay_ps": (350.0, 0.0)}
            status = await until(faults, lambda s: len(s["orders"]) >= 2, 60)
            assert stage.asked[:2] == [
                ("re-sync", ("arm-delay of alice",)),
                ("recalibrate", ("arm-delay", "alice", "arm-delay of alice")),
            ]
            assert [o["outcome"] for o in status["orders"]] == ["done", "done"]

    asyncio.run(scene())


def test_intensities_that_are_not_declared_are_taken_back_then_the_sender_stops(
    tmp_path: Path, learnt: Path
) -> None:
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt))
        async with watched(stage, settings, everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.happens = {"sent": ((1.0, 1.3, 1.0), (1.0, 1.0, 1.0))}
            status = await until(faults, lambda s: len(s["orders"]) >= 2, 60)
            assert status["orders"][0]["what"] == "version 3 holds again, from the next blocks on"

    asyncio.run(scene())
    assert stage.asked == [
        ("roll-back", ("decoy-misconfigured of alice", "watch")),
        ("halt", ""),
    ]


def test_a_relay_that_was_left_for_a_breach_is_no_reason_to_leave_the_next(
    tmp_path: Path, learnt: Path
) -> None:
    stage = Stage(SimulatedLink(seed=3))
    command = [sys.executable, "-c", "", "{relay}"]

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt), contain=command)
        async with watched(stage, settings, everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.report = lambda seen: of_endpoint(seen, 0, breaches=1)
            await until(faults, lambda s: s["relays"]["charlie-2"]["active"], 30)
            begun = faults.status()["rounds"]
            status = await until(faults, lambda s: s["rounds"] > begun + 60, 100)
            assert [f for f in status["active"] if f["relay"] == "charlie-2"] == []
            assert [o["action"] for o in status["orders"]] == ["contain"]

    asyncio.run(scene())


def test_a_calibration_moves_light_on_purpose(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=3))

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt))
        async with watched(stage, settings, everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.step, stage.happens = "hom", {"delay_ps": (400.0, 0.0), "light": (0.3, 1.0)}
            status = await until(faults, lambda s: s["rounds"] >= 45, 60)
            stage.step, stage.happens = None, {}
            stage.link.state = SimulatedLink().state
            status = await until(faults, lambda s: s["rounds"] >= 75, 60)
            assert status["notices"] == []
            # One that disturbs nothing hides nothing.
            stage.step, stage.happens = "tdc", {"light": (0.0, 1.0)}
            status = await until(faults, lambda s: s["active"], 15)
            assert status["active"][0]["fault"] == "fibre-cut"

    asyncio.run(scene())


def test_a_calibration_may_be_a_command(tmp_path: Path, learnt: Path) -> None:
    """At the relay's machine, say; the fault says which steps."""
    stage = Stage(SimulatedLink(seed=3))
    stage.companions = ()
    words = tmp_path / "words"
    script = (
        "import sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:])); "
        "sys.exit(int(sys.argv[2] == 'hom'))"
    )
    command = [sys.executable, "-c", script, str(words), "{steps}", "--config", "{relay}.yaml"]

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt), recalibrate=command)
        async with watched(stage, settings, everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.happens = {"dark_hz": (100.0, 100.0, 100.0, 500.0)}
            status = await until(faults, lambda s: s["orders"], 40)
            assert status["orders"][0]["what"] == "ran dark, windows at charlie-1"
            assert words.read_text() == "dark windows --config charlie-1.yaml"
            stage.happens = {"overlap": 0.4}
            status = await until(faults, lambda s: len(s["orders"]) > 1, 60)
            assert status["orders"][1]["outcome"] == "failed"
            assert "ended with 1" in status["orders"][1]["what"]

    asyncio.run(scene())


def test_every_fault_that_is_recalibrated_names_its_steps() -> None:
    wanted = {f.name for f in FAULTS if any(s.action is Action.RECALIBRATE for s in f.steps)}
    assert set(STEPS) == wanted


def test_a_relay_that_waits_and_breaks_the_rules_is_contained_too(
    tmp_path: Path, learnt: Path
) -> None:
    stage = Stage(SimulatedLink(seed=3))
    stage.relays.active = "charlie-2"
    words = tmp_path / "words"
    script = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    command = [sys.executable, "-c", script, str(words), "{relay}"]

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt), contain=command)
        async with watched(stage, settings, everybody(stage)) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.report = lambda seen: of_endpoint(seen, 0, breaches=1)
            status = await until(faults, lambda s: s["orders"], 30)
            assert (status["orders"][0]["relay"], status["orders"][0]["outcome"]) == (
                "charlie-1",
                "done",
            )

    asyncio.run(scene())
    assert words.read_text() == "charlie-1"
    # Light goes to the other one, and stays there.
    assert stage.asked == [("quarantine", "charlie-1")]


def test_a_dead_relay_is_told_though_the_link_has_left_it(tmp_path: Path, learnt: Path) -> None:
    stage = Stage(SimulatedLink(seed=3))

    def well() -> dict[str, Any]:
        return {**stage.of_relay(), "state": "running", "heartbeat_age_s": 0.05}

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt))
        servers = {**everybody(stage), "charlie-2": well}
        async with watched(stage, settings, servers) as faults:
            await until(faults, lambda s: s["rounds"] >= 15, 30)
            stage.report = lambda seen: of_relay(seen, running=False, heartbeat_age_s=1.0)
            begun = faults.status()["rounds"]
            await until(faults, lambda s: s["rounds"] > begun + 1, 5)
            stage.relays.active = "charlie-2"
            status = await until(
                faults, lambda s: [f for f in s["active"] if f["relay"] == "charlie-1"], 10
            )
            assert status["active"][0]["fault"] == "board-fault"
            assert status["rounds"] - begun <= 5
            status = await until(faults, lambda s: s["orders"], 10)
            assert status["orders"][0]["what"] == "needless: no light goes to this relay"
            assert stage.asked == []

    asyncio.run(scene())


def test_whoever_starts_first_does_not_call_the_others_missing(
    tmp_path: Path, learnt: Path
) -> None:
    stage = Stage(SimulatedLink(seed=3))
    stage.report = lambda seen: of_endpoint(seen, 0, peer_connected=False)

    async def scene() -> None:
        settings = watched_alice(tmp_path, baseline=str(learnt))
        async with watched(stage, settings, everybody(stage)) as faults:
            status = await until(faults, lambda s: s["rounds"] >= 20, 40)
            assert status["notices"] == []
            stage.report = lambda seen: seen
            await until(faults, lambda s: s["rounds"] >= 35, 40)
            stage.report = lambda seen: of_endpoint(seen, 0, peer_connected=False)
            status = await until(faults, lambda s: s["active"], 10)
            assert status["active"][0]["fault"] == "path-to-peer"

    asyncio.run(scene())
