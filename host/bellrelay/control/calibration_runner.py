"""Runs calibration steps on a relay's board: measures, applies changes, records, undoes."""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bellrelay.relay.board import BoardSession
from bellrelay.settings.model import ConfigError, Model
from bellrelay.wire.access import AccessError
from bellrelay.wire.geometry import BoardGeometry

from .calibration_bench import Bench, BenchError, TagTap
from .calibration_records import Record, Records
from .calibration_step import Step, StepFailed, StepResult
from .lab import Lab
from .lab_search import knob_of
from .relay_settings import RelaySettings
from .scheduled_calibration import Ran

__all__ = ["CalibrationRunner", "CannotUndo"]

_EXPECTED = (StepFailed, BenchError, ConfigError, AccessError, OSError, ValueError)


class CannotUndo(Exception):
    """What a record changed cannot be taken back; the message says why."""


class CalibrationRunner:
    """The steps of one relay.

    Parameters
    ----------
    settings
        Of the relay, with a section ``calibration``.
    steps
        All that there are.
    tap
        Gets the board's raw tags.
    tell
        Called with what happens, a line for people.

    Attributes
    ----------
    session : BoardSession or None
        Of a board that acquires; set before the first run.
    records : Records

    Raises
    ------
    ConfigError
        A step that the configuration names is unknown, or its options are wrong; a device's are.
    OSError
        The directory cannot be used.
    """

    def __init__(
        self,
        settings: RelaySettings,
        steps: Sequence[Step[Any]],
        tap: TagTap,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        config = settings.config
        if config.calibration is None:
            raise config.error("calibration", None, "{directory: DIR}, where records are kept")
        self._settings = settings
        self._steps = {step.name: step for step in steps}
        self._tap = tap
        self._tell = tell
        self._busy = threading.Lock()
        self.session: BoardSession | None = None
        self._given = dict(config.calibration.steps)
        self._check_names(config.calibration.at_start, "calibration.at_start")
        for at, rule in enumerate(config.calibration.every):
            self._check_names(rule.steps, f"calibration.every.{at}.steps")
        self._check_names(tuple(self._given), "calibration.steps")
        for name in self._given:
            self.options(name)
        self.lab = Lab(config, config.lab)
        self.records = Records(config.calibration.directory)
        self._trial = config.calibration.trial_minutes > 0.0

    @property
    def steps(self) -> tuple[Step[Any], ...]:
        """All of them."""
        return tuple(self._steps.values())

    def options(self, step: str, changed: Mapping[str, Any] | None = None) -> Model:
        """Options of a step: the configuration's, and above them what was asked for now.

        Raises
        ------
        ConfigError
            By key.
        """
        values = {**self._given.get(step, {}), **(changed or {})}
        try:
            return self._step(step).options.model_validate(values)
        except ValidationError as error:
            raise ConfigError(
                [
                    f"{self._settings.config.origin}: calibration.steps.{step}."
                    f"{'.'.join(map(str, e['loc']))}: {e['msg']}"
                    for e in error.errors()
                ]
            ) from None

    # ------------------------------------------------------------------- as the schedule needs it

    def disturbs(self, step: str) -> bool:
        """See :class:`~.scheduled_calibration.StepRunner`."""
        return self._step(step).disturbs

    def last_run_ns(self, step: str) -> int | None:
        """See :class:`~.scheduled_calibration.StepRunner`."""
        record = self.records.last_well(step)
        return None if record is None else int(record.values["end_utc_ns"])

    def last_figures(self, step: str) -> Mapping[str, Any]:
        """See :class:`~.scheduled_calibration.StepRunner`."""
        record = self.records.last_well(step)
        figures: Mapping[str, Any] = {} if record is None else record.values["figures"]
        return figures

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
        """See :class:`~.scheduled_calibration.StepRunner`."""
        record = self.calibrate(step, why, cancelled, changed, keep=keep, author=author)
        return Ran(bool(record.values["ok"]), str(record.values["text"]), record.number)

    def take_back(self, number: int, author: str) -> Ran:
        """See :class:`~.scheduled_calibration.StepRunner`."""
        record = self.undo(number, author)
        return Ran(True, str(record.values["text"]), record.number)

    # ---------------------------------------------------------------------------------- the work

    def calibrate(
        self,
        step: str,
        why: str,
        cancelled: Callable[[], bool] = lambda: False,
        changed: Mapping[str, Any] | None = None,
        *,
        keep: bool = True,
        author: str = "",
    ) -> Record:
        """Run a step, bring what it changes into force, and record it.

        Parameters
        ----------
        changed
            Options beside the configuration's.
        keep
            Whether changes of the relay's settings come into force; else they are only recorded.

        Raises
        ------
        ConfigError
            Of the options; nothing was run. All else that goes wrong is in the record.
        RecordsError, OSError
            It cannot be recorded.
        """
        runs, options = self._step(step), self.options(step, changed)
        author = author or getpass.getuser()
        with self._busy:
            session = self.session
            if session is None:
                raise BenchError("no board acquires")
            before, begun = self._settings.tunable(), time.time_ns()
            bench = Bench(
                self._settings.config, session, self._tap, self.lab, self._tell, cancelled
            )
            values: dict[str, Any] = {
                "why": why,
                "author": author,
                "begin_utc_ns": begun,
                "options": options.model_dump(mode="json"),
                "board": self._board(session),
                "before": before,
            }
            version = None
            try:
                result = runs.run(bench, options)
                if result.change and keep:
                    reason = f"{step}: {result.text}"
                    version = self._settings.change(
                        dict(result.change), reason, author, trial=self._trial
                    ).number
            except _EXPECTED as error:
                text = " ".join([str(error) or type(error).__name__, *_notes(error)])
                result = StepResult(False, text)
            values |= {
                "end_utc_ns": time.time_ns(),
                "ok": result.ok,
                "text": result.text,
                "figures": dict(result.figures),
                "change": dict(result.change),
                "version": version,
                "after": self._settings.tunable(),
                "devices": [
                    {"device": d.device, "before": list(d.before), "after": list(d.after)}
                    for d in result.devices
                ],
            }
            return self.records.add(step, values, result.draw)

    def undo(self, number: int, author: str = "") -> Record:
        """Put back what a record changed: of the relay's settings, and of devices.

        Raises
        ------
        CannotUndo
            It changed nothing, or something else has changed the same since.
        RecordsError, ConfigError, VersionsError, LabError, OSError
        """
        author = author or getpass.getuser()
        with self._busy:
            record = self.records.get(number)
            values = record.values
            version, devices = values.get("version"), values.get("devices", [])
            if version is None and not devices:
                raise CannotUndo(f"record {number} ({record.step}) changed nothing")
            before, begun = self._settings.tunable(), time.time_ns()
            reason = f"calibration {number} ({record.step}) is undone"
            back: dict[str, Any] = {}
            if version is not None:
                changed = {key: values["after"][key] for key in values["change"]}
                now = {key: before[key] for key in changed}
                if now != changed:
                    raise CannotUndo(
                        f"{', '.join(changed)} were changed after record {number}: undo that first"
                    )
                back = {key: values["before"][key] for key in changed}
                version = self._settings.change(back, reason, author).number
            for one in devices:
                knob_of(self.lab.any_device(one["device"])).write(tuple(one["before"]))
            return self.records.add(
                "undo",
                {
                    "why": reason,
                    "author": author,
                    "begin_utc_ns": begun,
                    "end_utc_ns": time.time_ns(),
                    "ok": True,
                    "text": reason,
                    "undone": number,
                    "before": before,
                    "after": self._settings.tunable(),
                    "change": back,
                    "version": version,
                    "devices": [
                        {"device": d["device"], "before": d["after"], "after": d["before"]}
                        for d in devices
                    ],
                },
            )

    def _step(self, name: str) -> Step[Any]:
        if name not in self._steps:
            raise self._settings.config.error("calibration", name, ", ".join(self._steps))
        return self._steps[name]

    def _check_names(self, names: Sequence[str], key: str) -> None:
        for name in names:
            if name not in self._steps:
                raise self._settings.config.error(key, name, ", ".join(self._steps))

    @staticmethod
    def _board(session: BoardSession) -> dict[str, Any]:
        identity, account = session.identity, session.account
        return {
            "name": identity.geometry.board if identity else None,
            # A twin's figures are of no detector that exists.
            "simulated": identity is not None and identity.geometry.board == BoardGeometry.board,
            "gateware": identity.version_text if identity else None,
            "git_revision": f"{identity.git_revision:08x}" if identity else None,
            "acquisition": account.acquisition if account else None,
        }


def _notes(error: BaseException) -> list[str]:
    return [f"({note})" for note in getattr(error, "__notes__", ())]
