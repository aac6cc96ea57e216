"""The work of `bellrelay calibrate`: by the relay's daemon where it runs, else on the board."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bellrelay.control.calibration_bench import TagTap
from bellrelay.control.calibration_orders import OrderBox
from bellrelay.control.calibration_runner import CalibrationRunner, CannotUndo
from bellrelay.control.calibration_steps import calibration_steps
from bellrelay.control.relay_settings import RelaySettings
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.board import BoardSession
from bellrelay.relay.link import SerialLink
from bellrelay.settings.model import ConfigError

__all__ = ["Work"]


class _OnlyTags:
    """Where results go that nobody serves: raw tags to the steps, the rest nowhere."""

    def __init__(self, tap: TagTap) -> None:
        self._tap = tap

    def announced(
        self, acquisition: int, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]
    ) -> None:
        pass

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        pass

    def raw_tags(self, payload: bytes) -> None:
        self._tap.take(payload)


class Work:
    """Calibrations of one relay.

    Parameters
    ----------
    path
        Of its YAML.

    Raises
    ------
    ConfigError, VersionsError, OSError
    """

    def __init__(self, path: Path) -> None:
        self._settings = RelaySettings(path)
        self._tap = TagTap()
        self._runner = CalibrationRunner(self._settings, calibration_steps(), self._tap, _tell)
        calibration = self._settings.config.calibration
        assert calibration is not None
        self._orders = OrderBox(calibration.directory)

    def about_steps(self) -> list[dict[str, Any]]:
        """All of them."""
        return [
            {
                "step": step.name,
                "about": step.about,
                "disturbs": step.disturbs,
                "last_well": _at(self._runner.last_run_ns(step.name)),
                "options": step.options.model_json_schema().get("properties", {}),
            }
            for step in self._runner.steps
        ]

    def every_step(self) -> list[str]:
        """Those that can be run with the options that they have, in their order."""
        out = []
        for step in self._runner.steps:
            # A step that names a device has no default for it.
            with suppress(ConfigError):
                self._runner.options(step.name)
                out.append(step.name)
        return out

    def last_change(self) -> int:
        """Number of the last record whose change holds. CannotUndo: there is none."""
        undone: set[int] = set()
        for record in reversed(self._runner.records.all()):
            values = record.values
            if "undone" in values:
                undone.add(int(values["undone"]))
            elif record.number not in undone and (
                values.get("version") is not None or values.get("devices")
            ):
                return record.number
        raise CannotUndo("no record changed anything that has not been undone")

    def all_records(self) -> list[dict[str, Any]]:
        """A line of each, oldest first."""
        return [
            {
                "number": record.number,
                "step": record.step,
                "at": _at(record.values["end_utc_ns"]),
                "ok": record.values["ok"],
                "text": record.values["text"],
                "version": record.values["version"],
                "simulated": bool(record.values.get("board", {}).get("simulated", False)),
                "picture": None if record.picture is None else str(record.picture),
            }
            for record in self._runner.records.all()
        ]

    def record(self, number: int) -> dict[str, Any]:
        """All of one. RecordsError: there is none."""
        record = self._runner.records.get(number)
        picture = None if record.picture is None else str(record.picture)
        return {**record.values, "picture": picture}

    def run(
        self, steps: list[str], changed: Mapping[str, Any], *, keep: bool
    ) -> list[dict[str, Any]]:
        """Run steps in their order, up to the first that does not end well.

        Raises
        ------
        ConfigError
            An unknown step, or a wrong option; nothing was run.
        PortError, AccessError, OSError
            Of the board, or a daemon that does not answer.
        """
        for step in steps:
            self._runner.options(step, changed)
        if self._orders.served():
            return self._ask({"steps": steps, "changed": dict(changed), "keep": keep})
        out = []
        with self._board():
            for step in steps:
                ran = self._runner.run(
                    step, "asked for", lambda: False, changed, keep=keep, author=getpass.getuser()
                )
                out.append(ran._asdict())
                if not ran.ok:
                    break
        return out

    def undo(self, number: int) -> list[dict[str, Any]]:
        """Put back what a record changed. CannotUndo, and as :meth:`run`."""
        if self._orders.served():
            return self._ask({"undo": number})
        # Of no board: a relay that starts takes what is in force then.
        return [self._runner.take_back(number, getpass.getuser())._asdict()]

    def _ask(self, order: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self._orders.ask({**order, "author": getpass.getuser()}, _tell)
        if answer["error"] is not None:
            raise CannotUndo(answer["error"])
        return list(answer["ran"])

    @contextmanager
    def _board(self) -> Iterator[None]:
        """The board, acquiring as the relay is configured, with nobody to hear it."""
        config = self._settings.config
        link = SerialLink(config.port, config.baud)
        session: BoardSession | None = None
        try:
            session = BoardSession(config, link, _OnlyTags(self._tap), self._number)
            session.bring_up()
            self._settings.bring_into_force = session.reconfigure
            self._runner.session = session
            yield
            session.stop()
        finally:
            self._settings.bring_into_force = None
            self._runner.session = None
            if session is not None:
                session.close()
            link.close()

    def _number(self) -> int:
        """Of the relay's own acquisitions, so that none comes twice."""
        settings = self._settings.config.log
        log = AnnouncementLog(
            settings.directory, settings.segment_mb << 20, settings.retention_mb << 20
        )
        try:
            return log.next_acquisition()
        finally:
            log.close()


def _at(utc_ns: int | None) -> str | None:
    if utc_ns is None:
        return None
    return datetime.fromtimestamp(utc_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
