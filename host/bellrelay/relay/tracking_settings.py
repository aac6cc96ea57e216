"""The `tracking` section of a relay's YAML, and the schedule that endpoints share with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bellrelay.settings.model import Model, allowed, between
from bellrelay.wire.tracking import TrackingSlots

__all__ = [
    "ReferenceSettings",
    "SyncTagsSettings",
    "TrackingSettings",
    "TrackingSlotsSettings",
]


class TrackingSlotsSettings(Model):
    """Slots that make no key, and whose settings may steer: `slot % every < length`.

    The same on both sides, and in the relay's configuration.
    """

    every: Annotated[int, between(2, 10**12, "slots")] = Field(
        default=250_000, description="distance from one range of them to the next"
    )
    length: Annotated[int, between(0, 10**9, "slots, 0 none")] = Field(
        default=0, description="slots of a range, at most half of every"
    )

    def schedule(self) -> TrackingSlots:
        """As both sides hold it; ValueError if it contradicts itself."""
        return TrackingSlots(self.every, self.length)


class SyncTagsSettings(Model):
    """What the sync channel brings: a tag every so many slots, the first in slot 0."""

    slots_per_tag: Annotated[int, between(1, 10**9, "slots")] = Field(
        description="from one tag to the next"
    )
    position_ps: Annotated[int, between(0, (1 << 24) - 1, "ps")] = Field(
        default=0, description="where in its slot a tag belongs, deskewed"
    )


class ReferenceSettings(Model):
    """The reference that the board's clock follows: White Rabbit, GPS with PPS, 10 MHz."""

    file: Path = Field(description="its state, as whoever watches it writes it; its last line")
    stale_s: Annotated[float, between(1.0, 3600.0, "s")] = Field(
        default=10.0, description="what is older is believed no more"
    )


class TrackingSettings(Model):
    """The loop that keeps the slot clock on the pulses."""

    follow: Literal["light", "sync"] = Field(
        default="light",
        description="what the slot clock is kept on, once pulled in: the pulses of both senders "
        "together, or the sync channel",
    )
    sync: SyncTagsSettings | None = Field(
        default=None,
        description="needed to follow it; pulls in clocks that differ, which without it takes "
        "raw_tags.stream",
    )
    centres_ps: tuple[int, ...] | None = Field(
        default=None,
        description="where the pulses belong in the slot; none: the middles of the windows",
    )
    width_ps: Annotated[float, between(1.0, 1e5, "ps")] = Field(
        default=120.0, description="standard deviation of arrival times, where the fit begins"
    )
    pulse_ps: Annotated[float, between(0.0, 1e5, "ps")] | None = Field(
        default=None, description="standard deviation of the pulses sent, for the jitter by width"
    )
    detector_ps: Annotated[float, between(0.0, 1e5, "ps")] | None = Field(
        default=None, description="standard deviation of detector and tagger, likewise"
    )
    limit_ppm: Annotated[float, between(0.01, 90.0, "ppm")] = Field(
        default=50.0, description="largest correction of the slot clock"
    )
    clock_ppm: Annotated[float, between(0.01, 90.0, "ppm")] = Field(
        default=10.0,
        description="what clocks differ by at the start, one standard deviation; raw tags are "
        "searched for four of them",
    )
    settle_s: Annotated[float, between(0.05, 600.0, "s")] = Field(
        default=3.0, description="time constant with which an error dies out"
    )
    wander_ps: Annotated[float, between(0.1, 1000.0, "ps")] = Field(
        default=3.0, description="what the clocks wander by in a second"
    )
    within_ps: Annotated[float, between(1.0, 10_000.0, "ps")] = Field(
        default=100.0, description="error that counts as locked"
    )
    patience_s: Annotated[float, between(0.1, 600.0, "s")] = Field(
        default=5.0, description="without a measurement for so long it is holdover"
    )
    holdover_ps: Annotated[float, between(1.0, 100_000.0, "ps")] = Field(
        default=100.0, description="error that may have built up before holdover is an alarm"
    )
    reference: ReferenceSettings | None = None
    slots: TrackingSlotsSettings | None = Field(
        default=None, description="publish the clicks in these slots; needs raw_tags.stream"
    )

    @model_validator(mode="after")
    def _can_follow(self) -> TrackingSettings:
        if self.follow == "sync" and self.sync is None:
            raise allowed("follow: sync needs sync: {slots_per_tag: ...}")
        if (self.pulse_ps is None) != (self.detector_ps is None):
            raise allowed("pulse_ps and detector_ps together, or neither")
        return self
