"""A relay's board on its port, as an update handles it."""

from __future__ import annotations

import time
from collections.abc import Callable

from bellrelay.relay.board_check import LinkAnswers
from bellrelay.relay.config import FirmwareSettings, RelayConfig
from bellrelay.relay.link import PortMissing, SerialLink
from bellrelay.settings.model import ConfigError
from bellrelay.wire.access import Identity, NoAnswer, identify

from .firmware_health import UNREACHABLE, Check, calibrate_lines, unreachable, watch_heartbeats
from .firmware_image import FirmwareImage

__all__ = ["PortBoard"]

_PAUSE_S = 0.25


class PortBoard:
    """The :class:`~.firmware_update.BoardHands` of a relay's configuration.

    Parameters
    ----------
    config, settings
        Of the relay; ``settings`` is its ``firmware``.
    program
        Brings an image onto the board that is plugged in; FlashFailed.
    selftest
        The board's own self-test, by stage, of a board that has one.
    """

    def __init__(
        self,
        config: RelayConfig,
        settings: FirmwareSettings,
        program: Callable[[FirmwareImage], None],
        selftest: Callable[[], list[Check]],
    ) -> None:
        self._config = config
        self._settings = settings
        self._program = program
        self._selftest = selftest

    def identity(self, wait_s: float, wanted: FirmwareImage | None = None) -> Identity | None:
        """Ask until the one who is wanted answers or the time is over; else what was last."""
        end = time.monotonic() + wait_s
        while True:
            found: Identity | None = None
            wrong: Exception | None = None
            try:
                found = self._ask()
                if wanted is None or not wanted.differences(found):
                    return found
            except (NoAnswer, PortMissing):
                # A board that is coming up; or none.
                pass
            except UNREACHABLE as error:
                wrong = error
            if time.monotonic() >= end:
                if wrong is not None:
                    raise wrong
                return found
            time.sleep(_PAUSE_S)

    def _ask(self) -> Identity:
        link = SerialLink(self._config.port, self._config.baud)
        answers = LinkAnswers(link)
        try:
            return identify(answers, timeout_s=0.5, attempts=3)
        finally:
            answers.close()
            link.close()

    def flash(self, image: FirmwareImage) -> None:
        """See :class:`~.firmware_update.BoardHands`."""
        self._program(image)

    def health(self, image: FirmwareImage) -> list[Check]:
        """Calibration where there are delay lines, the self-test, then heartbeats for a while."""
        checks: list[Check] = []

        def look(name: str, at: Callable[[], list[Check]]) -> None:
            try:
                checks.extend(at())
            except (*UNREACHABLE, ConfigError) as error:
                checks.append(unreachable(name, error))

        if image.delay_lines:
            look("fine time", lambda: [calibrate_lines(self._config)])
        if self._settings.selftest:
            look("self-test", self._selftest)
        if all(check.passed for check in checks):
            look("acquisition", self._watch)
        return checks

    def _watch(self) -> list[Check]:
        settings = self._settings
        return watch_heartbeats(self._config, settings.watch_s, settings.temperature_c)
