"""All calibration steps of a relay, in the order in which a new one is taken into service."""

from __future__ import annotations

from typing import Any

from .calibration_step import Step
from .step_decoy import DecoyStep
from .step_hom import HomStep
from .step_phase_reference import PhaseReferenceStep
from .step_polarisation import PolarisationStep

__all__ = ["calibration_steps"]


def calibration_steps() -> tuple[Step[Any], ...]:
    """One of each."""
    return (HomStep(), PolarisationStep(), PhaseReferenceStep(), DecoyStep())
