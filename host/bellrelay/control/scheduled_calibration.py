"""The calibrations of a relay by the clock: run, announced where they disturb, deferred, reported.

A companion of the relay's daemon with one thread, which also runs what somebody asks for. Steps
that leave key generation alone are run as they are due. Those that disturb it are announced first,
for ``announce_s``, as an event of the announcement stream and in /health; while the link is busy by
the configuration's rule they wait, at most ``defer_hours`` after they were due. What is overdue is
told until it has ended well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from bellrelay.relay.board import BoardSession, Phase
from bellrelay.relay.config import CalibrationSettings

from .calibration_bench import TagTap
from .calibration_orders import OrderBox
from .calibration_schedule import Due, Schedule

__all__ = ["Ran", "ScheduledCalibration", "StepRunner"]

_SCAN = "hom"
_DARK = "dark"
_ROUND_S = 1.0
_AGAIN_S = 3600.0
_RATE_S = 10.0
_NS = 1_000_000_000
_log = structlog.get_logger(__name__)


class Ran(NamedTuple):
    """How a run ended, with a line for people, and its record."""

    ok: bool
    text: str
    record: int | None = None


class StepRunner(Protocol):
    """Calibration steps by their names, as the schedule needs them."""

    session: BoardSession | None
    """Of the board that is calibrated, once it acquires."""

    def disturbs(self, step: str) -> bool:
        """Whether key generation suffers while it is run."""
        ...

    def last_run_ns(self, step: str) -> int | None:
        """UTC: when it last ended well, by its records; None if it never has."""
        ...

    def last_figures(self, step: str) -> Mapping[str, Any]:
        """What it measured then; empty if it never ended well."""
        ...

    def run(
        self,
        step: str,
        why: str,
        cancelled: Callable[[], bool],
        changed: Mapping[str, Any] | None = None,
        *,
        keep: bool = True,
        author: str = "",
    ) -> Ran:
        """Run it. Blocks.

        changed : options beside the configuration's. keep : whether what it changes comes into
        force.
        """
        ...

    def take_back(self, number: int, author: str) -> Ran:
        """Undo what a record changed."""
        ...


@dataclass(frozen=True)
class _Ended:
    """How a step ended last, in this process."""

    utc_s: float
    ok: bool
    text: str


class ScheduledCalibration:
    """See :class:`~bellrelay.relay.companion.Companion`.

    Parameters
    ----------
    settings
        The relay's ``calibration``.
    runner
        Runs the steps.
    tap
        Gets the board's raw tags.
    hold
        Told before a step that disturbs, and after it: loops hold what they have meanwhile.
    clock
        UTC in seconds.
    """

    name = "calibration"

    def __init__(
        self,
        settings: CalibrationSettings,
        runner: StepRunner,
        tap: TagTap,
        hold: Callable[[bool], None] = lambda _held: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tap = tap
        self._hold = hold
        self._orders = OrderBox(settings.directory)
        self._serving = False
        self._settings = settings
        self._runner = runner
        self._clock = clock
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._session: BoardSession | None = None
        self._schedule = Schedule(settings.every, self._last_s, clock())
        self._running: str | None = None
        self._announced: tuple[float, tuple[str, ...]] | None = None
        self._deferred = ""
        self._ended: dict[str, _Ended] = {}
        self._at_start = list(settings.at_start)
        self._rate_at: tuple[float, int] | None = None
        self._rate: float | None = None

    # ------------------------------------------------------------------------- as a companion

    @property
    def pages(self) -> Mapping[str, Callable[[], Mapping[str, Any]]]:
        return {}

    def start(self, session: BoardSession) -> None:
        self._session = self._runner.session = session
        self._thread = threading.Thread(target=self._run, name="calibration", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._orders.close()
        self._serving = False

    def raw_tags(self, payload: bytes) -> None:
        self._tap.take(payload)

    def status(self) -> Mapping[str, Any]:
        now = self._clock()
        with self._lock:
            announced, ended = self._announced, dict(self._ended)
            running, deferred = self._running, self._deferred
        return {
            "running": running,
            "announced": None
            if announced is None
            else {"begin_utc_ns": round(announced[0] * _NS), "steps": list(announced[1])},
            "deferred": deferred,
            "overdue": self._schedule.overdue(now),
            "interference": self._interference(),
            "dark_counts": self._dark_counts(),
            "steps": {
                due.step: {
                    "due_utc_ns": round(due.due_s * _NS),
                    "opens_utc_ns": round(due.open_s * _NS),
                    "last_well_utc_ns": self._runner.last_run_ns(due.step),
                    "disturbs": self._runner.disturbs(due.step),
                }
                for due in self._schedule.all(now)
            },
            "ended": {
                step: {"utc_ns": round(e.utc_s * _NS), "ok": e.ok, "text": e.text}
                for step, e in ended.items()
            },
        }

    def _interference(self) -> dict[str, Any] | None:
        """Visibility, centre and width by the last delay scan that ended well."""
        fit = self._runner.last_figures(_SCAN).get("fit")
        if fit is None:
            return None
        keys = ("visibility", "centre_ps", "width_ps")
        found = {k: {"value": fit[k], "sigma": fit[f"sigma_{k}"]} for k in keys}
        return {**found, "utc_ns": self._runner.last_run_ns(_SCAN)}

    def _dark_counts(self) -> dict[str, dict[str, float]]:
        """By detector, in 1/s: what the last look at dark counts found, and its interval."""
        found = self._runner.last_figures(_DARK).get("detectors", [])
        return {
            each["name"]: {key: each[f"{key}_hz"] for key in ("rate", "low", "high")}
            for each in found
        }

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        scan = status["interference"]
        if scan is not None:
            text = "visibility of interference, by the last delay scan"
            for name, key in (("", "value"), ("_sigma", "sigma")):
                yield GaugeMetricFamily(
                    f"bellrelay_relay_scan_visibility{name}", text, value=scan["visibility"][key]
                )
        yield GaugeMetricFamily(
            "bellrelay_relay_calibration_overdue",
            "Whether a calibration step should have been run and was not.",
            value=float(bool(status["overdue"])),
        )
        dark = GaugeMetricFamily(
            "bellrelay_relay_dark_counts_per_second",
            "Of a detector, by the last calibration step that looked, and bounds of it.",
            labels=["detector", "bound"],
        )
        for detector, rates in status["dark_counts"].items():
            for bound, rate in rates.items():
                dark.add_metric([detector, bound], rate)
        yield dark
        age = GaugeMetricFamily(
            "bellrelay_relay_calibration_last_success_timestamp_seconds",
            "When a calibration step last ended well.",
            labels=["step"],
        )
        for step, about in status["steps"].items():
            if about["last_well_utc_ns"] is not None:
                age.add_metric([step], about["last_well_utc_ns"] / _NS)
        yield age

    # --------------------------------------------------------------------------------- its rounds

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self.round()
            except Exception:
                # The relay goes on without calibrations, and /health says which are overdue.
                _log.exception("calibration schedule")
            self._closing.wait(_ROUND_S)

    def round(self) -> None:
        """Look once; steps that begin are run before it returns."""
        now = self._clock()
        self._measure(now)
        self._serving = self._serving or self._orders.serve()
        if self._session is None or self._session.phase is not Phase.RUNNING:
            return
        while self._at_start and not self._closing.is_set():
            # Nobody counts on a relay that has just come up: no announcement.
            self._step(self._at_start.pop(0), "at start")
        if self._serving:
            self._obey()
        ready = [due for due in self._schedule.ready(now) if self._may_again(due.step, now)]
        for due in ready:
            if not self._runner.disturbs(due.step) and not self._closing.is_set():
                self._step(due.step, "due")
        self._disturbing([due for due in ready if self._runner.disturbs(due.step)], now)

    def _disturbing(self, ready: list[Due], now: float) -> None:
        announced = self._announced
        if announced is not None:
            if now < announced[0]:
                return
            with self._lock:
                self._announced = None
            for step in announced[1]:
                if not self._closing.is_set():
                    self._step(step, "due, announced")
            return
        ready = [due for due in ready if not self._waits(due, now)]
        with self._lock:
            self._deferred = "" if ready or not self._deferred else self._deferred
        if not ready:
            return
        begin = now + self._settings.announce_s
        steps = tuple(due.step for due in ready)
        with self._lock:
            self._announced = (begin, steps)
        self._tell("announced", steps=list(steps), begin_utc_ns=round(begin * _NS))

    def _waits(self, due: Due, now: float) -> bool:
        """Whether the link is too busy for it, and it has not waited too long for that."""
        limit = self._settings.defer_above_per_s
        if limit is None or (self._rate is not None and self._rate <= limit):
            return False
        if now >= due.due_s + 3600.0 * self._settings.defer_hours:
            return False
        rate = "not known yet how many" if self._rate is None else f"{self._rate:.0f}"
        with self._lock:
            self._deferred = f"{due.step}: {rate} announcements/s, {limit:g} are allowed"
        return True

    def _may_again(self, step: str, now: float) -> bool:
        """What has just failed is not tried again at once."""
        ended = self._ended.get(step)
        return ended is None or ended.ok or now - ended.utc_s >= _AGAIN_S

    def _obey(self) -> None:
        """What somebody asks for is run at once: it is his to say that it disturbs nobody."""
        while not self._closing.is_set() and (taken := self._orders.take()) is not None:
            key, order = taken
            try:
                ran = self._ordered(order)
                answer: dict[str, Any] = {"ran": [r._asdict() for r in ran], "error": None}
            except Exception as error:
                answer = {"ran": [], "error": str(error) or type(error).__name__}
            self._orders.answer(key, answer)

    def _ordered(self, order: Mapping[str, Any]) -> list[Ran]:
        author = str(order.get("author", "somebody"))
        if "undo" in order:
            return [self._runner.take_back(int(order["undo"]), author)]
        out = []
        for step in order["steps"]:
            changed, keep = order.get("changed") or {}, bool(order.get("keep", True))
            out.append(self._step(step, "asked for", changed, keep=keep, author=author))
            if not out[-1].ok:
                break
        return out

    def _step(
        self,
        step: str,
        why: str,
        changed: Mapping[str, Any] | None = None,
        *,
        keep: bool = True,
        author: str = "schedule",
    ) -> Ran:
        disturbs = self._runner.disturbs(step)
        with self._lock:
            self._running = step
        if disturbs:
            self._tell("begun", steps=[step])
            self._hold(True)
        try:
            ran = self._runner.run(
                step, why, self._closing.is_set, changed, keep=keep, author=author
            )
        except Exception as error:
            # A step that breaks must not take the schedule with it.
            ran = Ran(False, f"{type(error).__name__}: {error}")
        finally:
            if disturbs:
                self._hold(False)
        ended = _Ended(self._clock(), ran.ok, ran.text)
        with self._lock:
            self._running = None
            self._ended[step] = ended
        say = _log.info if ran.ok else _log.warning
        say("calibration", step=step, why=why, **ran._asdict())
        if disturbs:
            self._tell("ended", steps=[step], ok=ran.ok)
        return ran

    def _tell(self, what: str, **values: Any) -> None:
        """To consumers, in the announcement stream, and to people."""
        _log.info("calibration", what=what, **values)
        if self._session is not None:
            self._session.publish({"kind": "calibration", "what": what, **values})

    def _last_s(self, step: str) -> float | None:
        last = self._runner.last_run_ns(step)
        return None if last is None else last / _NS

    def _measure(self, now: float) -> None:
        """Announcements per second, over some seconds."""
        account = None if self._session is None else self._session.account
        count = 0 if account is None else account.psi_minus + account.psi_plus
        if self._rate_at is None or count < self._rate_at[1]:
            self._rate_at = (now, count)
            return
        then, before = self._rate_at
        if now - then >= _RATE_S:
            self._rate = (count - before) / (now - then)
            self._rate_at = (now, count)
