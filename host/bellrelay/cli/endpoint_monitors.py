"""What measures beside an endpoint: monitors of its own, and the watch over its laser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bellrelay.endpoint.companion import EndpointCompanion
    from bellrelay.endpoint.config import EndpointConfig
    from bellrelay.observe.monitor_line import MonitorReading

__all__ = ["monitor_companions"]


def monitor_companions(settings: EndpointConfig) -> list[EndpointCompanion]:
    """As the configuration says; the laser's watch follows a monitor where it names one.

    Raises
    ------
    ConfigError
        The laboratory has no laser of the name that is given.
    """
    companions: list[EndpointCompanion] = []
    monitors = None
    if settings.monitors is not None:
        from bellrelay.observe.monitors import Monitors

        monitors = Monitors(settings.monitors)
        companions.append(monitors)
    laser = settings.watch.laser if settings.watch is not None else None
    if laser is not None:
        from bellrelay.control.laser_watch import LaserWatch

        watch = LaserWatch(settings)
        companions.append(watch)
        if monitors is not None and laser.monitor is not None:

            def take(reading: MonitorReading) -> None:
                if reading.frequency_hz is not None:
                    watch.take(reading.frequency_hz)

            monitors.follow(laser.monitor, take)
    return companions
