"""What runs beside a relay's daemon, by its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bellrelay.control.relay_settings import RelaySettings
    from bellrelay.observe.live_view import LiveView
    from bellrelay.relay.companion import Companion

__all__ = ["relay_companions"]


def relay_companions(
    settings: RelaySettings, *, view: bool
) -> tuple[list[Companion], LiveView | None]:
    """All of them, and the live view among them where it is asked for or configured.

    Raises
    ------
    ConfigError, OSError
        What one of them needs cannot be used.
    """
    config = settings.config
    companions: list[Companion] = []
    records = None
    tracking = None
    if config.tracking is not None:
        from bellrelay.control.relay_tracking import RelayTracking

        tracking = RelayTracking(config)
        companions.append(tracking)
    if config.calibration is not None:
        from bellrelay.control.calibration_bench import TagTap
        from bellrelay.control.calibration_records import Records
        from bellrelay.control.calibration_runner import CalibrationRunner
        from bellrelay.control.calibration_steps import calibration_steps
        from bellrelay.control.scheduled_calibration import ScheduledCalibration

        records = Records(config.calibration.directory)
        tap = TagTap()
        runner = CalibrationRunner(settings, calibration_steps(), tap)
        hold = (lambda _held: None) if tracking is None else tracking.hold
        companions.append(ScheduledCalibration(config.calibration, runner, tap, hold))
        if config.calibration.trial_minutes > 0.0:
            from bellrelay.control.settings_trial import SettingsTrial, TimeTrialLimits

            limits = TimeTrialLimits(60.0 * config.calibration.trial_minutes)
            companions.append(SettingsTrial(settings, limits))
    if config.monitors is not None:
        from bellrelay.observe.monitors import Monitors

        companions.append(Monitors(config.monitors))
    page = None
    if view or config.view is not None:
        from bellrelay.observe.live_view import LiveView
        from bellrelay.relay.config import ViewSettings

        page = LiveView(config, config.view or ViewSettings(), settings, records=records)
        companions.append(page)
    return companions, page
