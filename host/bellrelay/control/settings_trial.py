"""Settings of a relay on trial by time: promoted after healthy minutes, or taken back.

A version that is on trial is in force. In every look, some seconds long, announcements per live
slot are held against those of the settings before. With k1 announcements in L1 live slots now and
k0 in L0 before, at a rate of exactly (1 - tolerance) times the one before k1 would be binomial of
k1 + k0 with probability q / (1 + q), q = (1 - tolerance) L1 / L0: fewer than that is likely to give
take the version back. The looks spend the probability p of a false decision as p / (k (k + 1)) in
the k-th. When the healthy time is over, the version is promoted unless rate or visibility lie
outside the tolerance then.

A look counts as healthy if the board took part in it and light came: at least half of the clicks
that came before. Without light nothing can be told of windows, and the trial waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from scipy.special import bdtr

from bellrelay.relay.board import BoardSession, Phase
from bellrelay.wire.access import AccessError

from .canary import Judgement, Verdict
from .relay_settings import RelaySettings
from .versions import Version, VersionState

__all__ = ["Figures", "SettingsTrial", "TimeTrialLimits", "judge_by_time"]

_LOOK_S = 10.0
_BEFORE_LOOKS = 60
"""Looks of the settings before that a trial is held against."""
_RESTARTS = 3
_LEAST_LIGHT = 0.5
_AUTHOR = "trial"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TimeTrialLimits:
    """healthy_s : of a trial. rate : relative, visibility : absolute, what may be lost."""

    healthy_s: float = 300.0
    rate: float = 0.1
    visibility: float = 0.02
    false_decision: float = 1e-3


@dataclass(frozen=True)
class Figures:
    """Sums over some looks. visibility : (value, standard deviation), the last that is known."""

    seconds: float = 0.0
    live: int = 0
    announced: int = 0
    clicks: int = 0
    visibility: tuple[float, float] | None = None

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.seconds + other.seconds,
            self.live + other.live,
            self.announced + other.announced,
            self.clicks + other.clicks,
            other.visibility or self.visibility,
        )

    @property
    def rate(self) -> float:
        """Announcements per live slot."""
        return self.announced / self.live if self.live else 0.0

    def values(self) -> dict[str, Any]:
        """Plain values; inverse of :meth:`parse`."""
        return {
            "seconds": self.seconds,
            "live": self.live,
            "announced": self.announced,
            "clicks": self.clicks,
            "visibility": None if self.visibility is None else list(self.visibility),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Figures:
        """From plain values."""
        visibility = values["visibility"]
        return cls(
            float(values["seconds"]),
            int(values["live"]),
            int(values["announced"]),
            int(values["clicks"]),
            None if visibility is None else (float(visibility[0]), float(visibility[1])),
        )

    def lit(self, before: Figures | None) -> bool:
        """Whether the board took part, and light came as before."""
        if self.live <= 0 or self.seconds <= 0.0 or self.clicks <= 0:
            return False
        if before is None or before.seconds <= 0.0:
            return True
        return self.clicks / self.seconds >= _LEAST_LIGHT * before.clicks / before.seconds


def judge_by_time(
    trial: Figures, looks: int, before: Figures | None, limits: TimeTrialLimits
) -> Judgement:
    """What becomes of settings on trial.

    Parameters
    ----------
    trial
        Sums over its healthy looks, of which there are so many.
    before
        Of the settings before; None: nobody knows, and they are promoted when their time is over.
    """
    evidence = {
        "trial": trial.values() | {"rate": trial.rate},
        "before": None if before is None else before.values() | {"rate": before.rate},
    }
    known = before is not None and before.announced > 0 and looks > 0
    if before is not None and known:
        least = 1.0 - limits.rate
        ratio = least * trial.live / before.live
        share = ratio / (1.0 + ratio)
        total = trial.announced + before.announced
        tail = float(bdtr(trial.announced, total, share))
        if tail < limits.false_decision / (looks * (looks + 1)):
            return Judgement(
                Verdict.ROLL_BACK, f"fewer announcements: {_rates(trial, before)}", evidence
            )
    if trial.seconds < limits.healthy_s:
        return Judgement(Verdict.GO_ON, "not long enough yet", evidence)
    if before is not None and known:
        if trial.rate < (1.0 - limits.rate) * before.rate:
            return Judgement(
                Verdict.ROLL_BACK, f"fewer announcements: {_rates(trial, before)}", evidence
            )
        if trial.visibility is not None and before.visibility is not None:
            (now, sigma), (then, sigma_then) = trial.visibility, before.visibility
            if now < then - limits.visibility - 2.0 * float((sigma**2 + sigma_then**2) ** 0.5):
                why = f"less visibility: {now:.3f} against {then:.3f}"
                return Judgement(Verdict.ROLL_BACK, why, evidence)
        return Judgement(Verdict.PROMOTE, f"as good as before: {_rates(trial, before)}", evidence)
    return Judgement(Verdict.PROMOTE, "healthy; nothing is known of before", evidence)


def _rates(trial: Figures, before: Figures) -> str:
    return f"{trial.rate:.4g} per live slot against {before.rate:.4g}, in {trial.seconds:.0f} s"


class SettingsTrial:
    """The companion `trial` of a relay: watches whatever version of its settings is on trial.

    Parameters
    ----------
    settings
        Of the relay, with a directory of versions.
    limits
        Of every trial.
    visibility
        What is known of it now: value and standard deviation.
    look_s
        Length of a look.
    """

    name = "trial"

    def __init__(
        self,
        settings: RelaySettings,
        limits: TimeTrialLimits,
        visibility: Callable[[], tuple[float, float] | None] = lambda: None,
        *,
        look_s: float = _LOOK_S,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._visibility = visibility
        self._look_s = look_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._session: BoardSession | None = None
        self._last: tuple[int, float, Mapping[str, int]] | None = None
        self._before: deque[Figures] = deque(maxlen=_BEFORE_LOOKS)
        self._number: int | None = None
        self._trial = Figures()
        self._looks = 0
        self._against: Figures | None = None
        self._judgement: Judgement | None = None
        self._fault = ""

    @property
    def pages(self) -> Mapping[str, Callable[[], Mapping[str, Any]]]:
        """None."""
        return {}

    def start(self, session: BoardSession) -> None:
        """Watch this board."""
        self._session = session
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="settings trial", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; a trial goes on at the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def raw_tags(self, payload: bytes) -> None:
        """Not needed."""

    def _run(self) -> None:
        while not self._stop.wait(self._look_s):
            try:
                self.look(time.monotonic())
                self._fault = ""
            except (AccessError, OSError) as error:
                if str(error) != self._fault:
                    _log.error("trial of settings stands still", why=str(error))
                self._fault = str(error)

    def look(self, now_s: float) -> None:
        """One look.

        Raises
        ------
        VersionsError, ConfigError, AccessError, OSError
            The directory or the board cannot be used; the next look tries again.
        """
        versions = self._settings.versions
        if versions is None:
            return
        self._settings.catch_up()
        figures = self._figures(now_s)
        version = versions.under_way()
        if version is None or version.state is not VersionState.CANARY:
            self._number = None
            if figures is not None and figures.lit(None):
                self._before.append(figures)
            return
        if version.number != self._number:
            self._begin(version)
            return
        if figures is not None and figures.lit(self._against):
            self._trial += figures
            self._looks += 1
        self._judgement = judgement = judge_by_time(
            self._trial, self._looks, self._against, self._limits
        )
        if judgement.verdict is Verdict.PROMOTE:
            self._settings.promote(version.number, judgement.reason, _AUTHOR, judgement.evidence)
            _log.info("settings promoted", version=version.number, why=judgement.reason)
            self._before.clear()
        elif judgement.verdict is Verdict.ROLL_BACK:
            self._back(version, judgement)

    def _begin(self, version: Version) -> None:
        """A trial begins, or goes on under a new process: from its beginning."""
        versions = self._settings.versions
        assert versions is not None
        self._number, self._trial, self._looks = version.number, Figures(), 0
        told = [d for d in version.decisions if d.state is None and d.author == _AUTHOR]
        if len(told) > _RESTARTS:
            why = f"{len(told)} starts of the relay within its trial"
            self._against = None
            self._back(version, Judgement(Verdict.ROLL_BACK, why))
            return
        known = next((d.evidence for d in told if d.evidence.get("before")), None)
        if known is not None:
            self._against = Figures.parse(known["before"])
        elif self._before:
            self._against = sum(self._before, Figures())
        else:
            self._against = self._proved()
        before = None if self._against is None else self._against.values()
        versions.note(version.number, "trial begins", _AUTHOR, {"before": before})

    def _proved(self) -> Figures | None:
        """Figures of the last version that passed a trial, if it is still what holds otherwise."""
        assert self._settings.versions is not None
        for decision in reversed(self._settings.versions.current().decisions):
            if decision.author == _AUTHOR and "trial" in decision.evidence:
                return Figures.parse(decision.evidence["trial"])
        return None

    def _back(self, version: Version, judgement: Judgement) -> None:
        _log.error("settings taken back", version=version.number, why=judgement.reason)
        self._settings.take_back(version.number, judgement.reason, _AUTHOR, judgement.evidence)
        self._number = None
        self._before.clear()

    def _figures(self, now_s: float) -> Figures | None:
        """What the board counted since the last look; None if nobody knows."""
        session = self._session
        assert session is not None
        account, beat = session.account, session.heartbeat
        if session.phase is not Phase.RUNNING or account is None or beat is None:
            self._last = None
            return None
        last, self._last = self._last, (account.acquisition, now_s, dict(beat.counters))
        if last is None or last[0] != account.acquisition:
            return None
        counted = {name: value - last[2].get(name, 0) for name, value in beat.counters.items()}
        clicks = sum(counted[f"clicks_{i}"] for i in range(account.geometry.n_detectors))
        return Figures(
            now_s - last[1],
            counted["slots"] - counted["slots_not_live"],
            counted["announced_psi_minus"] + counted["announced_psi_plus"],
            clicks,
            self._visibility(),
        )

    def status(self) -> Mapping[str, Any]:
        """Plain values; any thread."""
        judgement = self._judgement if self._number is not None else None
        return {
            "version": self._number,
            "healthy_s": self._trial.seconds if self._number is not None else None,
            "of_s": self._limits.healthy_s,
            "verdict": None if judgement is None else str(judgement.verdict),
            "evidence": {} if judgement is None else dict(judgement.evidence),
            "fault": self._fault,
        }

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Which version is on trial, and for how long it has been healthy."""
        yield GaugeMetricFamily(
            "bellrelay_relay_settings_on_trial",
            "Version of the settings that is on trial; 0 none.",
            value=status["version"] or 0,
        )
        yield GaugeMetricFamily(
            "bellrelay_relay_settings_trial_healthy_seconds",
            "For how long it has been healthy.",
            value=status["healthy_s"] or 0.0,
        )
